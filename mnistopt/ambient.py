"""JAX's settings while the project computes: what surrounds it changes no number."""

import contextlib
from collections.abc import Iterator

import jax

# The generator of all keys: JAX's own default, which `JAX_DEFAULT_PRNG_IMPL` replaces.
PRNG = "threefry2x32"


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """Sets what decides draws, types and roundings; a decorator too.

    People set these for other work, by environment variable or in a notebook's first
    cell, and a study that is continued under others would be a mixture. They go back
    to what they were.
    """
    with contextlib.ExitStack() as stack:
        for setting in (
            _without_x64(),
            jax.threefry_partitionable(True),
            jax.default_prng_impl(PRNG),
            jax.default_matmul_precision(None),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            # A replica that diverges computes NaNs, and that is told in its place.
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.disable_jit(False),
        ):
            stack.enter_context(setting)
        yield


def _without_x64() -> contextlib.AbstractContextManager:
    # Before JAX 0.8 it has another name, which later versions lack.
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(False)
    return jax.experimental.disable_x64()  # type: ignore[attr-defined]
