"""MobileNet and ShuffleNet by flax.linen's layers, from the tables of their papers."""

import flax.linen as nn
import jax.numpy as jnp
from linen import Plain


class MobileNetV1(Plain):
    """Rows of Table 1: the channels, and the stride of the depthwise one."""

    stem_channels: int
    rows: tuple

    def features(self, x):
        x = nn.relu(self.norm(self.stem(x, self.stem_channels)))
        for channels, stride in self.rows:
            x = nn.relu(self.norm(self.depthwise(x, stride)))
            x = nn.relu(self.norm(self.pointwise(x, channels)))
        return x


class MobileNetV2(Plain):
    """Rows of Table 2: expansion, channels, repeats and stride."""

    stem_channels: int
    rows: tuple
    last: int

    def features(self, x):
        x = nn.relu6(self.norm(self.stem(x, self.stem_channels)))
        for expansion, channels, repeats, stride in self.rows:
            for i in range(repeats):
                y = x
                if expansion > 1:
                    y = self.pointwise(y, expansion * y.shape[-1])
                    y = nn.relu6(self.norm(y))
                y = nn.relu6(self.norm(self.depthwise(y, stride if i == 0 else 1)))
                y = self.norm(self.pointwise(y, channels))
                x = x + y if x.shape == y.shape else y
        return nn.relu6(self.norm(self.pointwise(x, self.last)))


def dealt(x, groups):
    """The channels in the order of the shuffle, picked one by one."""
    size = x.shape[-1] // groups
    return x[..., [g * size + i for i in range(size) for g in range(groups)]]


class ShuffleNetV1(Plain):
    """Stages of Table 1: channels, and units."""

    stem_channels: int
    stages: tuple
    groups: int

    def features(self, x):
        x = nn.relu(self.norm(self.stem(x, self.stem_channels)))
        for stage, (channels, units) in enumerate(self.stages):
            for unit in range(units):
                first = stage == unit == 0
                groups = 1 if first else self.groups
                y = self.pointwise(x, channels // 4, groups)
                y = dealt(nn.relu(self.norm(y)), groups)
                y = self.norm(self.depthwise(y, 1 if unit else 2))
                if unit:
                    x += self.norm(self.pointwise(y, channels, self.groups))
                else:
                    left = channels - x.shape[-1]
                    y = self.norm(self.pointwise(y, left, self.groups))
                    x = nn.avg_pool(x, (3, 3), (2, 2), "SAME")
                    x = jnp.concatenate([x, y], axis=-1)
                x = nn.relu(x)
        return x


class ShuffleNetV2(Plain):
    """Stages of Table 5: channels, and units."""

    stages: tuple
    last: int

    def features(self, x):
        x = nn.relu(self.norm(self.stem(x, 24)))
        for channels, units in self.stages:
            half = channels // 2
            for unit in range(units):
                left, right = (x[..., :half], x[..., half:]) if unit else (x, x)
                right = nn.relu(self.norm(self.pointwise(right, half)))
                right = self.norm(self.depthwise(right, 1 if unit else 2))
                right = nn.relu(self.norm(self.pointwise(right, half)))
                if not unit:
                    left = self.norm(self.depthwise(left, 2))
                    left = nn.relu(self.norm(self.pointwise(left, half)))
                x = dealt(jnp.concatenate([left, right], axis=-1), 2)
        return nn.relu(self.norm(self.pointwise(x, self.last)))
