"""What a field's ink may be cut into, and pictures of what may be digits.

Ink that hangs together is cut where a path from top to bottom crosses little of it, and
neighbouring pieces are joined again in all ways: a network says which of these
candidates are digits (`study.fields.lattice`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mnistopt.data.official import IMAGE_SIZE
from mnistopt.data.place import BOX, LEAST_WIDTH
from mnistopt.data.scans.ink import FAINT, LEVEL, Box

# Of the height of writing, see `writing_height`: ink that has less on both sides is a
# speck, and a candidate is at most so many times as wide.
SPECK, WIDEST = 0.1, 1.7
# Candidates smaller than this share of the height of writing are placed as if they were
# as large: a comma stays smaller than a digit.
SMALL = 0.6
# Pieces that may make one candidate, and pieces of a field.
MOST_JOINED, MOST_PIECES = 5, 120
# A candidate's window is so many times as wide as it; what is around it is so faint.
WINDOW, OTHERS = 1.5, 0.35
# Of the height of writing: what hangs together is cut if it is so wide, cuts are so far
# apart, and there is one for each `CUT_EACH`.
CUT_WIDTH, CUT_APART, CUT_EACH = 0.45, 0.18, 0.35
# Of the height of writing, squared: a cut leaves at least so much ink on either side.
CUT_INK = 0.015
# Ink that a cut may cross, of the height of writing.
CUT_MOST = 0.4


class Pieces(NamedTuple):
    """A field's ink, cut.

    Attributes:
        ink: Float32 [H, W], in [0, 1] of its level.
        names: Of each pixel, the number of its piece from 1, or 0: int32 [H, W].
        boxes: The first and last row and column of each piece, int [P, 4], by column.
        cut: Whether each piece begins where ink was cut, bool [P].
        height: The height of writing in pixels.
        crowded: Whether there were more pieces than can be read; these are left out.
    """

    ink: np.ndarray
    names: np.ndarray
    boxes: np.ndarray
    cut: np.ndarray
    height: float
    crowded: bool = False


class Candidates(NamedTuple):
    """What may be digits: neighbouring pieces, joined.

    Attributes:
        images: As MNIST's are placed, uint8 [N, 28, 28].
        first: Their first pieces, int [N].
        last: Their last pieces, int [N].
    """

    images: np.ndarray
    first: np.ndarray
    last: np.ndarray


def cut(ink: np.ndarray, box: Box) -> Pieces:
    """Cuts a field's ink into pieces.

    Args:
        ink: Of the field and of what is around it, from `ink.strokes`.
        box: Where the field is in it. Ink whose middle is outside is somebody else's.
    """
    mask = (ink > FAINT).astype(np.uint8)
    _, names, stats, centres = cv2.connectedComponentsWithStats(mask, None, None, 8)
    inside = _inside(stats, centres, box)
    height = _writing_height(stats[inside], box)
    sides = stats[:, 2:4].max(axis=1)
    kept = np.flatnonzero(inside & (sides >= SPECK * height))
    parts = []
    for name in kept:
        left, top, width, tall, _ = stats[name]
        shape = names[top : top + tall, left : left + width] == name
        seams = _seams(shape, ink[top : top + tall, left : left + width], height)
        for number, part in enumerate(_split(shape, seams)):
            rows, columns = np.nonzero(part)
            where = rows + top, columns + left
            parts.append((columns.mean() + left, number > 0, where))
    # By their middle: parts of a broken digit lie above each other.
    parts.sort(key=lambda part: part[0])
    crowded, parts = len(parts) > MOST_PIECES, parts[:MOST_PIECES]
    cut_names = np.zeros(ink.shape, np.int32)
    boxes = np.zeros((len(parts), 4), int)
    for number, (_, _, (rows, columns)) in enumerate(parts):
        cut_names[rows, columns] = number + 1
        boxes[number] = rows.min(), rows.max(), columns.min(), columns.max()
    begins = np.array([begins for _, begins, _ in parts], bool)
    return Pieces(ink, cut_names, boxes, begins, height, crowded)


def _inside(stats: np.ndarray, centres: np.ndarray, box: Box) -> np.ndarray:
    """Says which components belong to a field, bool [n]; the first is paper."""
    columns, rows = centres.T
    inside = (rows >= box.top) & (rows < box.top + box.height)
    inside &= (columns >= box.left) & (columns < box.left + box.width)
    inside[0] = False
    return inside


def _writing_height(stats: np.ndarray, box: Box) -> float:
    """Returns the height of the tallest ink, within reason for the field."""
    tallest = float(stats[:, 3].max(initial=0))
    return float(np.clip(tallest, 0.35 * box.height, box.height))


def _seams(shape: np.ndarray, ink: np.ndarray, height: float) -> list[np.ndarray]:
    """Returns where what hangs together may be cut: paths of columns, by row.

    Each is the path from top to bottom through a column of the middle row that crosses
    the least ink, moving by at most a column a row; the best ones that are apart.

    Args:
        shape: The pixels, bool [H, W].
        ink: How dark they are, [H, W].
        height: Of writing.
    """
    rows, columns = shape.shape
    if columns < CUT_WIDTH * height:
        return []
    # Leaving the straight way costs a little, so that paths do not wander.
    cost = np.where(shape, ink, 0) + 0.02
    down, up = _sums(cost), _sums(cost[::-1])[::-1]
    middle = rows // 2
    through = (down + up - cost)[middle] - 0.02 * rows
    seams: list[np.ndarray] = []
    apart = max(2, round(CUT_APART * height))
    left_ink = np.cumsum(shape.sum(axis=0))
    enough = CUT_INK * height**2
    most = round(columns / (CUT_EACH * height))
    for column in np.argsort(through, kind="stable"):
        if len(seams) == most or through[column] > CUT_MOST * height:
            break
        if any(abs(column - other[middle]) < apart for other in seams):
            continue
        if min(left_ink[column], left_ink[-1] - left_ink[column]) < enough:
            continue
        seams.append(_path(down, up, middle, int(column)))
    return sorted(seams, key=lambda seam: seam[middle])


def _sums(cost: np.ndarray) -> np.ndarray:
    """Returns the least cost of a path from the first row to each pixel."""
    sums = np.empty_like(cost)
    sums[0] = cost[0]
    padded = np.full(cost.shape[1] + 2, np.inf, cost.dtype)
    for row in range(1, len(cost)):
        padded[1:-1] = sums[row - 1]
        aside = np.minimum(padded[:-2], padded[2:]) + 0.03
        sums[row] = cost[row] + np.minimum(padded[1:-1], aside)
    return sums


def _path(down: np.ndarray, up: np.ndarray, middle: int, column: int) -> np.ndarray:
    """Returns the columns, by row, of the best path through a pixel."""
    rows, columns = down.shape
    path = np.full(rows, column)
    for sums, step in ((down, -1), (up, 1)):
        at = column
        row = middle + step
        while 0 <= row < rows:
            near = [c for c in (at, at - 1, at + 1) if 0 <= c < columns]
            at = min(near, key=lambda c: sums[row, c] + 0.03 * (c != at))
            path[row] = at
            row += step
    return path


def _split(shape: np.ndarray, seams: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the pixels of each part between seams, bool [H, W], none empty."""
    columns = np.arange(shape.shape[1])
    part = sum((columns >= seam[:, None]).astype(int) for seam in seams)
    parts = [shape & (part == number) for number in range(len(seams) + 1)]
    return [part for part in parts if part.any()]


