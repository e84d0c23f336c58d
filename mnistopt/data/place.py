"""Centres and scales a picture of one digit as MNIST's are.

MNIST's digits were scaled to fit a box of 20 x 20 pixels, their aspect kept, with grey
levels from anti-aliasing, and put into 28 x 28 by their centre of mass (LeCun, Cortes
and Burges, http://yann.lecun.com/exdb/mnist/). Ink is 255 there, and paper 0. A
picture from elsewhere has to be sorted out first: which is ink, what is a form's line,
and whether it is a digit at all.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from mnistopt.data import pictures
from mnistopt.data.official import IMAGE_SIZE

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
# The skewness from which a picture says by itself what is ink: of MNIST's digits it is
# 1.3 and more, of digits cut to their box, which may be mostly ink, it is about 0.
SURE = 1.0
# Of the picture's side: a form's line is at least so long, and at most so thick.
CROSSES, THICK = 0.9, 0.12
# Of the picture's side: without lines and what touches the outermost pixels a digit is
# still so large, or they are a part of it.
ENOUGH = 0.25
# Of the height of the tallest stroke: strokes beside each other that are so tall are
# two digits.
BESIDE = 0.6
# Of its box, ink: a digit has less, a photograph more.
FULL = 0.8
# Of the level of ink: what is on the other side of paper. Of a photograph it is more.
ROUGH = 0.12
# Pixels of a side: of smaller pictures nothing can be said but what is ink.
SMALL = 16


def place(image: np.ndarray, sign: int | None = None) -> np.ndarray:
    """Returns one digit as MNIST's are placed.

    Args:
        image: uint8, or floats in [0, 1]: grey [H, W], or red, green and blue
            [H, W, 3]. Dark on light or light on dark, of any size.
        sign: 1 where ink is light, -1 where it is dark, see `which_is_ink`; None for
            what the picture says alone.

    Returns:
        uint8 [28, 28], ink 255. A picture without a digit is 0 throughout: one without
        ink, with only a speck or a blot, with two digits, or full of ink.
    """
    grey = _grey(image)
    grey = _resized(grey, min(1, LARGEST / max(grey.shape)))
    if sign is None:
        (sign,) = which_is_ink([image])
    ink = _unframed(_ink(grey, sign))
    # Twice: a form's lines may be of other ink, which would decide what is faint.
    ink = _strokes(_strokes(ink))
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    nothing = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    if not rows.size:
        return nothing
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width, side = _stroke_width(digit), max(digit.shape)
    if side < max(LEAST_STROKES * width, LEAST_SIDE * max(ink.shape)):
        return nothing
    if min(ink.shape) >= SMALL and _is_none(digit, ink.shape):
        return nothing
    digit = _thickened(digit, width)
    # Square, so that no side is rounded on its own.
    long = max(digit.shape)
    margins = [((long - side) // 2, (long - side + 1) // 2) for side in digit.shape]
    digit = np.clip(_resized(np.pad(digit, margins), BOX / long), 0, None)
    return _centred(np.minimum(digit / _level(digit), 1))


def which_is_ink(images: Sequence[np.ndarray]) -> list[int]:
    """Returns for each picture 1 if its ink is light, and -1 if it is dark.

    Ink is what is rarer, the border counting as much as all of the picture: paper's
    residuals are skewed to it. Pictures that are not sure follow the others.

    Args:
        images: As `place` takes them, of one source.
    """
    skews = np.array([_skewness(image) for image in images])
    together = 1 if skews.sum() > 0 else -1
    alone = np.where(skews > 0, 1, -1)
    return np.where(np.abs(skews) >= SURE, alone, together).tolist()


def _skewness(image: np.ndarray) -> float:
    """Returns how much a picture is skewed to the light, above 0, or to the dark."""
    grey = _grey(image)
    grey = _resized(grey, min(1, LARGEST / max(grey.shape)))
    paper, shares = _paper(grey)
    residuals = paper(shares)
    spread = (shares * residuals**2).sum() / shares.sum()
    if spread < 1e-12:
        return 0.0
    return float((shares * residuals**3).sum() / shares.sum() / spread**1.5)


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


def _paper(grey: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Returns what fits paper, and how much each pixel counts for it.

    Paper is a plane of brightness, for light comes from one side. The function takes
    weights of pixels and returns their distances from it, [H * W].
    """
    plane = np.indices(grey.shape).reshape(2, -1).T - np.array(grey.shape) / 2
    terms = np.column_stack([np.ones(grey.size), plane])
    border = ~_inside(grey.shape)

    def residuals(weights: np.ndarray) -> np.ndarray:
        weighted = terms.T * weights
        fit = np.linalg.lstsq(weighted @ terms, weighted @ grey.ravel(), rcond=None)[0]
        return grey.ravel() - terms @ fit

    return residuals, (1 / grey.size + border / border.sum()).ravel()


