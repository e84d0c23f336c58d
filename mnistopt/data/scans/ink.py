"""The ink of a page: without paper, shadows, ruled lines and dotted leaders."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mnistopt.data.place import crossing

# Of a page's shorter side: the paper around a stroke is the lightest in so wide a
# window, which is wider than any stroke.
WINDOW = 1 / 40
# Pixels that strokes are wide at most, on small pictures, which are a window or two.
STROKE = 14
# Pixels of the side of the picture on which paper is looked for: it is smooth.
COARSE = 400
# Of the range from paper to black: less is paper's grain.
LEAST_CONTRAST = 0.1
# The level of ink is this quantile of the pixels that are ink rather than paper.
LEVEL = 0.8
# Of that level: what is fainter is paper.
FAINT = 0.45
# Of a field's height: lines are longer, horizontal and vertical strokes are not. Of its
# width: lines take at least `MOST` of it, as tops of 7s that touch do not, and in a
# narrow field need not be longer than `WIDE`.
LONG, TALL, MOST, WIDE = 1.2, 1.05, 0.6, 0.9
# Lines between cells may be as short as this, of a field's height, stand at most so far
# from where cells end, of a cell's width, and begin so near to a border, of the height.
TICK, NEAR, REACH = 0.25, 0.15, 0.12
# Darkness of an empty form that is print; it is widened by so many pixels.
PRINTED, WIDENED = 0.2, 1
# Lines that are printed are at most so wide, of a field's height.
THICK = 0.16
# Dots of a leader are at most so large, of a field's height, and at least so many.
DOT, DOTS = 0.12, 5
_AROUND = np.ones((3, 3), np.uint8)


class Box(NamedTuple):
    """A rectangle in pixels: `left`, `top`, `width` and `height`."""

    left: float
    top: float
    width: float
    height: float


def is_light(pages: Sequence[np.ndarray]) -> bool:
    """Says whether pages are dark on light: thin things are dark, not light.

    Args:
        pages: Grey, uint8 [H, W], of one source: they decide together.
    """
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    dark = light = 0.0
    for page in pages:
        share = min(1.0, COARSE / min(page.shape))
        small = cv2.resize(page, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        darker, lighter = (
            cv2.morphologyEx(small, operation, window).astype(float)
            for operation in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)
        )
        dark += float(np.square(darker).mean())
        light += float(np.square(lighter).mean())
    return dark >= light


def darkness(page: np.ndarray) -> np.ndarray:
    """Returns how much darker each pixel is than the paper around it.

    Args:
        page: Grey, dark on light, uint8 [H, W].

    Returns:
        Float32 [H, W] in [0, 1], 1 where it is black.
    """
    height, width = page.shape
    share = min(1.0, COARSE / min(height, width))
    small = cv2.resize(page, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    least = min(STROKE * share, min(small.shape) / 4)
    side = 2 * round(max(WINDOW * min(small.shape), least)) + 3
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    paper = cv2.morphologyEx(cv2.medianBlur(small, 3), cv2.MORPH_CLOSE, window)
    paper = cv2.GaussianBlur(paper, (0, 0), side / 8)
    paper = cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)
    dark = 1 - page.astype(np.float32) / np.maximum(paper, 1).astype(np.float32)
    return np.clip(dark, 0, 1)


def level_of(dark: np.ndarray) -> float:
    """Returns how dark the middle of strokes is, 0 where there is no ink."""
    grey = np.rint(255 * dark).astype(np.uint8)
    # Otsu's threshold, which a few black specks do not move as their maximum would.
    between, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    ink = dark[grey > between]
    level = float(np.quantile(ink, LEVEL)) if ink.size else 0.0
    return level if level >= LEAST_CONTRAST else 0.0


def strokes(
    dark: np.ndarray, box: Box, cells: int = 0, printed: np.ndarray | None = None
) -> np.ndarray:
    """Returns a field's ink without lines and leaders, in [0, 1] of its level.

    Twice, as a form's lines may be darker than the pen, and would decide what is faint.

    Args:
        dark: The darkness of a field and of what is around it, [H, W].
        box: Where the field is in it.
        cells: In how many cells its digits stand, 0 for none.
        printed: The darkness of the same part of the empty form, if that is known.
    """
    print_ = None
    if printed is not None:
        around = np.ones((2 * WIDENED + 1,) * 2, np.uint8)
        print_ = cv2.dilate((printed > PRINTED).astype(np.uint8), around)
    for _ in range(2):
        level = level_of(dark)
        if not level:
            return np.zeros_like(dark)
        ink = np.minimum(dark / level, 1)
        mask = (ink > FAINT).astype(np.uint8)
        if print_ is not None:
            lines = _known(mask, print_)
        else:
            lines = _lines(mask, box)
            if cells:
                lines |= _ticks(mask, box, cells)
        lines |= _leaders(mask & ~lines, box.height)
        # With the fringe of what is taken out, but not of what is left.
        kept = mask & ~lines
        fringe = cv2.dilate(lines, _AROUND) & ~cv2.dilate(kept, _AROUND)
        dark = np.where(fringe | lines, 0, dark)
    return np.minimum(dark / level, 1)


def without_frame(dark: np.ndarray) -> np.ndarray:
    """Returns a whole picture's darkness without lines that cross it, [H, W]."""
    mask = dark > FAINT * max(level_of(dark), LEAST_CONTRAST)
    return np.where(crossing(mask) | crossing(mask.T).T, 0, dark)


