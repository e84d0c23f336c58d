"""The paper's networks: its multilayer perceptron and its lightweight CNN."""

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from mnistopt.data.official import NUM_CLASSES
from mnistopt.models.layers import BatchNorm, Conv, Dense, Dropout


class MLP(nn.Module):
    """Fully connected network: pixels, hidden layers with ReLU, K logits.

    Attributes:
        hidden: Units per hidden layer; (128, 128) has 118,282 parameters.
        classes: K.
        norm: "batch" for batch normalization before each ReLU, or "none".
    """

    hidden: tuple[int, ...]
    classes: int = NUM_CLASSES
    norm: str = "none"

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K].

        Args:
            images: Float32 [B, H, W, C].
            dropout: Rate after each hidden layer, may be traced; None when not
                training, otherwise `apply` needs the key `rngs={"dropout": key}`.
        """
        x = images.reshape(images.shape[0], -1)
        for units in self.hidden:
            x = _hidden(x, units, self.norm, dropout)
        return Dense(self.classes)(x)


class CNN(nn.Module):
    """The paper's lightweight CNN (section 3.2).

    3x3 convolutions with ReLU, a 2x2 max pool after each of the first two, a dense
    layer with ReLU, K logits.

    Attributes:
        channels: Kernels per convolution; (32, 64) with `dense=128` has 421,642
            parameters, (32, 64, 64) has 458,570.
        dense: Units of the dense layer.
        classes: K.
        norm: "batch" for batch normalization before each ReLU, or "none".
    """

    channels: tuple[int, ...]
    dense: int
    classes: int = NUM_CLASSES
    norm: str = "none"

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K]; arguments as in `MLP`."""
        x = images
        for i, features in enumerate(self.channels):
            x = Conv(features, pool=i < 2, norm=self.norm)(x, dropout is not None)
        x = x.reshape(x.shape[0], -1)
        x = _hidden(x, self.dense, self.norm, dropout)
        return Dense(self.classes)(x)


def _hidden(x, units, norm, dropout):
    """Applies a dense layer with ReLU and dropout, as part of the calling module."""
    x = Dense(units, use_bias=norm != "batch")(x)
    if norm == "batch":
        x = BatchNorm()(x, training=dropout is not None)
    return Dropout()(nn.relu(x), dropout)
