"""What a Ray cluster costs beside the local queue, and how far one driver reaches."""

import asyncio
import collections
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.networks import DROPOUT, LEARNING_RATE

REPLICAS = 60
# Of the simulation. The epochs are those of the main job's CNN on one core of the
# README's machine, of the MLP there, and of what is ten times as small.
MANY, DEVICES, EPOCHS = 10_000, (8, 64, 512), (1.3, 0.1, 0.01)
# Processes that stand in for the workers' nodes, and seconds that each case is run.
NODES, SECONDS = 8, 20.0


def overhead(cache: Path, repeats: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Times epochs of the main job's CNN by the local queue and by Ray's, in turn.

    Args:
        cache: Of compiled programs.
        repeats: Epochs of each, after one that does not count.
        tell: Told of each.

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
                tell(f"{name}: {seconds:.2f} s per epoch of {REPLICAS} replicas")
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
        one = Result(counts, np.zeros((1, 1, 5), np.float32))
        trained = Trained([one] * count, count * self._seconds)
        return trained, np.zeros(1, np.float32)


class _Worker:
    """One of a node's workers, as `RemoteDevice` calls it."""

    def __init__(self, node: Any, device: int):
        self._node, self._device = node, device

    def __getattr__(self, name: str) -> Any:
        return _Method(getattr(self._node, name), self._device)


class _Method:
    def __init__(self, method: Any, device: int):
        self._method, self._device = method, device

    def remote(self, *arguments: Any) -> Any:
        return self._method.remote(self._device, *arguments)

    def options(self, **how: Any) -> "_Method":
        return _Method(self._method.options(**how), self._device)


class _Pool:
    """A pool of workers that nobody looks after."""

    def __init__(self, nodes: Sequence[Any], count: int):
        from mnistopt.engine.cluster.device import RemoteDevice

        about = {"platform": "cpu", "machine": {}, "memory": 0.0, "idle_bytes": 0.0}
        about |= {"node": "", "where": ""}
        self.traffic: Any = collections.Counter()
        self.devices = [
            RemoteDevice(_Worker(nodes[i % len(nodes)], i), i, about, lambda: None)
            for i in range(count)
        ]

    def called(self, seconds: float) -> None:
        del seconds


def simulate(tell: Callable[[str], None]) -> list[dict[str, Any]]:
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
            rows.append(_reach(_Pool(nodes, count), seconds))
            tell(str(rows[-1]))
        for one in nodes:
            ray.kill(one)
    ray.shutdown()
    return rows


def _reach(pool: _Pool, seconds: float) -> dict[str, Any]:
    from mnistopt.engine.cluster.program import RemoteProgram
    from mnistopt.engine.devices import Lanes
    from mnistopt.engine.queue import Queue
    from mnistopt.engine.record import Record
    from mnistopt.engine.rounds import Member, make_rounds
    from mnistopt.models.basic import MLP
    from mnistopt.study.grid import grid
    from mnistopt.training.cohort import Cohort

    (point,) = grid(model="mlp")
    program = RemoteProgram(
        pool, Cohort(MLP((128,)), "adam", 64), Lanes(1, 1), None, len(pool.devices)
    )
    members = [Member(str(i), i, point.hparams) for i in range(MANY)]
    queue = Queue(program, dict.fromkeys(make_rounds(program.lanes, members), 0))
    records = {one.name: Record(one.name, point, one.seed, 1) for one in members}
    done = sent = 0
    start = first = cpu = 0.0
    for one in queue.train(1_000_000, in_full=False):
        for name, result in one.results.items():
            records[name].append(
                result.metrics, result.diverged_at, one.seconds, result.cause, ""
            )
        now = time.perf_counter()
        first = first or now
        # Until all devices have been busy for a while.
        if not start and now - first > max(3.0, 3 * seconds):
            start, cpu, sent = now, time.process_time(), pool.traffic["results"]
            done = 0
        done += len(one.results)
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


def in_words(found: Mapping[str, Any]) -> str:
    """Returns what was found, as Markdown."""
    cost = found["overhead"]
    lines = [
        f"{cost['replicas']} replicas of CNN 32x64/128 on {cost['devices']} devices: "
        f"{statistics.median(cost['local']):.2f} s per epoch by the local queue, "
        f"{statistics.median(cost['ray']):.2f} s by Ray's, {cost['ratio']:.3f} times.",
        "",
        "| devices | seconds per epoch | epochs of replicas per second | of the ideal "
        "| driver, of a core | results, kB/s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["simulation"]:
        lines.append(
            f"| {row['devices']} | {row['epoch_seconds']} | {row['rate']:,.0f} "
            f"| {100 * row['rate'] / row['ideal']:.0f} % | {100 * row['driver']:.0f} % "
            f"| {row['bytes_per_second'] / 1e3:,.1f} |"
        )
    return "\n".join(lines) + "\n"


def picture(simulation: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the picture of a simulation: what is reached, and the driver's part."""
    import altair as alt
    import pandas as pd

    from mnistopt.report.charts.pictures import Picture
    from mnistopt.report.charts.theme import PALETTE, finished, rows

    frame = pd.DataFrame(simulation)
    frame["reached"] = 100 * frame["rate"] / frame["ideal"]
    frame["busy"] = 100 * frame["driver"]
    frame["epoch"] = frame["epoch_seconds"].map("{:g} s per epoch".format)
    names = list(frame["epoch"].unique())
    colour = alt.Color(
        "epoch:N",
        scale=alt.Scale(domain=names, range=[PALETTE[i] for i in (0, 1, 3)]),
        legend=alt.Legend(title=None, orient="top", symbolType="circle"),
    )

    def panel(column: str, title: str, highest: float) -> Any:
        base = alt.Chart(rows(frame)).encode(
            x=alt.X(
                "devices:Q",
                title="devices",
                scale=alt.Scale(type="log", base=2, padding=16, nice=False),
                axis=alt.Axis(values=list(DEVICES), grid=False),
            ),
            y=alt.Y(
                f"{column}:Q",
                title=title,
                scale=alt.Scale(domain=[0, highest], nice=False),
                axis=alt.Axis(tickCount=5),
            ),
            color=colour,
            tooltip=["epoch:N", "devices:Q", alt.Tooltip("rate:Q", format=",.0f")],
        )
        lines = base.mark_line(strokeWidth=2.5)
        return alt.layer(lines, base.mark_point(filled=True, size=70)).properties(
            width=300, height=220
        )

    top = max(100.0, 10 * math.ceil(frame["busy"].max() / 10))
    chart = alt.hconcat(
        panel("reached", "epochs per second, % of the ideal", 105.0),
        panel("busy", "driver's use of a core, %", top),
    )
    return Picture.of(
        frame,
        finished(
            chart,
            "One driver, 10,000 replicas, 8 to 512 devices",
            [
                "Workers sleep for as long as an epoch takes; driver, queue, records",
                "and Ray are real. The ideal: no device ever waits. Epochs of 1.3 s",
                "are the CNN's on one core, of 0.1 s the MLP's.",
            ],
            "Share of the ideal speed and use of a core against devices.",
        ),
    )