def _ink(grey: np.ndarray, sign: int) -> np.ndarray:
    """Returns how far each pixel is from paper to the side of ink, [H, W], at least 0.

    Paper is fitted to all pixels, and then again to those that are not ink. Where much
    lies on its other side it is no paper, and there is no ink.
    """
    residuals, shares = _paper(grey)
    ink = residuals(shares)
    for _ in range(FITS):
        # What has a third of the most ink is surely no paper.
        paper = sign * ink < max((sign * ink).max() / 3, 1e-9)
        ink = residuals(shares * paper)
    ink = sign * ink.reshape(grey.shape)
    other = np.sqrt(np.square(np.minimum(ink, 0)).mean())
    ink = np.maximum(ink, 0)
    rough = min(grey.shape) >= SMALL and other > ROUGH * _level(ink)
    return np.zeros_like(ink) if rough else ink


def _unframed(ink: np.ndarray) -> np.ndarray:
    """Returns ink without a form's lines and what comes in from beside the picture.

    Only where a digit is left that stays off the picture's edges: of one that was cut
    to its box strokes cross the picture, too.
    """
    level = _level(ink)
    if level < LEAST_CONTRAST or min(ink.shape) < SMALL:
        return ink
    mask = ink > FAINT * level
    lines = crossing(mask) | crossing(mask.T).T
    strokes, count = ndimage.label(mask & ~lines, np.ones((3, 3)))
    edges = np.concatenate([strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]])
    kept = np.setdiff1d(np.arange(1, count + 1), edges)
    boxes = ndimage.find_objects(strokes)
    sides = [max(part.stop - part.start for part in boxes[name - 1]) for name in kept]
    if max(sides, default=0) < ENOUGH * max(ink.shape):
        # Of an empty cell only its lines are left, and specks.
        specks = ndimage.sum(mask, strokes, np.arange(1, count + 1)).max(initial=0)
        only_lines = lines.any() and specks < SPECK * mask.sum()
        return np.zeros_like(ink) if only_lines else ink
    return np.where(mask & ~np.isin(strokes, kept), 0, ink)


def crossing(mask: np.ndarray) -> np.ndarray:
    """Returns the pixels of lines from left to right, but not where strokes cross.

    Args:
        mask: What is ink, bool [H, W].

    Returns:
        Bool [H, W].
    """
    height, width = mask.shape
    # A line may be tilted a little.
    smeared = ndimage.maximum_filter1d(mask, 3, axis=0)
    rows = smeared.sum(axis=1) >= CROSSES * width
    bands, count = ndimage.label(rows)
    lines = np.zeros_like(mask)
    for band in range(1, count + 1):
        inside = np.flatnonzero(bands == band)
        if len(inside) > THICK * height + 2:
            continue
        first, last = max(0, inside[0] - 1), min(height, inside[-1] + 2)
        part = mask[first:last]
        # Where a stroke crosses, or stands on it, ink goes on above or below.
        beyond = np.zeros(width, bool)
        for row in (first - 1, last):
            if 0 <= row < height:
                beyond |= mask[row]
        lines[first:last] = part & ~beyond
    return lines


def _is_none(digit: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Says whether ink, cut to its box, is two digits, or a photograph."""
    mask = digit > FAINT
    if mask.mean() > FULL and min(digit.shape) > min(shape) / 2:
        return True
    strokes, _ = ndimage.label(mask, np.ones((3, 3)))
    boxes = ndimage.find_objects(strokes)
    tall = max(rows.stop - rows.start for rows, _ in boxes)
    ends = sorted(
        (columns.start, columns.stop)
        for rows, columns in boxes
        if rows.stop - rows.start >= BESIDE * tall
    )
    return any(one[1] < other[0] for one, other in itertools.pairwise(ends))


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
