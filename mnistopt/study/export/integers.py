"""A network in whole numbers: 8 bits between layers, 32 in sums; and in NumPy.

Weights have a scale per output channel, what layers make has one for all, measured on
images that it is calibrated on (Jacob et al. 2018, arXiv:1712.05877). A sum becomes the
next layer's byte by a multiplication and a shift::

    byte = clip((sum * multiplier + offset) >> shift, low, high)

which the pages and the C files do in the same way, so that all agree to the bit.
`multiplier` has 16 bits with its sign and a sum 32, so that the product has few enough
for JavaScript's numbers, which hold whole ones of 53 bits.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mnistopt.models.graph import (
    Add,
    Conv,
    Graph,
    Layer,
    Select,
    convolve,
    pooled,
    select,
)

# Of what lies between layers: a byte's.
MOST = 255
# Of weights: a signed byte's but for one, so that each has its opposite.
_WEIGHT = 127
_MULTIPLIER_BITS, _SUM_BITS, _EXACT_BITS = 15, 31, 53
# Beyond it, what is added would have too many bits.
_LONGEST_SHIFT = 38
# What stands for certainty.
WHOLE = 2**16 - 1
# Units of logits to a nat, and of them to an entry of the table of powers, which so
# ends at exp(-8): less than a byte of confidence shows.
LOGIT = 1024
ENTRY, ENTRIES = 8, 1024
POWERS = np.round(WHOLE * np.exp(-np.arange(ENTRIES) * ENTRY / LOGIT)).astype(np.int64)
# Images at a time: more were slower, as they leave the caches.
_CHUNK = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Whole:
    """A layer in whole numbers.

    Attributes:
        layer: The layer; its kernel and bias are not used.
        kernel: Int8 [h, w, C / groups, O] of a convolution; else None.
        steps: What 1 in it stands for, [O].
        zeros: The byte that stands for 0 in each of its inputs.
        multiplier: int [O] of a convolution, or else of each input.
        offset: int [O], or a single one for a sum.
        shift: int as `offset`.
        low: The least byte that it makes.
        high: The most. Logits have no limits.
    """

    layer: Layer
    kernel: np.ndarray | None
    steps: np.ndarray
    zeros: tuple[int, ...]
    multiplier: np.ndarray
    offset: np.ndarray
    shift: np.ndarray
    low: int
    high: int

    @property
    def flat_kernel(self) -> np.ndarray:
        """The kernel as it is read for one output after the other, int8 [...]."""
        if self.kernel is None:
            return np.zeros(0, np.int8)
        return np.ascontiguousarray(self.kernel.transpose(3, 0, 1, 2)).ravel()

    @property
    def bytes(self) -> int:
        """The bytes of its numbers: of 1, 2, 8 and 1 bytes, and 2 for each choice."""
        choices = 4 * self.layer.shape[2] if isinstance(self.layer, Select) else 0
        factors = 2 * self.multiplier.size + 8 * self.offset.size + self.shift.size
        return self.flat_kernel.size + factors + choices


class Network(NamedTuple):
    """A network in whole numbers.

    Attributes:
        graph: The layers in floats.
        layers: The layers; the last makes logits, `LOGIT` to a nat.
        scales: What a byte of the image and of what each layer makes stands for.
        zeros: The byte that stands for 0 there.
    """

    graph: Graph
    layers: tuple[Whole, ...]
    scales: list[float]
    zeros: list[int]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns logits, int64 [N, K], of uint8 [N, H, W, C]."""
        chunks = range(0, len(images), _CHUNK)
        return np.concatenate([self._logits(images[i : i + _CHUNK]) for i in chunks])

    def _logits(self, images: np.ndarray) -> np.ndarray:
        made = [images.astype(np.int64)]
        for whole in self.layers:
            inputs = [made[number] for number in whole.layer.inputs]
            made.append(_compute(whole, inputs))
        return made[-1].reshape(len(images), -1)


