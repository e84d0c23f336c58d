"""Where a form's points are on a picture of it: by marks, a blank form, or borders."""

import itertools
from typing import Any, NamedTuple

import cv2
import numpy as np

# Pixels of the shorter side of the picture on which a page is looked for.
COARSE = 800
# Of a page's width: a corner mark's side is at least and at most so long.
MARK = 0.008, 0.06
# Components that are tried as corner marks, the squarest and largest ones.
MARKS = 10
# Of the distance of marks from their middle: how far one may be from where it should
# be. A camera's perspective takes a few hundredths.
OFF = 0.07
# Features that are matched with a blank form's, and how many must agree.
FEATURES, AGREED = 2000, 25
# The nearest feature must be so much nearer than the second one (Lowe 2004, 7.1).
NEARER = 0.8
# Parts of a form's print: pixels of a side, how far they are looked for, first and
# then, how alike they must be (a correlation), how many, and which share at last.
PATCH, REACHES, ALIKE, FEWEST, FITS = 48, (28, 12, 6), 0.6, 8, 0.25
# Of the picture: a sheet on a table covers at least so much.
SHEET = 0.25
# Degrees by which a page without marks may be tilted, and the steps that are tried.
TILT, STEP = 6.0, 0.2


class Found(NamedTuple):
    """Where a form is.

    Attributes:
        matrix: From points of the layout to pixels of the picture, float [3, 3].
        how: What it was found by, in words.
    """

    matrix: np.ndarray
    how: str


class NotFound(ValueError):
    """A picture on which the form is not found; says why."""


def by_marks(dark: np.ndarray, marks: np.ndarray, page: np.ndarray) -> Found:
    """Finds a form by its four corner marks: filled squares.

    The first may be larger than the others, which tells what is up.

    Args:
        dark: The darkness of the picture, [H, W].
        marks: Where their middles are on the form, [4, 2], clockwise from the top left.
        page: Its width and height.

    Raises:
        NotFound: If there are none.
    """
    squares = _squares(dark)
    best, least = None, np.inf
    wanted = marks.astype(np.float32)
    for four in itertools.combinations(squares, 4):
        centres = _clockwise(np.array([square[0] for square in four]))
        sides = np.array([square[1] for square in _sorted_like(four, centres)])
        if sides.max() > 2.2 * sides.min():
            continue
        for turn in range(4):
            placed, at = np.roll(centres, -turn, axis=0), np.roll(sides, -turn)
            # How far three marks and the page's proportions are from the fourth.
            error = _misfit(wanted, placed)
            # A larger mark is the first one.
            odd = at[0] / np.median(at[1:])
            if at.max() > 1.25 * np.median(at):
                error += 0 if odd == at.max() / np.median(at[1:]) else 1
            elif turn:
                error += 0.01  # upright, unless marks say otherwise
            if error < least:
                best, least = placed, error
    if best is None or least > OFF:
        raise NotFound(
            "its four corner marks were not found: they are filled squares, and all "
            "four must be on the picture"
        )
    matrix = cv2.getPerspectiveTransform(wanted, best.astype(np.float32))
    return Found(matrix, f"corner marks{turned(matrix, page)}")


def turned(matrix: np.ndarray, page: np.ndarray) -> str:
    """Says how a form lies on a picture, or "" where it is upright."""
    top, bottom = (matrix @ [page[0] / 2, share * page[1], 1] for share in (0.25, 0.75))
    right, down = (bottom / bottom[2] - top / top[2])[:2]
    if abs(right) > abs(down):
        return ", turned by a quarter"
    return ", turned upside down" if down < 0 else ""


