"""A network's contenders, timed in turn."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest import mock

from experiments.benchmark import others, ours, pytorch
from experiments.benchmark.networks import Network, update_flops
from experiments.benchmark.workers import Failed, Workers
from mnistopt.models import forms

# Timed runs of each contender, taken in turn, after one that is not counted; and of
# each of PyTorch's ways, to find the best.
REPEATS, TRIES = 5, 2
# Seconds that a timed run takes at least: shorter ones measure how a process wakes up.
SHORTEST = 0.5
# Seconds of a run beyond which a program other than ours and PyTorch's is given up.
SLOWEST = 15.0
# Seconds that another's program may take to compile, or to train an epoch of
# `Network.examples`, before it is given up: in full, and where it must be quick.
LIMIT, QUICK_LIMIT = 90.0, 30.0
# Replicas side by side in plain flax.
FLAX_REPLICAS = 8

# As we are, and where the C++ of a CPU's convolutions is missing.
OURS, WITHOUT = "mnistopt", "mnistopt without C++"
PYTORCH, KERAS, FLAX = "PyTorch", "Keras on JAX", "plain flax"
# Replicas of the latter.
WITHOUT_REPLICAS = 8


class Contender(NamedTuple):
    """Somebody who trains.

    Attributes:
        who: `OURS`, or whose program it is.
        how: Name of the way in which it trains.
        replicas: Models trained.
        run: Trains each of them on `Network.examples`, and returns the seconds.
        more: Further columns.
    """

    who: str
    how: str
    replicas: int
    run: Callable[[], float]
    more: dict[str, Any] = {}


class Contest:
    """Who trains a network, and what became of it.

    Attributes:
        rows: The rows that `run` returns.
    """

    def __init__(
        self,
        network: Network,
        batch: int,
        devices: Sequence[Any],
        quick: bool,
        log: Callable[[str], None],
    ):
        """Sets the task.

        Args:
            network: The network.
            batch: Examples per update.
            devices: How many devices our replicas use; the others get as many cores.
            quick: Whether to leave out what takes long.
            log: Called with a line of progress.
        """
        self.rows: list[dict[str, Any]] = []
        self._network, self._batch, self._devices = network, batch, devices
        self._quick, self._log = quick, log
        self._stack = ExitStack()

    def run(self) -> list[dict[str, Any]]:
        """Times all contenders in turn.

        Returns:
            A row per contender, that is also one for whoever gave up: `network`,
            `batch`, `who`, `how`, `replicas`; `images_per_second`, the median of `n`
            runs, with their spread `low` to `high`; `flops`, as `update_flops` counts
            them, per second; `failed`, why there are none; and of ours
            `compile_seconds`, `cached_seconds`, `planned_bytes`, `bytes` and
            `peak_bytes`, as in `ours.Made` and `ours.timed`.
        """
        with self._stack:
            self._log("  compiling")
            made = ours.make(self._network, self._batch, self._devices)
            contenders = [*self._ours(made), *self._pytorch()]
            if not self._network.light:
                contenders += self._others()
            self._log(f"  {len(contenders)} contenders in turn")
            # The first run, which warms up, says how many are long enough.
            times = [math.ceil(SHORTEST / contender.run()) for contender in contenders]
            speeds: list[list[float]] = [[] for _ in contenders]
            for _ in range(REPEATS):
                for contender, count, reached in zip(contenders, times, speeds):
                    seconds = sum(contender.run() for _ in range(count))
                    images = count * contender.replicas * self._network.examples
                    reached.append(images / seconds)
        flops = update_flops(made.program.cohort.model)
        for contender, reached in zip(contenders, speeds):
            median = statistics.median(reached)
            self._add(
                contender.who,
                contender.how,
                replicas=contender.replicas,
                images_per_second=median,
                low=min(reached),
                high=max(reached),
                n=len(reached),
                flops=flops * median,
                **contender.more,
            )
        return self.rows

    def _add(self, who: str, how: str, **more: Any) -> None:
        about = {"network": self._network.name, "batch": self._batch}
        self.rows.append({**about, "who": who, "how": how, **more})
        if "failed" in more:
            self._log(f"  {who}, {how}: {more['failed']}")

    def _workers(self, count: int, make: Callable, *how: Any) -> Workers:
        """Starts others' processes; raises Failed if they are not ready in time."""
        train = ours.noise(self._network.examples).train
        task = self._network.axes, self._batch, train.images, train.labels
        limit = QUICK_LIMIT if self._quick else LIMIT
        return Workers(count, limit, make, *how, *task)

    def _ours(self, made: ours.Made) -> Iterator[Contender]:
        cold, cached = made.compile_seconds
        most = self._network.most
        counts = [count for count in (1, 2, 4, 8, 32) if count < most] + [most]
        for replicas in [1, 8] if self._quick else counts:
            run, memory = ours.timed(made, replicas)
            more = {"compile_seconds": cold, "cached_seconds": cached, **memory}
            yield Contender(OURS, "replicas", replicas, run, more)
        if self._quick or forms.form() != forms.FUSED or not self._network.convolves:
            return
        with mock.patch.dict(forms.OF_PLATFORM, cpu=forms.BLOCKS):
            made = ours.make(self._network, self._batch, self._devices)
        run, _ = ours.timed(made, WITHOUT_REPLICAS)
        yield Contender(WITHOUT, "replicas", WITHOUT_REPLICAS, run)

    def _pytorch(self) -> Iterator[Contender]:
        """Tries its ways; yields the best for one model, and the best for many."""
        speeds: dict[pytorch.Way, float] = {}
        model, cores = self._network.axes["model"], len(self._devices)
        for way in pytorch.ways(model, cores, self._quick):
            try:
                with self._workers(way.processes, pytorch.make, way) as workers:
                    workers.run()
                    seconds = [workers.run() for _ in range(TRIES)]
            except Failed as error:
                self._add(PYTORCH, str(way), tried=True, failed=str(error))
                continue
            images = way.models * self._network.examples
            speeds[way] = speed = images / statistics.median(seconds)
            self._log(f"  {PYTORCH}, {way}: {speed:,.0f} images/s")
            columns = {"replicas": way.models, "images_per_second": speed}
            self._add(PYTORCH, str(way), tried=True, **columns)
        alone = [way for way in speeds if way.models == 1]
        for candidates in filter(None, (alone, list(speeds))):
            best = max(candidates, key=speeds.__getitem__)
            workers = self._workers(best.processes, pytorch.make, best)
            self._stack.enter_context(workers)
            yield Contender(PYTORCH, str(best), best.models, workers.run)

    def _others(self) -> Iterator[Contender]:
        """Yields Keras and plain flax, those that get ready in time."""
        ways: list[tuple] = [
            (KERAS, "Model.fit", 1, others.make_keras),
            (FLAX, "vmapped TrainState, stepped from Python", FLAX_REPLICAS)
            + (others.make_flax, False, FLAX_REPLICAS),
            (FLAX, "vmap over flax.linen, scanned", FLAX_REPLICAS)
            + (others.make_flax, True, FLAX_REPLICAS),
        ]
        # The last is as slow as it is to compile.
        for who, how, replicas, *call in ways[:-1] if self._quick else ways:
            try:
                workers = self._stack.enter_context(self._workers(1, *call))
                workers.run()
                if workers.run() > SLOWEST:
                    workers.close()
                    raise Failed(f"slower than {SLOWEST:.0f} s for a run")
            except Failed as error:
                self._add(who, how, failed=str(error))
            else:
                yield Contender(who, how, replicas, workers.run)
