"""Reads a stranger's digits: pictures of any size, placed as MNIST's are."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnistopt.data.arrays import class_folders, read_npz
from mnistopt.data.check import check_own
from mnistopt.data.place import place
from mnistopt.errors import InputError

_ENDINGS = (".png", ".jpg", ".jpeg")
_EXPECTED = (
    "a folder of pictures (PNG, JPEG), or of a folder of them per class, or an .npz "
    "file with the array images, and perhaps labels"
)


class Strangers(NamedTuple):
    """A stranger's digits.

    Attributes:
        images: As `place` returns them, uint8 [N, 28, 28, 1].
        labels: int32 [N]; None where they are not known.
        names: N names: files within the folder, or positions in the array, from 0.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: list[str]


def read_strangers(path: str | Path, classes: Sequence[str]) -> Strangers:
    """Reads pictures of one digit each, and places them.

    Args:
        path: A folder of pictures; or of class folders of pictures, which makes them
            labelled; one picture; or an .npz file with `images`, uint8 or floats [N,
            H, W] or [N, H, W, C], and perhaps `labels` [N].
        classes: The names of the K classes, which class folders are called by.

    Raises:
        InputError: If they cannot be read or used; says what was found.
    """
    path = Path(path).expanduser()
    if path.suffix == ".npz":
        return _read_arrays(path, len(classes))
    if not path.exists():
        raise InputError(f"images={path} is not there; expected is {_EXPECTED}")
    folders = class_folders(path) if path.is_dir() else []
    if any(files := [_pictures(folder) for folder in folders]):
        labels = [
            _label(folder, classes)
            for folder, mine in zip(folders, files)
            for _ in mine
        ]  # fmt: skip
        found = [file for mine in files for file in mine]
        return _placed(found, [str(file.relative_to(path)) for file in found], labels)
    found = _pictures(path) if path.is_dir() else [path]
    if not found:
        raise InputError(f"images={path} holds no pictures; expected is {_EXPECTED}")
    return _placed(found, [file.name for file in found], None)


def _pictures(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix.lower() in _ENDINGS)


def _label(folder: Path, classes: Sequence[str]) -> int:
    if folder.name not in classes:
        raise InputError(
            f"{folder} is the folder of no class; the study's are {', '.join(classes)}"
        )
    return list(classes).index(folder.name)


def _placed(
    files: Sequence[Path], names: list[str], labels: list[int] | None
) -> Strangers:
    images = np.stack([place(_read_picture(file)) for file in files])[..., np.newaxis]
    known = None if labels is None else np.array(labels, np.int32)
    return Strangers(images, known, names)


def _read_picture(file: Path) -> np.ndarray:
    """Returns a picture's pixels, as `place` takes them, as a viewer turns them."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode[0] in "IF":  # 16 bits and more, of which PIL keeps the low
                return _unit(np.asarray(picture, float))
            clear = "A" in picture.mode or "transparency" in picture.info
            return np.asarray(picture.convert("RGBA" if clear else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} cannot be read as a picture ({error})") from error


def _unit(values: np.ndarray) -> np.ndarray:
    """Returns floats as they are within [0, 1], and others scaled to it."""
    low, high = values.min(), values.max()
    return values if low >= 0 and high <= 1 else (values - low) / max(high - low, 1e-9)


def _read_arrays(path: Path, classes: int) -> Strangers:
    kept = read_npz(path, ("images",), _EXPECTED)
    known = "labels" in kept
    count = kept["images"].shape[:1]
    (split,) = check_own(kept["images"], kept.get("labels", np.zeros(count, int)))
    images, labels = split
    if images.shape[-1] > 4:
        raise InputError(
            f"{path} holds images of shape {images.shape}; expected are [N, H, W], or "
            "[N, H, W, C] with at most 4 channels"
        )
    if labels.max() >= classes:
        raise InputError(
            f"{path} holds the label {labels.max()}; the study's classes are 0 to "
            f"{classes - 1}"
        )
    if images.dtype != np.uint8:
        images = _unit(images)
    placed = np.stack([place(image) for image in images])[..., np.newaxis]
    return Strangers(placed, labels if known else None, list(map(str, range(*count))))
