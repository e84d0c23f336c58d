"""A cluster's devices: a worker each, of which some may be lost and others join."""

import collections
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import ray

from mnistopt.data.dataset import Dataset
from mnistopt.engine.cluster.device import RemoteDevice, reason
from mnistopt.engine.cluster.join import find_resource, join
from mnistopt.engine.cluster.program import RESULT, RemoteProgram
from mnistopt.engine.cluster.worker import Worker, versions
from mnistopt.engine.devices import Lanes
from mnistopt.engine.pool import MOST_LOSSES
from mnistopt.engine.precision import choice, precision_on
from mnistopt.errors import InputError
from mnistopt.training.cohort import Cohort

# Seconds between two checks of the workers.
PERIOD = 2.0
# Seconds without an answer after which a worker hangs, and how many times the longest
# call so far they are at least. Dead processes and nodes are noticed by Ray, at once.
SILENCE, TIMES_LONGEST = 600.0, 10
# Seconds that workers have to start: to import JAX, many at a time on one node.
START = 180.0
# Seconds that Ray has to end workers.
LEAVING = 5.0
# Seconds without any worker after which a run ends.
ALONE = 300.0
# Threads of XLA's pool on a CPU. Unless limited it has as many as there are cores, and
# those of all workers of a node would be in each other's way: on two cores an epoch of
# four CNNs took 3.5 s, and takes 2.0 s with one thread each. And XLA shapes some
# programs by their number: with one, the bits do not depend on a node's cores.
ONE_THREAD = {"NPROC": "1"}


