"""Many replicas in one program: the only file with donation and a map over replicas.

The points of a row share its batches and random bits, so the map over points leaves
them unmapped, and the map over rows stands outside it. The compiled program knows a
round's shape and not the grid's, so a larger grid only means more calls: it compiles
nothing and changes no bit of a replica's numbers, and nor does the number of devices,
each of which runs the same program.
"""

import contextlib
import copy
import functools
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from mnistopt.ambient import fixed
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split, Taught
from mnistopt.engine.devices import Lanes, LocalDevice, compiler_options, put
from mnistopt.engine.precision import multiplying
from mnistopt.engine.rounds import Round
from mnistopt.hparams import Hparams
from mnistopt.models.forms import form_of, laid_out
from mnistopt.training.cohort import Cohort, TrainState, init_state
from mnistopt.training.metrics import Metrics
from mnistopt.training.train import EpochMetrics, measure_in_full, run_epoch

_UNREADABLE = re.compile("Error reading persistent compilation cache entry for '(.+?)'")


@contextlib.contextmanager
def mending() -> Iterator[None]:
    """Removes unreadable entries of the compile cache, so that they are written again.

    JAX never writes over an entry: one that was cut off by a kill or a full disk would
    be warned about and compiled again forever. It names the program and not the entry,
    so all of the program's go.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=_UNREADABLE.pattern)
        show = warnings.showwarning

        def mend(message: Any, *rest: Any, **more: Any) -> None:
            unreadable = _UNREADABLE.match(str(message))
            if not unreadable:
                show(message, *rest, **more)
                return
            folder = Path(jax.config.values["jax_compilation_cache_dir"])
            for entry in folder.glob(f"{unreadable[1]}-*-cache"):
                with contextlib.suppress(OSError):
                    entry.unlink()

        warnings.showwarning = mend
        yield


Splits = tuple[Split | Taught, Split, Split]


def put_splits(
    dataset: Dataset, devices: Sequence[LocalDevice]
) -> dict[LocalDevice, Splits]:
    """Copies the training, validation and test examples to where devices compute."""
    train: Split | Taught = dataset.train
    if dataset.targets is not None:
        train = Taught(*dataset.train, dataset.targets)
    return put((train, dataset.validation, dataset.test), devices)


# Of what runs once per replica: compiled in half of the time, to the same bits.
SOON = {"xla_backend_optimization_level": 1}


@functools.cache
@fixed()
def state_shapes(cohort: Cohort) -> TrainState:
    """Returns shapes and types of a replica's state, computing nothing."""
    return jax.eval_shape(functools.partial(init_state, cohort), jnp.int32(0))


def state_bytes(cohort: Cohort) -> int:
    """Returns the bytes of a replica's state, computing nothing."""
    leaves = jax.tree.leaves(state_shapes(cohort))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


class Result(NamedTuple):
    """What an epoch of a replica returns to the host, in two arrays: each costs a copy.

    Attributes:
        counts: Whole numbers of the metrics and, last, the diverged step and whether
            all parameters are finite; int32 [12].
        losses: The sums of losses, float32 [5].
    """

    counts: Any
    losses: Any

    @classmethod
    def pack(cls, metrics: EpochMetrics, state: TrainState) -> "Result":
        """Packs what an epoch has measured, and how the state after it is."""
        counts = [count for sums in metrics for count in (sums.total, sums.correct)]
        leaves = jax.tree.leaves(state.variables)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
        return cls(
            jnp.stack([*counts, state.diverged_at, finite.astype(jnp.int32)]),
            jnp.stack([sums.loss_sum for sums in metrics]),
        )

    @property
    def metrics(self) -> EpochMetrics:
        """The epoch's metrics."""
        return EpochMetrics(
            *(
                Metrics(self.counts[2 * i], self.counts[2 * i + 1], loss)
                for i, loss in enumerate(self.losses)
            )
        )

    @property
    def diverged_at(self) -> int:
        """The step that diverged; -1 for none."""
        return int(self.counts[-2])

    @property
    def cause(self) -> str:
        """What made it diverge: "loss" or "gradients"; "" if nothing has.

        A replica that has diverged is frozen. If its parameters are not
        finite, the gradients of the last update, or what it made of them, were not;
        else the loss was too high with them.
        """
        if self.diverged_at < 0:
            return ""
        return "loss" if self.counts[-1] else "gradients"


