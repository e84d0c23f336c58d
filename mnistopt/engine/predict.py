"""What networks see in training, and what trained ones say, on all devices in turn."""

import collections
import functools
import itertools
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnistopt.ambient import PRNG, fixed
from mnistopt.engine.devices import (
    Device,
    LocalDevice,
    compiler_options,
    local_devices,
    put,
)
from mnistopt.engine.memory import check_process_limits
from mnistopt.engine.precision import chosen
from mnistopt.hparams import Hparams
from mnistopt.models.forms import form_of, laid_out
from mnistopt.models.networks import apply, variable_shapes
from mnistopt.points import stages
from mnistopt.training.augment import augment
from mnistopt.training.metrics import EVAL_BATCH, pixels


class Predicted(NamedTuple):
    """What one network says of N images.

    Attributes:
        classes: The likeliest ones, uint8 [N].
        probabilities: The probability of each class, float32 [N, K].
    """

    classes: np.ndarray
    probabilities: np.ndarray


@functools.cache
def classifier(platform: str) -> Any:
    """Returns a function, compiled for a platform, that asks a network about images.

    Its arguments are the network, its variables (parameters, and running statistics if
    it keeps such), and images, uint8 or float32 [B, H, W, C]; each B compiles a
    program. It returns the classes and probabilities of a `Predicted`, on the device.
    """

    def classify(model, variables, images):
        with laid_out(form_of(platform)):
            logits = apply(model, variables, pixels(images))
        classes = jnp.argmax(logits, axis=-1).astype(jnp.uint8)
        return classes, jax.nn.softmax(logits)

    options = compiler_options(platform)
    return jax.jit(classify, static_argnums=0, compiler_options=options)


def _batches(images: np.ndarray) -> list[np.ndarray]:
    """Splits images into batches of one size, the last filled up with copies."""
    rows = np.arange(EVAL_BATCH)
    starts = range(0, len(images), EVAL_BATCH)
    return [images[np.minimum(rows + start, len(images) - 1)] for start in starts]


class Predictor:
    """Classifies the same images with many networks, on all devices in turn."""

    def __init__(self, images: Mapping[str, np.ndarray], precision: str | None = None):
        """Copies images to the devices.

        Args:
            images: Arrays by name, uint8 or float32 [N, H, W, C].
            precision: The precision that the networks were trained with, which is used
                where the devices have it; None for the devices' own.
        """
        check_process_limits()
        self._sizes = {name: len(some) for name, some in images.items()}
        batches = {name: _batches(some) for name, some in images.items()}
        with chosen(usual=precision):
            devices = local_devices()
        self._batches = put(batches, devices)

    def __call__(
        self, networks: Iterable[tuple[nn.Module, Any]]
    ) -> Iterator[dict[str, Predicted]]:
        """Yields what each network, a model and its variables, says, by name.

        A network is started on each device before the first one's answer is read.
        """
        begun: collections.deque[Future[dict[str, Predicted]]] = collections.deque()
        for network, device in zip(networks, itertools.cycle(self._batches)):
            begun.append(device.start(self._classify, *network, device))
            if len(begun) > len(self._batches):
                yield begun.popleft().result()
        yield from (answer.result() for answer in begun)

    def _classify(
        self, model: nn.Module, variables: Any, device: LocalDevice
    ) -> dict[str, Predicted]:
        variables = jax.device_put(variables, device.xla)
        classify = classifier(device.platform)
        return {
            name: _joined(
                [classify(model, variables, batch) for batch in batches],
                self._sizes[name],
            )
            for name, batches in self._batches[device].items()
        }


def _joined(batches: list[tuple[jax.Array, jax.Array]], size: int) -> Predicted:
    """Returns what is said of the first `size` images of some batches, on the host."""
    columns = zip(*jax.device_get(batches))
    return Predicted(*(np.concatenate(column)[:size] for column in columns))


