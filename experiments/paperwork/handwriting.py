"""Writes numbers by hand: strings of somebody's digits, with commas and slashes."""

from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from mnistopt.study.fields.rules import COMMA, SLASH

# MNIST's digits were scaled to so many pixels (see `mnistopt.data.strangers`).
_BOX = 20
# Its digits are written with another pen so far as their loops stay open and their
# strokes whole: thicker by pixels on each side, thinner by a share of their width.
THICKER, THINNER = 0.4, 0.2
# Pixels for each of MNIST's, where a pen's edge is looked for.
FINE = 4
# Of the height of writing: how near ink may come is looked for in so many rows around.
ROWS = 0.12
# Of it: ink reaches so far under what is before it, at most.
UNDER = 0.2
# Of a cell's width: a digit is at most so wide.
NARROW = 0.95


class Hand(NamedTuple):
    """How somebody writes.

    Attributes:
        height: Of digits, in pixels.
        spread: How much heights differ, of the height.
        gap: Pixels between digits' ink, of the height; below 0 they touch.
        jitter: How much gaps and base lines differ, of the height.
        slant: Columns per row, by which all is sheared.
        pen: How wide its strokes are, in pixels of MNIST's.
        ink: How dark the pen is, in [0, 1].
    """

    height: float
    spread: float
    gap: float
    jitter: float
    slant: float
    pen: float
    ink: float


def a_hand(rng: np.random.Generator, height: float, touching: float) -> Hand:
    """Returns somebody's hand.

    Args:
        rng: Draws it.
        height: The mean height of digits in pixels.
        touching: The share of writers whose digits touch now and then.
    """
    close = rng.random() < touching
    gap = rng.uniform(-0.04, 0.08) if close else rng.uniform(0.1, 0.35)
    return Hand(
        height * rng.uniform(0.85, 1.15),
        rng.uniform(0.02, 0.12),
        gap,
        rng.uniform(0.02, 0.06),
        rng.normal(0, 0.08),
        rng.uniform(1.6, 3.2),
        rng.uniform(0.45, 0.95),
    )


