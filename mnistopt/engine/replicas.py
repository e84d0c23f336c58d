"""Many replicas in one program: the only file with vmap, jit and donation.

The points of a row share its batches and random bits, so the map over points leaves
them unmapped, and the map over rows stands outside it. The compiled program knows a
round's shape and not the grid's, so a larger grid only means more calls: it compiles
nothing and changes no bit of a replica's numbers, and nor does the number of devices,
each of which runs the same program.
"""

import collections
import functools
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from mnistopt.engine.devices import Lanes, local_devices
from mnistopt.engine.rounds import Round
from mnistopt.hparams import Hparams
from mnistopt.models.call import apply
from mnistopt.training.metrics import Metrics
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
COMPILER_OPTIONS = {"xla_cpu_multi_thread_eigen": False}
# What runs once per replica: compiled in half of the time, to the same bits.
COMPILED_SOON = {**COMPILER_OPTIONS, "xla_backend_optimization_level": 1}


@functools.cache
@fixed()
def state_shapes(replica: Replica) -> TrainState:
    """Returns shapes and types of a replica's state, computing nothing."""
    return jax.eval_shape(functools.partial(init_state, replica), jnp.int32(0))


def state_bytes(replica: Replica) -> int:
    """Returns the bytes of a replica's state, computing nothing."""
    leaves = jax.tree.leaves(state_shapes(replica))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


class Result(NamedTuple):
    """What an epoch of a replica tells the host, in two arrays: each costs a copy.

    Attributes:
        counts: Whole numbers of the metrics and, last, the diverged step; int32 [11].
        losses: The sums of losses, float32 [5].
    """

    counts: Any
    losses: Any

    @classmethod
    def pack(cls, metrics: EpochMetrics, diverged_at: jax.Array) -> "Result":
        """Packs what an epoch has measured; `diverged_at` as in `TrainState`."""
        counts = [count for one in metrics for count in (one.total, one.correct)]
        return cls(
            jnp.stack([*counts, diverged_at]),
            jnp.stack([one.loss_sum for one in metrics]),
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
        return int(self.counts[-1])


def _init_rows(replica, points, seeds):
    """Returns the first states of rows of replicas: leaves [rows, points, ...]."""

    def of_row(seed):
        state = init_state(replica, seed)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (points, *x.shape)), state)

    # One at a time: a map of its own for each number of rows could round differently.
    return jax.lax.map(of_row, seeds)


def _train_rows(replica, state, hparams, seeds, epoch, in_full, splits):
    """Runs an epoch for rows of replicas: leaves [rows, points, ...], seeds [rows]."""

    def one(state, hparams, seed):
        state, metrics = run_epoch(
            replica, state, hparams, splits, seed, epoch, in_full
        )
        return state, Result.pack(metrics, state.diverged_at)

    of_row = jax.vmap(one, in_axes=(0, 0, None))
    return jax.vmap(of_row)(state, hparams, seeds)


class Program:
    """The compiled start and epoch of a cohort, for a round on one device at a time.

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
        init = jax.jit(functools.partial(_init_rows, replica, lanes.points))
        epoch = jax.jit(functools.partial(_train_rows, replica), donate_argnums=0)
        shapes = {device: _shapes(replica, lanes, device) for device in self.devices}
        lowered = [
            (epoch.lower(*shapes[one], splits[one]), init.lower(shapes[one].seeds))
            for one in self.devices
        ]
        with ThreadPoolExecutor() as pool:
            epochs = pool.map(lambda pair: pair[0].compile(COMPILER_OPTIONS), lowered)
            inits = pool.map(lambda pair: pair[1].compile(COMPILED_SOON), lowered)
        self._epoch = dict(zip(self.devices, epochs))
        self._init = dict(zip(self.devices, inits))
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
        if one.state is None:
            one.state = self._init[device](one.seeds)
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


class _Shapes(NamedTuple):
    """The shapes of what a round's call takes, but for the examples."""

    state: Any
    hparams: Hparams
    seeds: Any
    epoch: Any = np.int32(0)
    in_full: Any = np.bool_(False)


def _shapes(replica: Replica, lanes: Lanes, device: jax.Device) -> _Shapes:
    here = SingleDeviceSharding(device)
    number = jax.ShapeDtypeStruct((), jnp.float32)
    hparams = Hparams(*[number] * len(Hparams._fields))
    state, hparams = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (*lanes, *leaf.shape), leaf.dtype, sharding=here
        ),
        (state_shapes(replica), hparams),
    )
    seeds = jax.ShapeDtypeStruct((lanes.seeds,), jnp.int32, sharding=here)
    return _Shapes(state, hparams, seeds)


class Predicted(NamedTuple):
    """What one network says of N images.

    Attributes:
        classes: The likeliest ones, uint8 [N].
        probabilities: Of each class, float32 [N, K].
    """

    classes: np.ndarray
    probabilities: np.ndarray


@functools.partial(jax.jit, static_argnums=0, compiler_options=COMPILER_OPTIONS)
def _predict(model, params, images):
    def one(batch):
        logits = apply(model, params, pixels(batch))
        return jnp.argmax(logits, axis=-1).astype(jnp.uint8), jax.nn.softmax(logits)

    # The last batch is filled up with copies of the last image, and cut off.
    rows = jnp.arange(-(-len(images) // EVAL_BATCH) * EVAL_BATCH)
    batches = images[jnp.minimum(rows, len(images) - 1).reshape(-1, EVAL_BATCH)]
    found = jax.lax.map(one, batches)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[: len(images)], found)


class Predictor:
    """Classifies the same images with many networks, on all devices in turn."""

    def __init__(self, images: Mapping[str, np.ndarray]):
        """Copies images to the devices.

        Args:
            images: By name, uint8 or float32 [N, H, W, C].
        """
        devices = local_devices()
        self._images = {device: jax.device_put(images, device) for device in devices}

    def __call__(
        self, networks: Iterable[tuple[nn.Module, Any]]
    ) -> Iterator[dict[str, Predicted]]:
        """Yields what each network, a model and its parameters, says, by name.

        A network is started on each device before the first one's answer is read.
        """
        begun: collections.deque[dict[str, Any]] = collections.deque()
        for network, device in zip(networks, itertools.cycle(self._images)):
            begun.append(self._begin(*network, device))
            if len(begun) > len(self._images):
                yield _read(begun.popleft())
        yield from map(_read, begun)

    @fixed()
    def _begin(self, model: nn.Module, params: Any, device: jax.Device) -> dict:
        params = jax.device_put(params, device)
        images = self._images[device]
        return {name: _predict(model, params, some) for name, some in images.items()}


def _read(found: Mapping[str, Any]) -> dict[str, Predicted]:
    return {name: Predicted(*jax.device_get(one)) for name, one in found.items()}


def predict(model: nn.Module, params: Any, images: np.ndarray) -> Predicted:
    """Classifies images with one network.

    Args:
        model: The network.
        params: Its parameters.
        images: uint8 or float32 [N, H, W, C].
    """
    (found,) = Predictor({"images": images})([(model, params)])
    return found["images"]
