"""Examples, split into those to train on, to choose by, and to report on."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mnistopt.data.arrays import read_arrays
from mnistopt.data.check import check_classes, check_image_size, check_own
from mnistopt.data.splits import Split, make_splits, subset
from mnistopt.files import check_path


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset, ready for use: a pytree whose leaves are its arrays.

    Attributes:
        name: The name of the data.
        train: Examples to fit parameters on.
        validation: Examples to choose hyper-parameters on, held out of training.
        test: Examples to report on, once.
        fingerprint: 16 hex digits of a SHA-256 over all of the examples, in order. It
            identifies the data, however they came, and differs between subsets.
        class_names: K names of classes; labels are positions in them.
        image_size: The size (H, W) that pictures were fitted into; None if they were
            not.
        teacher: What identifies the teacher; None without one.
        targets: What it says of the training examples, float32 [N, K]; None without
            one, or until it is asked.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    fingerprint: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None = None
    teacher: str | None = None
    targets: np.ndarray | None = None

    @property
    def identity(self) -> str:
        """What replicas are trained on: the fingerprint, and the teacher."""
        return "+".join(filter(None, (self.fingerprint, self.teacher)))

    @property
    def classes(self) -> int:
        """K, the number of classes; labels are 0 to K - 1."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of an image, (H, W, C)."""
        return self.train.images.shape[1:]

    @functools.cached_property
    def pixel_range(self) -> tuple[float, float]:
        """The least and largest that a pixel may be, as training has it.

        0 and 1 of bytes; floats may go beyond, as far as those to train on do.
        """
        if self.train.images.dtype == np.uint8:
            return 0.0, 1.0
        least, most = self.train.images.min(), self.train.images.max()
        return min(0.0, float(least)), max(1.0, float(most))

    @classmethod
    def from_splits(
        cls,
        name: str,
        train: Split,
        validation: Split,
        test: Split,
        class_names: Sequence[str],
        image_size: tuple[int, int] | None = None,
    ) -> "Dataset":
        """Returns a dataset of splits that are ready for use; makes them read-only."""
        splits = {"train": train, "validation": validation, "test": test}
        for array in jax.tree.leaves(splits):
            array.flags.writeable = False  # the fingerprint stays true
        about = fingerprint(splits), tuple(class_names), image_size
        return cls(name, train, validation, test, *about)

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        *,
        test_images: Any = None,
        test_labels: Any = None,
        class_names: Any = None,
        name: str = "arrays",
    ) -> "Dataset":
        """Returns a dataset of your own images.

        Parts are held out for validation, and where no test examples are given for
        testing, as `splits.make_splits` says: by content, not by order.

        Args:
            images: [N, H, W, C], or [N, H, W] for one channel: uint8, which training
                scales to [0, 1], or floats, which it takes as they are.
            labels: Whole numbers [N], 0 to K - 1, each there at least once; or words.
            test_images: Images of the same shape and dtype.
            test_labels: With them.
            class_names: K names, the first that of label 0; where there are none, the
                words that labels are, in natural order, or "0" to "K - 1".
            name: The name of the data.

        Raises:
            InputError: If the arrays cannot be used; says what was found.
        """
        given = images, labels, test_images, test_labels, class_names
        parts, names = check_own(*given)
        train, validation, test = make_splits(*parts)
        check_classes(train, names)
        return cls.from_splits(name, train, validation, test, names)

    @classmethod
    def from_file(cls, path: str | Path, image_size: Any = None) -> "Dataset":
        """Returns a dataset of your own images, from a file or folder.

        Args:
            path: An .npz file with the arrays that `from_arrays` takes, a table with a
                row per image, or a folder with a folder of pictures per class, whose
                names are the classes', numbers in them sorted as numbers.
            image_size: The size to fit a folder's pictures into, a side or (H, W) in
                pixels; None where all have one size.

        Raises:
            InputError: If it cannot be read or used.
        """
        path, size = check_path("data", path) or Path(), check_image_size(image_size)
        data = cls.from_arrays(**read_arrays(path, size), name=path.stem)
        return dataclasses.replace(data, image_size=size)

    def with_train_examples(self, size: int | None) -> "Dataset":
        """Returns the dataset with a stratified part of its training examples.

        Args:
            size: How many; None for all. A smaller part is in a larger one, but for at
                most one example per class.
        """
        if size is None:
            return self
        return self._with_train(subset(self.train, size))

    def with_validation_trained(self) -> "Dataset":
        """Returns the dataset with its validation examples among those to train on.

        They stay what validation measures, which then says how well they are learned.
        """
        pairs = zip(self.train, self.validation)
        return self._with_train(Split(*map(np.concatenate, pairs)))

    def _with_train(self, train: Split) -> "Dataset":
        rest = self.validation, self.test, self.class_names
        return self.from_splits(self.name, train, *rest, self.image_size)


jax.tree_util.register_dataclass(
    Dataset,
    data_fields=["train", "validation", "test", "targets"],
    meta_fields=["name", "fingerprint", "class_names", "image_size", "teacher"],
)


def fingerprint(splits: dict[str, Split]) -> str:
    """Returns 16 hex digits of a SHA-256 over all of the examples, in order."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        for field, array in split._asdict().items():
            digest.update(f"{name}.{field} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