def _compute(whole: Whole, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Returns what a layer makes of bytes: int64 [B, H, W, C]."""
    layer = whole.layer
    inputs = [x - zero for x, zero in zip(inputs, whole.zeros)]
    if isinstance(layer, Conv) and whole.kernel is not None:
        # Whole numbers in float64 are exact, and multiplied many times faster.
        sums = convolve(layer, whole.kernel.astype(float), inputs[0].astype(float))
        sums = (pooled(sums, layer.pool) if layer.pool else sums).astype(np.int64)
        scaled = sums * whole.multiplier + whole.offset
    else:
        parts = [x * m for x, m in zip(inputs, whole.multiplier)]
        if isinstance(layer, Select):
            scaled = select(layer, parts) + whole.offset
        else:
            scaled = sum(parts[1:], parts[0]) + whole.offset
    return np.clip(scaled >> whole.shift, whole.low, whole.high)


def shares(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax of logits int [..., K] in parts of `WHOLE`, rounded down."""
    behind = (logits.max(-1, keepdims=True) - logits) // ENTRY
    powers = np.where(behind < ENTRIES, POWERS[np.minimum(behind, ENTRIES - 1)], 0)
    return powers * WHOLE // powers.sum(-1, keepdims=True)


# --- From floats ---


def quantize(graph: Graph, images: np.ndarray, temperature: float = 1.0) -> Network:
    """Returns a network in whole numbers.

    Args:
        graph: The network.
        images: uint8 [N, H, W, C], on which ranges are measured.
        temperature: What logits are divided by.
    """
    low, high = _ranges(graph, images)
    scales, zeros = [1 / 255], [0]
    for least, most in zip(low[1:], high[1:]):
        scale = max(most - least, 1e-6) / MOST
        scales.append(scale)
        zeros.append(round(-least / scale))
    scales[-1], zeros[-1] = temperature / LOGIT, 0
    layers = [
        _whole(layer, number == len(graph.layers), number, scales, zeros)
        for number, layer in enumerate(graph.layers, 1)
    ]
    return Network(graph, tuple(layers), scales, zeros)


def _ranges(graph: Graph, images: np.ndarray) -> tuple[list[float], list[float]]:
    """Returns the least and the most of the image and of what each layer makes."""
    low, high = (np.zeros(len(graph.layers) + 1) for _ in range(2))
    for i in range(0, len(images), _CHUNK):
        made = graph.trace(images[i : i + _CHUNK] / np.float32(255))
        low = np.minimum(low, [some.min() for some in made])
        high = np.maximum(high, [some.max() for some in made])
    # What is only joined and shuffled has one range, so that it stays as it is.
    group = list(range(len(low)))
    for number, layer in enumerate(graph.layers, 1):
        if isinstance(layer, Select):
            for other in filter(None, layer.inputs):
                old, new = group[other], group[number]
                group = [new if one == old else one for one in group]
    for one in set(group):
        members = [number for number in range(len(low)) if group[number] == one]
        low[members], high[members] = low[members].min(), high[members].max()
    return low.tolist(), high.tolist()


def _whole(
    layer: Layer, last: bool, number: int, scales: Sequence[float], zeros: Sequence[int]
) -> Whole:
    """Returns a layer in whole numbers.

    Args:
        layer: The layer.
        last: Whether it makes the logits.
        number: Its number.
        scales: Of all layers.
        zeros: Of all layers.
    """
    scale, zero = scales[number], zeros[number]
    inside = np.array([scales[i] for i in layer.inputs])
    kernel, steps, factors, bias = None, np.ones(1), inside / scale, np.zeros(1)
    if isinstance(layer, Conv):
        largest = np.abs(layer.kernel).max((0, 1, 2)).astype(float)
        steps = np.where(largest > 0, largest, 1) / _WEIGHT
        kernel = np.round(layer.kernel / steps).astype(np.int8)
        factors = layer.sign * steps * inside[0] / scale
        bias = layer.bias.astype(float) / scale
    # A sum has one shift for all of its inputs, a choice one for each.
    sizes = (
        np.atleast_1d(abs(factors).max()) if isinstance(layer, Add) else abs(factors)
    )
    exponents = np.floor(np.log2(np.maximum(sizes, 2.0**-_LONGEST_SHIFT)))
    room = _EXACT_BITS - 2 - np.ceil(np.log2(abs(bias) + MOST + 2))
    longest = np.minimum(room, _LONGEST_SHIFT)
    shift = np.clip(_MULTIPLIER_BITS - 1 - exponents, 0, longest).astype(np.int64)
    # Beyond it is a layer that makes next to nothing of its sums: a limit holds it.
    most = 2**_MULTIPLIER_BITS - 1
    multiplier = np.clip(np.round(factors * 2.0**shift), -most, most).astype(np.int64)
    offset = np.floor((bias + zero + 0.5) * 2.0**shift).astype(np.int64)
    if isinstance(layer, Select):
        shift, offset = shift[layer.source], offset[layer.source]
    limits = (-math.inf, math.inf)
    if isinstance(layer, (Conv, Add)):
        limits = (layer.low, layer.high)
    ends = (-(2**_SUM_BITS), 2**_SUM_BITS - 1) if last else (0, MOST)
    low, high = (
        round(min(max(zero + limit / scale, ends[0]), ends[1])) for limit in limits
    )
    before = tuple(zeros[i] for i in layer.inputs)
    return Whole(layer, kernel, steps, before, multiplier, offset, shift, low, high)
