"""What computes in a process of its own: one device, with programs and rounds."""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import ray

from mnistopt.data.dataset import Dataset
from mnistopt.engine import devices
from mnistopt.engine.devices import Device, Lanes, cores, local_devices
from mnistopt.engine.memory import host_memory, process_memory
from mnistopt.engine.replicas import Program, Result, Splits, Trained, put_splits
from mnistopt.engine.rounds import Round
from mnistopt.errors import InputError
from mnistopt.training.cohort import Cohort

# What numbers depend on, or how they are sent.
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries, and a hash of our files."""
    python = ".".join(platform.python_version_tuple()[:2])
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    ours = importlib.metadata.version("mnistopt") + _code()
    return {"Python": python, **found, "mnistopt": ours}


@functools.cache
def _code() -> str:
    root = Path(__file__).parents[2]
    files = sorted(root.rglob("*.py"))
    names = "\n".join(str(path.relative_to(root)) for path in files)
    content = names.encode() + b"".join(path.read_bytes() for path in files)
    return "+" + hashlib.sha256(content).hexdigest()[:8]


class Order(NamedTuple):
    """What a worker is to train, in one piece: Ray packs each argument by itself.

    Attributes:
        program: Number of the program.
        number: Of the round.
        sent: The round, if it is not there.
        epochs: As in `Program.train`.
        in_full: As in `Program.train`.
        forget: Rounds that nobody needs any more.
    """

    program: int
    number: int
    sent: Round | None
    epochs: range
    in_full: bool
    forget: Sequence[int]


class Worker:
    """Trains rounds on one device. Who it works for has placed it there.

    Its methods are called one after the other, but for `read`, `take` and `beat`, which
    answer while others compute.
    """

    def __init__(self, cpu: bool, cache_dir: str):
        """Finds its device.

        Args:
            cpu: Whether it is a core of a CPU: else it is the accelerator there.
            cache_dir: Folder of compiled programs.
        """
        if cpu:
            jax.config.update("jax_platforms", "cpu")
        self._device: Device = local_devices()[0]
        with contextlib.suppress(OSError):
            Path(cache_dir).mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", cache_dir)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        self._splits: dict[str, dict[Device, Splits]] = {}
        self._programs: dict[int, Program] = {}
        self._rounds: dict[int, tuple[Round, int]] = {}
        self._calls = 0

    def about(self) -> dict[str, Any]:
        """Returns what it computes with, and what it runs on."""
        device = self._device
        told = devices.describe_device(device.xla)
        # XLA's pool there has one thread, as on a machine of one core.
        told["cores"] = 1 if device.on_host else None
        return {
            "versions": versions(),
            "platform": device.platform,
            # A core's share: there may be a worker on each.
            "memory": host_memory() / cores() if device.on_host else device.memory,
            "idle_bytes": process_memory() if device.on_host else 0.0,
            "machine": told,
            "process": os.getpid(),
            "node": platform.node(),
            "node_id": ray.get_runtime_context().get_node_id(),
        }

    def beat(self) -> tuple[int, float]:
        """Returns the calls that are done, and the seconds of computing so far."""
        return self._calls, time.process_time()

    def ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Returns `call(device, *arguments)`."""
        return self._device.ask(call, *arguments).result()

    def compile(
        self,
        number: int,
        cohort: tuple[Cohort, Lanes],
        dataset: Dataset,
    ) -> dict[str, float]:
        """Compiles the program of a cohort; returns its seconds and bytes."""
        if dataset.fingerprint not in self._splits:
            self._splits = {dataset.fingerprint: put_splits(dataset, [self._device])}
        program = Program(*cohort, self._splits[dataset.fingerprint])
        self._programs[number] = program
        return {"seconds": program.compile_seconds, "bytes": program.bytes}

    def train(self, order: Order, moved: Any = None) -> Trained:
        """Trains some epochs of a round.

        Args:
            order: What to train.
            moved: The round's state, numpy leaves, if it comes from another worker.

        Returns:
            What they have given, numpy leaves.

        Raises:
            InputError: If the round is not here as it should be.
        """
        program, number, sent, epochs, in_full, forget = order
        for other in forget:
            self._rounds.pop(other, None)
        if sent is not None:
            sent.state = sent.state if moved is None else moved
            self._rounds[number] = sent, epochs.start
        one, at = self._rounds[number]
        if at != epochs.start:
            raise InputError(f"a round is at epoch {at}, and not at {epochs.start}")
        training = self._programs[program].train(one, self._device, epochs, in_full)
        results, seconds = training.result()
        self._rounds[number] = one, epochs.stop
        self._calls += 1
        return Trained(jax.device_get(results), seconds)

    def measure(self, program: int, one: Round) -> Result:
        """Measures a round on all splits; it does not stay here."""
        measured = self._programs[program].measure(one, self._device).result()
        self._calls += 1
        return jax.device_get(measured)

    def read(self, number: int) -> Any:
        """Returns the state of a round that is not computed now, numpy leaves."""
        one, _ = self._rounds[number]
        return jax.tree.map(np.asarray, jax.device_get(one.state))

    def take(self, number: int) -> Any:
        """Returns the state of a round as `read` does, which goes elsewhere."""
        state = self.read(number)
        del self._rounds[number]
        return state
