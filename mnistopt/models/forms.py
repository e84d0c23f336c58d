"""How layers are laid out for a kind of device; the same numbers, but for rounding.

A CPU wants a few images at a time, so that what lies between two operations stays in a
core's cache. An accelerator launches a kernel for each operation, and one more for each
trip of a loop: it wants a batch at once. docs/performance.md has what was compared.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

from mnistopt.models import fused

# A few images at a time, in loops; convolutions by C++ of our own.
FUSED = "fused"
# A few images at a time, in loops; convolutions, too, where that was not compiled.
BLOCKS = "blocks"
# Whole batches; a convolution is one product of all that its kernel sees.
PATCHES = "patches"
# Whole batches; a convolution is XLA's own.
NATIVE = "native"
# Whole batches in plain operations, pools too: to be read, not to be trained by.
PLAIN = "plain"
# By the platforms of JAX's devices; what is none of them is taken for a GPU.
OF_PLATFORM = {"cpu": FUSED if fused.LIBRARY else BLOCKS, "gpu": PATCHES, "tpu": NATIVE}

_form = contextvars.ContextVar[str | None]("form", default=None)


@contextlib.contextmanager
def laid_out(form: str) -> Iterator[None]:
    """Lays out what is traced meanwhile, in this thread, in a form.

    What `jax.jit` has traced before, it does not trace again.
    """
    token = _form.set(form)
    try:
        yield
    finally:
        _form.reset(token)


def form_of(platform: str) -> str:
    """Returns the form of layers on devices of a platform."""
    return OF_PLATFORM.get(platform, PATCHES)


def form() -> str:
    """Returns the form of what is traced now: if nobody says, for JAX's own devices."""
    return _form.get() or form_of(jax.default_backend())


def in_loops(form: str) -> bool:
    """Returns whether layers of a form work on a few images at a time."""
    return form in (FUSED, BLOCKS)
