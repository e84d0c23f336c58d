"""Puts what happens to each number by itself into the layer before it."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnistopt.models.graph import Add, Conv, Layer, Select, Shape, Window


@dataclasses.dataclass(frozen=True, eq=False)
class Step(Layer):
    """What happens to each number, or each channel, by itself: one of these.

    Attributes:
        seen: See `Conv`.
        scale: The number of each channel, or of all, that it is multiplied by.
        shift: And the one that is added then.
        low: The least.
        high: The most.
        pool: The window of a maximum, or None.
    """

    seen: Shape
    scale: Any = 1.0
    shift: Any = 0.0
    low: float = -math.inf
    high: float = math.inf
    pool: Window | None = None


def fuse(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Returns layers without steps: each is put into what it follows.

    One that cannot be, as others use what it follows too, or as that has limits
    already, becomes a convolution of each channel by one number.

    Args:
        layers: In order; the last is kept, and what it needs.
    """
    needed = _needed(layers)
    users = Counter(number for i in needed for number in layers[i - 1].inputs)
    kept: list[Layer] = []
    # By their new numbers, how many use them; and these by the old numbers.
    uses, now = {0: users[0]}, {0: 0}
    for i in needed:
        layer = layers[i - 1]
        inputs = tuple(now[number] for number in layer.inputs)
        if isinstance(layer, Step):
            if _merge_at(kept, inputs[0], layer, uses):
                now[i] = inputs[0]
                uses[inputs[0]] = users[i]
                continue
            layer = _as_conv(layer)
        kept.append(dataclasses.replace(layer, inputs=inputs))
        now[i] = len(kept)
        uses[len(kept)] = users[i]
    return tuple(map(_settled, kept))


def _needed(layers: Sequence[Layer]) -> list[int]:
    """Returns the numbers of the layers that the last one needs, in order."""
    needed = {len(layers)}
    for i in range(len(layers), 0, -1):
        if i in needed:
            needed |= {number for number in layers[i - 1].inputs if number}
    return sorted(needed)


def _merge_at(
    kept: list[Layer], number: int, step: Step, uses: Mapping[int, int]
) -> bool:
    """Puts a step into the layer of a number; returns whether it could be."""
    if number == 0 or uses[number] > 1:
        return False
    layer = kept[number - 1]
    places: tuple[int, ...] = (number,)
    if isinstance(layer, Select) and step.pool is None and _only_limits(step):
        # Limits of what is selected are limits of what it is selected from.
        places = layer.inputs
        if any(uses[place] > 1 for place in places):
            return False
    merged = [_merge(kept[place - 1], step) if place else None for place in places]
    if not all(merged):
        return False
    for place, new in zip(places, merged):
        kept[place - 1] = new  # type: ignore[assignment]
    return True


def _only_limits(step: Step) -> bool:
    return bool(np.all(step.scale == 1) and np.all(step.shift == 0))


def _merge(layer: Layer, step: Step) -> Layer | None:
    """Returns a layer that does a step, too; None if there is none."""
    if isinstance(layer, Add) and _only_limits(step) and step.pool is None:
        return dataclasses.replace(layer, **_limits(layer, step))
    if not isinstance(layer, Conv):
        return None
    if step.pool is not None:
        if layer.pool is not None or step.seen != layer.shape:
            return None
        # All that the layer does after its sums never decreases.
        return dataclasses.replace(layer, pool=step.pool, shape=step.shape)
    if _only_limits(step):
        return dataclasses.replace(layer, **_limits(layer, step))
    limited = (layer.low, layer.high) != (-math.inf, math.inf)
    single = np.size(step.scale) == np.size(step.shift) == 1
    if limited or not (single or step.seen[2] == layer.shape[2]):
        return None
    scale = np.broadcast_to(np.asarray(step.scale, float), layer.bias.shape)
    bias = layer.bias * scale + step.shift
    if layer.pool is None:
        return dataclasses.replace(layer, kernel=layer.kernel * scale, bias=bias)
    sign = layer.sign * np.where(scale < 0, -1, 1)
    return dataclasses.replace(
        layer, kernel=layer.kernel * abs(scale), sign=sign, bias=bias
    )


def _limits(layer: Conv | Add, step: Step) -> dict[str, Any]:
    """Returns the limits of a layer and then a step."""
    low, high = np.clip((layer.low, layer.high), step.low, step.high)
    return {"low": float(low), "high": float(high)}


def _as_conv(step: Step) -> Conv:
    """Returns a step as a convolution of each channel by one number."""
    channels = step.seen[2]
    scale = np.broadcast_to(np.asarray(step.scale, np.float32), (channels,))
    return Conv(
        name=step.name,
        inputs=step.inputs,
        shape=step.shape,
        seen=step.seen,
        kernel=scale.reshape(1, 1, 1, -1),
        bias=np.broadcast_to(np.asarray(step.shift, np.float32), (channels,)),
        window=Window((1, 1)),
        groups=channels,
        pool=step.pool,
        low=step.low,
        high=step.high,
    )


def _settled(layer: Layer) -> Layer:
    """Returns a convolution with its numbers in float32, a sign for each channel."""
    if not isinstance(layer, Conv):
        return layer
    numbers = {"kernel": layer.kernel, "bias": layer.bias}
    sign = np.broadcast_to(layer.sign, layer.bias.shape)
    kept: dict[str, Any] = {
        key: np.asarray(value, np.float32) for key, value in numbers.items()
    }
    return dataclasses.replace(layer, sign=np.asarray(sign, np.float32), **kept)
