"""MobileNet v1 and v2, for images of 28x28 pixels."""

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from mnistopt.data.official import NUM_CLASSES
from mnistopt.models.layers import BatchNorm, Dense, Dropout
from mnistopt.models.separable import Depthwise, Pointwise, Stem

# How much wider a bottleneck's depthwise convolution is than its input: section 4 of
# v2's paper.
EXPANSION = 6


def round_channels(channels: float, multiple: int = 8) -> int:
    """Rounds to the nearest multiple, but never away more than a tenth.

    The rule of the MobileNets' own code, `make_divisible` in the repository
    `tensorflow/models`, with its multiple of 8.
    """
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * channels else rounded


class MobileNetV1(nn.Module):
    """MobileNet (Howard et al. 2017, arXiv:1704.04861).

    Of Table 1, the first eleven rows: the 3x3 convolution with stride 2 to 32 channels,
    and pairs of a depthwise 3x3 and a pointwise convolution, each with batch
    normalization and ReLU, to 64, 128 (stride 2), 128, 256 (stride 2) and 256 channels.
    28x28 pixels become 14x14, 7x7 and 4x4. Left out are the pairs to 512 and 1024
    channels, at strides that would leave one pixel. Then the table's average pool,
    dropout, and a dense layer to K logits.

    Attributes:
        width: The paper's width multiplier alpha (section 3.3), of all channels.
        depth: How often a pair with stride 1 follows one with stride 2; in the table
            once at these sizes, five times at 512 channels.
        classes: K.
    """

    width: float = 1.0
    depth: int = 2
    classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        training = dropout is not None

        def channels(count):
            return round_channels(count * self.width)

        def normalized(x):
            return nn.relu(BatchNorm()(x, training))

        def pair(x, features, stride):
            x = normalized(Depthwise(stride)(x))
            return normalized(Pointwise(features)(x))

        x = normalized(Stem(channels(32))(images))
        x = pair(x, channels(64), 1)
        for features in (channels(128), channels(256)):
            x = pair(x, features, 2)
            for _ in range(self.depth):
                x = pair(x, features, 1)
        x = Dropout()(x.mean((1, 2)), dropout)
        return Dense(self.classes)(x)


class MobileNetV2(nn.Module):
    """MobileNet v2 (Sandler et al. 2018, arXiv:1801.04381).

    Of Table 2, the first five rows: the 3x3 convolution with stride 2 to 32 channels,
    and bottlenecks to 16, 24 (stride 2), 32 (stride 2) and 64 channels, here at stride
    1. 28x28 pixels become 14x14, 7x7 and 4x4. Left out are the bottlenecks to 96, 160
    and 320 channels. Then the table's pointwise convolution to four times as many
    channels, its average pool, dropout, and a dense layer to K logits. A bottleneck is
    that of Table 1: expanded by a pointwise convolution, convolved depthwise, both with
    ReLU6, and projected without (section 3.2); its input is added where the shapes
    are equal (section 3.3).

    Attributes:
        width: The width multiplier of section 4, of all channels; but, below 1, not
            of the last convolution's, as there (section 6.1).
        depth: How many bottlenecks with stride 1 follow the first one of a row; in the
            table 1, 2 and 3.
        classes: K.
    """

    width: float = 1.0
    depth: int = 2
    classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        training = dropout is not None

        def channels(count):
            return round_channels(count * self.width)

        def normalized(x):
            return nn.relu6(BatchNorm()(x, training))

        def bottleneck(x, features, stride, expansion=EXPANSION):
            shortcut = x
            if expansion > 1:
                x = normalized(Pointwise(expansion * x.shape[-1])(x))
            x = normalized(Depthwise(stride)(x))
            x = BatchNorm()(Pointwise(features)(x), training)
            return shortcut + x if shortcut.shape == x.shape else x

        x = normalized(Stem(channels(32))(images))
        x = bottleneck(x, channels(16), 1, expansion=1)
        for count, stride in ((24, 2), (32, 2), (64, 1)):
            x = bottleneck(x, channels(count), stride)
            for _ in range(self.depth):
                x = bottleneck(x, channels(count), 1)
        x = normalized(Pointwise(round_channels(256 * max(self.width, 1)))(x))
        x = Dropout()(x.mean((1, 2)), dropout)
        return Dense(self.classes)(x)