def _squares(dark: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Returns the middles and sides of filled squares on a picture."""
    share = min(1.0, COARSE / min(dark.shape))
    small = cv2.resize(dark, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    mask = (small > 0.4).astype(np.uint8)
    count, _, stats, centres = cv2.connectedComponentsWithStats(mask, None, None, 8)
    side = np.sqrt(stats[:, 2] * stats[:, 3].astype(float))
    area = stats[:, 4] / np.maximum(stats[:, 2] * stats[:, 3], 1)
    shape = stats[:, 2] / np.maximum(stats[:, 3], 1)
    width = small.shape[1]
    right = (side > MARK[0] * width) & (side < MARK[1] * width)
    right &= (shape > 0.7) & (shape < 1.4) & (area > 0.6)
    right[0] = False
    found = np.flatnonzero(right)
    found = found[np.argsort(-side[found] * area[found])][:MARKS]
    scale = np.array(dark.shape[::-1]) / small.shape[::-1]
    # Of a rotated square the box is larger, its area is not.
    sides = np.sqrt(stats[:, 4].astype(float)) * scale[0]
    return [((centres[k] + 0.5) * scale - 0.5, float(sides[k])) for k in found]


def _clockwise(points: np.ndarray) -> np.ndarray:
    """Returns four points clockwise, from the one nearest to the top left."""
    around = points - points.mean(axis=0)
    points = points[np.argsort(np.arctan2(around[:, 1], around[:, 0]))]
    return np.roll(points, -int(points.sum(axis=1).argmin()), axis=0)


def _sorted_like(four, centres: np.ndarray):
    return [
        min(four, key=lambda square: float(np.abs(square[0] - centre).sum()))
        for centre in centres
    ]


def _misfit(wanted: np.ndarray, points: np.ndarray) -> float:
    """Returns how far points are from a rotated, shifted and scaled form of others.

    Of their size: a camera's perspective takes a few hundredths.
    """
    one, other = wanted - wanted.mean(axis=0), points - points.mean(axis=0)
    one, other = one[:, 0] + 1j * one[:, 1], other[:, 0] + 1j * other[:, 1]
    factor = np.vdot(one, other) / np.vdot(one, one).real
    return float(np.abs(other - factor * one).max() / np.abs(other).max())


class Blank:
    """An empty form, whose print is known."""

    def __init__(self, grey: np.ndarray):
        """Looks for its features.

        Args:
            grey: The picture of the empty form, uint8 [H, W].
        """
        self._scale, self._print = _small(grey)
        self._points, self._features = _details(self._print)
        self._patches = _patches(self._print)

    def find(self, grey: np.ndarray) -> np.ndarray:
        """Returns the matrix from the blank form's pixels to a picture's, [3, 3].

        Details that look alike say roughly where the form is, and parts of its print
        exactly.

        Raises:
            NotFound: If too little of the form's print is on it.
        """
        scale, small = _small(grey)
        matrix = self._roughly(small)
        for reach in REACHES:
            matrix = self._exactly(small, matrix, reach)
        there, here = (np.diag([one, one, 1]) for one in (1 / scale, self._scale))
        return there @ matrix @ here

    def _roughly(self, small: np.ndarray) -> np.ndarray:
        points, features = _details(small)
        agreed = 0
        if features is not None and self._features is not None and len(features) > 4:
            pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(
                self._features, features, 2
            )
            close = [
                pair[0]
                for pair in pairs
                if len(pair) == 2 and pair[0].distance < NEARER * pair[1].distance
            ]
            if len(close) >= AGREED:
                here = np.array([self._points[match.queryIdx].pt for match in close])
                there = np.array([points[match.trainIdx].pt for match in close])
                # Turned and scaled only: details in one corner would bend the others.
                found = cv2.estimateAffinePartial2D(here, there, None, cv2.RANSAC, 8.0)
                agreed = 0 if found[0] is None else int(found[1].sum())
        if agreed < AGREED:
            raise NotFound(
                f"the form's print was not found on it: {agreed} details agree, "
                f"{AGREED} must"
            )
        return np.vstack([found[0], [0, 0, 1]])

    def _exactly(self, small: np.ndarray, matrix: np.ndarray, reach: int) -> np.ndarray:
        """Returns a matrix that puts each part of the print where it is seen.

        Args:
            small: The picture.
            matrix: From the print to it, but for `reach` pixels.
            reach: How far a part is looked for.
        """
        size = self._print.shape[::-1]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        flat = cv2.warpPerspective(small, matrix, size, flags=flags, borderValue=255)
        flat = cv2.copyMakeBorder(flat, *(reach,) * 4, cv2.BORDER_REPLICATE)
        here, there = [], []
        for left, top in self._patches:
            part = self._print[top : top + PATCH, left : left + PATCH]
            around = flat[
                top : top + PATCH + 2 * reach, left : left + PATCH + 2 * reach
            ]
            like = cv2.matchTemplate(around, part, cv2.TM_CCOEFF_NORMED)
            _, best, _, (x, y) = cv2.minMaxLoc(like)
            if best >= ALIKE:
                here.append((left, top))
                there.append((left + x - reach, top + y - reach))
        if len(here) < max(FEWEST, FITS * len(self._patches) * (reach == REACHES[-1])):
            raise NotFound(
                f"the form's print was not found on it: {len(here)} of its "
                f"{len(self._patches)} parts are where they should be"
            )
        middle = PATCH / 2
        ends = (np.array(points, float) + middle for points in (here, there))
        moved, _ = cv2.findHomography(*ends, cv2.RANSAC, reach / 5)
        return matrix if moved is None else matrix @ moved


def _patches(grey: np.ndarray) -> list[tuple[int, int]]:
    """Returns the left and top of parts of a form with print in both directions."""
    height, width = grey.shape
    rated = []
    for top in range(0, height - PATCH, PATCH // 2):
        for left in range(0, width - PATCH, PATCH // 2):
            part = grey[top : top + PATCH, left : left + PATCH].astype(float)
            rated.append((float(_corner(part)), left, top))
    least = 0.02 * max((rate for rate, _, _ in rated), default=0)
    return [(left, top) for rate, left, top in rated if rate > max(least, 1.0)]


def _corner(part: np.ndarray) -> float:
    """Returns how well a part is found both across and down (Shi and Tomasi 1994)."""
    down, across = np.gradient(part)
    a, b, c = (across**2).mean(), (across * down).mean(), (down**2).mean()
    return (a + c) / 2 - np.sqrt(((a - c) / 2) ** 2 + b**2)


def _details(grey: np.ndarray) -> tuple[Any, Any]:
    """Returns the places and descriptions of a picture's details."""
    # One for each call: pages are looked at side by side.
    return cv2.ORB_create(FEATURES).detectAndCompute(grey, None)


def _small(grey: np.ndarray) -> tuple[float, np.ndarray]:
    scale = min(1.0, COARSE / min(grey.shape))
    return scale, cv2.resize(grey, None, fx=scale, fy=scale, interpolation=3)


def by_border(grey: np.ndarray, dark: np.ndarray, page: np.ndarray) -> Found:
    """Finds a form by the border of its sheet, or takes it to fill the picture.

    Args:
        grey: The picture, uint8 [H, W].
        dark: Its darkness, [H, W].
        page: Width and height of the form.
    """
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * page
    sheet = _sheet(grey)
    how = "the sheet's border"
    if sheet is None:
        height, width = grey.shape
        sheet = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [width, height]
        centre, tilt = np.array([width, height]) / 2, np.deg2rad(_tilt(dark))
        turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        sheet = (sheet - centre) @ turn.T + centre
        how = "the picture's border"
    wanted = corners.astype(np.float32)
    return Found(cv2.getPerspectiveTransform(wanted, sheet.astype(np.float32)), how)


def _sheet(grey: np.ndarray) -> np.ndarray | None:
    """Returns the corners of a light sheet on something darker, [4, 2], or None."""
    scale, small = _small(grey)
    smooth = cv2.GaussianBlur(small, (0, 0), 3)
    _, mask = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    # Writing is no hole in the sheet.
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return None
    outline = max(outlines, key=cv2.contourArea)
    hull = cv2.convexHull(outline)
    area = cv2.contourArea(hull)
    height, width = small.shape
    if not SHEET < area / (height * width) < 0.985:
        return None
    around = cv2.arcLength(hull, True)
    four = cv2.approxPolyDP(hull, 0.03 * around, True)[:, 0].astype(float)
    # A sheet is as large as its four corners say.
    if len(four) != 4 or cv2.contourArea(four.astype(np.float32)) < 0.95 * area:
        return None
    outside = cv2.fillConvexPoly(np.ones(small.shape, np.uint8), four.astype(int), 0)
    if (
        not outside.any()
        or smooth[outside > 0].mean() > 0.75 * smooth[outside < 1].mean()
    ):
        return None
    return (_clockwise(four) + 0.5) / scale - 0.5


def _tilt(dark: np.ndarray) -> float:
    """Returns by how many degrees a page's lines are turned, clockwise.

    Rows of ink and rows of paper differ most where the page is level.
    """
    share = min(1.0, COARSE / 2 / min(dark.shape))
    small = cv2.resize(dark, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    height, width = small.shape
    best, most = 0.0, 0.0
    for tilt in np.arange(-TILT, TILT + STEP / 2, STEP):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), tilt, 1)
        rows = cv2.warpAffine(small, matrix, (width, height)).sum(axis=1)
        sharp = float(np.square(np.diff(rows)).sum()) * (1 - 1e-3 * abs(tilt))
        if sharp > most:
            best, most = float(tilt), sharp
    return best
