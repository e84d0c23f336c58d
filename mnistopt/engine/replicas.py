"""Many replicas in one program: the only file with vmap, jit, donation and sharding.

A **row** is a seed with up to `lanes.points` points: the points of a row share its
batches and random bits, so the map over points leaves them unmapped, and the map over
rows stands outside it. A **round** is what one call computes: `lanes.seeds` rows on
each device. The compiled program knows a round's shape and not the grid's, so a
larger grid only means more calls: it compiles nothing and changes no bit of a
replica's numbers.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split
from mnistopt.engine.devices import Lanes
from mnistopt.hparams import Hparams
from mnistopt.models.call import apply
from mnistopt.training.train import (
    EVAL_BATCH,
    EpochMetrics,
    Replica,
    TrainState,
    init_state,
    pixels,
    run_epoch,
)


class Row(NamedTuple):
    """A seed and the places of its replicas in the list that was packed."""

    seed: int
    members: tuple[int, ...]


def pack(seeds: Sequence[int], lanes: Lanes) -> list[Row]:
    """Gathers replicas into rows of one seed and at most `lanes.points` members.

    Args:
        seeds: The seed of each replica.
        lanes: What a device computes side by side.
    """
    by_seed: dict[int, list[int]] = {}
    for i, seed in enumerate(seeds):
        by_seed.setdefault(seed, []).append(i)
    width = lanes.points
    return [
        Row(seed, tuple(members[k : k + width]))
        for seed, members in by_seed.items()
        for k in range(0, len(members), width)
    ]


def put_splits(dataset: Dataset, mesh: Mesh) -> tuple[Split, Split, Split]:
    """Copies the training, validation and test examples to every device."""
    splits = (dataset.train, dataset.validation, dataset.test)
    return jax.device_put(splits, NamedSharding(mesh, PartitionSpec()))


@functools.cache
def _compiled_init(replica: Replica):
    return jax.jit(functools.partial(init_state, replica))


def first_state(replica: Replica, seed: int) -> TrainState:
    """Returns a replica's state before training, as numpy arrays."""
    return jax.device_get(_compiled_init(replica)(jnp.int32(seed)))


def _train_rows(replica, state, hparams, seeds, epoch, in_full, splits):
    """Runs an epoch for rows of replicas: leaves [rows, points, ...], seeds [rows]."""

    def one(state, hparams, seed):
        return run_epoch(replica, state, hparams, splits, seed, epoch, in_full)

    of_row = jax.vmap(one, in_axes=(0, 0, None))
    return jax.vmap(of_row)(state, hparams, seeds)


class Program:
    """The compiled epoch of a cohort, for one round at a time.

    Attributes:
        compile_seconds: Tracing and compiling; next to nothing from the cache.
    """

    def __init__(
        self,
        replica: Replica,
        lanes: Lanes,
        mesh: Mesh,
        splits: tuple[Split, Split, Split],
    ):
        """Compiles; `splits` as from `put_splits`."""
        self.lanes, self.mesh, self._splits = lanes, mesh, splits
        by_row, whole = PartitionSpec("replica"), PartitionSpec()
        self._by_row = NamedSharding(mesh, by_row)
        mapped = jax.shard_map(
            functools.partial(_train_rows, replica),
            mesh=mesh,
            in_specs=(by_row, by_row, by_row, whole, whole, whole),
            out_specs=by_row,
            check_vma=False,
        )
        start = time.perf_counter()
        state = jax.eval_shape(_compiled_init(replica), jnp.int32(0))
        number = jax.ShapeDtypeStruct((), jnp.float32)
        hparams = Hparams(*[number] * len(Hparams._fields))
        state, hparams = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                (self.rows, lanes.points, *leaf.shape),
                leaf.dtype,
                sharding=self._by_row,
            ),
            (state, hparams),
        )
        seeds = jax.ShapeDtypeStruct((self.rows,), jnp.int32, sharding=self._by_row)
        self._epoch = (
            jax.jit(mapped, donate_argnums=0)
            .lower(state, hparams, seeds, np.int32(0), np.bool_(False), splits)
            .compile()
        )
        self.compile_seconds = time.perf_counter() - start

    @property
    def rows(self) -> int:
        """Rows in a round, over all devices."""
        return self.lanes.seeds * self.mesh.size

    def train_epoch(self, one: "Round", epoch: int, in_full: bool) -> None:
        """Starts one epoch of a round; returns before it is done.

        Args:
            one: The round; its state is replaced, its `metrics` are those of the epoch.
            epoch: Epochs done before.
            in_full: Whether to evaluate the training and test splits after it.
        """
        one.state, one.metrics = self._epoch(
            one.state,
            one.hparams,
            one.seeds,
            np.int32(epoch),
            np.bool_(in_full),
            self._splits,
        )


