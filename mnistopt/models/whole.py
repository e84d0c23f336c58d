"""Convolution of a whole batch at once, in few operations, without a loop.

JAX derives the gradients, but for the pool's, whose choice is kept as a byte.
"""

import jax
import jax.numpy as jnp

from mnistopt.models.cells import pooled
from mnistopt.models.plain import convolve
from mnistopt.models.views import patches


def conv3x3(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, pool: bool, native: bool
) -> jax.Array:
    """Does what `conv.conv3x3` says.

    Args:
        x: See there, and for the others.
        kernel: See there.
        bias: See there.
        pool: See there.
        native: Whether by XLA's own convolution; else by one product, of what the
            kernel's nine places see.
    """
    if native:
        y = convolve(x, kernel)
    else:
        y = patches(x) @ kernel.reshape(-1, kernel.shape[-1])
    if pool:
        # Before bias and ReLU, as they then have a quarter of the work.
        y = _highest(*_quarters(y))
    return y if bias is None else jax.nn.relu(y + bias)


def _quarters(y: jax.Array) -> list[jax.Array]:
    """Returns the four pixels of each 2x2 cell of [B, H, W, O], in row-major order."""
    h, w = (n // 2 * 2 for n in y.shape[1:3])
    return [y[:, p:h:2, q:w:2] for p in (0, 1) for q in (0, 1)]


@jax.custom_vjp
def _highest(*pixels):
    """Returns the highest of four; the gradient goes to the first of equals."""
    return pooled(pixels)[0]


def _forward(*pixels):
    return pooled(pixels)


def _backward(chosen, grad):
    return tuple(jnp.where(chosen == i, grad, 0) for i in range(4))


_highest.defvjp(_forward, _backward)
