"""The paper's multilayer perceptron."""

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from mnistopt.data.official import NUM_CLASSES
from mnistopt.models.layers import BatchNorm, Dense, Dropout


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
            x = Dense(units, use_bias=self.norm != "batch")(x)
            if self.norm == "batch":
                x = BatchNorm()(x, training=dropout is not None)
            x = Dropout()(nn.relu(x), dropout)
        return Dense(self.classes)(x)
