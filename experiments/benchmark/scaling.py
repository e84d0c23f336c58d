"""What a Ray cluster costs beside the local queue, and how far one driver reaches."""

import asyncio
import collections
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from experiments.benchmark.networks import DROPOUT, LEARNING_RATE

REPLICAS = 60
# Of the simulation. The epochs are those of the main job's CNN on one core of the
# README's machine, of the MLP there, and of what is ten times as small.
MANY, DEVICES, EPOCHS = 10_000, (8, 64, 512), (1.3, 0.1, 0.01)
# Processes that stand in for the workers' nodes, and seconds that each case is run.
NODES, SECONDS = 8, 20.0


def overhead(cache: Path, repeats: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Times epochs of the main job's CNN by the local queue and by Ray's, in turn.

    Args:
        cache: The folder of compiled programs.
        repeats: Epochs of each, after one that does not count.
        log: Called with a line for each.

    Returns:
        `replicas`, `devices`, the seconds of each epoch, "local" and "ray", and the
        `ratio` of their medians.
    """
    import mnistopt
    from mnistopt.engine.cluster.pool import RayPool
    from mnistopt.engine.devices import Lanes
    from mnistopt.engine.pool import LocalPool
    from mnistopt.engine.queue import make_timer
    from mnistopt.study.grid import grid
    from mnistopt.training.cohort import Cohort

    (point,) = grid(dropout=DROPOUT, lr=LEARNING_RATE)
    data = mnistopt.load()
    times: dict[str, list[float]] = {"local": [], "ray": []}
    with LocalPool(None, cache) as local, RayPool("local", None, cache) as ray:
        runs = {}
        pools: Any = {"local": local, "ray": ray}
        for name, pool in pools.items():
            pool.load(data)
            most = len(pool.devices)
            program = pool.compile(Cohort.of(point, data), Lanes(1, 1), most)
            runs[name] = make_timer(program, point.hparams, REPLICAS)
        for repeat in range(1 + repeats):
            for name, run in runs.items():
                seconds = run()
                log(f"{name}: {seconds:.2f} s per epoch of {REPLICAS} replicas")
                if repeat:
                    times[name].append(seconds)
        devices = len(ray.devices)
    medians = {name: statistics.median(some) for name, some in times.items()}
    ratio = medians["ray"] / medians["local"]
    return {"replicas": REPLICAS, "devices": devices, **times, "ratio": ratio}


class _Node:
    """Stands in for many workers: sleeps where they would compute."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._locks: dict[int, asyncio.Lock] = {}

    async def compile(self, device: int, *_: Any) -> dict[str, float]:
        return {"seconds": 0.0, "bytes": 0}

    async def train(self, device: int, *call: Any) -> Any:
        from mnistopt.engine.replicas import Result, Trained

        *_, epochs, _ = call
        count = len(epochs)
        async with self._locks.setdefault(device, asyncio.Lock()):
            await asyncio.sleep(count * self._seconds)
        counts = np.zeros((1, 1, 12), np.int32)
        counts[..., -2:] = -1, 1
        result = Result(counts, np.zeros((1, 1, 5), np.float32))
        trained = Trained([result] * count, count * self._seconds)
        return trained, np.zeros(1, np.float32)


def _pool(nodes: Sequence[Any], count: int) -> Any:
    """Returns a pool of workers that nobody looks after."""
    from mnistopt.engine.cluster.device import RemoteDevice

    about = {"platform": "cpu", "machine": {}, "memory": 0.0, "idle_bytes": 0.0}
    about |= {"node": "", "where": ""}

    def worker(device: int) -> Any:
        """Returns what `RemoteDevice` calls: its node, with the device's number."""
        node = nodes[device % len(nodes)]
        # Two results, as `RemoteProgram` asks for: what was trained, and the state.
        train, compiled = node.train.options(num_returns=2), node.compile
        return SimpleNamespace(
            compile=SimpleNamespace(remote=partial(compiled.remote, device)),
            train=SimpleNamespace(
                options=lambda **_: SimpleNamespace(
                    remote=partial(train.remote, device)
                )
            ),
        )

    return SimpleNamespace(
        traffic=collections.Counter(),
        devices=[RemoteDevice(worker(i), i, about, lambda: None) for i in range(count)],
    )


def simulate(log: Callable[[str], None]) -> list[dict[str, Any]]:
    """Lets the driver train many replicas on workers that sleep.

    The driver, its queue, its records, and Ray's calls between processes are real; what
    is not there is the network between nodes, and the computing. The stand-ins take
    their share of this machine's cores from the driver.

    Returns:
        A row per case: `devices`, `epoch_seconds`, `replicas`, and what was reached:
        `rate` in epochs of replicas per second, `ideal` if no device ever waited,
        `driver`, the share of a core that the driver's process has used, and
        `bytes_per_second` of results.
    """
    import ray

    from mnistopt.engine.cluster.join import join

    join("local")
    rows = []
    node = ray.remote(num_cpus=0, max_concurrency=1000)(_Node)
    for seconds in EPOCHS:
        nodes = [node.remote(seconds) for _ in range(NODES)]
        for count in DEVICES:
            rows.append(_reach(_pool(nodes, count), seconds))
            log(str(rows[-1]))
        for actor in nodes:
            ray.kill(actor)
    ray.shutdown()
    return rows


def _reach(pool: Any, seconds: float) -> dict[str, Any]:
    from mnistopt.engine.cluster.program import RemoteProgram
    from mnistopt.engine.devices import Lanes
    from mnistopt.engine.queue import Queue
    from mnistopt.engine.record import Record
    from mnistopt.engine.rounds import Member, make_rounds
    from mnistopt.models.mlp_cnn import MLP
    from mnistopt.study.grid import grid
    from mnistopt.training.cohort import Cohort

    (point,) = grid(model="mlp")
    program = RemoteProgram(
        pool, Cohort(MLP((128,)), "adam", 64), Lanes(1, 1), None, len(pool.devices)
    )
    members = [Member(str(i), i, point.hparams) for i in range(MANY)]
    queue = Queue(program, dict.fromkeys(make_rounds(program.lanes, members), 0))
    records = {
        member.name: Record(member.name, point, member.seed, 1) for member in members
    }
    done = sent = 0
    start = first = cpu = 0.0
    for update in queue.train(1_000_000, in_full=False):
        for name, result in update.results.items():
            records[name].append(
                result.metrics, result.diverged_at, update.seconds, result.cause, ""
            )
        now = time.perf_counter()
        first = first or now
        # Until all devices have been busy for a while.
        if not start and now - first > max(3.0, 3 * seconds):
            start, cpu, sent = now, time.process_time(), pool.traffic["results"]
            done = 0
        done += len(update.results)
        if start and now - start > SECONDS:
            break
    took = now - start
    return {
        "devices": len(pool.devices),
        "epoch_seconds": seconds,
        "replicas": MANY,
        "rate": done / took,
        "ideal": len(pool.devices) / seconds,
        "driver": (time.process_time() - cpu) / took,
        "bytes_per_second": (pool.traffic["results"] - sent) / took,
    }
