"""Convolution on CPUs by C++ of our own, `fused.cpp`, which XLA calls.

It is compiled when the project is installed (setup.py), for the oldest jaxlib that it
runs with; without it `conv.py` has another way.
"""

import ctypes
import functools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

# Each is a handler of fused.cpp.
_TARGETS = "conv_forward", "conv_kernel_gradient", "conv_input_gradient"
_PREFIX = "mnistopt_"
# The newest version of XLA's interface that was tried, 0.5, is that of jaxlib 0.12.
_TRIED = 5
# Of a layer's side or features: what its lists hold, in 32 and 16 bits.
MOST = 8192


def _load(file: Path) -> tuple[Any, str]:
    """Returns a library, its handlers known to XLA; or None, and why."""
    if not file.exists():
        return None, "it was not compiled when mnistopt was installed"
    try:
        library = ctypes.CDLL(str(file))
        handlers = [jax.ffi.pycapsule(getattr(library, name)) for name in _TARGETS]
        built = library.ffi_version()
        header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h")
        text = header.read_text(encoding="utf-8")
    except (OSError, AttributeError) as error:
        return None, f"{file.name} cannot be loaded ({error})"
    versions = [
        int(number)
        for part in ("MAJOR", "MINOR")
        for number in re.findall(rf"define XLA_FFI_API_{part} (\d+)", text)
    ]
    # XLA would not only refuse another, but be without a CPU from then on.
    if not [0, built] <= versions <= [0, _TRIED]:
        return (
            None,
            f"it is for XLA's interface 0.{built} to 0.{_TRIED}, not {versions}",
        )
    for name, handler in zip(_TARGETS, handlers):
        jax.ffi.register_ffi_target(_PREFIX + name, handler, platform="cpu")
    return library, ""


# When the module is imported, so that compiled programs find it when they are loaded.
LIBRARY, MISSING = _load(Path(__file__).with_name("_fused.so"))


def conv3x3(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, pool: bool
) -> jax.Array:
    """Does what `conv.conv3x3` says.

    Raises:
        TypeError: If an argument is not float32.
        ValueError: If shapes do not fit each other, or are too large.
    """
    shapes = [x.shape, kernel.shape, *(() if bias is None else (bias.shape,))]
    if any(a.dtype != jnp.float32 for a in (x, kernel, bias) if a is not None):
        raise TypeError("expected float32 images, kernels and bias")
    if (
        [len(shape) for shape in shapes] != [4, 4, 1][: len(shapes)]
        or kernel.shape[:3] != (3, 3, x.shape[3])
        or any(shape[-1] != kernel.shape[3] for shape in shapes[1:])
    ):
        raise ValueError(
            "expected x [B, H, W, C], kernel [3, 3, C, O] and bias [O], got "
            + ", ".join(map(str, shapes))
        )
    if max(*x.shape[1:3], *kernel.shape[2:]) > MOST:
        raise ValueError(
            f"expected at most {MOST:,} pixels a side and channels, got {shapes}"
        )
    return _conv3x3(x, kernel, bias, pool)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv3x3(x, kernel, bias, pool):
    return _called(x, kernel, bias, pool, keep=False)[0]


def _called(x, kernel, bias, pool, keep):
    """Returns the output and, if kept, where the gradient of each goes, uint8."""
    b, h, w, _ = x.shape
    shape = b, *((h // 2, w // 2) if pool else (h, w)), kernel.shape[3]
    relu = bias is not None
    return _call(
        "conv_forward",
        (_floats(shape), jax.ShapeDtypeStruct(shape if keep else (0,), jnp.uint8)),
    )(x, kernel, bias if relu else jnp.zeros(shape[-1:], x.dtype), relu=relu, pool=pool)


def _forward(x, kernel, bias, pool):
    y, chosen = _called(x, kernel, bias, pool, keep=True)
    return y, (x, kernel, bias, chosen)


def _backward(pool, saved, grad):
    x, kernel, bias, chosen = saved
    # Two calls, so that the images' gradient, for which nobody asks, is not computed.
    shapes = _floats(kernel.shape), _floats(kernel.shape[3:])
    grads = _call("conv_kernel_gradient", shapes)(x, chosen, grad, pool=pool)
    grad_x = _call("conv_input_gradient", _floats(x.shape))(
        kernel, chosen, grad, pool=pool
    )
    return grad_x, grads[0], None if bias is None else grads[1]


_conv3x3.defvjp(_forward, _backward)


def _floats(shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _call(name, results):
    return jax.ffi.ffi_call(_PREFIX + name, results, vmap_method="broadcast_all")
