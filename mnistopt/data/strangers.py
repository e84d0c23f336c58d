"""Reads digits by other writers, and centres and scales them as MNIST's or a study's.

MNIST's digits were scaled to fit a box of 20 x 20 pixels, their aspect kept, with grey
levels from anti-aliasing, and put into 28 x 28 by their centre of mass (LeCun, Cortes
and Burges, http://yann.lecun.com/exdb/mnist/). Ink is 255 there, and paper 0. A
picture from elsewhere has to be sorted out first.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from mnistopt.data import folders, pictures
from mnistopt.data.arrays import read_npz
from mnistopt.data.check import check_own
from mnistopt.data.classes import positions
from mnistopt.data.content import listed
from mnistopt.data.official import IMAGE_SIZE
from mnistopt.errors import InputError
from mnistopt.files import check_path

# Pixels of the longer side of a digit, as the page above says.
BOX = 20
# Pixels that a stroke is wide at least when it is placed; 95 % of MNIST's have 1.7 and
# more. A fine pen on a large sheet would leave a broken line, which no network knows.
LEAST_WIDTH = 2
# Larger pictures are reduced to so many pixels a side first, ten for each of MNIST's:
# a digit may be a tenth of its picture.
LARGEST = 10 * IMAGE_SIZE
# Of the range from black to white: an "ink" of less contrast is noise on empty paper.
LEAST_CONTRAST = 0.08
# The level of ink is this quantile of the pixels with at least half as much as the
# most: the middle of strokes, and not their brightest speck.
LEVEL = 0.8
# Of that level: what is fainter is paper.
FAINT = 0.2
# Of the ink of the largest stroke: what has less is a speck.
SPECK = 0.03
# Of the picture's sides: strokes wholly within so much of the border are lines of a
# form, unless there is nothing else.
MARGIN = 0.1
# A digit's longer side is at least so many times as long as its strokes are wide (of
# 25,000 of MNIST's 2.2 and more); of a blot it is 1.3 to 1.7 times.
LEAST_STROKES = 2
# Of the longer side of the picture: a digit's may be a tenth, what has less is a speck.
LEAST_SIDE = 0.05
# Fits of the paper; later ones move it by less than a grey level.
FITS = 8


def place(image: np.ndarray) -> np.ndarray:
    """Returns one digit as MNIST's are placed.

    Args:
        image: uint8, or floats in [0, 1]: grey [H, W], or red, green and blue
            [H, W, 3]. Dark on light or light on dark, of any size.

    Returns:
        uint8 [28, 28], ink 255. A picture without ink is 0 throughout, and so is one
        with only a speck or a blot, which is not a digit.
    """
    grey = _grey(image)
    ink = _ink(_resized(grey, min(1, LARGEST / max(grey.shape))))
    # Twice: a form's lines may be of other ink, which would decide what is faint.
    ink = _strokes(_strokes(ink))
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width, side = _stroke_width(digit), max(digit.shape)
    if side < max(LEAST_STROKES * width, LEAST_SIDE * max(ink.shape)):
        return np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    digit = _thickened(digit, width)
    # Square, so that no side is rounded on its own.
    long = max(digit.shape)
    margins = [((long - side) // 2, (long - side + 1) // 2) for side in digit.shape]
    digit = np.clip(_resized(np.pad(digit, margins), BOX / long), 0, None)
    return _centred(np.minimum(digit / _level(digit), 1))


def _grey(image: np.ndarray) -> np.ndarray:
    """Returns the brightness, float64 [H, W] in [0, 1], of a picture."""
    pixels = image / 255 if image.dtype == np.uint8 else image.astype(float)
    return pictures.luma(pixels) if pixels.ndim == 3 else pixels


def _resized(grey: np.ndarray, share: float) -> np.ndarray:
    """Returns a picture of a share of the size, anti-aliased."""
    if share == 1:
        return grey
    height, width = (max(1, round(share * side)) for side in grey.shape)
    picture = Image.fromarray(grey.astype(np.float32))
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, float)


def _inside(shape: tuple[int, ...]) -> np.ndarray:
    """Returns which pixels, bool [H, W], are none of the border."""
    rows, columns = (max(1, round(MARGIN * side)) for side in shape)
    inside = np.zeros(shape, bool)
    inside[rows:-rows, columns:-columns] = True
    return inside


def _ink(grey: np.ndarray) -> np.ndarray:
    """Returns how far each pixel is from paper to the side of ink, [H, W], at least 0.

    Paper is a plane of brightness, for light comes from one side. It is fitted to all
    pixels, and then again to those that are not ink. Ink is what is rarer, the border
    counting as much as all of the picture: the first fit's residuals are skewed to it.
    """
    plane = np.indices(grey.shape).reshape(2, -1).T - np.array(grey.shape) / 2
    terms = np.column_stack([np.ones(grey.size), plane])
    border = ~_inside(grey.shape)
    shares = (1 / grey.size + border / border.sum()).ravel()

    def residuals(weights: np.ndarray) -> np.ndarray:
        weighted = terms.T * weights
        fit = np.linalg.lstsq(weighted @ terms, weighted @ grey.ravel(), rcond=None)[0]
        return grey.ravel() - terms @ fit

    ink = residuals(shares)
    sign = 1 if (shares * ink**3).sum() > 0 else -1
    for _ in range(FITS):
        # What has a third of the most ink is surely no paper.
        paper = sign * ink < max((sign * ink).max() / 3, 1e-9)
        ink = residuals(shares * paper)
    return np.maximum(sign * ink, 0).reshape(grey.shape)


def _level(ink: np.ndarray) -> float:
    """Returns how much ink a stroke has in its middle."""
    return float(np.quantile(ink[ink >= ink.max() / 2], LEVEL))


def _strokes(ink: np.ndarray) -> np.ndarray:
    """Returns the digit's strokes, in [0, 1] of their level, and nothing else."""
    level = _level(ink)
    if level < LEAST_CONTRAST:
        return np.zeros_like(ink)
    ink = np.minimum(ink / level, 1)
    strokes, count = ndimage.label(ink > FAINT, np.ones((3, 3)))
    names = np.arange(1, count + 1)
    sums = ndimage.sum(ink, strokes, names)
    within = ndimage.sum(_inside(ink.shape), strokes, names) > 0
    if within.any():
        sums *= within
    return np.where(np.isin(strokes, names[sums >= SPECK * sums.max()]), ink, 0)


