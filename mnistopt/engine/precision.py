"""With how many bits accelerators multiply: what a study chooses, and what they can.

Sums are float32 everywhere. A CPU multiplies in float32: on one with AVX-512, a step by
bfloat16 operands took 8.10 ms where it took 8.16.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax

from mnistopt.errors import InputError

# By the platforms of JAX's devices, what each can, the default first, with JAX's words
# for it: the reasons are in docs/performance.md. None is JAX's own default.
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

_chosen = contextvars.ContextVar[str | None]("precision", default=None)


@contextlib.contextmanager
def chosen(precision: str | None) -> Iterator[None]:
    """Lets devices that are made meanwhile multiply so; None for their own default."""
    token = _chosen.set(precision)
    try:
        yield
    finally:
        _chosen.reset(token)


def asked() -> str | None:
    """Returns what was chosen, for devices that are made elsewhere."""
    return _chosen.get()


def precision_on(platform: str) -> str:
    """Returns the precision of devices of a platform that are made now.

    Raises:
        InputError: If the one that was chosen is none of theirs.
    """
    choices, precision = CHOICES.get(platform, CHOICES["gpu"]), asked()
    if precision is None:
        return next(iter(choices))
    if precision not in choices:
        raise InputError(
            f"precision={precision} is not for devices of the kind {platform}, which "
            f"have {' and '.join(choices)}; give one of them, or leave it out"
        )
    return precision


@contextlib.contextmanager
def multiplying(platform: str, precision: str) -> Iterator[None]:
    """Traces products in this thread as devices of a platform are to compute them."""
    name = CHOICES.get(platform, CHOICES["gpu"])[precision]
    if name is None:
        yield
        return
    with jax.default_matmul_precision(name):
        yield
