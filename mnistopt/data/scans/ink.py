"""The ink of a page: without paper, shadows, ruled lines and dotted leaders."""

import cv2
import numpy as np

# Of a page's shorter side: the paper around a stroke is the lightest in so wide a
# window, which is wider than any stroke.
WINDOW = 1 / 40
# Pixels of the side of the picture on which paper is looked for: it is smooth.
COARSE = 400
# Of the range from paper to black: less is paper's grain.
LEAST_CONTRAST = 0.1
# The level of ink is this quantile of the pixels that are ink rather than paper.
LEVEL = 0.8
# Of that level: what is fainter is paper.
FAINT = 0.33
# Of a field's height: lines are longer, horizontal and vertical strokes are not. In a
# field that is narrower lines take at least `WIDE` of its width.
LONG, TALL, WIDE = 1.2, 1.05, 0.9
# Lines that are printed are at most so wide, of a field's height.
THICK = 0.16
# Dots of a leader are at most so large, of a field's height, and at least so many.
DOT, DOTS = 0.12, 5
_AROUND = np.ones((3, 3), np.uint8)


def is_light(pages: list[np.ndarray]) -> bool:
    """Says whether pages are dark on light: most of them is paper, not ink.

    Args:
        pages: Grey, uint8 [H, W], of one source: they decide together.
    """
    pixels = np.concatenate(
        [page.ravel()[:: max(1, page.size // 4096)] for page in pages]
    )
    dark, middle, light = np.percentile(pixels, [2, 50, 98])
    return bool(light - middle <= middle - dark)


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
    side = 2 * round(WINDOW * min(small.shape)) + 3
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    paper = cv2.morphologyEx(cv2.medianBlur(small, 3), cv2.MORPH_CLOSE, window)
    paper = cv2.blur(paper, (side, side))
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


def strokes(dark: np.ndarray, width: float, height: float) -> np.ndarray:
    """Returns a field's ink without lines and leaders, in [0, 1] of its level.

    Twice, as a form's lines may be darker than the pen, and would decide what is faint.

    Args:
        dark: The darkness of a field and of what is around it, [H, W].
        width: Of the field, in pixels.
        height: Of the field, in pixels.
    """
    long, tall = round(min(LONG * height, WIDE * width)), round(TALL * height)
    for _ in range(2):
        level = level_of(dark)
        if not level:
            return np.zeros_like(dark)
        ink = np.minimum(dark / level, 1)
        mask = (ink > FAINT).astype(np.uint8)
        lines = _lines(mask, long, tall, height)
        lines |= _leaders(mask & ~lines, height)
        # With the fringe of what is taken out, but not of what is left.
        kept = mask & ~lines
        fringe = cv2.dilate(lines, _AROUND) & ~cv2.dilate(kept, _AROUND)
        dark = np.where(fringe | lines, 0, dark)
    return np.minimum(dark / level, 1)


def _lines(mask: np.ndarray, long: int, tall: int, height: float) -> np.ndarray:
    """Returns the pixels of ruled lines, uint8 [H, W], but not where strokes cross."""
    across, crossed = _ruled(mask, long, height)
    turned = np.ascontiguousarray(mask.T)
    down, met = (one.T for one in _ruled(turned, tall, height))
    # Where two lines meet, each crosses the other.
    return (across & ~crossed) | (down & ~met) | (across & down)


def _ruled(
    mask: np.ndarray, length: int, height: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels of horizontal lines of at least a length, and what is taller.

    A line may be a little tilted or rough: gaps of two pixels are closed, and runs are
    looked for in what is smeared by a pixel up and down.
    """
    length = min(length, mask.shape[1])
    gap = np.ones((3, 5), np.uint8)
    smeared = cv2.dilate(mask, gap)
    run = np.ones((1, length), np.uint8)
    found = cv2.morphologyEx(smeared, cv2.MORPH_OPEN, run)
    near = cv2.dilate(found, np.ones((3, 1), np.uint8)) & mask
    # How tall the ink is at each pixel of a line: more than the line where it is
    # crossed by a stroke.
    most = max(2, round(THICK * height))
    tall = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((most + 1, 1), np.uint8))
    return near, tall


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