class Trained(NamedTuple):
    """What a call that trains a round returns.

    Attributes:
        results: Per epoch what `Round.read` takes.
        seconds: The device's seconds for all of them.
    """

    results: list[Result]
    seconds: float


def _init_rows(cohort, points, seeds):
    """Returns the first states of rows of replicas: leaves [rows, points, ...]."""

    def of_row(seed):
        state = init_state(cohort, seed)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (points, *x.shape)), state)

    # One at a time: a map of its own for each number of rows could round differently.
    return jax.lax.map(of_row, seeds)


def _train_rows(cohort, state, hparams, seeds, epoch, in_full, splits):
    """Runs an epoch for rows of replicas: leaves [rows, points, ...], seeds [rows]."""

    def one(state, hparams, seed):
        state, metrics = run_epoch(cohort, state, hparams, splits, seed, epoch, in_full)
        return state, Result.pack(metrics, state)

    of_row = jax.vmap(one, in_axes=(0, 0, None))
    return jax.vmap(of_row)(state, hparams, seeds)


def _measure_rows(cohort, state, splits):
    """Measures rows of replicas on all splits, as after an epoch in full."""

    def one(state):
        metrics = measure_in_full(cohort, state, splits)
        return Result.pack(metrics, state)

    return jax.vmap(jax.vmap(one))(state)


@functools.cache
def _measurer(platform: str) -> Any:
    """Returns `_measure_rows`, compiled for devices of a platform."""

    def measure(cohort, state, splits):
        with laid_out(form_of(platform)):
            return _measure_rows(cohort, state, splits)

    options = compiler_options(platform)
    return jax.jit(measure, static_argnums=0, compiler_options=options)


# Seconds that a call on an accelerator should take: between two calls it waits for the
# host, some milliseconds, and an MLP's epoch may take ten.
SPAN = 0.25


class Program:
    """The compiled start and epoch of a cohort, for a round on one device at a time.

    Attributes:
        cohort: The static part of its replicas.
        lanes: The shape of a round.
        devices: The devices that it is compiled for.
        span: Seconds that a call should take at least: none on a CPU, where a call
            costs nothing.
        compile_seconds: Tracing and compiling; next to nothing from the cache.
        bytes: Bytes that a call needs on its device, without the examples.
    """

    @fixed()
    def __init__(
        self, cohort: Cohort, lanes: Lanes, splits: Mapping[LocalDevice, Splits]
    ):
        """Compiles for each of XLA's devices; `splits` as from `put_splits`."""
        self.cohort, self.lanes = cohort, lanes
        self.devices, self._splits = list(splits), splits
        self.span = 0.0 if self.devices[0].on_host else SPAN
        start = time.perf_counter()
        shapes = jax.tree.map(_shape, next(iter(splits.values())))
        precision = self.devices[0].precision
        compiling = functools.partial(compiled, cohort, lanes, shapes, precision)
        xlas = list({device.xla: None for device in splits})
        pool = ThreadPoolExecutor()
        try:
            with mending():
                programs = dict(zip(xlas, pool.map(compiling, xlas)))
        finally:
            # A run that is asked to stop does not wait for the compiler.
            pool.shutdown(wait=False)
        # A copy for each device, as JAX lets nobody else into a compiled function
        # during its first call.
        self._init, self._epoch = (
            {device: copy.copy(programs[device.xla][which]) for device in splits}
            for which in (0, 1)
        )
        self.bytes = _bytes(self._epoch[self.devices[0]], splits[self.devices[0]])
        self.compile_seconds = time.perf_counter() - start

    def train(
        self, round_: Round, device: LocalDevice, epochs: range, in_full: bool
    ) -> Future[Trained]:
        """Starts some epochs of a round; returns before they are done.

        Args:
            round_: The round; its state is replaced.
            device: Where to compute; the round is brought there.
            epochs: The number of epochs done before each epoch.
            in_full: Whether to evaluate all splits after the last of them.

        Returns:
            What they have given, when they are done.
        """
        return device.start(self._train, round_, device, epochs, in_full)

    def read(self, rounds: Sequence[Round]) -> dict[Round, dict[str, TrainState]]:
        """Brings states to the host, as `Round.read` does."""
        return {round_: round_.read(round_.state) for round_ in rounds}

    def measure(self, round_: Round, device: LocalDevice) -> Future[Result]:
        """Starts measuring a round that has trained, on all splits.

        Args:
            round_: The round.
            device: Where to compute; the round is brought there.

        Returns:
            What `Round.read` takes; there are no metrics of training batches.
        """
        return device.start(self._measure, round_, device)

    def _measure(self, round_, device) -> Result:
        round_.bring_to(device)
        measure = _measurer(device.platform)
        measured = measure(self.cohort, round_.state, self._splits[device])
        return jax.block_until_ready(measured)

    def _train(self, round_, device, epochs, in_full) -> Trained:
        start = time.perf_counter()
        round_.bring_to(device)
        if round_.state is None:
            round_.state = self._init[device](round_.seeds)
        results = []
        for epoch in epochs:
            round_.state, result = self._epoch[device](
                round_.state,
                round_.hparams,
                round_.seeds,
                np.int32(epoch),
                np.bool_(in_full and epoch == epochs[-1]),
                self._splits[device],
            )
            results.append(result)
        # Not before: an accelerator has its next epochs begun while it computes one.
        results = jax.block_until_ready(results)
        return Trained(results, time.perf_counter() - start)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


