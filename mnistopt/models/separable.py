"""What convolutions were split into to make them light.

Depthwise, of each channel by itself; pointwise, of each pixel by itself, which may be
grouped, and then channels are shuffled. None is `lax.conv`: `jax.vmap` over its kernels
makes a grouped convolution, which XLA runs many times slower on a CPU (see `conv.py`).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from mnistopt.models import forms
from mnistopt.models.cells import grouped
from mnistopt.models.layers import product
from mnistopt.models.plain import convolve
from mnistopt.models.views import cut, pad, padding, patches, views

# Rows of an image whose sum is written out: with half or twice as many, training was
# slower, and with twice as many so was compiling.
ROWS = 28


class Stem(nn.Module):
    """3x3 convolution of few channels; `nn.Conv(features, (3, 3), 2, use_bias=False)`.

    Attributes:
        features: O, the number of kernels.
        stride: 1 or 2.
    """

    features: int
    stride: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float [B, H, W, C] to [B, H / stride, W / stride, O], rounded up."""
        shape = 3, 3, x.shape[-1], self.features
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        if forms.form() == forms.PLAIN:
            return convolve(x, kernel, self.stride)
        return _pixelwise(patches(x, self.stride), kernel.reshape(-1, self.features))


class Depthwise(nn.Module):
    """3x3 convolution of each channel.

    Equal to `nn.Conv(C, (3, 3), stride, feature_group_count=C, use_bias=False)`.

    Attributes:
        stride: 1 or 2.
        padding: "SAME", or "VALID" (stride 1), which leaves a pixel out at each side.
    """

    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float [B, H, W, C] to [B, H / stride, W / stride, C], rounded up."""
        shape = 3, 3, 1, x.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return depthwise(x, kernel[:, :, 0], self.stride, self.padding)


class Pointwise(nn.Module):
    """1x1 convolution.

    Equal to `nn.Conv(O, (1, 1), feature_group_count=groups, use_bias=False)`.

    Attributes:
        features: O, the number of kernels.
        groups: The number of groups of channels, each making as many outputs.
    """

    features: int
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float [B, H, W, C] to [B, H, W, O]."""
        shape = 1, 1, x.shape[-1] // self.groups, self.features
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        if forms.form() == forms.PLAIN:
            return convolve(x, kernel, groups=self.groups)
        if self.groups > 1 and not forms.in_loops(forms.form()):
            return _grouped(x, kernel[0, 0], self.groups)
        # On CPUs about twice as fast as one product by a matrix of [C, O] with zeros
        # between groups; and a batched one is slower, as XLA moves the groups to the
        # front.
        groups = (jnp.split(a, self.groups, axis=-1) for a in (x, kernel[0, 0]))
        return jnp.concatenate([_pixelwise(*group) for group in zip(*groups)], axis=-1)


def shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Deals out the channels of [..., C]: each group gets some of every group's.

    Of groups (a, b), (c, d) and (e, f) it makes (a, c), (e, b) and (d, f): Zhang et al.
    2018 (arXiv:1707.01083), section 3.1.
    """
    split = x.reshape(*x.shape[:-1], groups, -1)
    return split.swapaxes(-1, -2).reshape(x.shape)


def _pixelwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies [B, H, W, C] by [C, O]."""
    flat = product(x.reshape(-1, x.shape[-1]), kernel)
    return flat.reshape(*x.shape[:-1], -1)


def _grouped(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """Multiplies each group of [B, H, W, C] by its part of [C / groups, O], at once."""
    inputs = x.reshape(*x.shape[:-1], groups, -1)
    kernels = kernel.reshape(kernel.shape[0], groups, -1)
    return jnp.einsum("bhwgc,cgo->bhwgo", inputs, kernels).reshape(*x.shape[:-1], -1)


def _spread(size: int, stride: int, same: bool) -> tuple[int, int, int]:
    """Returns the zeros before, after and between the gradients along an axis."""
    low = padding(size, stride)[0] if same else 0
    outputs = -(-size // stride) if same else size - 2
    covered = (outputs - 1) * stride + 1
    return 2 - low, size + low - covered, stride - 1


def depthwise(
    x: jax.Array, kernel: jax.Array, stride: int, padding: str = "SAME"
) -> jax.Array:
    """Convolves each channel with its own kernel.

    Args:
        x: Float [B, H, W, C].
        kernel: Float [3, 3, C].
        stride: 1 or 2.
        padding: See `Depthwise`.

    Returns:
        Float [B, H / stride, W / stride, C], rounded up; or [B, H - 2, W - 2, C].
    """
    if forms.form() == forms.PLAIN:
        return convolve(x, kernel[:, :, None], stride, x.shape[-1], padding)
    in_blocks = forms.in_loops(forms.form())
    return _depthwise(x, kernel, stride, padding == "SAME", in_blocks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise(x, kernel, stride, same, in_blocks):
    del in_blocks
    return _sum(_views(x, stride, same), kernel)


def _views(x, stride, same):
    if same:
        return views(x, stride)
    return cut(x, [size - 2 for size in x.shape[1:3]], 1)


def _depthwise_forward(x, kernel, stride, same, in_blocks):
    return _depthwise(x, kernel, stride, same, in_blocks), (x, kernel)


def _depthwise_backward(stride, same, in_blocks, saved, grad):
    x, kernel = saved
    # That of the input is the convolution, with stride 1 and the kernel turned round,
    # of that of the output with zeros between.
    spreads = (_spread(size, stride, same) for size in x.shape[1:3])
    spread = [(0, 0, 0), *spreads, (0, 0, 0)]
    padded = jax.lax.pad(grad, jnp.zeros((), grad.dtype), spread)
    grad_x = _sum(cut(padded, x.shape[1:3], 1), kernel[::-1, ::-1])
    if in_blocks:
        return grad_x, _grad_kernel(pad(x, stride) if same else x, grad, stride)
    sums = (jnp.stack(_views(x, stride, same)) * grad).sum((1, 2, 3))
    return grad_x, sums.reshape(kernel.shape)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _sum(views: list[jax.Array], kernel: jax.Array) -> jax.Array:
    return sum(v * k for v, k in zip(views, kernel.reshape(9, -1)))  # type: ignore


def _grad_kernel(padded: jax.Array, grad: jax.Array, stride: int) -> jax.Array:
    """Returns the kernel's gradient, [3, 3, C].

    Nine sums over everything but the channels. XLA would copy each view for a reduction
    of its own, which was a third of MobileNet's training. A sum of a group's rows,
    written out, becomes one loop that reads the views where they are: three to four
    times faster.

    Args:
        padded: The input, [B, H, W, C] with its padding.
        grad: The gradient of the output.
        stride: 1 or 2.
    """
    h = grad.shape[1]
    size = max(1, ROWS // h)
    images = [grouped(a, size).reshape(-1, *a.shape[1:]) for a in (padded, grad)]
    rows = [(b, i) for b in range(size) for i in range(h)]

    def add(i, sums):
        # By their place: the slices of a scan, under `vmap`, would be copied first.
        group = [jax.lax.dynamic_slice_in_dim(a, i * size, size) for a in images]
        x, g = jax.lax.optimization_barrier(group)
        views = cut(x, g.shape[1:3], stride)
        return [s + sum(v[row] * g[row] for row in rows) for s, v in zip(sums, views)]

    zeros = [jnp.zeros(grad.shape[2:], grad.dtype)] * 9
    sums = jax.lax.fori_loop(0, len(images[0]) // size, add, zeros)
    return jnp.stack(sums).sum(1).reshape(3, 3, -1)
