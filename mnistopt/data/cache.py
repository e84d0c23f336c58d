"""Keeps the arrays of prepared data in one file, for a quick second start."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.splits import Split
from mnistopt.errors import InputError

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
        InputError: As `read`, or if the files cannot be read.
    """
    places = "\n".join(str(path.resolve()) for path in paths)
    key = hashlib.sha256(places.encode()).hexdigest()[:16]
    path, stamp = cache / "arrays" / f"{name}-{key}.npz", _stamp(paths)
    # A cache must never be why loading fails: whatever is wrong with the file (and
    # zipfile, which checks its CRCs, has many ways to say so), it is written anew.
    with contextlib.suppress(Exception), open(path, "rb") as file:
        kept = np.load(file, allow_pickle=False)
        if str(kept["stamp"]) == stamp:
            arrays = [kept[name] for name in _ARRAYS if name in kept.files]
            return [Split(*arrays[at : at + 2]) for at in range(0, len(arrays), 2)]
    parts = read()
    arrays = [array for part in parts for array in part]
    with contextlib.suppress(OSError):
        _write(path, dict(zip(_ARRAYS, arrays), stamp=np.array(stamp)))
    return parts


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
