"""MobileNet v1 and v2, for small images."""

import functools

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from mnistopt.data.official import NUM_CLASSES
from mnistopt.models.layers import Dense, Dropout
from mnistopt.models.norm import BatchNorm
from mnistopt.models.separable import Depthwise, Pointwise, Stem

# Channels come in eights, and rounding takes no more than a tenth of them: the rule of
# MobileNet v2's reference, the function `make_divisible` of `tensorflow/models`
# (research/slim/nets/mobilenet/conv_blocks.py).
_MULTIPLE = 8
# "Expansion" of v2's bottlenecks (section 4 of its paper: almost always 6).
_EXPANSION = 6


def round_channels(channels: float, multiple: int = _MULTIPLE) -> int:
    """Rounds a number of channels to a multiple, but not down by more than a tenth."""
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * channels else rounded


class MobileNetV1(nn.Module):
    """MobileNet (Howard et al. 2017, arXiv:1704.04861, Table 1), for 28x28 pixels."""

    width: float = 1.0
    depth: int = 2
    classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        training = dropout is not None

        def separable(x, features, stride):
            x = nn.relu(BatchNorm()(Depthwise(stride)(x), training))
            features = round_channels(features * self.width)
            return nn.relu(BatchNorm()(Pointwise(features)(x), training))

        x = Stem(round_channels(32 * self.width))(images)
        x = nn.relu(BatchNorm()(x, training))
        x = separable(x, 64, 1)
        for features in (128, 256):
            x = separable(x, features, 2)
            for _ in range(self.depth):
                x = separable(x, features, 1)
        x = Dropout()(x.mean((1, 2)), dropout)
        return Dense(self.classes)(x)


class MobileNetV2(nn.Module):
    """MobileNet v2 (Sandler et al. 2018, arXiv:1801.04381), for 28x28 pixels."""

    width: float = 1.0
    depth: int = 2
    classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        training = dropout is not None
        channels = functools.partial(round_channels)

        def bottleneck(x, features, stride, expansion=_EXPANSION):
            before, features = x, channels(features * self.width)
            if expansion > 1:
                x = Pointwise(expansion * x.shape[-1])(x)
                x = nn.relu6(BatchNorm()(x, training))
            x = nn.relu6(BatchNorm()(Depthwise(stride)(x), training))
            x = BatchNorm()(Pointwise(features)(x), training)
            return before + x if before.shape == x.shape else x

        x = Stem(channels(32 * self.width))(images)
        x = nn.relu6(BatchNorm()(x, training))
        x = bottleneck(x, 16, 1, expansion=1)
        for features, stride in ((24, 2), (32, 2), (64, 1)):
            for i in range(1 + self.depth):
                x = bottleneck(x, features, stride if i == 0 else 1)
        x = Pointwise(channels(256 * max(self.width, 1)))(x)
        x = nn.relu6(BatchNorm()(x, training))
        x = Dropout()(x.mean((1, 2)), dropout)
        return Dense(self.classes)(x)
