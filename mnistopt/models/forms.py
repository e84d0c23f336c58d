"""How layers are laid out for a kind of device; the same numbers, but for rounding.

A CPU wants a few images at a time, so that what lies between two operations stays in a
core's cache. An accelerator launches a kernel for each operation, and one more for each
trip of a loop: it wants a batch at once. docs/performance.md has what was compared.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

# A few images at a time, in loops; convolutions by Winograd's products.
BLOCKS = "blocks"
# Whole batches; a convolution is one product of all that its kernel sees.
PATCHES = "patches"
# Whole batches; a convolution is XLA's own.
NATIVE = "native"
# By the platforms of JAX's devices; what is none of them is taken for a GPU.
OF_PLATFORM = {"cpu": BLOCKS, "gpu": PATCHES, "tpu": NATIVE}

_platform = contextvars.ContextVar[str | None]("platform", default=None)


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Lays out what is traced meanwhile, in this thread, for devices of a platform.

    What `jax.jit` has traced before, it does not trace again.
    """
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


def form_of(platform: str) -> str:
    """Returns the form of layers on devices of a platform."""
    return OF_PLATFORM.get(platform, PATCHES)


def form() -> str:
    """Returns the form of what is traced now: if nobody says, for JAX's own devices."""
    return form_of(_platform.get() or jax.default_backend())
