"""Which devices compute."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

# Public names can only be asked by changing a setting, which all threads would see.
from jax._src.xla_bridge import backends_are_initialized

from mnistopt.ambient import fixed, xla_settings, xla_threads
from mnistopt.engine.precision import multiplying, precision_on
from mnistopt.errors import InputError, starving
from mnistopt.models.forms import form_of

# What XLA computes with at a time, the widest first.
_VECTORS = ("avx512f", "avx2", "avx")


def processor() -> str:
    """Returns the processor's name, model and widest vectors, as far as they are known.

    Virtual machines call processors of several generations, whose last bits differ,
    by one name: "AMD EPYC".
    """
    # Linux has it nowhere else.
    with contextlib.suppress(OSError, KeyError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        first = text.partition("\n\n")[0].splitlines()
        known = {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in first)
        }
        flags = known.get("flags", "").split()
        parts = [known["model name"]]
        parts += [f"{name} {known[name]}" for name in ("cpu family", "model")]
        return ", ".join([*parts, *(name for name in _VECTORS if name in flags)][:4])
    return platform.processor() or platform.machine()


def cores() -> int:
    """Returns the cores this process may use where the system says, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_device(xla: jax.Device, precision: str) -> dict[str, Any]:
    """Returns all that must be the same for numbers to be the same to the bit.

    XLA's program for a CPU depends on its instructions and on the number of cores, not
    on how many of them compute; and each program rounds as its shapes have it, so the
    lanes belong to it. So do how layers are laid out, `form`; settings of XLA, `xla`,
    where the environment has any; and on an accelerator how products are rounded, and
    the version of what drives it.
    """
    cpu, settings = xla.platform == "cpu", xla_settings()
    driver = {"precision": precision, "runtime": xla.client.platform_version}
    return {
        "platform": xla.platform,
        "device": processor() if cpu else xla.device_kind,
        # Those that XLA's pool of threads is made for.
        "cores": xla_threads() or cores() if cpu else None,
        "jax": importlib.metadata.version("jax"),
        "jaxlib": importlib.metadata.version("jaxlib"),
        "form": form_of(xla.platform),
        **({} if cpu else driver),
        **({"xla": settings} if settings else {}),
    }


