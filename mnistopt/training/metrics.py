"""What is counted in evaluation, and what is read from the counts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnistopt.data.splits import Split, Taught
from mnistopt.models.networks import apply

# Batches larger than this win nothing in evaluation, and smaller ones cost calls.
EVAL_BATCH = 256
# An epoch's validation accuracy has converged when it is this close to the run's
# best: 0.2 points, one standard error of an accuracy of 98 % on 5,000 examples. The
# paper gives convergence epochs (Table 5) without a definition.
CONVERGENCE_MARGIN = 0.002


class Metrics(NamedTuple):
    """Sums over examples, so that any split into batches gives the same result.

    Attributes:
        total: Examples counted, int32 [].
        correct: How many of these are classified correctly, int32 [].
        loss_sum: Sum of their cross-entropies in nats, float32 [].
    """

    total: jax.Array
    correct: jax.Array
    loss_sum: jax.Array


def measure(logits: Any, labels: jax.Array | np.ndarray, mask: jax.Array) -> Metrics:
    """Counts one batch.

    Args:
        logits: Float32 [B, K].
        labels: Int32 [B].
        mask: Bool [B], False for padding, which counts nowhere.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return Metrics(
        total=jnp.sum(mask, dtype=jnp.int32),
        correct=jnp.sum(mask & (jnp.argmax(logits, axis=-1) == labels), dtype="int32"),
        loss_sum=jnp.sum(jnp.where(mask, losses, 0)),
    )


def pixels(images: jax.Array | np.ndarray) -> jax.Array:
    """Scales uint8 images to float32 in [0, 1], as the paper does (section 2.1).

    Images that are float32 already stay as they are.
    """
    scaled = jnp.asarray(images, jnp.float32)
    return scaled / 255 if images.dtype == np.uint8 else scaled


def evaluate(model: nn.Module, variables: Any, split: Split | Taught) -> Metrics:
    """Counts every example of a split once, dropout off.

    Args:
        model: The network.
        variables: The network's parameters, and running statistics if it has any.
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


def convergence_epoch(validation_accuracy: Sequence[float]) -> int:
    """Returns the first epoch (from 1) within `CONVERGENCE_MARGIN` of the best.

    Args:
        validation_accuracy: One value per epoch, at least one.
    """
    # Accuracies are ratios of whole numbers: rounding must not decide between them.
    needed = max(validation_accuracy) - CONVERGENCE_MARGIN - 1e-9
    return next(i for i, a in enumerate(validation_accuracy, 1) if a >= needed)


def stop_epoch(validation_correct: Sequence[int], patience: int) -> int | None:
    """Returns the epoch (from 1) after which early stopping ends; None to continue.

    The first one that is `patience` epochs after the best so far, the earlier of equals
    (Prechelt 1998, "Early stopping - but when?", the class UP, on accuracies).

    Args:
        validation_correct: Rightly classified examples, one number per epoch.
        patience: Number of epochs; 0 for no limit.
    """
    if not patience:
        return None
    best = 0
    for epoch, correct in enumerate(validation_correct):
        if correct > validation_correct[best]:
            best = epoch
        if epoch - best >= patience:
            return epoch + 1
    return None


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int):
    """Returns how often each class was taken for each, int64 [K, K].

    Args:
        labels: The true classes, int [N]; the table's rows.
        predicted: The predicted ones, int [N]; its columns.
        classes: K.
    """
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def per_class(table: np.ndarray) -> list[dict[str, float]]:
    """Returns precision, recall and F1 of each class, 0 where undefined.

    Args:
        table: The matrix from `confusion`.
    """
    hits, true, predicted = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    return [
        {
            "precision": float(hits[k] / max(predicted[k], 1)),
            "recall": float(hits[k] / max(true[k], 1)),
            "f1": float(2 * hits[k] / max(true[k] + predicted[k], 1)),
        }
        for k in range(len(table))
    ]
