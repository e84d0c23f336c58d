"""Layers in XLA's own operations, as flax says them: for whatever reads a network."""

import flax.linen as nn
import jax


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    groups: int = 1,
    padding: str = "SAME",
) -> jax.Array:
    """Convolves [B, H, W, C] by [h, w, C / groups, O]; padding as in `nn.Conv`."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def conv3x3(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, pool: bool
) -> jax.Array:
    """Does what `conv.conv3x3` says."""
    y = convolve(x, kernel)
    if bias is not None:
        y = nn.relu(y + bias)
    return nn.max_pool(y, (2, 2), (2, 2)) if pool else y