def glyph(digit: np.ndarray, height: float, pen: float) -> np.ndarray:
    """Returns a digit of a height in pixels, float32 [H, W] in [0, 1], ink 1.

    Args:
        digit: As MNIST's are, uint8 [28, 28].
        height: Of a box of 20 pixels of it.
        pen: See `Hand`.
    """
    rows, columns = (np.flatnonzero((digit > 60).any(axis=a)) for a in (1, 0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink = np.pad(ink, 2).astype(np.float32) / 255
    fine = cv2.resize(ink, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_CUBIC)
    inside = (fine > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    # The depths in a stroke of width w are w / 4 in the mean.
    width = 4 * float(depth[inside > 0].mean()) / FINE
    # One pen writes all digits: a pixel more of width is half one on each side.
    more = float(np.clip((pen - width) / 2, -THINNER * width, THICKER))
    share = height / _BOX
    edge = (depth - away) / FINE + more
    size = [max(1, round(share * side)) for side in ink.shape[::-1]]
    method = cv2.INTER_AREA if share < FINE else cv2.INTER_LINEAR
    edge = cv2.resize(edge, size, interpolation=method)
    return _cropped(np.clip(0.5 + share * edge, 0, 1))


def _cropped(ink: np.ndarray) -> np.ndarray:
    rows, columns = (np.flatnonzero((ink > 0.05).any(axis=a)) for a in (1, 0))
    if not rows.size:
        return ink[:1, :1]
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def stroke(points: np.ndarray, width: float) -> np.ndarray:
    """Returns a line through points (x, y), of a width in pixels, cropped."""
    margin = int(width) + 3
    points = points - points.min(axis=0) + margin
    canvas = np.zeros((points.max(axis=0) + margin).astype(int)[::-1] + 1, np.uint8)
    fixed = np.rint(points * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [fixed], False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return _cropped(canvas.astype(np.float32) / 255)


def mark(rng: np.random.Generator, symbol: str, height: float, pen: float):
    """Returns a comma, a point, or a slash as somebody may write it."""
    width = max(1.5, pen * height / _BOX)
    if symbol == SLASH:
        lean = rng.uniform(0.15, 0.6)
        bend = rng.normal(0, 0.03)
        t = np.linspace(0, 1, 8)[:, None]
        points = np.hstack([lean * (1 - t) + bend * np.sin(np.pi * t), t])
        return stroke(points * height * rng.uniform(1.0, 1.35), width)
    if rng.random() < 0.3:
        return stroke(np.array([[0, 0], [0.02, 0.03]]) * height, width * 1.2)
    t = np.linspace(0, 1, 6)[:, None]
    lean, bend = rng.uniform(0.0, 0.6), rng.normal(0.05, 0.05)
    points = np.hstack([lean * (1 - t) + bend * np.sin(np.pi * t), t])
    return stroke(points * height * rng.uniform(0.15, 0.32), width)


class Written(NamedTuple):
    """A string as it is written.

    Attributes:
        ink: All of it, float32 [H, W] in [0, 1].
        owners: Each symbol alone, float32 [n, H, W].
        base: The row of the base line.
    """

    ink: np.ndarray
    owners: np.ndarray
    base: float


def write(
    rng: np.random.Generator,
    symbols: list[tuple[str, np.ndarray | None]],
    hand: Hand,
    pitch: float | None = None,
) -> Written:
    """Writes symbols in a row.

    Args:
        rng: Draws what differs from one to the next.
        symbols: Each with its digit of MNIST, or None for a mark.
        hand: Whose.
        pitch: Pixels from a cell to the next, for a digit each; None for a free string.
    """
    glyphs: list[np.ndarray] = []
    places: list[tuple[float, float]] = []
    x, before = 0.0, ""
    for number, (symbol, digit) in enumerate(symbols):
        height = hand.height * (1 + hand.spread * rng.standard_normal())
        if digit is None:
            ink = mark(rng, symbol, height, hand.pen)
        else:
            ink = glyph(digit, height, hand.pen)
        if pitch is not None and ink.shape[1] > NARROW * pitch:
            # In cells people write narrowly.
            size = round(NARROW * pitch), ink.shape[0]
            ink = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
        tall, wide = ink.shape
        bottom = hand.jitter * hand.height * rng.standard_normal()
        if symbol == COMMA:
            bottom += min(0.6, tall / hand.height) * hand.height * rng.uniform(0.2, 0.7)
        elif symbol == SLASH:
            bottom += 0.12 * hand.height
        top = bottom - tall
        # Strokes of neighbours overlap by a pen's width at most.
        gap = max(hand.gap + hand.jitter * rng.standard_normal(), -hand.pen / _BOX)
        if COMMA in (symbol, before):
            gap = max(gap, 0.08)
        if pitch is not None:
            aside = 0.08 * pitch * rng.standard_normal()
            x = number * pitch + (pitch - wide) / 2 + aside
        elif number:
            x, above = places[-1]
            x += gap * hand.height
            x += _meeting(glyphs[-1], ink, round(top - above), hand.height)
        places.append((x, top))
        glyphs.append(ink)
        before = symbol
    return _joined(glyphs, places, hand)


def _meeting(left: np.ndarray, right: np.ndarray, down: int, height: float) -> float:
    """Returns how far right of ink other ink begins, if it comes as near as it can.

    Args:
        left: Ink, [H, W].
        right: Ink, which begins `down` rows lower.
        down: Rows.
        height: Of writing.
    """
    top = min(0, down)
    rows = max(len(left), down + len(right)) - top
    ends, starts = np.full(rows, -np.inf), np.full(rows, np.inf)
    for row, columns in enumerate(left > 0.5, -top):
        if columns.any():
            ends[row] = len(columns) - columns[::-1].argmax()
    for row, columns in enumerate(right > 0.5, down - top):
        if columns.any():
            starts[row] = columns.argmax()
    reach = 2 * round(ROWS * height) + 1
    ends = ndimage.maximum_filter1d(ends, reach, mode="nearest")
    near = float((ends - starts).max())
    return max(near, left.shape[1] - UNDER * height)


def _joined(glyphs, places, hand: Hand) -> Written:
    """Puts glyphs at their places (x, y of the top left), and shears all."""
    if not glyphs:
        return Written(np.zeros((1, 1), np.float32), np.zeros((0, 1, 1), np.float32), 0)
    places = np.array(places)
    sizes = np.array([ink.shape[::-1] for ink in glyphs])
    ends = (places + sizes).max(axis=0)
    start = np.minimum(places.min(axis=0), 0)
    lean = abs(hand.slant) * (ends[1] - start[1])
    origin = start - [lean + 2, 2]
    width, height = np.ceil(ends - origin + [lean + 3, 3]).astype(int)
    owners = np.zeros((len(glyphs), height, width), np.float32)
    for owner, ink, place in zip(owners, glyphs, places):
        x, y = place - origin
        base = -origin[1]
        matrix = np.array([[1, -hand.slant, x - hand.slant * (y - base)], [0, 1, y]])
        owner[:] = cv2.warpAffine(ink, matrix, (int(width), int(height)))
    return Written(owners.max(axis=0), owners, float(-origin[1]))
