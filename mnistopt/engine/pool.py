"""Where replicas train: a pool of devices, of this machine or of a cluster.

The queue and the study use these two interfaces, whatever implements them.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from mnistopt.data.dataset import Dataset
from mnistopt.engine.devices import Device, Lanes, LocalDevice, use_devices
from mnistopt.engine.memory import check_process_limits
from mnistopt.engine.replicas import Program, Result, Splits, Trained, put_splits
from mnistopt.engine.rounds import Round
from mnistopt.errors import InputError, starving
from mnistopt.training.cohort import Cohort, TrainState

# Seconds between two checks of whether to keep waiting.
TURN = 0.5
# How often work may be lost without getting on: a device that breaks may be an
# accident, the fourth is the work's doing.
MOST_LOSSES = 3


class Lost(InputError):
    """What a device was asked for is lost, with what it had there."""


class Computing(Protocol):
    """What computes rounds, on devices.

    Attributes:
        span: Seconds that a call should take at least, because beginning one, or moving
            a round to another device, costs time; 0 where both are free.
    """

    span: float

    @property
    def devices(self) -> Sequence[Device]:
        """Those that compute now; on a cluster they come and go."""

    def train(
        self, round_: Round, device: Any, epochs: range, in_full: bool
    ) -> Future[Trained]:
        """Starts some epochs of a round, as `Program.train` does; may be `Lost`.

        Where devices may be lost, the round's `device` is set before this returns.
        """

    def measure(self, round_: Round, device: Any) -> Future[Result]:
        """Starts measuring a round, as `Program.measure` does; may be `Lost`."""

    def read(self, rounds: Sequence[Round]) -> Mapping[Round, dict[str, TrainState]]:
        """Brings states to the host, by name; those that are lost are left out.

        On a CPU the arrays may be the device's own memory, which the round's next call
        takes: let go of them before it.
        """


class Trainer(Computing, Protocol):
    """The compiled program of a cohort, on the devices that train it.

    Attributes:
        lanes: The shape of a round.
        compile_seconds: Tracing and compiling.
        bytes: Bytes that a call needs on its device, without the examples.
        cohort: The static part of its replicas.
    """

    cohort: Cohort
    lanes: Lanes
    compile_seconds: float
    bytes: int


class Together:
    """The programs of several cohorts, each of which computes its own rounds.

    Attributes:
        span: That of the programs.
    """

    def __init__(self, programs: Mapping[Round, Trainer]):
        """Takes the program of each round; all of them use the same devices."""
        self._programs = dict(programs)
        # Once: it is asked for its devices at each turn.
        self._different = tuple(dict.fromkeys(programs.values()))
        self.span = max(program.span for program in self._different)

    @property
    def devices(self) -> Sequence[Device]:
        """Those that compute now."""
        return max((program.devices for program in self._different), key=len)

    def train(
        self, round_: Round, device: Any, epochs: range, in_full: bool
    ) -> Future[Trained]:
        """Starts some epochs of a round."""
        return self._programs[round_].train(round_, device, epochs, in_full)

    def measure(self, round_: Round, device: Any) -> Future[Result]:
        """Starts measuring a round."""
        return self._programs[round_].measure(round_, device)

    def read(self, rounds: Sequence[Round]) -> Mapping[Round, dict[str, TrainState]]:
        """Brings states to the host, by name."""
        states: dict[Round, dict[str, TrainState]] = {}
        for program in dict.fromkeys(self._programs[round_] for round_ in rounds):
            own = [of for of in rounds if self._programs[of] is program]
            states |= program.read(own)
        return states


class Pool(Protocol):
    """Devices, and what they share; a context manager."""

    @property
    def devices(self) -> Sequence[Device]:
        """All that there are: on a cluster they may become fewer, or more."""

    @property
    def traffic(self) -> Mapping[str, int]:
        """Bytes that have crossed a network so far, by what they were."""

    def crossing(self, data: int, replicas: int, states: int) -> Mapping[str, int]:
        """Returns the bytes that will cross a network, by what they are.

        Args:
            data: Bytes of the examples.
            replicas: Number of replicas that train at a time.
            states: Bytes of their states.

        Returns:
            "data", once; "results", each epoch; "states", at each checkpoint; nothing
            where there is no network.
        """

    def load(self, dataset: Dataset) -> None:
        """Brings the examples to where devices compute."""

    def compile(self, cohort: Cohort, lanes: Lanes, most: int) -> Trainer:
        """Compiles the program of a cohort for up to `most` devices."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...


def present(
    pool: Pool | Computing, while_waiting: Callable[[], None] = lambda: None
) -> Sequence[Device]:
    """Returns the devices that compute: one at least, for which it waits."""
    while not (devices := pool.devices):
        time.sleep(TURN)
        while_waiting()
    return devices


class LocalPool:
    """The devices of this machine."""

    def __init__(self, count: int | None, cache_dir: Path | None):
        """Finds them, as `use_devices` does, if this process may compute."""
        check_process_limits()
        self.devices: Sequence[LocalDevice] = use_devices(count, cache_dir)
        self.traffic: Mapping[str, int] = {}
        self._splits: dict[LocalDevice, Splits] = {}
        self._dataset: Dataset | None = None

    def crossing(self, data: int, replicas: int, states: int) -> Mapping[str, int]:
        """Returns that nothing crosses a network."""
        del data, replicas, states
        return {}

    def load(self, dataset: Dataset) -> None:
        """Copies the examples to the devices, unless they are there."""
        if self._dataset is not dataset:
            self._splits = put_splits(dataset, self.devices)
            self._dataset = dataset

    def compile(self, cohort: Cohort, lanes: Lanes, most: int) -> Program:
        """Compiles the program of a cohort for up to `most` devices."""
        splits = {device: self._splits[device] for device in self.devices[:most]}
        return Program(cohort, lanes, splits)

    def __enter__(self) -> "LocalPool":
        """Begins to use them: an InputError says what the system refuses meanwhile."""
        self._until_exit = contextlib.ExitStack()
        self._until_exit.enter_context(starving())
        return self

    def __exit__(self, *error: Any) -> None:
        """Lets go of the examples."""
        self._splits, self._dataset = {}, None
        self._until_exit.__exit__(*error)
