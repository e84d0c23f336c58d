"""A cluster's devices: a worker each, of which some may be lost and others join."""

import collections
import functools
import math
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ray

from mnistopt.data.dataset import Dataset
from mnistopt.engine.cluster.join import join
from mnistopt.engine.cluster.remote import RemoteDevice, RemoteProgram, lost, reason
from mnistopt.engine.cluster.worker import Worker, versions
from mnistopt.engine.devices import Lanes
from mnistopt.errors import InputError
from mnistopt.training.replica import Replica

# Seconds that workers have to start: to import JAX, many at a time on one node.
START = 180.0
# Seconds between two looks at who is there.
PERIOD = 2.0
# Seconds without an answer, and without a sign of computing, after which a worker
# hangs. An accelerator computes without such signs, for no more than ten times as long
# as the longest call so far.
SILENCE = 30.0
STILL, TIMES_LONGEST = 60.0, 10
# Bytes of an epoch's result of one replica: 12 counts and 5 losses.
RESULT = (12 + 5) * 4
# Threads of XLA's pool on a CPU, which unless told has as many as there are cores: those
# of all workers of a node would be in each other's way. On two cores an epoch of four
# CNNs took 3.5 s, and takes 2.0 s with one thread each. And XLA shapes some programs by
# their number: with one, the bits do not depend on how many cores a node has.
ONE_THREAD = {"NPROC": "1"}
# Share of the time in which a process that computes uses a core.
BUSY = 0.1
# Seconds that Ray has to end workers.
LEAVING = 5.0
# Seconds without any worker after which a run ends.
ALONE = 300.0
# Ray's name of what a worker takes one of, by JAX's names of platforms.
RESOURCES = {"cuda": "GPU", "rocm": "GPU", "gpu": "GPU", "tpu": "TPU", "cpu": "CPU"}


