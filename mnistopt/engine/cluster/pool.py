"""A cluster's devices: a worker each, of which some may be lost and others join."""

import collections
import math
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ray

from mnistopt.data.dataset import Dataset
from mnistopt.engine.cluster.device import RemoteDevice, lost, reason
from mnistopt.engine.cluster.hiring import Hiring
from mnistopt.engine.cluster.join import join
from mnistopt.engine.cluster.program import RemoteProgram
from mnistopt.engine.devices import Lanes
from mnistopt.engine.pool import MOST_LOSSES
from mnistopt.errors import InputError
from mnistopt.training.cohort import Cohort

# Seconds between two looks at who is there.
PERIOD = 2.0
# Seconds without an answer, and without a sign of computing, after which a worker
# hangs. An accelerator computes without such signs, for no more than ten times as long
# as the longest call so far.
SILENCE = 30.0
STILL, TIMES_LONGEST = 60.0, 10
# Bytes of an epoch's result of one replica: 12 counts and 5 losses.
RESULT = (12 + 5) * 4
# Share of the time in which a process that computes uses a core.
BUSY = 0.1
# Seconds that Ray has to end workers.
LEAVING = 5.0
# Seconds without any worker after which a run ends.
ALONE = 300.0


class _Pulse(NamedTuple):
    """When a worker was last heard of, and what it said.

    Attributes:
        asked: When it was asked; time.monotonic().
        answer: Of Ray, that is waited for; None while it is not asked.
        told: What `Worker.beat` has told.
        moved: When it last had done something, or had nothing to do.
    """

    asked: float
    answer: Any
    told: tuple[int, float]
    moved: float


