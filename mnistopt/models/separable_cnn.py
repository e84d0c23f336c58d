"""A network of separable convolutions for a thousand parameters or a few."""

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from mnistopt.axes import show
from mnistopt.data.official import NUM_CLASSES
from mnistopt.errors import InputError
from mnistopt.models.layers import BatchNorm, Conv, Dense, Dropout, leaky
from mnistopt.models.separable import Depthwise, Pointwise


class Separable(nn.Module):
    """A convolution and a pool, separable convolutions, and the mean of all pixels.

    The structure of the smallest networks known to come to 99 % of MNIST's test digits:
    JoshWarn, "Parameter-Efficient-MNIST" (2023), github.com/JoshWarn. A 3x3 convolution
    and a 2x2 max pool; for each further number of channels a depthwise 3x3 convolution
    without padding and a pointwise one; the mean over all places, and K logits.

    Attributes:
        channels: Kernels per convolution; (6, 5, 9, 10, 8) has 697 parameters, as
            there.
        slope: The ReLUs' slope below 0; there 0.2.
        classes: K.
        norm: "batch" for batch normalization before each ReLU, or "none".
    """

    channels: tuple[int, ...]
    slope: float = 0.0
    classes: int = NUM_CLASSES
    norm: str = "none"

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, K].

        Args:
            images: Float32 [B, H, W, C].
            dropout: Rate after each separable convolution but the last; see `MLP`.
        """
        first, *rest = self.channels
        training = dropout is not None
        # Each separable convolution takes a pixel at each side.
        least = 2 * (2 * len(rest) + 1)
        if min(images.shape[1:3]) < least:
            height, width = images.shape[1:3]
            raise InputError(
                f"channels={show(self.channels)} is for larger images than {height} x "
                f"{width} pixels: at least {least} a side, or give fewer channels"
            )
        x = Conv(first, pool=True, norm=self.norm, slope=self.slope)(images, training)
        for i, features in enumerate(rest, 1):
            x = Pointwise(features)(Depthwise(padding="VALID")(x))
            x = BatchNorm()(x, training) if self.norm == "batch" else Bias()(x)
            x = leaky(x, self.slope)
            if i < len(rest):
                x = Dropout()(x, dropout)
        return Dense(self.classes)(x.mean((1, 2)))


class Bias(nn.Module):
    """Adds to each channel a number."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float [..., C] to the same shape."""
        return x + self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])
