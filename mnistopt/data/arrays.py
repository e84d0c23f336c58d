"""Reads images of one's own: files of arrays, and folders of pictures."""

from collections.abc import Collection
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mnistopt.errors import InputError

_NAMES = ("images", "labels", "test_images", "test_labels")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads images and labels, as `Dataset.from_arrays` takes them.

    Args:
        path: An .npz file, or a folder of class folders of PNGs.

    Raises:
        InputError: If it cannot be read.
    """
    if path.is_dir():
        return _read_folder(path)
    return read_npz(
        path,
        ("images", "labels"),
        "an .npz file with the arrays images and labels, and perhaps test_images and "
        "test_labels, or a folder with a folder of PNGs per class",
    )


def read_npz(
    path: Path, needed: Collection[str], expected: str
) -> dict[str, np.ndarray]:
    """Reads the arrays of a file that have one of the names we know.

    Args:
        path: An .npz file.
        needed: The names that it must have.
        expected: What to give, for errors.

    Raises:
        InputError: If it cannot be read, or has not what is needed.
    """
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise InputError(f"{path} is one array; expected is {expected}")
        with opened as kept:
            if not set(needed) <= set(kept.files):
                raise InputError(
                    f"{path} holds {', '.join(kept.files) or 'nothing'}; expected is "
                    f"{expected}"
                )
            return {name: kept[name] for name in _NAMES if name in kept.files}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({error}); expected is {expected}"
        ) from error


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