class RayPool:
    """A worker per core or accelerator of a Ray cluster; a context manager.

    Attributes:
        traffic: Bytes that were sent, by what they are: "data", "rounds" to workers,
            "moved" between them, "results" and "states" to the driver.
    """

    def __init__(self, address: str, count: int | None, cache_dir: Path):
        """Joins the cluster and starts workers.

        Args:
            address: As of `join`.
            count: How many devices to use; None for all that are free.
            cache_dir: Folder of compiled programs, on each node.

        Raises:
            InputError: If there is no such cluster, or no such device, or a worker
                cannot work with this process.
        """
        self.traffic: collections.Counter[str] = collections.Counter()
        self._joined = join(address)
        self._count, self._failures = count, 0
        self._pulses: dict[RemoteDevice, _Pulse] = {}
        self._hiring: Hiring | None = None
        self._looked, self._alone = time.monotonic(), math.inf
        self._longest = 0.0
        self._dataset: tuple[Dataset, Any] | None = None
        try:
            self._hiring = Hiring(cache_dir, lambda: self.devices)
            for device in self._hiring.hire_all(count):
                self._pulses[device] = _new_pulse()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "RayPool":
        """Does nothing: workers wait."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the workers, and leaves the cluster."""
        actors = [one.actor for one in self._pulses]
        actors += self._hiring.starting if self._hiring else []
        for actor in actors:
            ray.kill(actor)
        self._pulses, self._dataset = {}, None
        if self._joined:
            ray.shutdown()
        elif self._hiring:
            # Who comes next is to find the devices free.
            until = time.monotonic() + LEAVING
            while self._hiring.free() < len(actors) and time.monotonic() < until:
                time.sleep(0.05)

    @property
    def devices(self) -> Sequence[RemoteDevice]:
        """Those that work; looks now and then at who hangs and who has come.

        Raises:
            InputError: If there has been none for long.
        """
        now = time.monotonic()
        if any(device.gone for device in self._pulses) or now > self._looked + PERIOD:
            self._looked = now
            self._look(now)
        if self._pulses:
            self._alone = math.inf
        elif now < self._alone:
            self._alone = now
        elif now > self._alone + ALONE:
            raise InputError(
                f"the cluster has had no worker for {ALONE:.0f} s: start nodes; the "
                "same command goes on"
            )
        return list(self._pulses)

    def called(self, seconds: float) -> None:
        """Takes note of how long a call took."""
        self._longest = max(self._longest, seconds)

    def crossing(self, data: int, replicas: int, states: int) -> dict[str, int]:
        """Returns the bytes that will cross the network, as `Pool.crossing` does."""
        data *= len({device.node for device in self._pulses})
        return {"data": data, "results": replicas * RESULT, "states": states}

    def load(self, dataset: Dataset) -> None:
        """Puts the examples into Ray's object store, once for all workers of a node.

        Raises:
            InputError: If there is no room for them.
        """
        if self._dataset and self._dataset[0] is dataset:
            return
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(dataset))
        for node in (one for one in ray.nodes() if one["Alive"]):
            room = node["Resources"].get("object_store_memory", 0)
            if size > room:
                raise InputError(
                    f"the data take {size / 1e6:,.0f} MB, and Ray's object store on "
                    f"{node['NodeManagerAddress']} has {room / 1e6:,.0f} MB: start Ray "
                    "with a larger --object-store-memory, or give fewer "
                    "`train_examples`"
                )
        try:
            self._dataset = dataset, ray.put(dataset)
        except (ray.exceptions.ObjectStoreFullError, OSError) as error:
            raise InputError(
                f"Ray's object store has no room for {size / 1e6:,.0f} MB of data "
                f"({reason(error)}): start Ray with a larger --object-store-memory"
            ) from error
        self.traffic["data"] += self.crossing(size, 0, 0)["data"]

    def compile(self, cohort: Cohort, lanes: Lanes, most: int) -> RemoteProgram:
        """Compiles the program of a cohort on up to `most` devices."""
        if self._dataset is None:
            raise InputError("compile comes after load: the workers have no data")
        return RemoteProgram(self, cohort, lanes, self._dataset[1], most)

    def _look(self, now: float) -> None:
        """Ends workers that are gone or hang, and takes in others that have come."""
        asked = [pulse.answer for pulse in self._pulses.values() if pulse.answer]
        done = set(
            ray.wait(asked, num_returns=len(asked), timeout=0)[0] if asked else ()
        )
        for device, pulse in list(self._pulses.items()):
            if device.gone:
                self._end(device, "is gone")
            elif pulse.answer is None:
                beat = device.actor.beat.options(concurrency_group="io").remote()
                self._pulses[device] = pulse._replace(asked=now, answer=beat)
            elif pulse.answer in done:
                self._hear(device, pulse, now)
            elif now - pulse.asked > SILENCE:
                self._end(device, f"has not answered for {SILENCE:.0f} s")
        self._take_in()

    def _hear(self, device: RemoteDevice, pulse: _Pulse, now: float) -> None:
        try:
            told = ray.get(pulse.answer)
        except ray.exceptions.RayError as error:
            if not lost(error):
                raise
            self._end(device, "is gone")
            return
        calls, seconds = (new - old for new, old in zip(told, pulse.told))
        works = calls or seconds > BUSY * (now - pulse.asked)
        moved = now if works or not device.waiting else pulse.moved
        self._pulses[device] = _Pulse(now, None, told, moved)
        still = max(STILL, TIMES_LONGEST * self._longest)
        if now - moved > still:
            self._end(device, f"has done nothing for {still:.0f} s")

    def _end(self, device: RemoteDevice, why: str) -> None:
        """Ends a worker, as far as it is there; its calls then fail as lost."""
        del self._pulses[device]
        device.end()
        warnings.warn(
            f"{device} {why}: its replicas go on elsewhere, {len(self._pulses)} "
            f"device{'' if len(self._pulses) == 1 else 's'} left",
            stacklevel=2,
        )

    def _take_in(self) -> None:
        """Takes in workers that have started, and starts some where there is room."""
        if self._hiring is None:
            return
        try:
            for device in self._hiring.hired():
                self._pulses[device] = _new_pulse()
        except InputError as error:
            self._failures += 1
            warnings.warn(f"{error}; it is left out", stacklevel=2)
        free = self._hiring.free()
        room = free if self._count is None else self._count - len(self._pulses)
        # One that cannot start is not tried for ever.
        if not self._hiring.starting and self._failures < MOST_LOSSES:
            self._hiring.start(min(room, free))


def _new_pulse() -> _Pulse:
    return _Pulse(0.0, None, (0, 0.0), time.monotonic())
