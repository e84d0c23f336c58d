"""The machine, and the most that its arithmetic and its memory can do."""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# The widest first: what decides how many numbers an instruction multiplies.
INSTRUCTION_SETS = ("amx_tile", "avx512f", "avx2", "avx", "asimd")
REPEATS = 7


def describe(devices: Sequence[Any]) -> dict[str, Any]:
    """Returns processor, versions and devices; the widest instructions, if told."""
    from mnistopt.engine.devices import cores
    from mnistopt.results.config import describe_machine

    flags: set[str] = set()
    if Path("/proc/cpuinfo").exists():
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    return {
        **describe_machine(),
        "cores": cores(),
        "instructions": next((s for s in INSTRUCTION_SETS if s in flags), ""),
        "devices": list(map(str, devices)),
    }


def measure_ceilings(devices: Sequence[Any]) -> dict[str, float]:
    """Measures what all devices together reach, each the median of some repeats.

    Returns:
        `flops`, of float32 products of 1024 x 1024 matrices; `memory_bytes` per second,
        read and written, of an array too large for any cache; and `cache_bytes`, of one
        that fits into a core's own.
    """
    import jax
    import jax.numpy as jnp

    from mnistopt.engine.replicas import COMPILER_OPTIONS

    def put(shape: tuple[int, ...]) -> list[Any]:
        return [jax.device_put(np.ones(shape, np.float32), one.xla) for one in devices]

    def again(_: Any, x: Any) -> Any:
        # Turned round: else XLA would keep the array in registers from pass to pass.
        return jnp.flip(x) * 0.5

    size, large, small, rounds = 1024, 1 << 26, 1 << 15, 4096
    # Each core by itself, as replicas are trained.
    jit = functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    product = jit(lambda x: jax.lax.fori_loop(0, 4, lambda _, y: (y @ x) / size, x))
    stream = jit(lambda x: x + 1, donate_argnums=0)
    cached = jit(lambda x: jax.lax.fori_loop(0, rounds, again, x))
    seconds = {
        "flops": _median_seconds(product, devices, put((size, size))),
        "memory_bytes": _median_seconds(stream, devices, put((large,))),
        "cache_bytes": _median_seconds(cached, devices, put((small,))),
    }
    work = {
        "flops": 4 * 2 * size**3,
        "memory_bytes": 8 * large,
        "cache_bytes": 8 * small * rounds,
    }
    return {name: len(devices) * work[name] / seconds[name] for name in work}


def _median_seconds(call: Callable, devices: Sequence[Any], arrays: list[Any]) -> float:
    """Calls on all devices at once, again and again on what the last call gave."""
    import jax

    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        calls = [device.start(call, one) for device, one in zip(devices, arrays)]
        arrays = jax.block_until_ready([one.result() for one in calls])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