@functools.cache
def _asked_platform() -> str:
    """Returns the platform that JAX was first told to use; "" for none."""
    return (jax.config.values["jax_platforms"] or "").split(",")[0]


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
        self._count, self._cache_dir = count, str(cache_dir)
        self._pulses: dict[RemoteDevice, _Pulse] = {}
        self._starting: dict[Any, Any] = {}
        self._started, self._failures = 0, 0
        self._looked, self._alone = time.monotonic(), math.inf
        self._longest = 0.0
        self._dataset: tuple[Dataset, Any] | None = None
        try:
            self._resource = self._find_resource()
            self._actor = ray.remote(
                concurrency_groups={"io": 1}, max_restarts=0, max_task_retries=0
            )(Worker)
            self._start_all()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "RayPool":
        """Does nothing: workers wait."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the workers, and leaves the cluster."""
        actors = [*self._starting, *(one.actor for one in self._pulses)]
        for actor in actors:
            ray.kill(actor)
        self._starting, self._pulses, self._dataset = {}, {}, None
        if self._joined:
            ray.shutdown()
            return
        # Who comes next is to find the devices free.
        until = time.monotonic() + LEAVING
        while actors and self._free() < len(actors) and time.monotonic() < until:
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
                f"the cluster has had no {self._resource} for {ALONE:.0f} s: start "
                "nodes; the same command goes on"
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
                    "--train_examples"
                )
        try:
            self._dataset = dataset, ray.put(dataset)
        except (ray.exceptions.ObjectStoreFullError, OSError) as error:
            raise InputError(
                f"Ray's object store has no room for {size / 1e6:,.0f} MB of data "
                f"({reason(error)}): start Ray with a larger --object-store-memory"
            ) from error
        self.traffic["data"] += self.crossing(size, 0, 0)["data"]

    def compile(self, replica: Replica, lanes: Lanes, most: int) -> RemoteProgram:
        """Compiles the program of a cohort on up to `most` devices."""
        if self._dataset is None:
            raise InputError("compile comes after load: the workers have no data")
        return RemoteProgram(self, replica, lanes, self._dataset[1], most)

    def _find_resource(self) -> str:
        """Returns what workers take one of each: what JAX was told to use, or is best.

        Raises:
            InputError: If the cluster has none.
        """
        there, asked = ray.cluster_resources(), _asked_platform()
        wanted = [RESOURCES.get(asked, asked)] if asked else ["GPU", "TPU", "CPU"]
        found = [name for name in wanted if there.get(name, 0) >= 1]
        if not found:
            has = {name: there.get(name, 0) for name in ("GPU", "TPU", "CPU")}
            told = ", ".join(f"{count:.0f} {name}" for name, count in has.items())
            raise InputError(
                f"the cluster has no {' or '.join(wanted)}"
                + (f" (JAX_PLATFORMS={asked})" if asked else "")
                + f": it has {told}. Leave JAX_PLATFORMS out to use what there is, or "
                "start nodes that have one"
            )
        if found[0] != "CPU":
            # The accelerators are the workers'. This has no effect if it is too late.
            jax.config.update("jax_platforms", "cpu")
        return found[0]

    def _start_all(self) -> None:
        """Starts a worker for each device that is free, and waits for them."""
        free = self._free()
        if not free or (self._count or 0) > free:
            there = ray.cluster_resources().get(self._resource, 0)
            asked = f"devices={self._count}" if self._count else "a device is needed"
            raise InputError(
                f"{asked}, but of the cluster's {there:.0f} {self._resource} {free} "
                "are free: give a smaller number, or auto, or wait for others to end"
            )
        self._start(min(free, self._count or free))
        until = time.monotonic() + START
        while self._starting and (left := until - time.monotonic()) > 0:
            done, _ = ray.wait(list(self._starting.values()), timeout=left)
            for actor in [a for a, ref in self._starting.items() if ref in done]:
                self._welcome(actor)
        if not self._pulses:
            raise InputError(f"no worker has started within {START:.0f} s")

    def _free(self) -> int:
        return int(ray.available_resources().get(self._resource, 0))

    def _start(self, count: int) -> None:
        cpu = self._resource == "CPU"
        options = {
            "num_cpus": int(cpu),
            "num_gpus": int(self._resource == "GPU"),
            "resources": {"TPU": 1} if self._resource == "TPU" else {},
            "runtime_env": {"env_vars": ONE_THREAD if cpu else {}},
        }
        for _ in range(count):
            actor = self._actor.options(**options).remote(cpu, self._cache_dir)
            self._starting[actor] = actor.about.remote()

    def _welcome(self, actor: Any) -> None:
        """Takes in a worker that has started.

        Raises:
            InputError: If it cannot work with this process; says why.
        """
        try:
            about = ray.get(self._starting.pop(actor))
        except ray.exceptions.RayError as error:
            raise InputError(
                f"a worker cannot start: {reason(error)}. Every node needs mnistopt "
                "and the same libraries as here"
            ) from error
        where = about["node"]
        self._check_versions(where, about["versions"])
        if self._resource != "CPU" and about["platform"] == "cpu":
            ray.kill(actor)
            raise InputError(
                f"Ray has given a worker on {where} a {self._resource}, but its JAX "
                "finds none: install JAX for it there"
            )
        device = RemoteDevice(actor, self._started, about, lambda: self.devices)
        self._started += 1
        self._pulses[device] = _Pulse(0.0, None, (0, 0.0), time.monotonic())

    def _check_versions(self, where: str, theirs: dict[str, str]) -> None:
        ours = versions()
        apart = [name for name in ours if theirs.get(name) != ours[name]]
        if apart:
            told = ", ".join(
                f"{name} {theirs.get(name)} and here {ours[name]}" for name in apart
            )
            raise InputError(
                f"a worker on {where} has {told}: install the same on all nodes, so "
                "that they compute the same"
            )

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
        self._take_in(now)

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

    def _take_in(self, now: float) -> None:
        """Takes in workers that have started, and starts some where there is room."""
        refs = list(self._starting.values())
        done = ray.wait(refs, num_returns=len(refs), timeout=0)[0] if refs else []
        for actor in [a for a, ref in self._starting.items() if ref in done]:
            try:
                self._welcome(actor)
            except InputError as error:
                self._failures += 1
                warnings.warn(f"{error}; it is left out", stacklevel=2)
        room = (self._count or self._free() + len(self._pulses)) - len(self._pulses)
        # One that cannot start is not tried for ever.
        if room > 0 and not self._starting and self._failures < 3:
            self._start(min(room, self._free()))
