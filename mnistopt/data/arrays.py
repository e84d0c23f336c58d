"""Reads images of one's own: files of arrays, and folders of pictures."""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mnistopt.data.content import listed, why_unreadable
from mnistopt.data.official import Stored
from mnistopt.data.pixels import has_labels, is_csv, read_csv
from mnistopt.errors import InputError

_NAMES = ("images", "labels", "test_images", "test_labels")
# What others call them: Keras' mnist.npz.
_KERAS = ("x_train", "y_train", "x_test", "y_test")
_EXPECTED = (
    "an .npz file with the arrays images and labels, and perhaps test_images and "
    "test_labels (or x_train, y_train, x_test, y_test); a .csv file with a row of "
    "pixels and a label per image; or a folder with a folder of PNGs per class"
)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads images and labels, as `Dataset.from_arrays` takes them.

    Args:
        path: An .npz or .csv file, or a folder of class folders of PNGs.

    Raises:
        InputError: If it cannot be read.
    """
    if path.is_dir():
        return _read_folder(path)
    if is_csv(path):
        images, labels = read_csv(path)
        return {"images": images, "labels": labels}
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
                    f"{path} also holds {listed(others)}, which nothing is done with",
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
        for images, labels in (_NAMES[:2], _NAMES[2:])
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


def class_folders(path: Path) -> list[Path]:
    """Returns the folders in a folder, a class each, in the order of the alphabet."""
    return sorted(one for one in path.iterdir() if one.is_dir() and one.name[0] != ".")


def _read_folder(path: Path) -> dict[str, np.ndarray]:
    """Reads a folder of class folders; its classes in the order of the alphabet."""
    from PIL import Image

    folders = enumerate(class_folders(path))
    files = [(k, file) for k, one in folders for file in _pictures(one)]
    if not files:
        raise InputError(
            f"data={path} has no folders with PNGs in them, one per class; IDX files "
            "are read by --dataset=mnist --data_dir=..."
        )
    images = []
    for _, file in files:
        try:
            with Image.open(file) as picture:
                grey = picture.mode in ("1", "L")
                images.append(np.asarray(picture.convert("L" if grey else "RGB")))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{file} cannot be read as a picture ({error})") from error
        if images[-1].shape != images[0].shape:
            raise InputError(
                f"{file} is {images[-1].shape}, {files[0][1]} {images[0].shape}: all "
                "pictures must be of one size, and all grey or all in colour"
            )
    return {"images": np.stack(images), "labels": np.array([k for k, _ in files])}


def _pictures(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix.lower() == ".png")
