"""A network's contenders, timed in turn."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from experiments.benchmark import keras_fit, ours, plain_flax, pytorch
from experiments.benchmark.networks import Network, update_flops
from experiments.benchmark.workers import Failed, Workers

# Timed runs of each contender, taken in turn, after one that is not counted; and of
# each of PyTorch's ways, to find the best.
REPEATS, TRIES = 5, 2
# Seconds that a timed run takes at least: shorter ones measure how a process wakes up.
SHORTEST = 0.5
# Seconds of a run beyond which a program other than ours and PyTorch's is given up.
SLOWEST = 15.0
# Seconds that another's program may take to compile, or to train an epoch of
# `Network.examples`, before it is given up.
LIMIT = 90.0
# Replicas side by side in plain flax.
FLAX_REPLICAS = 8

OURS, PYTORCH, KERAS, FLAX = "mnistopt", "PyTorch", "Keras on JAX", "plain flax"


class Contender(NamedTuple):
    """Somebody who trains.

    Attributes:
        who: `OURS`, or whose program it is.
        how: In which way.
        replicas: Models trained.
        images: That a run goes through, over all models.
        run: Does it, and returns the seconds.
        more: Further columns.
    """

    who: str
    how: str
    replicas: int
    images: int
    run: Callable[[], float]
    more: dict[str, Any]

    def long_enough(self) -> "Contender":
        """Repeats a run, so that it takes `SHORTEST` seconds; warms up."""
        times = math.ceil(SHORTEST / self.run())
        return self._replace(
            images=times * self.images,
            run=lambda: sum(self.run() for _ in range(times)),
        )


class Scope(NamedTuple):
    """How much is measured.

    Attributes:
        quick: Whether to leave out what takes long.
        cores: That are there.
        limit: Seconds that another's program may take to get ready, or for a run.
    """

    quick: bool
    cores: int
    limit: float = LIMIT

    def replicas(self, most: int) -> list[int]:
        """Returns how many replicas of a network are timed."""
        if self.quick:
            return [1, 8]
        return [*(count for count in (1, 2, 4, 8, 32) if count < most), most]


def compete(
    network: Network,
    batch: int,
    scope: Scope,
    devices: Sequence[Any],
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Times all contenders of a network in turn.

    Args:
        network: The network.
        batch: Examples per update.
        scope: How much is measured.
        devices: Of this project's replicas.
        tell: Called with words for whoever waits.

    Returns:
        A row per contender, that is also one for whoever gave up: `network`, `batch`,
        `who`, `how`, `replicas`; `images_per_second`, the median of `n` runs, with
        their spread `low` to `high`; `flops`, as `update_flops` counts them, per
        second; `failed`, why there are none; and of ours `compile_seconds`,
        `cached_seconds`, `planned_bytes`, `bytes` and `peak_bytes`, as in `ours.Made`
        and `ours.timed`.
    """
    rows: list[dict[str, Any]] = []
    about = {"network": network.name, "batch": batch}

    def fail(who: str, how: str, error: Failed) -> None:
        tell(f"  {who}, {how}: {error}")
        rows.append({**about, "who": who, "how": how, "failed": str(error)})

    with ExitStack() as stack:
        tell("  compiling")
        made = ours.make(network, batch, devices)
        contenders = [*_ours(made, network, scope)]
        contenders += _pytorch(network, batch, scope, stack, tell, rows, about)
        if not network.light:
            contenders += _others(network, batch, scope, stack, fail)
        tell(f"  {len(contenders)} contenders in turn")
        contenders = [one.long_enough() for one in contenders]
        seconds: list[list[float]] = [[] for _ in contenders]
        for _ in range(REPEATS):
            for one, found in zip(contenders, seconds):
                found.append(one.run())
    flops = update_flops(made.program.cohort.model)
    for one, found in zip(contenders, seconds):
        rows.append({**about, **_row(one, found, flops)})
    return rows


