"""The program of a cohort, which the workers of a cluster train with."""

import collections
import itertools
import sys
import sysconfig
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import jax
import numpy as np
import ray

from mnistopt.engine.cluster.device import RemoteDevice, lost
from mnistopt.engine.devices import Lanes
from mnistopt.engine.pool import MOST_LOSSES, TURN, Lost
from mnistopt.engine.replicas import Result, Trained, state_bytes
from mnistopt.engine.rounds import Round
from mnistopt.models.networks import Known
from mnistopt.training.cohort import Cohort, TrainState

# Seconds of a call: beginning one takes the driver half a millisecond, and some more
# until it begins, so that 512 devices keep half of one core busy.
SPAN = 0.5
# Bytes of states that are on their way to the driver at a time: an object store may be
# as small as 80 MB, and what is larger goes there by way of a disk.
WINDOW = 64e6
_NUMBERS = itertools.count()


class _Owner(Protocol):
    """What a program knows of its pool."""

    traffic: collections.Counter[str]

    @property
    def devices(self) -> Sequence[RemoteDevice]: ...

    def called(self, seconds: float) -> None: ...


def _own_modules() -> list[ModuleType]:
    """Returns the user's own modules that are imported, which workers do not have.

    Those of files that are neither installed nor this project's; a notebook's cells
    travel anyway.
    """
    paths = sysconfig.get_paths()
    installed = {Path(paths[name]) for name in ("purelib", "platlib", "stdlib")}
    homes = {Path(__file__).parents[2], *installed}
    return [
        module
        for name, module in list(sys.modules.items())
        if name != "__main__"
        and isinstance(file := getattr(module, "__file__", None), str)
        and not any(Path(file).is_relative_to(home) for home in homes)
        and not {"site-packages", "dist-packages"} & set(Path(file).parts)
    ]


class RemoteProgram:
    """The program of a cohort, compiled by each worker that trains with it.

    Attributes:
        cohort: The static part of its replicas.
        lanes: The shape of a round.
        span: Seconds that a call should take at least.
        compile_seconds: Of the worker that took longest.
        bytes: That a call needs on its device, beside the examples.
    """

    span = SPAN

    def __init__(
        self, pool: _Owner, cohort: Cohort, lanes: Lanes, dataset: Any, most: int
    ):
        """Compiles on all of the devices.

        Args:
            pool: Has them.
            cohort: The static part of its replicas.
            lanes: The shape of a round.
            dataset: Where Ray has it.
            most: How many of the devices to use.
        """
        self.cohort: Cohort = cohort
        self.lanes: Lanes = lanes
        self._pool, self._most, self._dataset = pool, most, dataset
        self._number = next(_NUMBERS)
        self._round_bytes = int(np.prod(lanes)) * state_bytes(cohort)
        for module in _own_modules() if isinstance(cohort.model, Known) else ():
            ray.cloudpickle.register_pickle_by_value(module)
        self._about = ray.put((cohort, lanes))
        # References to the states of rounds that have trained, where they are now.
        self._states: weakref.WeakKeyDictionary[Round, Any] = (
            weakref.WeakKeyDictionary()
        )
        self._compiled: weakref.WeakKeyDictionary[RemoteDevice, Future] = (
            weakref.WeakKeyDictionary()
        )
        found: list[dict[str, float]] = []
        losses = 0
        while not found:
            devices = self.devices
            if not devices:
                time.sleep(TURN)
                continue
            # One on each node: the others find its program in the compile cache.
            first = {device.node: device for device in reversed(devices)}.values()
            for some in (first, devices):
                compiling = [self._compile(device) for device in some]
                found += [told for told in map(_told, compiling) if told]
            losses += not found
            if losses > MOST_LOSSES:
                raise Lost(
                    f"workers have died {losses} times in a row while they compiled "
                    f"{cohort.model}: Ray's logs may say why"
                )
        self.compile_seconds = max(told["seconds"] for told in found)
        self.bytes = int(max(told["bytes"] for told in found))

    @property
    def devices(self) -> Sequence[RemoteDevice]:
        """Those that compute now."""
        return self._pool.devices[: self._most]

    def train(
        self, one: Round, device: RemoteDevice, epochs: range, in_full: bool
    ) -> Future[Trained]:
        """Starts some epochs of a round, as `Trainer.train` has it."""
        self._compile(device)
        if one.device is None:
            state = one.state
            self._pool.traffic["rounds"] += _bytes((state, one.hparams))
        else:
            state = self._states[one]
            if one.device.node != device.node:
                self._pool.traffic["moved"] += self._round_bytes
        train = device.actor.train.options(num_returns=2)
        trained, self._states[one] = train.remote(
            self._number, one, state, epochs, in_full
        )
        one.device = device
        return device.answer(trained, self._count)

    def measure(self, one: Round, device: RemoteDevice) -> Future[Result]:
        """Starts measuring a round that has trained, on all splits."""
        self._compile(device)
        self._pool.traffic["rounds"] += _bytes((one.state, one.hparams))
        measured = device.actor.measure.remote(self._number, one, one.state)
        return device.answer(measured)

    def read(self, rounds: Sequence[Round]) -> dict[Round, dict[str, TrainState]]:
        """Brings states to the host, a few at a time; leaves out those that are lost.

        They stay there, so that rounds which are lost later can go on from them.
        """
        found = {one: one.read(one.state) for one in rounds if one.device is None}
        away = [one for one in rounds if one.device is not None]
        size = max(1, int(WINDOW / self._round_bytes))
        for some in (away[i : i + size] for i in range(0, len(away), size)):
            # Brings them here side by side.
            ray.wait([self._states[one] for one in some], num_returns=len(some))
            for one in some:
                try:
                    state = ray.get(self._states[one])
                except ray.exceptions.RayError as error:
                    if not lost(error):
                        raise
                    continue
                # Copied, as Ray's own would fill its store.
                one.state = jax.tree.map(np.array, state)
                found[one] = one.read(one.state)
                self._pool.traffic["states"] += self._round_bytes
        return found

    def _compile(self, device: RemoteDevice) -> Future:
        if device not in self._compiled:
            self._compiled[device] = device.answer(
                device.actor.compile.remote(self._number, self._about, self._dataset)
            )
        return self._compiled[device]

    def _count(self, trained: Trained) -> Trained:
        self._pool.traffic["results"] += _bytes(trained.results)
        self._pool.called(trained.seconds)
        return trained


def _told(answer: Future) -> Any:
    """Waits for an answer; returns None if it is lost."""
    try:
        return answer.result()
    except Lost:
        return None


def _bytes(tree: Any) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))