def name_of(description: Mapping[str, Any]) -> str:
    """Returns a short name that only equal descriptions share."""
    content = json.dumps(description, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


# By platform, what all programs are compiled with; those of a GPU where there is none.
_COMPILER_OPTIONS: dict[str, dict[str, Any]] = {
    # A core computes its replica by itself. XLA's pool of threads would share out each
    # product among all cores, which train replicas of their own: a tenth slower for the
    # MLP, 4 % for the CNN.
    "cpu": {"xla_cpu_multi_thread_eigen": False},
    # By default XLA times several programs for each product and takes the fastest: in
    # another process it may be another, with other bits. Without that, NVIDIA's library
    # chooses by shapes; XLA's own products would have tiles that nothing has chosen,
    # for some shapes none (XLA of JAX 0.10.2).
    "gpu": {
        "xla_gpu_deterministic_ops": True,
        "xla_gpu_autotune_level": 0,
        "xla_gpu_enable_triton_gemm": False,
    },
    "tpu": {},
}


def compiler_options(platform: str) -> dict[str, Any]:
    """Returns XLA's options for programs on devices of a platform."""
    return _COMPILER_OPTIONS.get(platform, _COMPILER_OPTIONS["gpu"])


class Lanes(NamedTuple):
    """How many replicas one device computes side by side: seeds x points.

    Attributes:
        seeds: Rows at once.
        points: Points per row, which share the seed's batches.
    """

    seeds: int
    points: int

    def halved(self) -> "Lanes":
        """Returns half of them, rounded up: of the points, or else of the seeds."""
        if self.points > 1:
            return self._replace(points=-(-self.points // 2))
        return self._replace(seeds=-(-self.seeds // 2))


class Device(Protocol):
    """What computes one call at a time: here, or the worker of another machine.

    Attributes:
        platform: The kind of it: "cpu", "gpu" or "tpu".
        memory: Bytes that there are for it; inf if unknown.
        idle_bytes: The part of it that is in use before it computes.
        on_host: Whether it computes in the memory of this process, as others here do.
        host_copies: How many copies the host has of a state that is trained there.
    """

    platform: str
    memory: float
    idle_bytes: float
    on_host: bool
    host_copies: int

    def describe(self, lanes: Lanes) -> dict[str, Any]:
        """Returns all that decides the bits of what it computes in these lanes."""
        ...

    def ask(self, call: Callable[..., Any], *arguments: Any) -> Future:
        """Begins `call(device, *arguments)` where the device is; returns its future.

        It comes after the calls that were begun before.
        """
        ...


class LocalDevice(Device):
    """A core of a CPU, or an accelerator.

    Attributes:
        xla: XLA's device: an accelerator, or all cores of a CPU with their memory.
        number: The number of the core or accelerator.
        precision: The precision of its products.
    """

    idle_bytes = 0.0

    def __init__(self, xla: jax.Device, number: int):
        """Computes nothing; `number` as in the attributes."""
        self.xla, self.number, self.platform = xla, number, xla.platform
        self.precision = precision_on(self.platform)
        self.on_host = self.platform == "cpu"
        self.host_copies = int(self.on_host)
        statistics = {} if self.on_host else xla.memory_stats() or {}
        self.memory = float(statistics.get("bytes_limit", math.inf))
        self._thread = ThreadPoolExecutor(1)

    def __str__(self) -> str:
        """Its kind and number, as in "cpu 0"."""
        return f"{self.platform} {self.number}"

    def describe(self, lanes: Lanes) -> dict[str, Any]:
        """Returns all that decides the bits of what it computes in these lanes."""
        return {**self._machine, "lanes": list(lanes)}

    @functools.cached_property
    def _machine(self) -> dict[str, Any]:
        # Once: it reads what the system says of itself.
        return describe_device(self.xla, self.precision)

    def start(self, call: Callable[..., Any], *arguments: Any) -> Future:
        """Begins a call, after those that were begun before; returns its future.

        It computes under the settings of `ambient.HELD`, whatever the caller's are, and
        in the device's precision.
        """
        with starving():
            return self._thread.submit(self._compute, call, *arguments)

    def _compute(self, call: Callable[..., Any], *arguments: Any) -> Any:
        with fixed(), multiplying(self.platform, self.precision):
            return call(*arguments)

    def ask(self, call: Callable[..., Any], *arguments: Any) -> Future:
        """Begins `call(device, *arguments)`, as a `Device` does."""
        return self.start(call, self, *arguments)


@fixed()
def put(arrays: Any, devices: Sequence[LocalDevice]) -> dict[LocalDevice, Any]:
    """Copies arrays to where devices compute: once for those that share memory."""
    copies = {xla: jax.device_put(arrays, xla) for xla in {d.xla for d in devices}}
    return {device: copies[device.xla] for device in devices}


def use_devices(
    count: int | None = None, cache_dir: Path | None = None
) -> list[LocalDevice]:
    """Returns local devices, and turns on the persistent compile cache.

    Args:
        count: How many devices; None for all (on a CPU: one per core).
        cache_dir: Folder of compiled programs, kept from run to run.

    Raises:
        InputError: If there are fewer devices than asked for.
    """
    if cache_dir is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    devices = local_devices()
    usable = f"{len(devices)} ({devices[0].platform})"
    late = ""
    if devices[0].platform == "cpu" and len(devices) < cores():
        late = (
            f"JAX was in use before, with {usable} of {cores()} cores. To compute with "
            "all, restart, and run mnistopt before anything else uses JAX, or begin "
            f"with jax.config.update('jax_num_cpu_devices', {cores()})"
        )
    if count is not None and count > len(devices):
        raise InputError(
            f"devices={count}, but there are {usable}; give a smaller number, or auto"
            + (f". {late}" if late else "")
        )
    if late and count is None:
        warnings.warn(late, stacklevel=2)
    return devices[:count]


def local_devices() -> list[LocalDevice]:
    """Returns the accelerators that there are, or else the cores of the CPU.

    Replicas are too small to share cores well, so each core computes its own, in a
    thread. They share XLA's one device, and with it compiled programs and data.

    Raises:
        InputError: If there are none, or JAX cannot be used in this process.
    """
    if _Fork.broken:
        raise InputError(
            "this process was forked from one that used JAX, and lacks its threads: "
            "JAX would wait for them forever. Start processes with "
            "multiprocessing.get_context('spawn'), or fork before JAX is used"
        )
    cores_compute = _let_threads_compute()
    xlas = _xla_devices()
    if xlas[0].platform == "cpu":
        # If JAX had its devices before us, those are used; beyond the cores, XLA_FLAGS
        # may make more of them, which would only share these.
        xlas = xlas[:1] * cores() if cores_compute else xlas[: cores()]
    return [LocalDevice(xla, number) for number, xla in enumerate(xlas)]


def _xla_devices() -> list[jax.Device]:
    """Returns XLA's devices.

    Raises:
        InputError: If there is none of the kinds that JAX was asked to use.
    """
    try:
        return jax.local_devices()
    # By kind and version: an assertion without words is one of them.
    except (RuntimeError, AssertionError, ValueError) as error:
        asked = getattr(jax.config, "jax_platforms", "")
        reason = (
            re.split(r"\n| \(set JAX_", str(error))[0].rstrip(".")
            or "none of that kind"
        )
        raise InputError(
            f"JAX finds no device (JAX_PLATFORMS={asked or ''}): {reason}. Unset "
            "JAX_PLATFORMS to use any device, or set it to cpu"
        ) from error


class _Fork:
    """Whether JAX was in use when this process was forked from another."""

    in_use = broken = False

    @classmethod
    def before(cls) -> None:
        """Looks before the fork, as what it looks at has a lock."""
        cls.in_use = backends_are_initialized()

    @classmethod
    def in_child(cls) -> None:
        """Notes it in the new process."""
        cls.broken |= cls.in_use

    @classmethod
    def look_back(cls) -> None:
        """Notes a fork from before this was imported: XLA's threads are not there."""
        with contextlib.suppress(OSError):
            threads = len(os.listdir("/proc/self/task"))
            alone = threads <= threading.active_count()
            cls.broken = alone and backends_are_initialized()


_Fork.look_back()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_Fork.before, after_in_child=_Fork.in_child)


@functools.cache
def _let_threads_compute() -> bool:
    """Lets a CPU compute in the thread that asks it to; False if it is too late.

    By default XLA takes one call after the other. This can only be set before JAX
    first looks for devices.
    """
    if backends_are_initialized():
        return False
    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return True


# By the names of devices: what was measured in this process.
_RATES: dict[tuple[str, ...], float] = {}


def multiply_rate(devices: Sequence[Device]) -> float:
    """Measures the multiplications per second of matrix products, once.

    All devices at once, on products of 1024 x 1024 matrices, in a fifth of a second or
    so: what the machine could do at best, to guess how long a study takes.
    """
    size, repeats = 1024, 10
    names = *map(str, devices), name_of(devices[0].describe(Lanes(1, 1)))
    if names in _RATES:
        return _RATES[names]

    def seconds(times):
        calls = [device.ask(_multiply, size, times) for device in devices]
        return max(call.result() for call in calls)

    seconds(1)
    rate = repeats * len(devices) * size**3 / seconds(repeats)
    return _RATES.setdefault(names, rate)


def _multiply(device: LocalDevice, size: int, times: int) -> float:
    """Returns the seconds of so many products of matrices of that size."""
    matrix = jax.device_put(np.ones((size, size), np.float32), device.xla)
    matrix.block_until_ready()
    start = time.perf_counter()
    for _ in range(times):
        product = matrix @ matrix
    product.block_until_ready()
    return time.perf_counter() - start