class RayPool:
    """A worker per core or accelerator of a Ray cluster; a context manager.

    A worker is an actor, as a device needs a process that stays on it: of Ray's tasks,
    those on accelerators begin a process each (2.3 s for a call of 0.2 s), or, asked to
    reuse it, come upon one that JAX has bound to another accelerator (17 of 30 calls).

    Attributes:
        traffic: Bytes that were sent, by what they are: "data", "rounds" to workers,
            "moved" between nodes, "results" and "states" to the driver.
    """

    def __init__(self, address: str, count: int | None, cache_dir: Path):
        """Joins the cluster and starts workers.

        Args:
            address: See `join`.
            count: How many devices to use; None for all that are free.
            cache_dir: Folder of compiled programs, on each node.

        Raises:
            InputError: If there is no such cluster, or no such device, or a worker
                cannot work with this process.
        """
        self.traffic: collections.Counter[str] = collections.Counter()
        self._joined = join(address)
        self._cache_dir, self._count = str(cache_dir), count
        self._precision = choice()
        self._devices: list[RemoteDevice] = []
        # What each worker that starts will report.
        self._starting: dict[Any, Any] = {}
        self._started = self._failures = 0
        self._looked, self._alone = time.monotonic(), math.inf
        self._dataset: tuple[Dataset, Any] | None = None
        self._resource = ""
        try:
            self._resource = find_resource()
            cpu = self._resource == "CPU"
            precision_on(self._resource.lower())  # Before any worker is started.
            self._worker = ray.remote(
                num_cpus=int(cpu),
                num_gpus=int(self._resource == "GPU"),
                resources={"TPU": 1} if self._resource == "TPU" else {},
                runtime_env={"env_vars": ONE_THREAD if cpu else {}},
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
        actors = [*(device.actor for device in self._devices), *self._starting]
        for actor in actors:
            ray.kill(actor)
        self._devices, self._dataset = [], None
        if self._joined:
            ray.shutdown()
            return
        # Who comes next is to find the devices free.
        until = time.monotonic() + LEAVING
        while self._free() < len(actors) and time.monotonic() < until:
            time.sleep(0.05)

    @property
    def devices(self) -> Sequence[RemoteDevice]:
        """The devices that work; checks now and then for hanging and new workers.

        Raises:
            InputError: If there has been none for long.
        """
        now = time.monotonic()
        if any(device.gone for device in self._devices) or now > self._looked + PERIOD:
            self._looked = now
            self._let_go()
            self._take_in()
        if self._devices:
            self._alone = math.inf
        elif now < self._alone:
            self._alone = now
        elif now > self._alone + ALONE:
            raise InputError(
                f"the cluster has had no worker for {ALONE:.0f} s: start nodes, then "
                "run the same command to resume"
            )
        return list(self._devices)

    def crossing(self, data: int, replicas: int, states: int) -> dict[str, int]:
        """Returns the bytes that will cross the network, as `Pool.crossing` does."""
        data *= len({device.node for device in self._devices})
        return {"data": data, "results": replicas * RESULT, "states": states}

    def load(self, dataset: Dataset) -> None:
        """Puts the examples into Ray's object store, once for all workers of a node.

        Raises:
            InputError: If there is no room for them.
        """
        if self._dataset and self._dataset[0] is dataset:
            return
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(dataset))
        for node in (node for node in ray.nodes() if node["Alive"]):
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

    def _free(self) -> int:
        """Returns how many devices nobody uses."""
        return int(ray.available_resources().get(self._resource, 0))

    def _start(self, count: int) -> None:
        """Starts so many workers, if any."""
        for _ in range(count):
            cpu = self._resource == "CPU"
            actor = self._worker.remote(cpu, self._cache_dir, self._precision)
            self._starting[actor] = actor.about.remote()

    def _start_all(self) -> None:
        """Starts a worker for each device that is free, and waits for them.

        Raises:
            InputError: If there are fewer than were asked for, or one cannot work with
                this process.
        """
        free, count = self._free(), self._count
        if not free or (count or 0) > free:
            total = ray.cluster_resources().get(self._resource, 0)
            asked = f"devices={count}" if count else "a device is needed"
            raise InputError(
                f"{asked}, but of the cluster's {total:.0f} {self._resource} {free} "
                "are free: give a smaller number, or auto, or wait for others to end"
            )
        self._start(count or free)
        until = time.monotonic() + START
        while self._starting and (left := until - time.monotonic()) > 0:
            self._devices += self._come(left)
        if not self._devices:
            raise InputError(f"no worker has started within {START:.0f} s")

    def _come(self, timeout: float = 0.0) -> Iterator[RemoteDevice]:
        """Yields the devices of workers that have started.

        Args:
            timeout: Seconds to wait for one.

        Raises:
            InputError: If one cannot work with this process; says why.
        """
        refs = list(self._starting.values())
        done = ray.wait(refs, timeout=timeout)[0] if refs else ()
        # And those that have started with it.
        done = ray.wait(refs, num_returns=len(refs), timeout=0)[0] if done else ()
        for actor in [actor for actor, ref in self._starting.items() if ref in done]:
            try:
                about = ray.get(self._starting.pop(actor))
            except ray.exceptions.RayError as error:
                raise InputError(
                    f"a worker cannot start: {reason(error)}. Every node needs "
                    "mnistopt and the same libraries as here"
                ) from error
            self._check(about)
            yield RemoteDevice(actor, self._started, about, lambda: self.devices)
            self._started += 1

    def _check(self, about: dict[str, Any]) -> None:
        """Checks what a worker reports."""
        where, ours, theirs = about["where"], versions(), about["versions"]
        apart = ", ".join(
            f"{name} {theirs.get(name)} and here {ours[name]}"
            for name in ours
            if theirs.get(name) != ours[name]
        )
        if apart:
            raise InputError(
                f"a worker on {where} has {apart}: install the same on all nodes, so "
                "that they compute the same"
            )
        if self._resource != "CPU" and about["platform"] == "cpu":
            raise InputError(
                f"Ray has given a worker on {where} a {self._resource}, but its JAX "
                "finds none: install JAX for it there"
            )

    def _let_go(self) -> None:
        """Ends workers that are gone or hang; their calls then fail as lost."""
        longest = max((device.longest for device in self._devices), default=0.0)
        patience = max(SILENCE, TIMES_LONGEST * longest)
        nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        for device in list(self._devices):
            gone = device.gone or device.node not in nodes
            if not gone and device.silence < patience:
                continue
            why = "is gone" if gone else f"has not answered for {patience:.0f} s"
            self._devices.remove(device)
            ray.kill(device.actor)
            left = len(self._devices)
            warnings.warn(
                f"{device} {why}: its replicas continue on other devices, {left} "
                f"device{'' if left == 1 else 's'} left",
                stacklevel=2,
            )

    def _take_in(self) -> None:
        """Takes in workers that have started, and starts some where there is room."""
        try:
            self._devices += self._come()
        except InputError as error:
            self._failures += 1
            warnings.warn(f"{error}; it is skipped", stacklevel=2)
        free = self._free()
        room = free if self._count is None else self._count - len(self._devices)
        # A worker that cannot start is not retried forever.
        if not self._starting and self._failures < MOST_LOSSES:
            self._start(min(room, free))