def aligned(
    printed: np.ndarray, dark: np.ndarray, reach: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns an empty form's print where it lies best on a filled one's darkness.

    Args:
        printed: The darkness of a part of the empty form, [H, W].
        dark: That of the filled one.
        reach: Pixels by which it may be moved.

    Returns:
        The print moved, and by how many pixels to the right and down.
    """
    if printed.max(initial=0) < PRINTED or not reach:
        return printed, (0, 0)
    around = cv2.copyMakeBorder(dark, *(reach,) * 4, cv2.BORDER_CONSTANT)
    like = cv2.matchTemplate(around, printed, cv2.TM_CCOEFF_NORMED)
    # Where no place is better than the others, it stays.
    like[reach, reach] += 0.01
    _, _, _, (x, y) = cv2.minMaxLoc(like)
    x, y = x - reach, y - reach
    moved = cv2.warpAffine(
        printed, np.array([[1.0, 0, x], [0, 1, y]]), printed.shape[::-1]
    )
    return moved, (x, y)


def _lines(mask: np.ndarray, box: Box) -> np.ndarray:
    """Returns the pixels of ruled lines, uint8 [H, W], but not where strokes cross."""
    long = max(LONG * box.height, MOST * box.width)
    long = round(min(long, WIDE * box.width))
    across, crossed = _ruled(mask, long, box.height)
    turned = np.ascontiguousarray(mask.T)
    tall = round(TALL * box.height)
    down, met = (one.T for one in _ruled(turned, tall, box.height))
    # Where two lines meet, each crosses the other.
    return (across & ~crossed) | (down & ~met) | (across & down)


def _ticks(mask: np.ndarray, box: Box, cells: int) -> np.ndarray:
    """Returns the pixels of short lines between cells, uint8 [H, W].

    They begin at the upper or lower border of the cells, as straight strokes do not.
    """
    pitch = box.width / cells
    columns = np.arange(mask.shape[1])
    away = np.abs((columns - box.left) / pitch - np.rint((columns - box.left) / pitch))
    turned = np.ascontiguousarray((mask * (away <= NEAR)).T)
    found, crossed = _ruled(turned, round(TICK * box.height), box.height)
    ticks = np.ascontiguousarray((found & ~crossed).T)
    count, names, stats, _ = cv2.connectedComponentsWithStats(ticks, None, None, 8)
    first, last = stats[:, 1], stats[:, 1] + stats[:, 3] - 1
    reach, bottom = REACH * box.height, box.top + box.height
    begin = (last >= bottom - reach) | (first <= box.top + reach)
    begin[0] = False
    return begin.astype(np.uint8)[names]


def _known(mask: np.ndarray, printed: np.ndarray) -> np.ndarray:
    """Returns the pixels of known print, uint8 [H, W], but not where strokes cross."""
    down, across = _runs(printed), _runs(printed.T).T
    # A line is crossed where ink reaches beyond it, in its thin direction.
    ink_down, ink_across = _runs(mask), _runs(mask.T).T
    thin = np.where(down <= across, ink_down <= down, ink_across <= across)
    return mask & printed & thin


def _ruled(
    mask: np.ndarray, length: int, height: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels of horizontal lines of at least a length, and what is taller.

    A line may be a little tilted or rough: gaps of two pixels are closed, and runs are
    looked for in what is smeared by a pixel up and down.
    """
    length = min(length, mask.shape[1])
    smeared = cv2.dilate(mask, np.ones((3, 5), np.uint8))
    found = cv2.morphologyEx(smeared, cv2.MORPH_OPEN, np.ones((1, length), np.uint8))
    near = cv2.dilate(found, np.ones((3, 1), np.uint8)) & mask
    crossed = np.ones_like(mask)
    tall = _runs(mask)
    count, lines = cv2.connectedComponents(near, None, 8)
    for line in range(1, count):
        here = lines == line
        # Where a stroke crosses a line or stands on it, ink is taller than elsewhere.
        thick = float(np.median(tall[here]))
        if thick <= THICK * height:
            crossed[here] = tall[here] > 1.4 * thick + 1
    return near, crossed


def _runs(mask: np.ndarray) -> np.ndarray:
    """Returns how tall the run of ink through each pixel is, int [H, W], 0 on paper."""
    rows = np.arange(len(mask))[:, None]
    paper = np.where(mask > 0, -1, rows)
    above = np.maximum.accumulate(paper, axis=0)
    paper = np.where(mask > 0, len(mask), rows)
    below = np.minimum.accumulate(paper[::-1], axis=0)[::-1]
    return np.where(mask > 0, below - above - 1, 0)


def _leaders(mask: np.ndarray, height: float) -> np.ndarray:
    """Returns the pixels of dots in a row, uint8 [H, W]."""
    count, names, boxes, centres = cv2.connectedComponentsWithStats(mask, None, None, 8)
    size = max(3, DOT * height)
    small = np.flatnonzero((boxes[:, 2] <= 2 * size) & (boxes[:, 3] <= size))
    rows = centres[small, 1]
    in_row = np.abs(rows[:, None] - rows) <= size / 2
    dots = small[in_row.sum(axis=1) >= DOTS]
    known = np.zeros(count, np.uint8)
    known[dots] = 1
    known[0] = 0
    return known[names]
