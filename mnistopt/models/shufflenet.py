"""ShuffleNet v1 and v2, for small images."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mnistopt.data.official import NUM_CLASSES
from mnistopt.models.layers import Dense, Dropout
from mnistopt.models.mobilenet import round_channels
from mnistopt.models.norm import BatchNorm
from mnistopt.models.separable import Depthwise, Pointwise, Stem, depthwise, shuffle

_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


class ShuffleNetV1(nn.Module):
    """ShuffleNet (Zhang et al. 2018, arXiv:1707.01083), for 28x28 pixels."""

    width: float = 1.0
    depth: int = 2
    groups: int = 3
    classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        training = dropout is not None
        multiple = math.lcm(8, 4 * self.groups)

        def unit(x, features, stride, groups):
            before, after = x, features - x.shape[-1] if stride == 2 else features
            x = Pointwise(features // 4, groups)(x)
            x = shuffle(nn.relu(BatchNorm()(x, training)), groups)
            x = BatchNorm()(Depthwise(stride)(x), training)
            x = BatchNorm()(Pointwise(after, self.groups)(x), training)
            if stride == 1:
                return nn.relu(before + x)
            ninth = jnp.full((3, 3, before.shape[-1]), 1 / 9)
            return nn.relu(jnp.concatenate([depthwise(before, ninth, 2), x], -1))

        x = Stem(round_channels(24 * self.width, multiple))(images)
        x = nn.relu(BatchNorm()(x, training))
        base = _CHANNELS[self.groups]
        for i, features in enumerate((base, 2 * base)):
            features = round_channels(features * self.width, multiple)
            x = unit(x, features, 2, self.groups if i else 1)
            for _ in range(self.depth):
                x = unit(x, features, 1, self.groups)
        x = Dropout()(x.mean((1, 2)), dropout)
        return Dense(self.classes)(x)


class ShuffleNetV2(nn.Module):
    """ShuffleNet v2 (Ma et al. 2018, arXiv:1807.11164), for 28x28 pixels."""

    width: float = 1.0
    depth: int = 2
    classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        training = dropout is not None

        def pointwise(x, features):
            return nn.relu(BatchNorm()(Pointwise(features)(x), training))

        def branch(x, features, stride):
            x = pointwise(x, features)
            x = BatchNorm()(Depthwise(stride)(x), training)
            return pointwise(x, features)

        x = Stem(round_channels(24 * self.width))(images)
        x = nn.relu(BatchNorm()(x, training))
        for features in (116, 232):
            half = round_channels(features * self.width, 4) // 2
            left = BatchNorm()(Depthwise(2)(x), training)
            left, right = pointwise(left, half), branch(x, half, 2)
            for _ in range(self.depth):
                x = shuffle(jnp.concatenate([left, right], -1), 2)
                left, right = x[..., :half], branch(x[..., half:], half, 1)
            x = shuffle(jnp.concatenate([left, right], -1), 2)
        x = pointwise(x, round_channels(512 * self.width))
        x = Dropout()(x.mean((1, 2)), dropout)
        return Dense(self.classes)(x)
