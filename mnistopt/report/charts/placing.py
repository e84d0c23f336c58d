"""Axes whose pixels are known, and labels placed so that they hide little."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

# Pixels of an average character, of a line, and from a point to its label: as Vega
# draws Helvetica at 13 pixels (`theme`).
_CHARACTER, _LINE, _GAP = 6.6, 16, 10


class Scale(NamedTuple):
    """An axis of points.

    Attributes:
        low: Its least value.
        high: Its greatest.
        log: Whether it is logarithmic: where all values are positive.
        size: Its length in pixels.
        up: Whether pixels count from its high end, as they do from a picture's top.
    """

    low: float
    high: float
    log: bool
    size: int
    up: bool

    @classmethod
    def of(
        cls, values: pd.Series, ranges: Sequence[pd.Series], size: int, up: bool = False
    ) -> "Scale":
        """Returns an axis with room around values.

        Of the ends of their ranges it shows those that are not far off: one point of
        two seeds may have an interval from 0 to 100 %, which would squeeze the others.

        Args:
            values: Of the points.
            ranges: The ends of their intervals, NaN where there is none.
            size: As in the attributes.
            up: As in the attributes.
        """
        log = bool((values > 0).all())
        seen = _bent(values, log)
        low, high = seen.min(), seen.max()
        wide = (high - low) or 1.0
        first, last = low - wide / 3, high + wide / 3
        for one in ranges:
            ends = _bent(one[one > 0] if log else one.dropna(), log)
            near = ends[(ends > first) & (ends < last)]
            low, high = min([low, *near]), max([high, *near])
        low, high = low - wide / 12, high + wide / 12
        back = np.exp if log else float
        return cls(float(back(low)), float(back(high)), log, size, up)

    def scale(self) -> alt.Scale:
        """Returns it as a chart takes it."""
        kind: Any = {"type": "log"} if self.log else {"zero": False}
        return alt.Scale(domain=[self.low, self.high], nice=False, **kind)

    def pixels(self, values: pd.Series) -> np.ndarray:
        """Returns where values are; those of 0 on a logarithmic axis at its low end."""
        if self.log:
            values = values.clip(lower=self.low)
        low, high, seen = (
            _bent(one, self.log)
            for one in (pd.Series([self.low]), pd.Series([self.high]), values)
        )
        share = (seen - low) / (high - low)
        return self.size * (1 - share if self.up else share)


def _bent(values: pd.Series, log: bool) -> np.ndarray:
    found = values.to_numpy(float)
    return np.log(found) if log else found


class Place(NamedTuple):
    """Where a label is written.

    Attributes:
        dx: Pixels to the right of its point, where its near end is.
        dy: Pixels below its point, where its middle is.
        align: Which of its ends is near: "left", or "right" for a label that is to the
            left of its point.
    """

    dx: float
    dy: float
    align: str


# Beside the point, a little above or below, then further away.
_PLACES = [
    Place(side * _GAP, dy, "left" if side > 0 else "right")
    for dy, side in itertools.product((-_GAP, _GAP, 0, -26, 26, -42, 42), (1, -1))
]
# Left, top, right and bottom, in pixels.
Box = tuple[float, float, float, float]


def place_labels(
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    obstacles: Sequence[Box],
    size: tuple[float, float],
) -> list[Place]:
    """Returns a place for each label, which are taken in turn.

    A label is kept inside of the picture, off other labels, and off obstacles, in this
    order; of equal places it takes the first.

    Args:
        points: Per label that of its point, in pixels from the left and the top.
        labels: The texts.
        obstacles: What labels should not hide.
        size: Of the picture, width and height in pixels.
    """
    found: list[Place] = []
    boxes: list[Box] = []
    for point, label in zip(points, labels):
        tried = [(place, _box(point, place, label)) for place in _PLACES]
        place, box = min(
            tried,
            key=lambda one: (
                not _inside(one[1], size),
                sum(_meet(one[1], other) for other in boxes),
                sum(_meet(one[1], other) for other in obstacles),
            ),
        )
        found.append(place)
        boxes.append(box)
    return found


def _box(point: tuple[float, float], place: Place, label: str) -> Box:
    """Returns where a label would be."""
    near, middle = point[0] + place.dx, point[1] + place.dy
    far = near + _CHARACTER * len(label) * (1 if place.align == "left" else -1)
    return min(near, far), middle - _LINE / 2, max(near, far), middle + _LINE / 2


def _inside(box: Box, size: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    return left >= 0 and top >= 0 and right <= size[0] and bottom <= size[1]


def _meet(one: Box, other: Box) -> bool:
    return (
        one[0] < other[2]
        and other[0] < one[2]
        and one[1] < other[3]
        and other[1] < one[3]
    )