def candidates(pieces: Pieces) -> Candidates:
    """Returns all that may be digits."""
    images, ends = [], []
    count = len(pieces.boxes)
    # Windows reach beyond the field's picture.
    margin = round(WINDOW * WIDEST * pieces.height)
    ink = np.pad(pieces.ink, margin)
    names = np.pad(pieces.names, margin)
    for first in range(count):
        for last in range(first, min(first + MOST_JOINED, count)):
            boxes = pieces.boxes[first : last + 1]
            top, left = boxes[:, [0, 2]].min(axis=0) + margin
            bottom, right = boxes[:, [1, 3]].max(axis=0) + margin + 1
            if max(right - left, bottom - top) > WIDEST * pieces.height:
                continue
            box = top, bottom, left, right
            least = SMALL * pieces.height
            images.append(placed(ink, names, first + 1, last + 1, box, least))
            ends.append((first, last))
    shape = (0, IMAGE_SIZE, IMAGE_SIZE)
    both = np.array(ends, int).reshape(-1, 2)
    return Candidates(
        np.stack(images) if images else np.zeros(shape, np.uint8), *both.T
    )


def placed(
    ink: np.ndarray,
    names: np.ndarray,
    first: int,
    last: int,
    box: tuple[int, int, int, int],
    least: float = 0.0,
) -> np.ndarray:
    """Returns a candidate as MNIST's digits are placed, and faintly what is around it.

    What is a part of a digit looks like one, but for the rest of it.

    Args:
        ink: Of a field, with a wide margin, float32 [H, W].
        names: The piece of each pixel, int [H, W].
        first: Its first piece.
        last: Its last piece.
        box: Its first row, the one after its last, and its columns likewise.
        least: Pixels that its longer side counts for at least.

    Returns:
        uint8 [28, 28].
    """
    top, bottom, left, right = box
    long = max(bottom - top, right - left, least)
    share = BOX / long
    side = round(IMAGE_SIZE / share)
    own = names[top:bottom, left:right]
    own = np.where((own >= first) & (own <= last), ink[top:bottom, left:right], 0)
    total = max(float(own.sum()), 1e-9)
    # The centre of mass goes to the middle, or as near as the box has room.
    row = top + float(own.sum(axis=1) @ np.arange(bottom - top)) / total
    column = left + float(own.sum(axis=0) @ np.arange(right - left)) / total
    y = int(np.clip(round(row + 0.5 - side / 2), bottom - side, top))
    x = int(np.clip(round(column + 0.5 - side / 2), right - side, left))
    window = slice(y, y + side), slice(x, x + side)
    around = ink[window]
    part = names[window]
    mine = np.where((part >= first) & (part <= last), around, 0)
    width = _stroke_width(mine)
    radius = round((LEAST_WIDTH / share - width) / 2)
    other = np.where(mine > 0, 0, around)
    if radius >= 1:
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        mine, other = cv2.dilate(mine, disk), cv2.dilate(other, disk)
    size = IMAGE_SIZE, IMAGE_SIZE
    method = cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR
    mine = cv2.resize(mine, size, interpolation=method)
    other = cv2.resize(other, size, interpolation=method)
    most = float(mine.max(initial=0))
    if most > 0:
        mine /= np.quantile(mine[mine >= most / 2], LEVEL)
    image = np.maximum(np.minimum(mine, 1), OTHERS * np.minimum(other, 1))
    return np.rint(255 * image).astype(np.uint8)


def _stroke_width(ink: np.ndarray) -> float:
    """Returns how wide strokes are in the mean, in pixels."""
    mask = (ink > FAINT).astype(np.uint8)
    if not mask.any():
        return 0.0
    # The distances to paper in a stroke of width w are w / 4 + 1/2 in the mean.
    mask = np.pad(mask, 1)
    return 4 * float(cv2.distanceTransform(mask, cv2.DIST_L2, 3)[mask > 0].mean()) - 2
