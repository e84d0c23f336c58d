"""Starting workers: one for each device of a kind that a cluster has free."""

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import ray

from mnistopt.engine.cluster.device import RemoteDevice, reason
from mnistopt.engine.cluster.worker import Worker, versions
from mnistopt.errors import InputError

# Seconds that workers have to start: to import JAX, many at a time on one node.
START = 180.0
# Threads of XLA's pool on a CPU. Unless told it has as many as there are cores, and
# those of all workers of a node would be in each other's way: on two cores an epoch of
# four CNNs took 3.5 s, and takes 2.0 s with one thread each. And XLA shapes some
# programs by their number: with one, the bits do not depend on a node's cores.
ONE_THREAD = {"NPROC": "1"}
# Ray's name of what a worker takes one of, by JAX's names of platforms.
RESOURCES = {"cuda": "GPU", "rocm": "GPU", "gpu": "GPU", "tpu": "TPU", "cpu": "CPU"}


class Hiring:
    """Starts workers where a device is free, and checks them when they have.

    Attributes:
        starting: What each worker will tell of itself, by the worker.
    """

    def __init__(self, cache_dir: Path, look: Callable[[], object]):
        """Starts nobody.

        Args:
            cache_dir: Folder of compiled programs, on each node.
            look: As of a `RemoteDevice`.

        Raises:
            InputError: If the cluster has no device of the kind that JAX is to use.
        """
        self.starting: dict[Any, Any] = {}
        self._cache_dir, self._look, self._hired = str(cache_dir), look, 0
        self._resource = _find_resource()
        cpu = self._resource == "CPU"
        self._worker = ray.remote(
            concurrency_groups={"io": 1},
            max_restarts=0,
            max_task_retries=0,
            num_cpus=int(cpu),
            num_gpus=int(self._resource == "GPU"),
            resources={"TPU": 1} if self._resource == "TPU" else {},
            runtime_env={"env_vars": ONE_THREAD if cpu else {}},
        )(Worker)

    def free(self) -> int:
        """Returns how many devices nobody uses."""
        return int(ray.available_resources().get(self._resource, 0))

    def start(self, count: int) -> None:
        """Starts so many workers, if any."""
        for _ in range(count):
            actor = self._worker.remote(self._resource == "CPU", self._cache_dir)
            self.starting[actor] = actor.about.remote()

    def hired(self, timeout: float = 0.0) -> Iterator[RemoteDevice]:
        """Yields the devices of workers that have started.

        Args:
            timeout: Seconds to wait for one.

        Raises:
            InputError: If one cannot work with this process; says why.
        """
        refs = list(self.starting.values())
        done = set(ray.wait(refs, timeout=timeout)[0] if refs else ())
        done |= set(ray.wait(refs, num_returns=len(refs), timeout=0)[0] if refs else ())
        for actor in [one for one, ref in self.starting.items() if ref in done]:
            try:
                about = ray.get(self.starting.pop(actor))
            except ray.exceptions.RayError as error:
                raise InputError(
                    f"a worker cannot start: {reason(error)}. Every node needs "
                    "mnistopt and the same libraries as here"
                ) from error
            self._check(about)
            self._hired += 1
            yield RemoteDevice(actor, self._hired - 1, about, self._look)

    def hire_all(self, count: int | None) -> Iterator[RemoteDevice]:
        """Starts a worker for each device that is free, and waits for them.

        Args:
            count: How many; None for all.

        Raises:
            InputError: If there are fewer, or one cannot work with this process.
        """
        free = self.free()
        if not free or (count or 0) > free:
            there = ray.cluster_resources().get(self._resource, 0)
            asked = f"devices={count}" if count else "a device is needed"
            raise InputError(
                f"{asked}, but of the cluster's {there:.0f} {self._resource} {free} "
                "are free: give a smaller number, or auto, or wait for others to end"
            )
        self.start(count or free)
        until = time.monotonic() + START
        while self.starting and (left := until - time.monotonic()) > 0:
            yield from self.hired(left)
        if not self._hired:
            raise InputError(f"no worker has started within {START:.0f} s")

    def _check(self, about: dict[str, Any]) -> None:
        """Checks what a worker tells of itself."""
        where, ours, theirs = about["node"], versions(), about["versions"]
        apart = [name for name in ours if theirs.get(name) != ours[name]]
        if apart:
            told = ", ".join(
                f"{name} {theirs.get(name)} and here {ours[name]}" for name in apart
            )
            raise InputError(
                f"a worker on {where} has {told}: install the same on all nodes, so "
                "that they compute the same"
            )
        if self._resource != "CPU" and about["platform"] == "cpu":
            raise InputError(
                f"Ray has given a worker on {where} a {self._resource}, but its JAX "
                "finds none: install JAX for it there"
            )


@functools.cache
def _asked_platform() -> str:
    """Returns the platform that JAX was first told to use; "" for none."""
    return (jax.config.values["jax_platforms"] or "").split(",")[0]


def _find_resource() -> str:
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
