"""3x3 convolution, bias, ReLU and, if asked, 2x2 max pool.

`jax.vmap` over the kernels of `lax.conv` makes a grouped convolution, which XLA runs
more than ten times slower than a matrix product on a CPU, and whose backward pass is
slow on GPUs too (https://github.com/jax-ml/jax/issues/13800). On both, a convolution is
a batched matrix product here, and stays one under `vmap`; a TPU has a unit for it.
"""

import functools

import jax

from mnistopt.models import direct, forms, whole, winograd

# Of more input channels, and without a pool, a convolution is Winograd's products.
FEW_CHANNELS = 1


def conv3x3(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, pool: bool
) -> jax.Array:
    """Convolves (3x3, "same", stride 1), adds bias, applies ReLU, pools (max, 2x2).

    Args:
        x: Float32 [B, H, W, C].
        kernel: Float32 [3, 3, C, O].
        bias: Float32 [O]; None for neither bias nor ReLU.
        pool: Whether to pool.

    Returns:
        Float32 [B, H, W, O], or [B, H // 2, W // 2, O] pooled: equal to the four
        in turn, within rounding. Where a cell's maximum is reached more than once,
        the gradient goes to the first in row-major order, as in XLA.
    """
    form = forms.form()
    if form == forms.BLOCKS:
        return _in_blocks(x, kernel, bias, pool)
    return whole.conv3x3(x, kernel, bias, pool, native=form == forms.NATIVE)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _in_blocks(x, kernel, bias, pool):
    return _forward(x, kernel, bias, pool)[0]


def _is_direct(x: jax.Array, pool: bool) -> bool:
    return pool and x.shape[3] <= FEW_CHANNELS


def _forward(x, kernel, bias, pool):
    if _is_direct(x, pool):
        y, saved = direct.forward(x, kernel, bias)
    else:
        y, saved = winograd.forward(x, kernel, bias, pool)
    return y, (saved, bias)


def _backward(pool, saved, grad):
    saved, bias = saved
    if _is_direct(saved[0], pool):
        *grads, grad_bias = direct.backward(saved, grad)
    else:
        *grads, grad_bias = winograd.backward(pool, saved, grad)
    return *grads, None if bias is None else grad_bias


_in_blocks.defvjp(_forward, _backward)
