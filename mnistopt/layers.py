"""Convolution, max pooling and dropout that stay fast with a replica axis.

`jax.vmap` over the kernels of `lax.conv` makes a grouped convolution, which XLA
runs more than ten times slower than a matrix product on a CPU, and whose backward
pass is slow on GPUs too (https://github.com/jax-ml/jax/issues/13800). So here a
convolution is patches times matrix and a pool is the maximum of four views, each
with a gradient of its own: under `vmap` they become batched matrix products and
element-wise work. Where a pool follows on an even size, `pooled_conv` does both in one
pass; what is here serves odd sizes and convolutions without a pool. `flax.linen`'s
layers are the oracle in the tests.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mnistopt.pooled_conv import conv3x3_pool

# Images worked on at a time, so that what is computed stays in a core's cache: on two
# cores the CNN 32x64/128 trained at 5,000 images/s so, and at 2,900 without.
GROUP = 8


def _patches(x: jax.Array) -> jax.Array:
    """Returns the zero-padded 3x3 surroundings of each pixel, [B, H, W, 9 * C]."""
    h, w = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    views = [x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return jnp.concatenate(views, axis=-1)


@jax.custom_vjp
def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with 3x3 kernels, stride 1, zero padding to the same size.

    Args:
        x: Images, float [B, H, W, C].
        kernel: Kernels, float [3, 3, C, O].

    Returns:
        Float [B, H, W, O], as `lax.conv_general_dilated` with "SAME" padding.
    """
    return _patches(x) @ kernel.reshape(-1, kernel.shape[-1])


def _conv3x3_forward(x, kernel):
    return conv3x3(x, kernel), (x, kernel)


def _conv3x3_backward(saved, grad):
    x, kernel = saved
    columns = _patches(x).reshape(-1, 9 * x.shape[-1])
    grad_kernel = columns.T @ grad.reshape(-1, grad.shape[-1])
    # The input's gradient is a convolution too: of the output's gradient with the
    # kernel turned by 180 degrees, channels in and out exchanged.
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    grad_x = _patches(grad) @ turned.reshape(-1, turned.shape[-1])
    return grad_x, grad_kernel.reshape(kernel.shape)


conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)


def _pool_views(x: jax.Array) -> list[jax.Array]:
    """Returns the four corners of each 2x2 cell; an odd last row or column is cut."""
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return [x[:, i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)]


@jax.custom_vjp
def max_pool2x2(x: jax.Array) -> jax.Array:
    """Takes the maximum of each 2x2 cell, stride 2, as `nn.max_pool` does.

    Args:
        x: Float [B, H, W, C].

    Returns:
        Float [B, H // 2, W // 2, C]. Where a cell's maximum is reached more than
        once, the gradient goes to the first in row-major order, as in XLA.
    """
    a, b, c, d = _pool_views(x)
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def _max_pool2x2_forward(x):
    pooled = max_pool2x2(x)
    return pooled, (x, pooled)


def _max_pool2x2_backward(saved, grad):
    x, pooled = saved
    taken = jnp.zeros(pooled.shape, bool)
    corners = []
    for view in _pool_views(x):
        chosen = (view == pooled) & ~taken
        taken |= chosen
        corners.append(jnp.where(chosen, grad, 0))
    b, h, w, c = pooled.shape
    rows = [jnp.stack(corners[:2], axis=3), jnp.stack(corners[2:], axis=3)]
    grad_x = jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, c)
    odd = ((0, 0), (0, x.shape[1] - 2 * h), (0, x.shape[2] - 2 * w), (0, 0))
    return (jnp.pad(grad_x, odd),)


max_pool2x2.defvjp(_max_pool2x2_forward, _max_pool2x2_backward)


def _by_groups(function, x: jax.Array) -> jax.Array:
    """Applies `function` to `GROUP` images [G, ...] at a time, and to the rest."""
    whole = x.shape[0] // GROUP * GROUP
    parts = []
    if whole:
        groups = x[:whole].reshape(-1, GROUP, *x.shape[1:])
        mapped = jax.lax.map(function, groups)
        parts.append(mapped.reshape(whole, *mapped.shape[2:]))
    if whole < x.shape[0]:
        parts.append(function(x[whole:]))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


class Conv(nn.Module):
    """3x3 convolution ("same", stride 1), 2x2 max pool if asked, bias, ReLU.

    Equal to `nn.Conv`, `nn.relu` and `nn.max_pool` in that order, with the same
    parameters: `kernel` [3, 3, C, O] and `bias` [O]. Pooling comes before bias and
    ReLU, which gives the same numbers with a quarter of the element-wise work.

    Attributes:
        features: O, the number of kernels.
        pool: Whether a 2x2 max pool with stride 2 follows.
    """

    features: int
    pool: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float [B, H, W, C] to [B, H, W, O], or [B, H // 2, W // 2, O]."""
        kernel = self.param(
            "kernel",
            nn.initializers.lecun_normal(),
            (3, 3, x.shape[-1], self.features),
        )
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))

        def convolve(images):
            if self.pool and images.shape[1] % 2 == images.shape[2] % 2 == 0:
                return conv3x3_pool(images, kernel, bias)
            y = conv3x3(images, kernel)
            return nn.relu((max_pool2x2(y) if self.pool else y) + bias)

        # One input channel makes patches small enough to stay in the cache.
        return convolve(x) if x.shape[-1] == 1 else _by_groups(convolve, x)


class Dropout(nn.Module):
    """Dropout whose rate may be traced (`nn.Dropout` tests it in Python).

    An activation is kept where 16 random bits reach `rate`, so that the replicas of
    a seed can share one draw and each threshold it by its own rate.
    """

    @nn.compact
    def __call__(self, x: jax.Array, rate: ArrayLike | None) -> jax.Array:
        """Drops activations of `x` (any shape), scaling the others by 1 / (1 - rate).

        Args:
            x: Activations, float.
            rate: Chance of being dropped, in [0, 1), exact to 2^-16; None, as in
                evaluation, returns `x` and needs no key.
        """
        if rate is None:
            return x
        # 16 bits cost half the draw of 32, and are exact enough for a rate.
        bits = jax.random.bits(self.make_rng("dropout"), x.shape, "uint16")
        kept = bits >= jnp.round(jnp.asarray(rate) * 2**16)
        return jnp.where(kept, x / (1 - rate), 0)
