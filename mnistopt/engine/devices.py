"""Which devices compute, and how many replicas each does side by side."""

import contextlib
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from mnistopt.errors import InputError

# Replicas side by side on an accelerator, where one alone leaves it idle.
ACCELERATOR_LANES = 256


class Lanes(NamedTuple):
    """How many replicas one device computes side by side: seeds x points.

    Attributes:
        seeds: Rows at once.
        points: Points per row, which share the seed's batches.
    """

    seeds: int
    points: int


def use_devices(
    count: int | None = None, cache_dir: Path | None = None
) -> list[jax.Device]:
    """Returns local devices, and turns on the persistent compile cache.

    On a CPU, where replicas are too small to share cores well, each core becomes an
    XLA device. That can only be set before JAX first looks for devices.

    Args:
        count: How many devices; None for all (on a CPU: one per core).
        cache_dir: Folder of compiled programs, kept from run to run.

    Raises:
        InputError: If there are fewer devices than asked for.
    """
    if cache_dir is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # If JAX has its devices already, those are used.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", min(count or _cores(), _cores()))
    devices = local_devices()
    if count is not None and count > len(devices):
        raise InputError(
            f"devices={count}, but there are {len(devices)} "
            f"({devices[0].platform}); give a smaller number, or auto"
        )
    return devices[:count]


def local_devices() -> list[jax.Device]:
    """Returns the devices that JAX has, on a CPU no more than cores."""
    devices = jax.local_devices()
    # XLA_FLAGS may make more, and they would only share the cores.
    return devices[: _cores()] if devices[0].platform == "cpu" else devices


def multiply_rate(devices: Sequence[jax.Device]) -> float:
    """Measures the multiplications per second of float32 matrix products.

    All devices at once, on products of 1024 x 1024 matrices, in a fifth of a second or
    so: what the machine could do at best, to guess how long a study takes.
    """
    size, repeats = 1024, 10
    matrices = [
        jax.device_put(np.ones((size, size), np.float32), device) for device in devices
    ]
    jax.block_until_ready([matrix @ matrix for matrix in matrices])
    start = time.perf_counter()
    for _ in range(repeats):
        products = [matrix @ matrix for matrix in matrices]
    jax.block_until_ready(products)
    return repeats * len(devices) * size**3 / (time.perf_counter() - start)


def _cores() -> int:
    """The cores this process may use, where the system tells; else all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_memory(needed: int, lanes: Lanes, devices: Sequence[jax.Device]) -> None:
    """Checks that calls on all devices fit into their memory, where the system tells.

    Args:
        needed: Bytes that a call needs on its device.
        lanes: What it computes, for the error.
        devices: All of them compute; those of a CPU share its memory.

    Raises:
        InputError: If they do not.
    """
    if devices[0].platform == "cpu":
        needed *= len(devices)
        names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
        there = math.prod(map(os.sysconf, names)) if hasattr(os, "sysconf") else 0
    else:
        there = (devices[0].memory_stats() or {}).get("bytes_limit", 0)
    if there and needed > there:
        raise InputError(
            f"lanes={lanes.seeds}x{lanes.points} need {needed / 1e9:.1f} GB of memory, "
            f"and there are {there / 1e9:.1f} GB; give fewer --lanes"
        )


def choose_lanes(devices: Sequence[jax.Device], points: int, seeds: int) -> Lanes:
    """Returns the lanes for a grid of `points` x `seeds`.

    One at a time on each core of a CPU, where a replica's working set fills the
    cache; all side by side on an accelerator, up to `ACCELERATOR_LANES`.
    """
    if devices[0].platform == "cpu":
        return Lanes(1, 1)
    in_row = min(points, ACCELERATOR_LANES)
    rows = -(-seeds // len(devices))
    return Lanes(max(1, min(rows, ACCELERATOR_LANES // in_row)), in_row)
