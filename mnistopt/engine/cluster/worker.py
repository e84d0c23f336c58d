"""A worker process: one device, with programs and the data."""

import contextlib
import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ray

from mnistopt.ambient import fixed
from mnistopt.data.dataset import Dataset
from mnistopt.engine.devices import (
    Lanes,
    LocalDevice,
    cores,
    describe_device,
    local_devices,
)
from mnistopt.engine.memory import host_memory, process_memory
from mnistopt.engine.precision import chosen
from mnistopt.engine.replicas import Program, Result, Splits, Trained, put_splits
from mnistopt.engine.rounds import Round
from mnistopt.training.cohort import Cohort

# What numbers depend on, or how they are sent.
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries, and a hash of our files."""
    python = ".".join(platform.python_version_tuple()[:2])
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    ours = importlib.metadata.version("mnistopt") + _code()
    return {"Python": python, **installed, "mnistopt": ours}


@functools.cache
def _code() -> str:
    root = Path(__file__).parents[2]
    files = sorted(root.rglob("*.py"))
    names = "\n".join(str(path.relative_to(root)) for path in files)
    content = names.encode() + b"".join(path.read_bytes() for path in files)
    return "+" + hashlib.sha256(content).hexdigest()[:8]


class Worker:
    """Trains rounds on one device, one call after the other.

    It keeps no round: a call takes a state and returns the next, both in Ray's store.
    """

    def __init__(
        self, cpu: bool, cache_dir: str, precision: tuple[str | None, str | None]
    ):
        """Finds its device.

        Args:
            cpu: Whether it is a core of a CPU: else it is the accelerator there.
            cache_dir: Folder of compiled programs.
            precision: The precision of its products, as arguments of `chosen`.
        """
        if cpu:
            jax.config.update("jax_platforms", "cpu")
        with chosen(*precision):
            self._device: LocalDevice = local_devices()[0]
        with contextlib.suppress(OSError):
            Path(cache_dir).mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", cache_dir)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        self._splits: dict[str, dict[LocalDevice, Splits]] = {}
        self._programs: dict[int, Program] = {}

    def about(self) -> dict[str, Any]:
        """Returns what it computes with, and what it runs on."""
        device = self._device
        return {
            "versions": versions(),
            "platform": device.platform,
            # A core's share: there may be a worker on each.
            "memory": host_memory() / cores() if device.on_host else device.memory,
            "idle_bytes": process_memory() if device.on_host else 0.0,
            "machine": describe_device(device.xla, device.precision),
            "where": platform.node(),
            "node": ray.get_runtime_context().get_node_id(),
        }

    def ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Returns `call(device, *arguments)`."""
        return self._device.ask(call, *arguments).result()

    @fixed()
    def compile(
        self, number: int, cohort: tuple[Cohort, Lanes], dataset: Dataset
    ) -> dict[str, float]:
        """Compiles the program of a cohort; returns its seconds and bytes."""
        if dataset.identity not in self._splits:
            self._splits = {dataset.identity: put_splits(dataset, [self._device])}
        program = Program(*cohort, self._splits[dataset.identity])
        self._programs[number] = program
        return {"seconds": program.compile_seconds, "bytes": program.bytes}

    @fixed()
    def train(
        self, program: int, round_: Round, state: Any, epochs: range, in_full: bool
    ) -> tuple[Trained, Any]:
        """Trains some epochs of a round, as `Program.train` does.

        Args:
            program: The program's number.
            round_: The round, which is sent without its state.
            state: Numpy leaves, or None at the start.
            epochs: See `Program.train`.
            in_full: See `Program.train`.

        Returns:
            What they have given, and the state after them; numpy leaves.
        """
        round_.state = state
        training = self._programs[program].train(round_, self._device, epochs, in_full)
        results, seconds = training.result()
        return Trained(jax.device_get(results), seconds), jax.device_get(round_.state)

    @fixed()
    def measure(self, program: int, round_: Round, state: Any) -> Result:
        """Measures a round on all splits."""
        round_.state = state
        measured = self._programs[program].measure(round_, self._device).result()
        return jax.device_get(measured)