def _stroke_width(ink: np.ndarray) -> float:
    """Returns how wide the strokes of a digit [H, W] are in the mean, in pixels."""
    # The distances to paper in a stroke of width w are w / 4 + 1/2 in the mean.
    inside = np.pad(ink > FAINT, 1)
    return 4 * ndimage.distance_transform_edt(inside)[inside].mean() - 2


def _thickened(ink: np.ndarray, width: float) -> np.ndarray:
    """Returns a digit, [H, W] without a border, of `LEAST_WIDTH` when it is placed."""
    radius = round((LEAST_WIDTH * max(ink.shape) / BOX - width) / 2)
    if radius < 1:
        return ink
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = rows**2 + columns**2 <= radius**2
    return ndimage.grey_dilation(np.pad(ink, radius), footprint=disk)


def _centred(ink: np.ndarray) -> np.ndarray:
    """Returns 20 x 20 pixels of ink within 28 x 28, as uint8.

    Their centre of mass goes to row and column 14, counted from 0, to half a pixel, as
    that of MNIST's digits is; or as near as there is room.
    """
    middle, room = IMAGE_SIZE / 2, IMAGE_SIZE - BOX
    corner = np.rint(middle - np.array(ndimage.center_of_mass(ink)))
    top, left = np.clip(corner, 0, room).astype(int)
    placed = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    placed[top : top + BOX, left : left + BOX] = np.rint(255 * ink)
    return placed


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
        placed = np.stack([place(pictures.as_unit(image)) for image in images])
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
