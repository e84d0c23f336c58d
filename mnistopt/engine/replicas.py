"""Many replicas in one program: the only file with vmap, jit and donation.

The points of a row share its batches and random bits, so the map over points leaves
them unmapped, and the map over rows stands outside it. The compiled program knows a
round's shape and not the grid's, so a larger grid only means more calls: it compiles
nothing and changes no bit of a replica's numbers, and nor does the number of devices,
each of which runs the same program.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from mnistopt.ambient import fixed
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split
from mnistopt.engine.devices import Lanes
from mnistopt.engine.rounds import Round
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

Splits = tuple[Split, Split, Split]


def put_splits(
    dataset: Dataset, devices: Sequence[jax.Device]
) -> dict[jax.Device, Splits]:
    """Copies the training, validation and test examples to every device."""
    splits = (dataset.train, dataset.validation, dataset.test)
    return {device: jax.device_put(splits, device) for device in devices}


# A core computes its replica by itself. XLA's pool of threads would share out each
# product among all cores, which train replicas of their own: a tenth slower for the
# MLP, 4 % for the CNN.
_OPTIONS = {"xla_cpu_multi_thread_eigen": False}


@functools.cache
def _compiled_init(replica: Replica):
    return jax.jit(functools.partial(init_state, replica))


@fixed()
def first_state(replica: Replica, seed: int) -> TrainState:
    """Returns a replica's state before training, as numpy arrays."""
    return jax.device_get(_compiled_init(replica)(jnp.int32(seed)))


@fixed()
def state_bytes(replica: Replica) -> int:
    """Returns the bytes of a replica's state, computing nothing."""
    state = jax.eval_shape(_compiled_init(replica), jnp.int32(0))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


class Result(NamedTuple):
    """What an epoch of a replica tells the host.

    Attributes:
        metrics: Of the epoch.
        diverged_at: As in `TrainState`, after it.
    """

    metrics: EpochMetrics
    diverged_at: jax.Array


def _train_rows(replica, state, hparams, seeds, epoch, in_full, splits):
    """Runs an epoch for rows of replicas: leaves [rows, points, ...], seeds [rows]."""

    def one(state, hparams, seed):
        state, metrics = run_epoch(
            replica, state, hparams, splits, seed, epoch, in_full
        )
        return state, Result(metrics, state.diverged_at)

    of_row = jax.vmap(one, in_axes=(0, 0, None))
    return jax.vmap(of_row)(state, hparams, seeds)


class Program:
    """The compiled epoch of a cohort, for one round on one device at a time.

    Attributes:
        replica: The static part of its replicas.
        lanes: The shape of a round.
        devices: Those that it is compiled for.
        compile_seconds: Tracing and compiling; next to nothing from the cache.
        bytes: That a call needs on its device, the examples included.
    """

    @fixed()
    def __init__(
        self, replica: Replica, lanes: Lanes, splits: Mapping[jax.Device, Splits]
    ):
        """Compiles for each device; `splits` as from `put_splits`."""
        self.replica, self.lanes = replica, lanes
        self.devices, self._splits = list(splits), splits
        start = time.perf_counter()
        mapped = jax.jit(functools.partial(_train_rows, replica), donate_argnums=0)
        lowered = [
            mapped.lower(*_shapes(replica, lanes, device), splits[device])
            for device in self.devices
        ]
        with ThreadPoolExecutor() as pool:
            compiled = pool.map(lambda one: one.compile(_OPTIONS), lowered)
            self._epoch = dict(zip(self.devices, compiled))
        self.bytes = _bytes(self._epoch[self.devices[0]].memory_analysis())
        self.compile_seconds = time.perf_counter() - start

    def train_epoch(
        self, one: Round, device: jax.Device, epoch: int, in_full: bool
    ) -> Result:
        """Starts one epoch of a round; returns before it is done.

        Args:
            one: The round; its state is replaced.
            device: Where to compute; the round is brought there.
            epoch: Epochs done before.
            in_full: Whether to evaluate the training and test splits after it.

        Returns:
            What `Round.read` takes.
        """
        one.bring_to(device)
        one.state, result = self._epoch[device](
            one.state,
            one.hparams,
            one.seeds,
            np.int32(epoch),
            np.bool_(in_full),
            self._splits[device],
        )
        return result


def _bytes(sizes: Any) -> int:
    """Returns what XLA says a program needs; what is donated it needs once."""
    needed = (sizes.argument_size_in_bytes, sizes.output_size_in_bytes)
    return sum(needed) + sizes.temp_size_in_bytes - sizes.alias_size_in_bytes


def _shapes(replica: Replica, lanes: Lanes, device: jax.Device) -> tuple:
    """Returns the shapes of what a round's call takes, but for the examples."""
    here = SingleDeviceSharding(device)
    state = jax.eval_shape(_compiled_init(replica), jnp.int32(0))
    number = jax.ShapeDtypeStruct((), jnp.float32)
    hparams = Hparams(*[number] * len(Hparams._fields))
    state, hparams = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (*lanes, *leaf.shape), leaf.dtype, sharding=here
        ),
        (state, hparams),
    )
    seeds = jax.ShapeDtypeStruct((lanes.seeds,), jnp.int32, sharding=here)
    return state, hparams, seeds, np.int32(0), np.bool_(False)


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


@fixed()
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
