"""What the nine places of a 3x3 kernel see of an image, at stride 1 or 2."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def pad(x: jax.Array, stride: int) -> jax.Array:
    """Pads [B, H, W, C] as a 3x3 convolution needs it."""
    sides = (padding(size, stride) for size in x.shape[1:3])
    return jnp.pad(x, ((0, 0), *sides, (0, 0)))


def views(x: jax.Array, stride: int = 1) -> list[jax.Array]:
    """Returns what the nine places of a 3x3 kernel see of x, [B, H, W, C]."""
    sizes = [-(-size // stride) for size in x.shape[1:3]]
    return cut(pad(x, stride), sizes, stride)


def patches(x: jax.Array, stride: int = 1) -> jax.Array:
    """Returns those views side by side: [B, H / stride, W / stride, 9 * C]."""
    return jnp.concatenate(views(x, stride), axis=-1)


def cut(padded: jax.Array, sizes: Sequence[int], stride: int) -> list[jax.Array]:
    """Returns those views, [B, *sizes, C] each, in row-major order."""
    h, w = (stride * size for size in sizes)
    return [
        padded[:, i : i + h : stride, j : j + w : stride]
        for i in range(3)
        for j in range(3)
    ]


def padding(size: int, stride: int) -> tuple[int, int]:
    """Returns the zeros before and after an axis: "SAME", as XLA has it."""
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2
