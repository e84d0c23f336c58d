"""3x3 convolution, bias, ReLU and, if asked, 2x2 max pool.

`jax.vmap` over the kernels of `lax.conv` makes a grouped convolution, which XLA runs
more than ten times slower than a matrix product on a CPU, and whose backward pass is
slow on GPUs too (https://github.com/jax-ml/jax/issues/13800). Here it is C++ of our own
on a CPU, a product on a GPU, and XLA's convolution on a TPU, which has a unit for it.
"""

import jax

from mnistopt.models import forms, fused, plain, whole
from mnistopt.models.cells import grouped, ungrouped

# Images worked on at a time in loops: with 1, training was as fast, with 4 or 8 slower.
GROUP = 2


def conv3x3(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, pool: bool
) -> jax.Array:
    """Convolves (3x3, "same", stride 1), adds bias, applies ReLU, pools (max, 2x2).

    Args:
        x: Float32 [B, H, W, C]; on a CPU at most 8,192 a side.
        kernel: Float32 [3, 3, C, O]; on a CPU at most 8,192 channels.
        bias: Float32 [O]; None for neither bias nor ReLU.
        pool: Whether to pool.

    Returns:
        Float32 [B, H, W, O], or [B, H // 2, W // 2, O] pooled: equal to the four
        in turn, within rounding. Where a cell's maximum is reached more than once,
        the gradient goes to the first in row-major order, as in XLA.
    """
    form = forms.form()
    if form == forms.FUSED:
        return fused.conv3x3(x, kernel, bias, pool)
    if form == forms.PLAIN:
        return plain.conv3x3(x, kernel, bias, pool)
    if form != forms.BLOCKS:
        return whole.conv3x3(x, kernel, bias, pool, native=form == forms.NATIVE)

    def one(group):
        return whole.conv3x3(group, kernel, bias, pool, native=False)

    return ungrouped(jax.lax.map(one, grouped(x, GROUP)), len(x))
