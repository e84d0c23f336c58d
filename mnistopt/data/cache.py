"""Keeps the arrays of prepared data in one file, for a quick second start."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.splits import Split
from mnistopt.errors import InputError

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def cached(
    cache: Path, name: str, folder: Path, read: Callable[[], list[Split]]
) -> list[Split]:
    """Returns what `read` returned before, where the folder is as it was.

    Prepared data are read example by example, MNIST in ten seconds; the array file in
    a tenth of one.

    Args:
        cache: Where array files are kept, in `arrays/`.
        name: The dataset.
        folder: What `read` reads.
        read: Returns the train part and the test part.

    Raises:
        InputError: As `read`, or if the folder cannot be read.
    """
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    path, stamp = cache / "arrays" / f"{name}-{key}.npz", _stamp(folder)
    # A cache must never be why loading fails: whatever is wrong with the file (and
    # zipfile, which checks its CRCs, has many ways to say so), it is written anew.
    with contextlib.suppress(Exception), open(path, "rb") as file:
        kept = np.load(file, allow_pickle=False)
        if str(kept["stamp"]) == stamp:
            arrays = [kept[name] for name in _ARRAYS]
            return [Split(*arrays[:2]), Split(*arrays[2:])]
    train, test = read()
    with contextlib.suppress(OSError):
        _write(path, dict(zip(_ARRAYS, (*train, *test)), stamp=np.array(stamp)))
    return [train, test]


def _write(path: Path, arrays: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A reader sees the old file, the new one or none, never half of one.
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _stamp(folder: Path) -> str:
    """Returns a string that changes when a file in the folder does."""
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError as err:
        raise InputError(f"Cannot read {folder}: {err}") from err
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files])
