"""Reads a stranger's digits, and places them as MNIST's are or as a study's were."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnistopt.data import folders, pictures
from mnistopt.data.arrays import read_npz
from mnistopt.data.check import check_own
from mnistopt.data.classes import positions
from mnistopt.data.content import listed
from mnistopt.data.official import IMAGE_SIZE
from mnistopt.data.place import place
from mnistopt.errors import InputError

_EXPECTED = (
    "a folder of pictures, or of a folder of them per class, one picture, or an .npz "
    "file with the array images, and perhaps labels"
)


class Strangers(NamedTuple):
    """A stranger's digits.

    Attributes:
        images: uint8 [N, H, W, C], as `place` returns them or as the study's.
        labels: int32 [N], positions in the study's classes; None where not known.
        names: N names: files within the folder, or positions in the array, from 0.
        ink: Whether there is any ink in each, bool [N]; what has none is no digit.
        skipped: What of a folder is not read, in words; "" for nothing.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: list[str]
    ink: np.ndarray
    skipped: str = ""


def read_strangers(
    path: str | Path,
    class_names: Sequence[str],
    image_shape: tuple[int, ...] = (IMAGE_SIZE, IMAGE_SIZE, 1),
    light_paper: bool = False,
) -> Strangers:
    """Reads pictures of one digit each, and makes them like those of a study.

    Args:
        path: A folder of pictures; or of class folders of pictures, which makes them
            labelled; one picture; or an .npz file with `images`, uint8 or floats [N,
            H, W] or [N, H, W, C], and perhaps `labels` [N] and `class_names`.
        class_names: Of the study's K classes, by which class folders are known.
        image_shape: (H, W, C) of the study's images. Those of MNIST's shape are placed
            as its digits are, others are fitted into their size.
        light_paper: Whether the study's images are dark on light.

    Raises:
        InputError: If they cannot be read or used; says what was found.
    """
    path = Path(path).expanduser()
    placed_as_mnist = tuple(image_shape) == (IMAGE_SIZE, IMAGE_SIZE, 1)
    if path.suffix == ".npz":
        images, labels = _read_arrays(path, class_names)
        names, skipped = list(map(str, range(len(images)))), ""
    else:
        found, frames = _find(path), list[Path]()
        images = [pictures.read_picture(file, frames) for file in found.files]
        if not placed_as_mnist:
            images = [pictures.as_bytes(*pair) for pair in zip(images, found.files)]
        names = [str(file.relative_to(path)) for file in found.files]
        names = names if path.is_dir() else [path.name]
        labels = None
        if found.labels is not None:
            labels = positions(found.class_names, class_names, str(path))[found.labels]
        words = folders.skipped_words(found, path), folders.frames_words(frames)
        skipped = ". ".join(filter(None, words))
    if placed_as_mnist:
        placed = np.stack([place(pictures.as_unit(image)) for image in images])
        ink: Any = placed.any(axis=(1, 2))
        placed = placed[..., np.newaxis]
        placed = 255 - placed if light_paper else placed
    else:
        placed = np.stack([_like(image, image_shape) for image in images])
        ink = (placed != placed[:, :1, :1]).any(axis=(1, 2, 3))
    return Strangers(placed, labels, names, ink, skipped)


def _find(path: Path) -> folders.Pictures:
    """Returns the picture or the pictures at a path."""
    if not path.exists():
        raise InputError(f"images={path} is not there; expected is {_EXPECTED}")
    if not path.is_dir():
        return folders.Pictures([path], None, (), {})
    found = folders.find_pictures(path)
    if not found.files:
        there = listed(entry.name for entry in path.iterdir())
        raise InputError(
            f"images={path} holds no pictures; expected is {_EXPECTED}. Found instead: "
            f"{there}"
        )
    return found


def _like(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Returns a picture as a study's images are, uint8 of that shape."""
    pixels = (
        np.rint(255 * pictures.as_unit(image)) if image.dtype != np.uint8 else image
    )
    fitted = pictures.fitted(pixels.astype(np.uint8), (shape[0], shape[1]))
    return pictures.with_channels(fitted, shape[2])


def _read_arrays(
    path: Path, class_names: Sequence[str]
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Returns images for `place`, and labels if there are any."""
    kept: Mapping[str, Any] = read_npz(path, ("images",), _EXPECTED)
    count = kept["images"].shape[:1]
    labels = kept.get("labels", np.zeros(count, int))
    own = check_own(kept["images"], labels, class_names=kept.get("class_names"))
    images, numbers = own.parts[0]
    if images.shape[-1] > 4:
        raise InputError(
            f"{path} holds images of shape {images.shape}; expected are [N, H, W], or "
            "[N, H, W, C] with at most 4 channels"
        )
    known = None
    if "labels" in kept:
        known = positions(own.class_names, class_names, str(path), numbers)
    if images.dtype != np.uint8:
        images = pictures.as_unit(images)
    return list(images), known
