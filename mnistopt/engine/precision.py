"""How many bits accelerators multiply with: what there is, and what a study chooses.

Sums are float32 everywhere. A CPU multiplies in float32: on one with AVX-512, a step by
bfloat16 operands took 8.10 ms where it took 8.16.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax

from mnistopt.errors import InputError

# By the platforms of JAX's devices, what each offers, the default first, with JAX's
# name for it; the reasons are in docs/performance.md. None is JAX's own default.
CHOICES: dict[str, dict[str, Any]] = {
    "cpu": {"float32": None},
    "gpu": {
        "tf32": "tensorfloat32",
        "float32": "float32",
        "bfloat16": "BF16_BF16_F32",
    },
    "tpu": {"bfloat16": "bfloat16", "float32": "float32"},
}
PRECISIONS = tuple(CHOICES["gpu"])

# What was asked for, and what is taken where nothing was and the devices have it.
_chosen = contextvars.ContextVar[tuple[str | None, str | None]](
    "precision", default=(None, None)
)


@contextlib.contextmanager
def chosen(precision: str | None = None, usual: str | None = None) -> Iterator[None]:
    """Lets devices that are made meanwhile multiply so.

    Args:
        precision: Asked for: devices that lack it are refused.
        usual: Otherwise, where the devices have it; None for their own.
    """
    token = _chosen.set((precision, usual))
    try:
        yield
    finally:
        _chosen.reset(token)


def choice() -> tuple[str | None, str | None]:
    """Returns the arguments of `chosen`, for devices that are made elsewhere."""
    return _chosen.get()


def precision_on(platform: str) -> str:
    """Returns the precision of devices of a platform that are made now.

    Raises:
        InputError: If the one that was chosen is none of theirs.
    """
    choices, (asked, usual) = CHOICES.get(platform, CHOICES["gpu"]), choice()
    if asked is not None and asked not in choices:
        raise InputError(
            f"precision={asked} is not available on devices of the kind {platform}, "
            f"which have {' or '.join(choices)}; give one of them, or leave it out"
        )
    return asked or (usual if usual in choices else next(iter(choices)))


@contextlib.contextmanager
def multiplying(platform: str, precision: str) -> Iterator[None]:
    """Traces products in this thread as devices of a platform are to compute them."""
    name = CHOICES.get(platform, CHOICES["gpu"])[precision]
    if name is None:
        yield
        return
    with jax.default_matmul_precision(name):
        yield
