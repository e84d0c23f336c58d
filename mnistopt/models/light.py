"""MobileNet v1 and v2, and ShuffleNet v1 and v2, for images of 28x28 pixels."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mnistopt.data.official import NUM_CLASSES
from mnistopt.models.layers import BatchNorm, Dense, Dropout
from mnistopt.models.separable import Depthwise, Pointwise, Stem, depthwise, shuffle

# How much wider a bottleneck's depthwise convolution is than its input: section 4 of
# MobileNet v2's paper.
EXPANSION = 6
# By the number of groups, the channels of stage 2: Table 1 of ShuffleNet v1's paper.
# More groups leave more channels for the same work.
CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


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


class ShuffleNetV1(nn.Module):
    """ShuffleNet (Zhang et al. 2018, arXiv:1707.01083).

    Of Table 1: the 3x3 convolution with stride 2 to 24 channels, stage 2, and stage 3
    with twice its channels; a stage is a unit with stride 2 and some with stride 1.
    28x28 pixels become 14x14, 7x7 and 4x4. Left out are the max pool, for which the
    images are too small, and stage 4. Then the table's average pool, dropout, and a
    dense layer to K logits. Units are those of Fig. 2 (b) and (c): pointwise to a
    quarter of the channels, shuffled, depthwise, pointwise, with ReLU after the first
    and at the end; to which the input is added or, average pooled, joined.

    Attributes:
        width: Times as many channels, the paper's scale factor "s" (section 4).
        depth: How many units with stride 1 follow one with stride 2; in the table 3
            and 7.
        groups: Groups of pointwise convolutions, a key of `CHANNELS`; not of the first,
            which has few channels (section 3.3).
        classes: K.
    """

    width: float = 1.0
    depth: int = 2
    groups: int = 3
    classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        training = dropout is not None

        def unit(x, features, stride, groups):
            shortcut = x
            x = nn.relu(BatchNorm()(Pointwise(features // 4, groups)(x), training))
            x = BatchNorm()(Depthwise(stride)(shuffle(x, groups)), training)
            added = features if stride == 1 else features - shortcut.shape[-1]
            x = BatchNorm()(Pointwise(added, self.groups)(x), training)
            if stride == 1:
                return nn.relu(shortcut + x)
            return nn.relu(jnp.concatenate([_average_pool(shortcut), x], axis=-1))

        # The groups must divide what stage 2 takes and a quarter of what it makes. At
        # width 1, these are the table's numbers.
        stem = round_channels(24 * self.width, self.groups)
        multiple = math.lcm(8, 4 * self.groups)
        features = round_channels(CHANNELS[self.groups] * self.width, multiple)
        x = nn.relu(BatchNorm()(Stem(stem)(images), training))
        for stage, groups in ((1, 1), (2, self.groups)):
            x = unit(x, stage * features, 2, groups)
            for _ in range(self.depth):
                x = unit(x, stage * features, 1, self.groups)
        x = Dropout()(x.mean((1, 2)), dropout)
        return Dense(self.classes)(x)


def _average_pool(x: jax.Array) -> jax.Array:
    """Averages over 3x3 pixels with stride 2; the padding's zeros count."""
    return depthwise(x, jnp.full((3, 3, x.shape[-1]), 1 / 9, x.dtype), 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNet v2 (Ma et al. 2018, arXiv:1807.11164).

    Of Table 5, in the column 1x: the 3x3 convolution with stride 2 to 24 channels,
    stage 2 with 116 and stage 3 with 232; a stage is a unit with stride 2 and some with
    stride 1. 28x28 pixels become 14x14, 7x7 and 4x4. Left out are the max pool, for
    which the images are too small, and stage 4; the last pointwise convolution has
    512 channels instead of 1024, as it takes half as many. Then the table's average
    pool, dropout, and a dense layer to K logits. Units are those of Fig. 3 (c) and (d):
    one half of the channels passes, or is convolved depthwise and pointwise; the other
    is convolved pointwise, depthwise and pointwise; both are joined and shuffled. ReLU
    follows the pointwise convolutions.

    Attributes:
        width: Times as many channels in the stages and, above 1, after them: the
            columns of the table have the same convolutions first and, up to 1.5x, last.
        depth: How many units with stride 1 follow one with stride 2; in the table 3
            and 7.
        classes: K.
    """

    width: float = 1.0
    depth: int = 2
    classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        training = dropout is not None

        def normalized(x):
            return nn.relu(BatchNorm()(x, training))

        def pointwise(x, features):
            return normalized(Pointwise(features)(x))

        def separable(x, features, stride):
            x = BatchNorm()(Depthwise(stride)(x), training)
            return pointwise(x, features)

        def joined(left, right):
            return shuffle(jnp.concatenate([left, right], axis=-1), 2)

        x = normalized(Stem(24)(images))
        for count in (116, 232):
            # The table's own numbers are multiples of 4.
            half = round_channels(count * self.width, 4) // 2
            right = separable(pointwise(x, half), half, 2)
            x = joined(separable(x, half, 2), right)
            for _ in range(self.depth):
                left, right = jnp.split(x, 2, axis=-1)
                x = joined(left, separable(pointwise(right, half), half, 1))
        x = pointwise(x, round_channels(512 * max(self.width, 1)))
        x = Dropout()(x.mean((1, 2)), dropout)
        return Dense(self.classes)(x)
