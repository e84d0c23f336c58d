"""The networks: the paper's multilayer perceptron and lightweight CNN."""

import math
import operator
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mnistopt.models.layers import Conv, Dense, Dropout

if TYPE_CHECKING:
    from mnistopt.hparams import Point

NUM_CLASSES = 10
IMAGE_SHAPE = (28, 28, 1)


class MLP(nn.Module):
    """Fully connected network: 784 pixels, hidden layers with ReLU, 10 logits.

    Attributes:
        hidden: Units per hidden layer; (128, 128) has 118,282 parameters.
    """

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, 10].

        Args:
            images: Float32 [B, 28, 28, 1] in [0, 1].
            dropout: Rate after each hidden layer, may be traced; None when not
                training, otherwise `apply` needs the key `rngs={"dropout": key}`.
        """
        x = images.reshape(images.shape[0], -1)
        for units in self.hidden:
            x = Dropout()(nn.relu(Dense(units)(x)), dropout)
        return Dense(NUM_CLASSES)(x)


class CNN(nn.Module):
    """The paper's lightweight CNN (section 3.2).

    3x3 convolutions with ReLU, a 2x2 max pool after each of the first two, a dense
    layer with ReLU, 10 logits.

    Attributes:
        channels: Kernels per convolution; (32, 64) with `dense=128` has 421,642
            parameters, (32, 64, 64) has 458,570.
        dense: Units of the dense layer.
    """

    channels: tuple[int, ...]
    dense: int

    @nn.compact
    def __call__(self, images: jax.Array, dropout: ArrayLike | None = None):
        """Returns logits, float32 [B, 10]; arguments as in `MLP`."""
        x = images
        for i, features in enumerate(self.channels):
            x = Conv(features, pool=i < 2)(x)
        x = x.reshape(x.shape[0], -1)
        x = Dropout()(nn.relu(Dense(self.dense)(x)), dropout)
        return Dense(NUM_CLASSES)(x)


def make_model(point: "Point") -> nn.Module:
    """Returns the network that a point of a grid describes."""
    if point.hidden:
        return MLP(hidden=point.hidden)
    if point.channels and point.dense:
        return CNN(channels=point.channels, dense=point.dense)
    raise AssertionError(f"{point} passed its own checks without a structure")


def multiply_adds(point: "Point") -> int:
    """Returns the multiplications of one image's forward pass, done directly.

    A measure of work: training takes about three times as much, and Winograd's
    convolution less than half. Biases, pools and activations are left out.
    """
    if point.hidden:
        units = (math.prod(IMAGE_SHAPE), *point.hidden, NUM_CLASSES)
        return sum(map(operator.mul, units, units[1:]))
    side, inputs, total = IMAGE_SHAPE[0], IMAGE_SHAPE[2], 0
    for i, features in enumerate(point.channels or ()):
        total += side**2 * 9 * inputs * features
        inputs, side = features, side // 2 if i < 2 else side
    units = (side**2 * inputs, point.dense or 0, NUM_CLASSES)
    return total + sum(map(operator.mul, units, units[1:]))


def init_shapes(model: nn.Module) -> Any:
    """Returns the shapes of a network's parameters, computing nothing."""
    images = jax.ShapeDtypeStruct((1, *IMAGE_SHAPE), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)["params"]


def count_params(model: nn.Module) -> int:
    """Returns the number of trained numbers of a network."""
    return sum(leaf.size for leaf in jax.tree.leaves(init_shapes(model)))
