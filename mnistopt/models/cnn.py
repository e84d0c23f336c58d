"""The paper's lightweight CNN."""

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from mnistopt.data.official import NUM_CLASSES
from mnistopt.models.layers import BatchNorm, Conv, Dense, Dropout


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
        training, x = dropout is not None, images
        for i, features in enumerate(self.channels):
            x = Conv(features, pool=i < 2, norm=self.norm)(x, training)
        x = x.reshape(x.shape[0], -1)
        x = Dense(self.dense, use_bias=self.norm != "batch")(x)
        if self.norm == "batch":
            x = BatchNorm()(x, training)
        x = Dropout()(nn.relu(x), dropout)
        return Dense(self.classes)(x)