def shifted(images: np.ndarray, reach: int) -> list[np.ndarray]:
    """Returns images as they are, moved by up to `reach` pixels in all directions.

    Args:
        images: [N, H, W, C].
        reach: Pixels, 0 for the images alone; what comes in is as the margin is.

    Returns:
        (2 reach + 1)^2 arrays of the same shape.
    """
    height, width = images.shape[1:3]
    sides = (0, 0), (reach, reach), (reach, reach), (0, 0)
    padded = np.pad(images, sides, mode="edge")
    starts = range(2 * reach + 1)
    return [
        padded[:, down : down + height, right : right + width]
        for down, right in itertools.product(starts, starts)
    ]


def predict(
    model: nn.Module,
    variables: Any,
    images: np.ndarray,
    precision: str | None = None,
) -> Predicted:
    """Classifies images with one network.

    Args:
        model: The network.
        variables: The network's parameters, and running statistics if it has any.
        images: uint8 or float32 [N, H, W, C].
        precision: See `Predictor`.
    """
    (predicted,) = Predictor({"images": images}, precision)([(model, variables)])
    return predicted["images"]


@fixed()
def training_images(
    images: np.ndarray,
    hparams: Hparams,
    seed: int,
    draws: int,
    within: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    """Returns images as a network of these hyper-parameters may see them in training.

    Args:
        images: uint8 or float32 [N, H, W, C].
        hparams: The traced hyper-parameters.
        seed: Seed of the random draws.
        draws: How often each image is changed.
        within: See `augment`.

    Returns:
        Float32 [draws, N, H, W, C].
    """
    keys = jax.random.split(jax.random.key(seed, impl=PRNG), draws)
    return np.asarray(_training_images(stages(hparams), within, images, hparams, keys))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _training_images(used, within, images, hparams, keys):
    def changed(key):
        return augment(used, pixels(images), hparams, key, within)

    return jax.lax.map(changed, keys)


# Images: one as it comes, and as many as evaluation takes at once.
BATCHES = (1, 256)
# Seconds of calls per batch, of which at least so many are made: their median moves by
# a few per cent on a quiet machine. The slowest CNN of the paper takes 0.03 s a call.
BUDGET, CALLS = 0.15, 5
# Of all variables: the time does not depend on them, as long as no product of theirs
# gets so small that it is denormal, which CPUs take long for.
_WEIGHT = 0.01


def measure_latency(
    model: nn.Module, images: np.ndarray, device: Device
) -> dict[int, float]:
    """Measures the seconds from images to what a network says of them.

    From images in the host's memory to classes and probabilities there: with the
    copies to the device and back, and without compiling or copying the network. The
    median of several calls in turn, after one that does not count. On a CPU a device is
    one core. Nothing else should run meanwhile.

    Args:
        model: The network.
        images: uint8 or float32 [N, H, W, C], of which the first are taken, and all
            again where they are fewer than a batch.
        device: Where to compute.

    Returns:
        Seconds per batch, by its size: `BATCHES`.
    """
    return device.ask(_measure, model, images[: max(BATCHES)]).result()


def _measure(
    device: LocalDevice, model: nn.Module, images: np.ndarray
) -> dict[int, float]:
    variables = jax.tree.map(
        lambda leaf: np.full(leaf.shape, _WEIGHT, leaf.dtype),
        variable_shapes(model, images.shape[1:]),
    )
    variables = jax.device_put(variables, device.xla)
    medians = {}
    for size in BATCHES:
        batch = np.resize(images[:size], (size, *images.shape[1:]))
        _seconds(model, variables, batch, device)  # compiles, or finds it compiled
        seconds: list[float] = []
        while len(seconds) < CALLS or sum(seconds) < BUDGET:
            seconds.append(_seconds(model, variables, batch, device))
        medians[size] = statistics.median(seconds)
    return medians


def _seconds(
    model: nn.Module, variables: Any, batch: np.ndarray, device: LocalDevice
) -> float:
    """Times one call, up to when its answer is on the host."""
    start = time.perf_counter()
    images = jax.device_put(batch, device.xla)
    jax.device_get(classifier(device.platform)(model, variables, images))
    return time.perf_counter() - start