def _row(one: Contender, seconds: Sequence[float], flops: int) -> dict[str, Any]:
    speeds = [one.images / value for value in seconds]
    median = statistics.median(speeds)
    return {
        "who": one.who,
        "how": one.how,
        "replicas": one.replicas,
        "images_per_second": median,
        "low": min(speeds),
        "high": max(speeds),
        "n": len(speeds),
        "flops": flops * median,
        **one.more,
    }


def _ours(made: ours.Made, network: Network, scope: Scope) -> Iterator[Contender]:
    cold, cached = made.compile_seconds
    for replicas in scope.replicas(network.most):
        run, memory = ours.timed(made, replicas)
        more = {"compile_seconds": cold, "cached_seconds": cached, **memory}
        images = replicas * network.examples
        yield Contender(OURS, "replicas", replicas, images, run, more)


def _pytorch(
    network: Network,
    batch: int,
    scope: Scope,
    stack: ExitStack,
    tell: Callable[[str], None],
    rows: list[dict[str, Any]],
    about: dict[str, Any],
) -> Iterator[Contender]:
    """Tries PyTorch's ways; yields the best for one model, and the best for many."""
    data = _data(network)
    tried: list[tuple[float, pytorch.Way]] = []
    for way in pytorch.ways(network.axes["model"], scope.cores, scope.quick):
        arguments = pytorch.make, way, network.axes, batch, *data
        images = way.models * network.examples
        row = {**about, "who": PYTORCH, "how": str(way), "tried": True}
        try:
            with Workers(way.processes, scope.limit, *arguments) as workers:
                workers.run()
                seconds = [workers.run() for _ in range(TRIES)]
        except Failed as error:
            tell(f"  {PYTORCH}, {way}: {error}")
            rows.append({**row, "failed": str(error)})
            continue
        speed = images / statistics.median(seconds)
        tell(f"  {PYTORCH}, {way}: {speed:,.0f} images/s")
        rows.append({**row, "replicas": way.models, "images_per_second": speed})
        tried.append((speed, way))
    alone = [one for one in tried if one[1].models == 1]
    for candidates in (alone, tried):
        if not candidates:
            continue
        _, way = max(candidates, key=lambda one: one[0])
        arguments = pytorch.make, way, network.axes, batch, *data
        workers = stack.enter_context(Workers(way.processes, scope.limit, *arguments))
        images = way.models * network.examples
        yield Contender(PYTORCH, str(way), way.models, images, workers.run, {})


def _others(
    network: Network,
    batch: int,
    scope: Scope,
    stack: ExitStack,
    fail: Callable[[str, str, Failed], None],
) -> Iterator[Contender]:
    """Yields Keras and plain flax, those that get ready in time."""
    arguments = network.axes, batch, *_data(network)
    ways: list[tuple] = [
        (KERAS, "Model.fit", 1, keras_fit.make, *arguments),
        (FLAX, "vmapped TrainState, stepped from Python", FLAX_REPLICAS)
        + (plain_flax.make, False, FLAX_REPLICAS, *arguments),
        (FLAX, "vmap over flax.linen, scanned", FLAX_REPLICAS)
        + (plain_flax.make, True, FLAX_REPLICAS, *arguments),
    ]
    # The last is as slow as it is to compile.
    for who, how, replicas, *call in ways[:-1] if scope.quick else ways:
        try:
            workers = stack.enter_context(Workers(1, scope.limit, *call))
            workers.run()
            if workers.run() > SLOWEST:
                workers.close()
                raise Failed(f"slower than {SLOWEST:.0f} s for a run")
        except Failed as error:
            fail(who, how, error)
            continue
        images = replicas * network.examples
        yield Contender(who, how, replicas, images, workers.run, {})


def _data(network: Network) -> tuple[Any, Any]:
    train = ours.noise(network.examples).train
    return train.images, train.labels
