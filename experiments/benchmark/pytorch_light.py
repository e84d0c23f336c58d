"""MobileNet and ShuffleNet of PyTorch's layers, as `mnistopt.models` has them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from experiments.benchmark.networks import DROPOUT

# Units that follow one with stride 2: the grid's own `--depth`.
DEPTH = 2


def make(name: str) -> nn.Module:
    """Returns one of `NETWORKS` at width 1.

    Args:
        name: The network's name, a value of `--model`.
    """
    features, channels = NETWORKS[name]()
    head = [nn.AvgPool2d(4), nn.Flatten(), nn.Dropout(DROPOUT)]
    return nn.Sequential(*features, *head, nn.Linear(channels, 10))


def _conv(
    before: int,
    after: int,
    size: int = 1,
    stride: int = 1,
    groups: int = 1,
    then: Callable[[], nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """A convolution with batch normalization, and what comes then."""
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), *([then()] if then else []))


def _mobilenet_v1() -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = [_conv(1, 32, 3, 2)]
    before = 32
    for after, stride, repeats in (
        (64, 1, 1),
        (128, 2, 1 + DEPTH),
        (256, 2, 1 + DEPTH),
    ):
        for i in range(repeats):
            layers.append(_conv(before, before, 3, 1 if i else stride, before))
            layers.append(_conv(before, after))
            before = after
    return layers, before


class _Added(nn.Module):
    """A module's output and its input, and what comes then."""

    def __init__(self, inner: nn.Module, then: nn.Module):
        super().__init__()
        self.inner, self.then = inner, then

    def forward(self, x: Any) -> Any:
        return self.then(x + self.inner(x))


def _mobilenet_v2() -> tuple[list[nn.Module], int]:
    relu = nn.ReLU6
    layers: list[nn.Module] = [_conv(1, 32, 3, 2, then=relu)]
    layers += [_conv(32, 32, 3, 1, 32, relu), _conv(32, 16, then=None)]
    before = 16
    for after, stride in ((24, 2), (32, 2), (64, 1)):
        for i in range(1 + DEPTH):
            wide = 6 * before
            inner = nn.Sequential(
                _conv(before, wide, then=relu),
                _conv(wide, wide, 3, 1 if i else stride, wide, relu),
                _conv(wide, after, then=None),
            )
            layers.append(_Added(inner, nn.Identity()) if i else inner)
            before = after
    return [*layers, _conv(before, 256, then=relu)], 256


class _Joined(nn.Module):
    """Two branches' channels, joined, and what comes then.

    Attributes:
        split: Whether each branch gets half of the channels, or both get all.
    """

    def __init__(
        self, left: nn.Module, right: nn.Module, then: nn.Module, split: bool = False
    ):
        super().__init__()
        self.left, self.right, self.then, self.split = left, right, then, split

    def forward(self, x: Any) -> Any:
        left, right = x.chunk(2, 1) if self.split else (x, x)
        return self.then(torch.cat([self.left(left), self.right(right)], 1))


def _shufflenet_v1(groups: int = 3) -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = [_conv(1, 24, 3, 2)]
    before = 24
    for after in (240, 480):
        for i in range(1 + DEPTH):
            stride, first = (1 if i else 2), (groups if before > 24 else 1)
            added = after if i else after - before
            inner = nn.Sequential(
                _conv(before, after // 4, groups=first),
                nn.ChannelShuffle(first),
                _conv(after // 4, after // 4, 3, stride, after // 4, None),
                _conv(after // 4, added, groups=groups, then=None),
            )
            if i:
                layers.append(_Added(inner, nn.ReLU()))
            else:
                layers.append(_Joined(nn.AvgPool2d(3, 2, 1), inner, nn.ReLU()))
            before = after
    return layers, before


def _shufflenet_v2() -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = [_conv(1, 24, 3, 2)]
    before = 24
    for after in (116, 232):
        half = after // 2
        for i in range(1 + DEPTH):
            into, stride = (half, 1) if i else (before, 2)
            depthwise = _conv(half, half, 3, stride, half, None)
            right = nn.Sequential(_conv(into, half), depthwise, _conv(half, half))
            left = nn.Sequential(
                _conv(into, into, 3, stride, into, None), _conv(into, half)
            )
            shuffle = nn.ChannelShuffle(2)
            layers.append(
                _Joined(nn.Identity() if i else left, right, shuffle, split=i > 0)
            )
        before = after
    return [*layers, _conv(before, 512)], 512


NETWORKS = {
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "shufflenet_v1": _shufflenet_v1,
    "shufflenet_v2": _shufflenet_v2,
}
