"""Evaluating one network on a split."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnistopt.data.splits import Split
from mnistopt.models.networks import apply
from mnistopt.training.metrics import Metrics, measure

# Batches larger than this win nothing in evaluation, and smaller ones cost calls.
EVAL_BATCH = 256


def pixels(images: jax.Array | np.ndarray) -> jax.Array:
    """Scales uint8 images to float32 in [0, 1], as the paper does (section 2.1).

    Images that are float32 already stay as they are.
    """
    scaled = jnp.asarray(images, jnp.float32)
    return scaled / 255 if images.dtype == np.uint8 else scaled


def evaluate(model: nn.Module, variables: Any, split: Split) -> Metrics:
    """Counts every example of a split once, dropout off.

    Args:
        model: The network.
        variables: Its parameters, and running statistics if it keeps such.
        split: Images [N, H, W, C] and labels int32 [N].
    """
    size = split.labels.shape[0]
    batch = min(EVAL_BATCH, size)
    batches = -(-size // batch)
    # The last batch is filled up with copies of the last example, which do not count.
    rows = jnp.arange(batches * batch).reshape(batches, batch)

    def one(sums, row):
        indices = jnp.minimum(row, size - 1)
        logits = apply(model, variables, pixels(split.images[indices]))
        metrics = measure(logits, split.labels[indices], row < size)
        return jax.tree.map(jnp.add, sums, metrics), None

    return jax.lax.scan(one, nothing(), rows)[0]


def nothing() -> Metrics:
    """Returns the metrics of no examples."""
    return Metrics(jnp.int32(0), jnp.int32(0), jnp.float32(0))
