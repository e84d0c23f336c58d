"""Which devices compute, and how many replicas each does side by side."""

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mnistopt.errors import InputError

# Replicas side by side on an accelerator, where one alone leaves it idle.
ACCELERATOR_LANES = 256


class Lanes(NamedTuple):
    """How many replicas one device computes side by side: seeds x points.

    Attributes:
        seeds: Rows per device.
        points: Points per row, which share the seed's batches.
    """

    seeds: int
    points: int


def use_devices(count: int | None = None, cache_dir: Path | None = None) -> Mesh:
    """Returns a mesh of local devices, and turns on the persistent compile cache.

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
        jax.config.update("jax_num_cpu_devices", count or _cores())
    devices = jax.local_devices()
    if count is not None and count > len(devices):
        raise InputError(
            f"devices={count}, but there are {len(devices)} "
            f"({devices[0].platform}); give a smaller number, or auto"
        )
    return Mesh(np.array(devices[:count]), ("replica",))


def multiply_rate(mesh: Mesh) -> float:
    """Measures the multiplications per second of float32 matrix products.

    All devices at once, on products of 1024 x 1024 matrices, in a fifth of a second or
    so: what the machine could do at best, to guess how long a study takes.
    """
    size, repeats = 1024, 10
    matrices = [
        jax.device_put(np.ones((size, size), np.float32), device)
        for device in mesh.devices.flat
    ]
    jax.block_until_ready([matrix @ matrix for matrix in matrices])
    start = time.perf_counter()
    for _ in range(repeats):
        products = [matrix @ matrix for matrix in matrices]
    jax.block_until_ready(products)
    return repeats * mesh.size * size**3 / (time.perf_counter() - start)


def _cores() -> int:
    """The cores this process may use, where the system tells; else all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_lanes(mesh: Mesh, points: int, seeds: int) -> Lanes:
    """Returns the lanes for a grid of `points` x `seeds`.

    One at a time on each core of a CPU, where a replica's working set fills the
    cache; all side by side on an accelerator, up to `ACCELERATOR_LANES`.
    """
    if mesh.devices.flat[0].platform == "cpu":
        return Lanes(1, 1)
    in_row = min(points, ACCELERATOR_LANES)
    rows = -(-seeds // mesh.size)
    return Lanes(max(1, min(rows, ACCELERATOR_LANES // in_row)), in_row)
