"""Examples, split into those to train on, to choose by, and to report on."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mnistopt.data.arrays import read_arrays
from mnistopt.data.check import check_classes, check_own
from mnistopt.data.splits import Split, make_splits, subset


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset, ready for use: a pytree whose leaves are the six arrays.

    Attributes:
        name: What the data are called.
        train: Examples to fit parameters on.
        validation: Examples to choose hyper-parameters on, held out of training.
        test: Examples to report on, once.
        fingerprint: 16 hex digits of a SHA-256 over all of the examples, in order. It
            identifies the data, however they came, and differs between subsets.
        classes: K; labels are 0 to K - 1.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    fingerprint: str
    classes: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of an image, (H, W, C)."""
        return self.train.images.shape[1:]

    @classmethod
    def from_splits(
        cls, name: str, train: Split, validation: Split, test: Split, classes: int
    ) -> "Dataset":
        """Returns a dataset of splits that are ready for use; makes them read-only."""
        splits = {"train": train, "validation": validation, "test": test}
        for array in jax.tree.leaves(splits):
            array.flags.writeable = False  # the fingerprint stays true
        return cls(name, **splits, fingerprint=fingerprint(splits), classes=classes)

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        *,
        test_images: Any = None,
        test_labels: Any = None,
        name: str = "arrays",
    ) -> "Dataset":
        """Returns a dataset of one's own images.

        Parts are held out for validation, and where no test examples are given for
        testing, as `splits.make_splits` says: by content, not by order.

        Args:
            images: [N, H, W, C], or [N, H, W] for one channel: uint8, which training
                scales to [0, 1], or floats, which it takes as they are.
            labels: Whole numbers [N], 0 to K - 1, each there at least once.
            test_images: Of the same shape and type.
            test_labels: With them.
            name: What the data are called.

        Raises:
            InputError: If the arrays cannot be used; says what was found.
        """
        parts = check_own(images, labels, test_images, test_labels)
        classes = int(parts[0].labels.max()) + 1
        train, validation, test = make_splits(*parts)
        check_classes(train, classes)
        return cls.from_splits(name, train, validation, test, classes)

    @classmethod
    def from_file(cls, path: str | Path) -> "Dataset":
        """Returns a dataset of one's own images, from a file or folder.

        Args:
            path: An .npz file with the arrays that `from_arrays` takes, or a folder
                with a folder of PNGs per class; classes are numbered by the alphabet.

        Raises:
            InputError: If it cannot be read or used.
        """
        path = Path(path).expanduser()
        return cls.from_arrays(**read_arrays(path), name=path.stem)

    def with_train_examples(self, size: int | None) -> "Dataset":
        """Returns the dataset with a stratified part of its training examples.

        Args:
            size: How many; None for all. A smaller part is in a larger one, but for at
                most one example per class.
        """
        if size is None:
            return self
        train = subset(self.train, size)
        return self.from_splits(
            self.name, train, self.validation, self.test, self.classes
        )


jax.tree_util.register_dataclass(
    Dataset,
    data_fields=["train", "validation", "test"],
    meta_fields=["name", "fingerprint", "classes"],
)


def fingerprint(splits: dict[str, Split]) -> str:
    """Returns 16 hex digits of a SHA-256 over all of the examples, in order."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        for field, array in split._asdict().items():
            digest.update(f"{name}.{field} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
