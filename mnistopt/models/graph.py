"""What a network computes in evaluation, as layers of three kinds; and in NumPy.

Everything that can be exported is a convolution, a sum of layers, or a choice of
channels: a dense layer is a convolution by a kernel as large as the image, an average
one by equal numbers, and normalization is folded into the kernel before it.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, int, int]


class Window(NamedTuple):
    """The places that a kernel or a pool sees.

    Attributes:
        size: Rows and columns.
        stride: Rows and columns between two places.
        padding: Rows before and after, columns before and after, that are not there:
            zeros to a kernel, nothing to a pool.
    """

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))

    def over(self, shape: Sequence[int]) -> tuple[int, int]:
        """Returns how many places there are in rows and columns of a shape."""
        places = (
            (side + sum(padding) - size) // stride + 1
            for side, size, stride, padding in zip(shape, *self)
        )
        return tuple(places)  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One step of a network.

    Attributes:
        name: Of the flax module that it is from, as "Conv_0".
        inputs: What it takes: 0 is the image, i what the i-th layer makes, from 1.
        shape: (H, W, C) of what it makes.
    """

    name: str
    inputs: tuple[int, ...]
    shape: Shape


@dataclasses.dataclass(frozen=True, eq=False)
class Conv(Layer):
    """A convolution; then a pool, numbers per channel, and limits.

    Attributes:
        seen: (H, W, C), as which it takes its input, which has as many numbers.
        kernel: Float32 [h, w, C / groups, O].
        bias: Float32 [O].
        window: The kernel's.
        groups: The number of groups of channels, each making as many outputs.
        pool: The window of a maximum, or None.
        sign: 1 or -1 [O], by which maxima are multiplied before the bias is added:
            normalization after a pool may turn channels round.
        low: The least that it makes: 0 with ReLU.
        high: The most: 6 with ReLU6.
    """

    seen: Shape
    kernel: np.ndarray
    bias: np.ndarray
    window: Window
    groups: int = 1
    pool: Window | None = None
    sign: np.ndarray = dataclasses.field(default_factory=lambda: np.ones(1))
    low: float = -math.inf
    high: float = math.inf

    @property
    def multiply_adds(self) -> int:
        """The multiplications for one image."""
        return math.prod(self.window.over(self.seen)) * self.kernel.size


@dataclasses.dataclass(frozen=True, eq=False)
class Add(Layer):
    """A sum of layers of one shape, and limits: see `Conv`."""

    low: float = -math.inf
    high: float = math.inf


@dataclasses.dataclass(frozen=True, eq=False)
class Select(Layer):
    """Channels of one layer or several, joined, split or shuffled.

    Attributes:
        source: int [C], for each channel which of the inputs it is from.
        channel: int [C], and its channel there.
    """

    source: np.ndarray
    channel: np.ndarray


class Graph(NamedTuple):
    """A network in evaluation.

    Attributes:
        shape: (H, W, C) of an image.
        layers: In an order in which they can be computed; the last makes K logits.
    """

    shape: Shape
    layers: tuple[Layer, ...]

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of the image and of what each layer makes."""
        return [self.shape, *(layer.shape for layer in self.layers)]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns logits, float32 [B, K], of float32 [B, H, W, C]."""
        return self.trace(images)[-1].reshape(len(images), -1)

    def trace(self, images: np.ndarray) -> list[np.ndarray]:
        """Returns the images, and what each layer makes of them: [B, H, W, C]."""
        made = [images.astype(np.float32)]
        for layer in self.layers:
            made.append(_compute(layer, [made[number] for number in layer.inputs]))
        return made


def _compute(layer: Layer, inputs: list[np.ndarray]) -> np.ndarray:
    if isinstance(layer, Select):
        return select(layer, inputs)
    if isinstance(layer, Add):
        return np.clip(sum(inputs[1:], inputs[0]), layer.low, layer.high)
    if not isinstance(layer, Conv):
        raise TypeError(f"{layer} is no layer of a graph")
    y = convolve(layer, layer.kernel, *inputs)
    y = y if layer.pool is None else pooled(y, layer.pool)
    return np.clip(y * layer.sign + layer.bias, layer.low, layer.high)


# --- What floats and integers have in common ---


def select(layer: Select, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the channels that a layer selects, [B, H, W, C]."""
    chosen = [inputs[s][..., c] for s, c in zip(layer.source, layer.channel)]
    return np.stack(chosen, axis=-1)


def convolve(layer: Conv, kernel: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the sums of a convolution, [B, H, W, O], before anything else.

    Exact for whole numbers in float64 as long as the sums have at most 53 bits.

    Args:
        layer: The convolution.
        kernel: Its kernel, or the whole numbers that stand for it, as floats.
        x: Floats [B, ...], zeros where there is nothing.
    """
    x = x.reshape(len(x), *layer.seen)
    groups, (height, width, _, features) = layer.groups, kernel.shape
    rows, columns = layer.window.over(layer.seen)
    padded = np.pad(x, ((0, 0), *layer.window.padding, (0, 0)))
    down, across = layer.window.stride
    split = features // groups
    sums = np.zeros((len(x), rows, columns, groups, split), kernel.dtype)
    if (rows, columns) == (1, 1) and groups == 1:
        flat = padded[:, :height, :width].reshape(len(x), -1)
        return (flat @ kernel.reshape(-1, features)).reshape(len(x), 1, 1, -1)
    for i in range(height):
        for j in range(width):
            seen = padded[
                :, i : i + down * rows : down, j : j + across * columns : across
            ][:, :rows, :columns]
            if groups == 1:
                # In one product: of a view, NumPy makes one for each row.
                flat = np.ascontiguousarray(seen).reshape(-1, seen.shape[-1])
                sums += (flat @ kernel[i, j]).reshape(sums.shape)
                continue
            seen = seen.reshape(*seen.shape[:3], groups, -1)
            part = kernel[i, j].reshape(-1, groups, split)
            if seen.shape[-1] == 1:
                sums += seen * part[0]
            else:
                sums += np.einsum("bhwgc,cgo->bhwgo", seen, part)
    return sums.reshape(len(x), rows, columns, features)


def pooled(y: np.ndarray, pool: Window) -> np.ndarray:
    """Returns the maxima over a window, [B, H', W', C]."""
    rows, columns = pool.over(y.shape[1:3])
    least: Any = -np.inf
    padded = np.pad(y, ((0, 0), *pool.padding, (0, 0)), constant_values=least)
    (height, width), (down, across) = pool.size, pool.stride
    views = [
        padded[:, i : i + down * rows : down, j : j + across * columns : across][
            :, :rows, :columns
        ]
        for i in range(height)
        for j in range(width)
    ]
    return np.maximum.reduce(views)
