"""Reads images of one's own: files of arrays, tables, and folders of pictures."""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mnistopt.data.content import listed, why_unreadable
from mnistopt.data.folders import read_folder
from mnistopt.data.official import Stored
from mnistopt.data.pixels import has_labels, is_csv, named_labels, read_csv
from mnistopt.errors import InputError

_NAMES = ("images", "labels", "test_images", "test_labels", "class_names")
# What others call them: Keras' mnist.npz.
_KERAS = ("x_train", "y_train", "x_test", "y_test", "class_names")
_EXPECTED = (
    "an .npz file with the arrays images and labels, and perhaps test_images and "
    "test_labels (or x_train, y_train, x_test, y_test), and class_names; a .csv file "
    "with a row of pixels and a label per image; or a folder with a folder of pictures "
    "per class"
)


def read_arrays(
    path: Path,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> dict[str, Any]:
    """Reads images and labels, as `Dataset.from_arrays` takes them.

    Args:
        path: An .npz or .csv file, or a folder of class folders of pictures.
        image_size: As in `folders.read_folder`; None for others.
        channels: As in `folders.read_folder`; others have those that they have.

    Raises:
        InputError: If it cannot be read.
    """
    if path.is_dir():
        return read_folder(path, image_size, channels)
    if image_size:
        raise InputError(
            f"image_size has no effect on {path}, whose images have one size: it is "
            "for folders of pictures"
        )
    if is_csv(path):
        images, labels = read_csv(path)
        return {"images": images, "labels": named_labels(labels)}
    return read_npz(path, ("images", "labels"), _EXPECTED)


def read_npz(
    path: Path, needed: Collection[str], expected: str
) -> dict[str, np.ndarray]:
    """Reads the arrays of a file that have one of the names we know.

    Args:
        path: An .npz file.
        needed: The names that it must have, those of `Dataset.from_arrays`.
        expected: What to give, for errors.

    Returns:
        Arrays by their names in `Dataset.from_arrays`.

    Raises:
        InputError: If it cannot be read, or has not what is needed.
    """
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise InputError(f"{path} is one array; expected is {expected}")
        with opened as kept:
            known = _KERAS if _KERAS[0] in kept.files else _NAMES
            names = {
                ours: theirs
                for ours, theirs in zip(_NAMES, known)
                if theirs in kept.files
            }
            if not set(needed) <= set(names):
                raise InputError(f"{path} holds {_told(kept)}; expected is {expected}")
            if others := set(kept.files) - set(names.values()):
                warnings.warn(
                    f"{path} also holds {listed(others)}, which are ignored",
                    stacklevel=2,
                )
            return {ours: kept[theirs] for ours, theirs in names.items()}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        words = why_unreadable(path, error, "a zip file")
        raise InputError(
            f"{path} cannot be read ({words}); expected is {expected}"
        ) from error


def read_stored_npz(path: Path) -> list[Stored]:
    """Reads a dataset that has a name from an .npz file, as Keras keeps MNIST.

    Returns:
        The train part, and the test part if it has one.

    Raises:
        InputError: As `read_npz`.
    """
    arrays = read_npz(path, ("images", "labels"), _EXPECTED)
    return [
        Stored(arrays[images], arrays[labels], f"{path} ({images})", str(path))
        for images, labels in (_NAMES[:2], _NAMES[2:4])
        if images in arrays and labels in arrays
    ]


def read_stored_csv(*paths: Path) -> list[Stored]:
    """Reads a dataset that has a name from a table for each part.

    Returns:
        The train part, and the test part if it has labels: Kaggle's has none.

    Raises:
        InputError: As `read_csv`.
    """
    train, *tests = paths
    labelled = [train, *(path for path in tests if has_labels(path))]
    return [Stored(*read_csv(path), str(path), str(path)) for path in labelled]


def _told(kept: Any) -> str:
    """Returns the arrays of a file with their shapes, in words."""
    return listed(f"{name} {kept[name].shape}" for name in kept.files)
