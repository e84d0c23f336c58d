"""The program of a cohort, which the workers of a cluster train with."""

import collections
import itertools
import math
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

from mnistopt.engine.cluster.device import GONE, RemoteDevice
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
# Bytes of an epoch's result of one replica: 12 counts and 5 losses.
RESULT = (12 + 5) * 4
_NUMBERS = itertools.count()


class _Owner(Protocol):
    """What a program knows of its pool."""

    traffic: collections.Counter[str]

    @property
    def devices(self) -> Sequence[RemoteDevice]: ...


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
        compile_seconds: The compile time of the slowest worker.
        bytes: Bytes that a call needs on its device, without the examples.
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
        self._replicas = math.prod(lanes)
        self._round_bytes = self._replicas * state_bytes(cohort)
        for module in _own_modules() if isinstance(cohort.model, Known) else ():
            ray.cloudpickle.register_pickle_by_value(module)
        self._about = ray.put((cohort, lanes))
        # References to the states of rounds that have trained, where they are now.
        self._states: weakref.WeakKeyDictionary[Round, Any] = (
            weakref.WeakKeyDictionary()
        )
        self._compiled: dict[RemoteDevice, Future] = {}
        answers: list[dict[str, float]] = []
        losses = 0
        while not answers:
            while not (devices := self.devices):
                time.sleep(TURN)
            # One on each node: the others find its program in the compile cache.
            first = {device.node: device for device in reversed(devices)}.values()
            for some in (first, devices):
                compiling = [self._compile(device) for device in some]
                answers += [answer for answer in map(_answer, compiling) if answer]
            losses += not answers
            if losses > MOST_LOSSES:
                raise Lost(
                    f"workers have died {losses} times in a row while they compiled "
                    f"{cohort.model}: Ray's logs may say why"
                )
        self.compile_seconds = max(answer["seconds"] for answer in answers)
        self.bytes = int(max(answer["bytes"] for answer in answers))

    @property
    def devices(self) -> Sequence[RemoteDevice]:
        """Those that compute now."""
        return self._pool.devices[: self._most]

    def train(
        self, round_: Round, device: RemoteDevice, epochs: range, in_full: bool
    ) -> Future[Trained]:
        """Starts some epochs of a round, as `Trainer.train` has it."""
        self._compile(device)
        if round_.device is None:
            state = round_.state
            self._pool.traffic["rounds"] += _bytes((state, round_.hparams))
        else:
            state = self._states[round_]
            if round_.device.node != device.node:
                self._pool.traffic["moved"] += self._round_bytes
        train = device.actor.train.options(num_returns=2)
        trained, self._states[round_] = train.remote(
            self._number, round_, state, epochs, in_full
        )
        round_.device = device
        self._pool.traffic["results"] += len(epochs) * self._replicas * RESULT
        return device.answer(trained)

    def measure(self, round_: Round, device: RemoteDevice) -> Future[Result]:
        """Starts measuring a round that has trained, on all splits."""
        self._compile(device)
        self._pool.traffic["rounds"] += _bytes((round_.state, round_.hparams))
        measured = device.actor.measure.remote(self._number, round_, round_.state)
        return device.answer(measured)

    def read(self, rounds: Sequence[Round]) -> dict[Round, dict[str, TrainState]]:
        """Brings states to the host, a few at a time; leaves out those that are lost.

        They stay there, so that rounds that are lost later can resume from them.
        """
        here = [round_ for round_ in rounds if round_.device is None]
        states = {round_: round_.read(round_.state) for round_ in here}
        away = [round_ for round_ in rounds if round_ not in states]
        size = max(1, int(WINDOW / self._round_bytes))
        for some in (away[i : i + size] for i in range(0, len(away), size)):
            # Brings them here side by side.
            ray.wait([self._states[round_] for round_ in some], num_returns=len(some))
            for round_ in some:
                try:
                    state = ray.get(self._states[round_])
                except GONE:
                    continue
                # Copied, as Ray's own would fill its store.
                round_.state = jax.tree.map(np.array, state)
                states[round_] = round_.read(round_.state)
                self._pool.traffic["states"] += self._round_bytes
        return states

    def _compile(self, device: RemoteDevice) -> Future:
        if device not in self._compiled:
            self._compiled[device] = device.answer(
                device.actor.compile.remote(self._number, self._about, self._dataset)
            )
        return self._compiled[device]


def _answer(answer: Future) -> Any:
    """Waits for an answer; returns None if it is lost."""
    try:
        return answer.result()
    except Lost:
        return None


def _bytes(tree: Any) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))
