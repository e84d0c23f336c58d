"""Reads forms: finds their fields on pages, and asks networks what stands in them."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import jax
import numpy as np

from mnistopt.data.scans import ink, pieces, straighten
from mnistopt.data.scans.ink import Box
from mnistopt.data.scans.pages import Page
from mnistopt.data.scans.straighten import Found, NotFound
from mnistopt.engine.predict import Predictor
from mnistopt.errors import InputError
from mnistopt.study.ensemble import read_members, weighted_mean
from mnistopt.study.fields import lattice
from mnistopt.study.fields.lattice import WEIGHTS, Lattice, Said
from mnistopt.study.fields.layout import Field, Layout
from mnistopt.study.fields.rules import DIGITS

# Pixels of a field's height, as it is on the page, but within these: writing is then
# as large as practised on.
HEIGHT = 34, 64
# Of a field's height: what is around it is seen, too.
AROUND = 0.5
# Of a field's height: its print is looked for so far from where it should be.
ASTRAY = 0.12
# The class of what is no symbol.
NONE = "none"


@dataclasses.dataclass(frozen=True)
class Spot:
    """A field on a page, cut up.

    Attributes:
        field: The field.
        corners: Where it is on the picture, float [4, 2].
        picture: What stands there, uint8 [H, W], with what is around it.
        cut: Its ink, in pieces.
        tried: What may be symbols.
        cells: The cell of each piece, or None.
    """

    field: Field
    corners: np.ndarray
    picture: np.ndarray
    cut: pieces.Pieces
    tried: pieces.Candidates
    cells: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A page on which a form was found, or was not.

    Attributes:
        page: The page.
        how: How the form was found, in words.
        why: Why it cannot be read, or "".
        spots: Its fields, in the layout's order.
    """

    page: Page
    how: str
    why: str
    spots: list[Spot]


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a field says.

    Attributes:
        page: The page's name.
        spot: Where it is.
        said: What it may say.
    """

    page: str
    spot: Spot
    said: Said


class Finder:
    """Finds a form's fields on pages."""

    def __init__(self, layout: Layout, blank: np.ndarray | None = None):
        """Prepares for a layout.

        Args:
            layout: The layout.
            blank: The picture of the empty form, if the layout has one.
        """
        self.layout = layout
        self._blank = self._print = None
        if blank is not None and layout.page:
            self._blank, self._print = straighten.Blank(blank), ink.darkness(blank)
            scale = np.array(blank.shape[::-1]) / layout.page
            # From the layout's points to the blank form's pixels.
            self._from_page = np.diag([*scale, 1.0])

    def __call__(self, page: Page) -> Sheet:
        """Returns the fields of a page, or why it cannot be read."""
        try:
            return self._sheet(page)
        except (cv2.error, MemoryError, ValueError, OverflowError) as error:
            # One page must not end the reading of a hundred others.
            return Sheet(page, "", f"its fields cannot be cut out ({error})", [])

    def _sheet(self, page: Page) -> Sheet:
        if page.grey is None:
            return Sheet(page, "", page.why, [])
        grey = page.grey
        if min(grey.shape) < 16:
            size = f"{grey.shape[1]} x {grey.shape[0]} pixels"
            return Sheet(page, "", f"it has only {size}", [])
        dark = ink.darkness(grey)
        if any(field.box is None for field in self.layout.fields):
            dark = ink.without_frame(dark)
        try:
            found = self._find(grey, dark)
        except NotFound as error:
            return Sheet(page, "", str(error), [])
        spots = [self._spot(field, found, grey, dark) for field in self.layout.fields]
        return Sheet(page, found.how, "", spots)

    def _find(self, grey: np.ndarray, dark: np.ndarray) -> Found:
        layout = self.layout
        if layout.page is None:
            return Found(np.eye(3), "pixels")
        page = np.array(layout.page)
        if layout.marks:
            return straighten.by_marks(dark, np.array(layout.marks), page)
        if self._blank:
            matrix = self._blank.find(grey) @ self._from_page
            how = f"the form's print{straighten.turned(matrix, page)}"
            return Found(matrix, how)
        return straighten.by_border(grey, dark, page)

    def _spot(
        self, field: Field, found: Found, grey: np.ndarray, dark: np.ndarray
    ) -> Spot:
        """Cuts up a field."""
        # A field without a box is the whole picture, or the whole page.
        size = self.layout.page or grey.shape[::-1]
        left, top, wide, tall = field.box or (0.0, 0.0, *map(float, size))
        box = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [wide, tall] + [left, top]
        corners = _moved(box, found.matrix)
        native = float(np.linalg.norm(corners[3] - corners[0]))
        height = float(np.clip(native, *HEIGHT))
        scale = height / tall
        margin = round(AROUND * height)
        shape = round(height) + 2 * margin, round(wide * scale) + 2 * margin
        # From pixels of the crop to the layout's points.
        to_layout = np.array(
            [
                [1 / scale, 0, left - margin / scale],
                [0, 1 / scale, top - margin / scale],
                [0, 0, 1],
            ]
        )
        matrix = found.matrix @ to_layout
        crop = _warped(dark, matrix, shape, native / height)
        picture = _warped(grey, matrix, shape, native / height, 255)
        place = Box(margin, margin, wide * scale, height)
        pitch = place.width / max(field.cells, 1)
        printed = None
        if self._print is not None:
            onto = self._from_page @ to_layout
            printed = _warped(self._print, onto, shape, float(onto[0, 0]))
            printed, (x, y) = ink.aligned(printed, crop, round(ASTRAY * height))
            place = place._replace(left=place.left + x, top=place.top + y)
        strokes = ink.strokes(crop, place, field.cells, printed)
        cut = pieces.cut(strokes, place)
        cells = None
        if field.cells:
            middles = cut.boxes[:, 2:].mean(axis=1) + 0.5 - margin
            cells = np.clip((middles / pitch).astype(int), 0, field.cells - 1)
        return Spot(field, corners, picture, cut, pieces.candidates(cut), cells)


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Returns points [N, 2] moved by a matrix [3, 3]."""
    moved = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return moved[:, :2] / moved[:, 2:]


def _warped(image, matrix, shape, reduction: float, around: float = 0) -> np.ndarray:
    """Returns a part of a picture, anti-aliased where it is reduced."""
    # The part alone, so that a large page is not reduced for each field.
    height, width = shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    there = _moved(corners, matrix)
    size = np.array(image.shape[::-1])
    low = np.clip(np.floor(there.min(axis=0)).astype(int) - 4, 0, size - 1)
    high = np.clip(np.ceil(there.max(axis=0)).astype(int) + 4, low + 1, size)
    part = image[low[1] : high[1], low[0] : high[0]]
    share = 1.0
    if reduction > 1.5:
        share = 1 / reduction
        part = cv2.resize(part, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    into = np.array(
        [[share, 0, -low[0] * share], [0, share, -low[1] * share], [0, 0, 1]]
    )
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    return cv2.warpPerspective(
        part, into @ matrix, (width, height), flags=flags, borderValue=around
    )


class Reader:
    """The networks of a study that read."""

    def __init__(self, study: Any):
        """Loads a study's networks.

        Args:
            study: The study; its classes are digits, marks and `NONE`.

        Raises:
            InputError: If the study has other classes.
        """
        self.class_names = list(study.class_names)
        missing = [name for name in (*DIGITS, NONE) if name not in self.class_names]
        if missing:
            raise InputError(
                f"{study.workdir} cannot read forms, as it has no class "
                f"{missing[0]!r}: its networks must tell digits from what is none. "
                "Train a reader by read --train"
            )
        self.members = read_members(study)
        self._networks = [
            (study.network(name), study.variables(name)) for name in self.members
        ]
        self._precision = study.config.precision
        content = hashlib.sha256(repr(sorted(self.members.items())).encode())
        for leaf in jax.tree.leaves([weights for _, weights in self._networks]):
            content.update(np.asarray(leaf).tobytes())
        # What is known of these networks is not of others.
        self.digest = content.hexdigest()[:16]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns the vote's probabilities of candidates, float [N, K]."""
        if not len(images):
            return np.zeros((0, len(self.class_names)))
        predictor = Predictor({"": images[..., np.newaxis]}, self._precision)
        answers = [said[""].probabilities for said in predictor(self._networks)]
        return weighted_mean(np.stack(answers), [*self.members.values()])

    def read(self, sheets: Sequence[Sheet]) -> Iterator[list[Reading]]:
        """Yields what the fields of each page say."""
        spots = [spot for sheet in sheets for spot in sheet.spots]
        images = [spot.tried.images for spot in spots]
        everything = np.concatenate([np.zeros((0, 28, 28), np.uint8), *images])
        said = self.probabilities(everything)
        ends = np.cumsum([len(some) for some in images])
        parts = iter(np.split(said, ends[:-1]) if spots else [])
        for sheet in sheets:
            yield [
                Reading(sheet.page.name, spot, self.said(spot, next(parts)))
                for spot in sheet.spots
            ]

    def said(self, spot: Spot, probabilities: np.ndarray) -> Said:
        """Returns what a field says, of what its candidates are, [N, K]."""
        rule, tried = spot.field.rule, spot.tried
        symbols = [name for name in rule.symbols if name in self.class_names]
        odds = lattice.log_odds(probabilities, self.class_names, symbols)
        ends = tried.first, tried.last
        prior = lattice.priors(*ends, spot.cut.cut, spot.cells, WEIGHTS)
        count = len(spot.cut.boxes)
        pixels = np.bincount(spot.cut.names.ravel(), minlength=count + 1)[1:]
        ink_of = pixels / spot.cut.height**2
        left = lattice.leaving(ink_of, spot.cells, WEIGHTS)
        found = Lattice(*ends, odds, symbols, count, prior, left)
        return lattice.read(found, rule)
