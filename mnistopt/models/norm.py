"""Batch normalization, equal to flax.linen's, with one gradient.

Ioffe and Szegedy 2015 (arXiv:1502.03167), Algorithms 1 and 2.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

# Of the running statistics, how much stays in an update: PyTorch's "momentum" of 0.1
# is the share that is new.
MOMENTUM = 0.9
# Added to the variance: PyTorch's, and that of MobileNet's and ShuffleNet's users.
EPSILON = 1e-5


class BatchNorm(nn.Module):
    """Normalizes each channel by its mean and variance over all else.

    Equal to `nn.BatchNorm(momentum=0.9, epsilon=1e-5)`, with its variables: `scale` and
    `bias` [C] in `params`, the running `mean` and `var` [C] in `batch_stats`.
    """

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Normalizes x, float [..., C].

        Args:
            x: Activations.
            training: Whether by the batch's own statistics, of which the running ones
                then take their share, where they are mutable; else by the running ones.
        """
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        if not training:
            factor = scale * jax.lax.rsqrt(var.value + EPSILON)
            return x * factor + (bias - mean.value * factor)
        y, *batch = normalize(x, scale, bias)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            for running, new in zip((mean, var), batch):
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * new
        return y


@jax.custom_vjp
def normalize(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple:
    """Normalizes x, float [..., C], by its own statistics.

    Returns:
        Float [..., C], and mean and variance [C], which have no gradient.
    """
    return _forward(x, scale, bias)[0]


def _forward(x, scale, bias):
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    # In one pass, as in flax; rounding may make it negative.
    var = jnp.maximum((x * x).mean(axes) - mean * mean, 0)
    factor = jax.lax.rsqrt(var + EPSILON)
    y = x * (scale * factor) + (bias - mean * (scale * factor))
    return (y, mean, var), (x, scale, mean, factor)


def _backward(saved, grads):
    x, scale, mean, factor = saved
    grad = grads[0]
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    total = grad.sum(axes)
    along = (grad * x).sum(axes)
    # Of the normalized activations.
    grad_scale = (along - mean * total) * factor
    slope = -factor * grad_scale / count
    grad_x = scale * factor * (grad + slope * x - (total / count + slope * mean))
    return grad_x, grad_scale, total


normalize.defvjp(_forward, _backward)
