"""Reads digits by other writers, and makes them like MNIST's or a study's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mnistopt.data import folders, pictures
from mnistopt.data.arrays import read_npz
from mnistopt.data.check import check_own
from mnistopt.data.classes import positions
from mnistopt.data.content import listed
from mnistopt.data.official import IMAGE_SIZE
from mnistopt.data.place import place, which_is_ink
from mnistopt.errors import InputError
from mnistopt.files import check_path

# Of a picture: grey, grey and alpha, colours, colours and alpha.
_CHANNELS = 4
_EXPECTED = (
    "a folder of pictures, or of a folder of them per class, one picture, or an .npz "
    "file with the array images, and perhaps labels"
)


class Strangers(NamedTuple):
    """Digits by other writers.

    Attributes:
        images: uint8 [N, H, W, C], as `place` returns them or as the study's.
        labels: int32 [N], positions in the study's classes; None where not known.
        names: N names: files within the folder, or positions in the array, from 0.
        ink: Whether each has any ink, bool [N]; those without are not digits.
        skipped: The files of a folder that are not read, in words; "" for none.
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
        class_names: The names of the study's K classes, which class folders have.
        image_shape: (H, W, C) of the study's images. Those of MNIST's shape are placed
            as its digits are, others are fitted into their size.
        light_paper: Whether the study's images are dark on light.

    Raises:
        InputError: If they cannot be read or used; says what was found.
    """
    path = check_path("images", path) or Path()
    if path.suffix == ".npz":
        images, labels = _read_arrays(path, class_names, image_shape[-1])
        names, skipped = list(map(str, range(len(images)))), ""
    else:
        listing, frames = _find(path), list[Path]()
        images = [pictures.read_picture(file, frames) for file in listing.files]
        if not _as_mnist(image_shape):
            images = [pictures.as_bytes(*pair) for pair in zip(images, listing.files)]
        names = [str(file.relative_to(path)) for file in listing.files]
        names = names if path.is_dir() else [path.name]
        labels = None
        if listing.labels is not None:
            where = str(path)
            labels = positions(listing.class_names, class_names, where, listing.labels)
        words = folders.skipped_words(listing, path), folders.frames_words(frames)
        skipped = ". ".join(filter(None, words))
    placed, ink = _placed(images, image_shape, light_paper, str(path))
    return Strangers(placed, labels, names, ink, skipped)


def make_strangers(
    given: Any,
    image_shape: tuple[int, ...] = (IMAGE_SIZE, IMAGE_SIZE, 1),
    light_paper: bool = False,
) -> Strangers:
    """Makes images in memory like those of a study, as `read_strangers` does files.

    Args:
        given: One image or a list or array of them. Each is an array, uint8 or floats,
            [H, W] or [H, W, C] with at most 4 channels, a picture of Pillow's, or the
            path of a file.
        image_shape: See `read_strangers`.
        light_paper: See `read_strangers`.

    Raises:
        InputError: If one cannot be used; says which.
    """
    if hasattr(given, "__array__") and not isinstance(given, Image.Image):
        given = np.asarray(given)
    dims = given.ndim if isinstance(given, np.ndarray) else 0
    # What ends in a few channels is one picture in colour.
    lone = isinstance(given, (str, Path, Image.Image)) or dims == 2
    lone |= dims == 3 and given.shape[-1] <= _CHANNELS
    several = dims > 0 or isinstance(given, Sequence)
    if not lone and not several:
        raise InputError(f"images={given!r} is not allowed: expected images, or one")
    entries = [given] if lone else list(given)
    if not entries:
        raise InputError("images has no images; give at least one")
    channels = image_shape[-1]
    images = [_pixels(entry, i, channels) for i, entry in enumerate(entries)]
    placed, ink = _placed(images, image_shape, light_paper, "images")
    return Strangers(placed, None, list(map(str, range(len(images)))), ink)


def _pixels(entry: Any, number: int, channels: int) -> np.ndarray:
    """Returns one image as pictures are read: uint8 [H, W] or [H, W, 3].

    Where a study's images have 2 or 4 channels, as many are its own.
    """
    if isinstance(entry, (str, Path)):
        path = check_path("images", entry) or Path()
        if not path.is_file():
            raise InputError(f"images[{number}]={path} is no file")
        return pictures.as_bytes(pictures.read_picture(path), path)
    if isinstance(entry, Image.Image) and entry.mode[0] not in "IF":
        return pictures.opaque(np.asarray(pictures.in_colours(entry)))
    try:
        pixels = np.asarray(entry)
    except ValueError as error:
        raise InputError(f"images[{number}] is no array ({error})") from error
    flat = pixels.ndim == 2
    if not pixels.size or not (
        flat or (pixels.ndim == 3 and pixels.shape[-1] <= _CHANNELS)
    ):
        raise InputError(
            f"images[{number}] has the shape {pixels.shape}; expected is [H, W], or "
            f"[H, W, C] with at most {_CHANNELS} channels"
        )
    if pixels.dtype.kind not in "buif" or not np.isfinite(pixels).all():
        raise InputError(
            f"images[{number}] is of {pixels.dtype} or has no finite pixels; expected "
            "are uint8 or finite floats"
        )
    if pixels.dtype != np.uint8:
        unit = pictures.as_unit(pixels.astype(float))
        pixels = np.rint(255 * unit).astype(np.uint8)
    own = channels in (2, 4) and pixels.ndim == 3 and pixels.shape[-1] == channels
    return pixels if own else pictures.opaque(pixels)


def _as_mnist(image_shape: Sequence[int]) -> bool:
    return tuple(image_shape) == (IMAGE_SIZE, IMAGE_SIZE, 1)


def _placed(
    images: Sequence[np.ndarray],
    image_shape: tuple[int, ...],
    light_paper: bool,
    where: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images like a study's, uint8 [N, H, W, C], and whether each has ink."""
    if _as_mnist(image_shape):
        units = [pictures.as_unit(image) for image in images]
        signs = which_is_ink(units)
        placed = np.stack([place(*pair) for pair in zip(units, signs)])
        ink: Any = placed.any(axis=(1, 2))
        placed = placed[..., np.newaxis]
        return (255 - placed if light_paper else placed), ink
    height, width, channels = image_shape
    fitted = (pictures.fitted(image, (height, width)) for image in images)
    shaped = [pictures.with_channels(image, channels) for image in fitted]
    if shaped[0].shape[-1] != channels:
        raise InputError(
            f"{where} holds images of {shaped[0].shape[-1]} channels; the study's have "
            f"{channels}"
        )
    placed = np.stack(shaped)
    return placed, (placed != placed[:, :1, :1]).any(axis=(1, 2, 3))


