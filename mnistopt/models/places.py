"""Follows numbers through a program: from which place of which layer each comes."""

import math
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from mnistopt.errors import InputError
from mnistopt.models.graph import Layer, Select, Shape

# Images that are traced, so that what mixes them shows.
BATCH = 2
# Added to the places of the second image's numbers: more than one can have.
SECOND = 2**29
_KNOWN = (
    "convolutions, dense layers, max and average pools, normalization by running "
    "statistics, ReLU, ReLU6, sums, and joined, split or shuffled channels"
)


class From(NamedTuple):
    """Numbers that depend on the images: where each comes from.

    Attributes:
        place: Int32 [2, ...], places among all numbers of all layers, those of the
            second image `SECOND` further on.
    """

    place: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the program, images first."""
        return self.place.shape


class Places:
    """The layers of a network so far, and the places of what they make.

    Attributes:
        name: The network's class.
        layers: What has been read of it.
        where: The module that is read.
        shape: (H, W, C) of an image.
    """

    def __init__(self, name: str, shape: Shape):
        """Begins with an image's shape, (H, W, C)."""
        self.name, self.layers, self.where = name, list[Layer](), ""
        self.shape = shape
        self._shapes, self._starts = [shape], [0]

    def refuse(self, what: str) -> NoReturn:
        """Raises InputError for what no layer of a graph does."""
        where = f" in {self.where}" if self.where else ""
        raise InputError(
            f"{self.name} cannot be exported{where}: {what}. Exported can be {_KNOWN}. "
            "The format stablehlo takes any network"
        )

    def places(self, number: int, shape: Sequence[int]) -> From:
        """Returns the places of what a layer makes, seen in a shape without images."""
        first = self._starts[number] + np.arange(math.prod(shape), dtype=np.int32)
        return From(np.stack([first, first + SECOND]).reshape(BATCH, *shape))

    def add(self, layer: Layer, shape: Sequence[int]) -> From:
        """Adds a layer, and returns what it makes in its program's shape."""
        self.layers.append(layer)
        self._starts.append(self._starts[-1] + math.prod(self._shapes[-1]))
        self._shapes.append(layer.shape)
        return self.places(len(self.layers), shape[1:])

    def first(self, places: From) -> np.ndarray:
        """Returns the places of the first image's numbers, [...]."""
        one, other = places.place
        if (other - one != SECOND).any():
            self.refuse("it mixes images of a batch")
        return one

    def only_source(self, places: From) -> int | None:
        """Returns the number of the one layer that numbers are from, if it is one."""
        index = self.first(places)
        low, high = np.searchsorted(self._starts, [index.min(), index.max()], "right")
        return int(low) - 1 if low == high else None

    def seen(self, places: From) -> tuple[int, Shape]:
        """Returns the number of a layer that makes just this, and as which shape."""
        if not 2 <= len(places.shape) <= 4:
            self.refuse(f"it computes in {len(places.shape)} dimensions")
        seen = in_three(places.shape)
        index = self.first(places).reshape(seen)
        sources = np.searchsorted(self._starts, index[0, 0], "right") - 1
        number = int(sources[0])
        start, shape = self._starts[number], self._shapes[number]
        whole = start + np.arange(math.prod(shape))
        if np.array_equal(index.ravel(), whole):
            return number, seen
        # Or else it has channels of layers of the same size.
        used = sorted(set(sources.tolist()))
        starts = np.array(self._starts)[sources]
        channels = np.array([self._shapes[source][2] for source in sources])
        channel = index[0, 0] - starts
        pixel = np.arange(seen[0] * seen[1]).reshape(*seen[:2], 1)
        expected = starts + pixel * channels + channel
        alike = all(self._shapes[source][:2] == seen[:2] for source in used)
        if not alike or (channel >= channels).any() or (index != expected).any():
            self.refuse("it moves pixels")
        source = np.array([used.index(one) for one in sources])
        layer = Select(self.where, tuple(used), seen, source, channel)
        self.add(layer, (BATCH, *seen))
        return len(self.layers), seen


def in_three(shape: Sequence[int]) -> Shape:
    """Returns (H, W, C) of a shape of values with a batch in front."""
    rest = tuple(shape[1:])
    return (*rest[:-1], *(1,) * (3 - len(rest)), rest[-1])  # type: ignore[return-value]