class Round:
    """The replicas of one call, on the devices; `places` says which is where."""

    metrics: EpochMetrics

    def __init__(
        self,
        program: Program,
        rows: Sequence[Row],
        states: Sequence[TrainState],
        hparams: Sequence[Hparams],
    ):
        """Puts replicas on the devices.

        Free lanes are filled with copies of a row's first replica, and free rows with
        copies of the first row: they are computed and thrown away.

        Args:
            program: The cohort's program.
            rows: At most `program.rows`.
            states: Of every replica packed, numpy leaves.
            hparams: Of every replica packed.
        """
        padded = [*rows, *[rows[0]] * (program.rows - len(rows))]
        width = program.lanes.points
        lanes = [
            [*row.members, *[row.members[0]] * (width - len(row.members))]
            for row in padded
        ]
        sharding = NamedSharding(program.mesh, PartitionSpec("replica"))
        members = np.array(lanes)

        def stack(trees):
            return jax.tree.map(
                lambda *leaves: np.stack(leaves).reshape(
                    *members.shape, *np.shape(leaves[0])
                ),
                *[trees[i] for i in members.flat],
            )

        self.places = {
            member: (r, p)
            for r, row in enumerate(rows)
            for p, member in enumerate(row.members)
        }
        self.state: TrainState = jax.device_put(stack(states), sharding)
        numbers = [Hparams(*map(np.float32, h)) for h in hparams]
        self.hparams: Hparams = jax.device_put(stack(numbers), sharding)
        seeds = np.array([row.seed for row in padded], np.int32)
        self.seeds = jax.device_put(seeds, sharding)

    def read(self, tree: Any) -> dict[int, Any]:
        """Copies `state` or `metrics` to the host, one tree per replica by its place.

        Waits for the computation. The copies own their memory: the devices may reuse
        theirs while a checkpoint is being written.
        """
        leaves, structure = jax.tree.flatten(jax.device_get(tree))
        return {
            member: jax.tree.unflatten(
                structure, [np.array(leaf[place]) for leaf in leaves]
            )
            for member, place in self.places.items()
        }


def make_timer(
    replica: Replica, numbers: Hparams, dataset: Dataset, mesh: Mesh, lanes: Lanes
) -> Callable[[], float]:
    """Compiles, and returns a function that trains one epoch of a full round.

    That function waits for the devices, and returns a replica's share of the seconds.
    The validation split is evaluated, as after every epoch of a study.

    Args:
        replica: The static part of all replicas.
        numbers: Their hyper-parameters.
        dataset: The data.
        mesh: The devices.
        lanes: What each of them computes side by side.
    """
    program = Program(replica, lanes, mesh, put_splits(dataset, mesh))
    seeds = [row for row in range(program.rows) for _ in range(lanes.points)]
    first = [first_state(replica, seed) for seed in range(program.rows)]
    states = [first[seed] for seed in seeds]
    one = Round(program, pack(seeds, lanes), states, [numbers] * len(seeds))

    def time_epoch() -> float:
        start = time.perf_counter()
        program.train_epoch(one, 0, in_full=False)
        jax.block_until_ready(one.metrics)
        return (time.perf_counter() - start) / len(seeds)

    return time_epoch


class Predicted(NamedTuple):
    """What one network says of N images.

    Attributes:
        classes: The likeliest ones, uint8 [N].
        probabilities: Of each class, float32 [N, K].
    """

    classes: np.ndarray
    probabilities: np.ndarray


@functools.partial(jax.jit, static_argnums=0)
def _predict(model, params, images):
    logits = apply(model, params, pixels(images))
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8), jax.nn.softmax(logits)


def predict(model: nn.Module, params: Any, images: np.ndarray) -> Predicted:
    """Classifies images with one network.

    Args:
        model: The network.
        params: Its parameters.
        images: uint8 or float32 [N, H, W, C].
    """
    parts = [
        _predict(model, params, images[i : i + EVAL_BATCH])
        for i in range(0, len(images), EVAL_BATCH)
    ]
    return Predicted(*map(np.concatenate, zip(*jax.device_get(parts))))