# A second run in a process, as in a notebook's next cell, compiles none of the last
# programs again; more of them would keep a user's modules and their constants alive.
@functools.lru_cache(maxsize=16)
@fixed()
def compiled(
    cohort: Cohort, lanes: Lanes, splits: Any, precision: str, xla: jax.Device
) -> tuple[jax.stages.Compiled, jax.stages.Compiled]:
    """Returns a round's start and its epoch, compiled for one of XLA's devices.

    Args:
        cohort: The static part of its replicas.
        lanes: The shape of a round.
        splits: Shapes and types of the examples.
        precision: The precision of products.
        xla: The device.
    """
    platform, options = xla.platform, compiler_options(xla.platform)
    shape = functools.partial(jax.ShapeDtypeStruct, sharding=SingleDeviceSharding(xla))
    examples = jax.tree.map(lambda leaf: shape(leaf.shape, leaf.dtype), splits)
    state: Any = jax.tree.map(
        lambda leaf: shape((*lanes, *leaf.shape), leaf.dtype), state_shapes(cohort)
    )
    hparams = Hparams(*[shape(lanes, jnp.float32)] * len(Hparams._fields))
    seeds = shape((lanes.seeds,), jnp.int32)
    init: Any = jax.jit(functools.partial(_init_rows, cohort, lanes.points))
    epoch: Any = jax.jit(functools.partial(_train_rows, cohort), donate_argnums=0)
    with (
        laid_out(form_of(platform)),
        multiplying(platform, precision),
        ThreadPoolExecutor(1) as pool,
    ):
        # Compiled in the background, while the epoch is traced.
        starting = pool.submit(fixed()(init.lower(seeds).compile), {**options, **SOON})
        lowered = epoch.lower(
            state, hparams, seeds, np.int32(0), np.bool_(False), examples
        )
        return starting.result(), lowered.compile(options)


def _bytes(epoch: jax.stages.Compiled, splits: Splits) -> int:
    """Returns what XLA says a call needs beside the examples."""
    sizes: Any = epoch.memory_analysis()
    needed = (sizes.argument_size_in_bytes, sizes.output_size_in_bytes)
    # What is donated it needs once.
    total = sum(needed) + sizes.temp_size_in_bytes - sizes.alias_size_in_bytes
    return total - sum(leaf.nbytes for leaf in jax.tree.leaves(splits))
