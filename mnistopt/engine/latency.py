"""How long one device takes to classify a batch of images with a network."""

import statistics
import time
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mnistopt.ambient import fixed
from mnistopt.engine.devices import Device
from mnistopt.engine.predict import classify
from mnistopt.models.networks import variable_shapes

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


@fixed()
def _measure(device: Device, model: nn.Module, images: np.ndarray) -> dict[int, float]:
    variables = jax.tree.map(
        lambda leaf: np.full(leaf.shape, _WEIGHT, leaf.dtype),
        variable_shapes(model, images.shape[1:]),
    )
    variables = jax.device_put(variables, device.xla)
    found = {}
    for size in BATCHES:
        batch = np.resize(images[:size], (size, *images.shape[1:]))
        _seconds(model, variables, batch, device)  # compiles, or finds it compiled
        seconds: list[float] = []
        while len(seconds) < CALLS or sum(seconds) < BUDGET:
            seconds.append(_seconds(model, variables, batch, device))
        found[size] = statistics.median(seconds)
    return found


def _seconds(
    model: nn.Module, variables: Any, batch: np.ndarray, device: Device
) -> float:
    """Times one call, up to when its answer is on the host."""
    start = time.perf_counter()
    jax.device_get(classify(model, variables, jax.device_put(batch, device.xla)))
    return time.perf_counter() - start
