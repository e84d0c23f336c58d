"""The paper's multilayer perceptron."""

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from mnistopt.data.official import NUM_CLASSES
from mnistopt.models.layers import Dense, Dropout


class MLP(nn.Module):
    """Fully connected network: pixels, hidden layers with ReLU, K logits.

    Attributes:
        hidden: Units per hidden layer; (128, 128) has 118,282 parameters.
        classes: K.
    """

    hidden: tuple[int, ...]
    classes: int = NUM_CLASSES

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
            x = Dropout()(nn.relu(Dense(units)(x)), dropout)
        return Dense(self.classes)(x)