def _find(path: Path) -> folders.Pictures:
    """Returns the picture or the pictures at a path."""
    if not path.exists():
        raise InputError(f"images={path} is not there; expected is {_EXPECTED}")
    if not path.is_dir():
        return folders.Pictures([path], None, (), {})
    listing = folders.find_pictures(path)
    if not listing.files:
        entries = listed(entry.name for entry in path.iterdir())
        raise InputError(
            f"images={path} holds no pictures; expected is {_EXPECTED}. Found instead: "
            f"{entries}"
        )
    return listing


def _read_arrays(
    path: Path, class_names: Sequence[str], channels: int
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Returns images as pictures are read, and labels if there are any.

    Where a study's images have 2 or 4 channels, as many are its own.
    """
    kept: Mapping[str, Any] = read_npz(path, ("images",), _EXPECTED)
    count = kept["images"].shape[:1]
    labels = kept.get("labels", np.zeros(count, int))
    names = kept.get("class_names")
    ((images, numbers),), theirs = check_own(kept["images"], labels, class_names=names)
    if images.shape[-1] > 4:
        raise InputError(
            f"{path} holds images of shape {images.shape}; expected are [N, H, W], or "
            "[N, H, W, C] with at most 4 channels"
        )
    positions_known = None
    if "labels" in kept:
        positions_known = positions(theirs, class_names, str(path), numbers)
    if images.dtype != np.uint8:
        images = np.rint(255 * pictures.as_unit(images)).astype(np.uint8)
    own = channels in (2, 4) and images.shape[-1] == channels
    return list(images if own else map(pictures.opaque, images)), positions_known
