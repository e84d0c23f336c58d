"""Training and evaluating one replica; `replicas.py` runs many of them at once."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnistopt.ambient import PRNG
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split
from mnistopt.hparams import Hparams
from mnistopt.models.call import apply, init
from mnistopt.models.networks import DIGIT_SHAPE, make_model
from mnistopt.points import Point
from mnistopt.training.metrics import Metrics, measure
from mnistopt.training.optimizers import make_optimizer

# Batches larger than this win nothing in evaluation, and smaller ones cost calls.
EVAL_BATCH = 256
# A batch loss beyond this counts as divergence, as does one that is not finite:
# 10,000 nats is more than 4,000 times the loss of guessing, ln 10. Without such a
# bound Adam at lr=1e6 stays finite for ever, at losses of 1e20.
LOSS_LIMIT = 1e4


class TrainState(NamedTuple):
    """All that one replica carries from epoch to epoch.

    Attributes:
        params: The network's parameters, a flax pytree.
        opt_state: The optimizer's state.
        best_params: The parameters after the best epoch by validation accuracy.
        best_correct: Validation examples they classify rightly, int32 [].
        diverged_at: The step (from 0) that diverged, int32 []; -1 while none has. From
            then on the parameters stay as they are.
    """

    params: Any
    opt_state: Any
    best_params: Any
    best_correct: jax.Array
    diverged_at: jax.Array


class EpochMetrics(NamedTuple):
    """The metrics of one epoch.

    Attributes:
        running: Over the training batches, each before its update, dropout on.
        validation: Of the validation split, after the epoch.
        train: Of the whole training split, after the epoch, dropout off. This and what
            follows is zeros unless the epoch was to be measured in full.
        test: Of the test split, after the epoch.
        best_test: Of the test split, by the best parameters so far.
    """

    running: Metrics
    validation: Metrics
    train: Metrics
    test: Metrics
    best_test: Metrics


class Replica(NamedTuple):
    """The static part of a replica: what its compiled program depends on.

    Attributes:
        model: The network.
        optimizer: A name that `make_optimizer` knows.
        batch_size: Examples per update.
        image_shape: Of an image, (H, W, C).
    """

    model: nn.Module
    optimizer: str
    batch_size: int
    image_shape: tuple[int, ...] = DIGIT_SHAPE

    @classmethod
    def of(cls, point: Point, dataset: Dataset) -> "Replica":
        """Returns the static part of a point's replicas on a dataset."""
        return cls(
            model=make_model(point, dataset.classes),
            optimizer=point.recipe.optimizer,
            batch_size=point.recipe.batch_size,
            image_shape=dataset.image_shape,
        )


def _stream(seed: jax.Array, use: int) -> jax.Array:
    """Returns the key of one use of a seed: 0 weights, 1 batches, 2 dropout."""
    return jax.random.fold_in(jax.random.key(seed, impl=PRNG), use)


def init_state(replica: Replica, seed: jax.Array) -> TrainState:
    """Returns the state before the first step; the seed alone decides it.

    Args:
        replica: The static part.
        seed: Int32 [].
    """
    images = jnp.zeros((1, *replica.image_shape))
    params = init(replica.model, _stream(seed, 0), images)["params"]
    # An optimizer's first state does not depend on its hyper-parameters.
    nothing = Hparams(*[0.0] * len(Hparams._fields))
    optimizer = make_optimizer(replica.optimizer, nothing)
    return TrainState(
        params=params,
        opt_state=optimizer.init(params),
        best_params=jax.tree.map(jnp.copy, params),
        best_correct=jnp.int32(-1),
        diverged_at=jnp.int32(-1),
    )


def pixels(images: jax.Array | np.ndarray) -> jax.Array:
    """Scales uint8 images to float32 in [0, 1], as the paper does (section 2.1).

    Images that are float32 already stay as they are.
    """
    scaled = jnp.asarray(images, jnp.float32)
    return scaled / 255 if images.dtype == np.uint8 else scaled


def train_step(
    replica: Replica,
    state: TrainState,
    hparams: Hparams,
    batch: Split,
    key: jax.Array,
    step: jax.Array,
) -> tuple[TrainState, Metrics]:
    """Makes one update, unless the replica has diverged or does so on this batch.

    Args:
        replica: The static part.
        state: Before the step.
        hparams: Float32 scalars.
        batch: Images [B, H, W, C] and labels int32 [B].
        key: For dropout.
        step: Number of the step since the start of training, int32 [].

    Returns:
        The state after the step, and the batch's metrics before it.
    """

    def loss_of(params):
        images = pixels(batch.images)
        logits = apply(replica.model, params, images, hparams.dropout, key)
        targets = optax.smooth_labels(
            jax.nn.one_hot(batch.labels, logits.shape[-1]), hparams.label_smoothing
        )
        return optax.softmax_cross_entropy(logits, targets).mean(), logits

    (loss, logits), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    optimizer = make_optimizer(replica.optimizer, hparams)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)

    healthy = jnp.isfinite(loss) & (loss < LOSS_LIMIT)
    alive = (state.diverged_at < 0) & healthy
    # Choosing between the optimizer's states too would make XLA copy them every step
    # (the MLP lost a tenth to it); a replica that has stopped needs no moments.
    params = jax.tree.map(
        lambda new, old: jnp.where(alive, new, old), params, state.params
    )
    first = (state.diverged_at < 0) & ~healthy
    state = state._replace(
        params=params,
        opt_state=opt_state,
        diverged_at=jnp.where(first, step, state.diverged_at),
    )
    return state, measure(logits, batch.labels, jnp.ones(batch.labels.shape, bool))


def train_epoch(
    replica: Replica,
    state: TrainState,
    hparams: Hparams,
    train: Split,
    seed: jax.Array,
    epoch: jax.Array,
) -> tuple[TrainState, Metrics]:
    """Trains on whole batches of a fresh permutation of the training examples.

    The permutation and the dropout bits come from `seed` and `epoch` alone, so that
    points of one seed are compared on the same draws. The last `N % batch_size`
    examples of the permutation are left out.

    Args:
        replica: The static part.
        state: Before the epoch.
        hparams: Float32 scalars.
        train: Images [N, H, W, C] and labels int32 [N]; N >= batch_size.
        seed: Int32 [].
        epoch: Epochs done before, int32 [].

    Returns:
        The state after the epoch, and the metrics summed over its batches.
    """
    size = train.labels.shape[0]
    steps = size // replica.batch_size
    order = jax.random.permutation(jax.random.fold_in(_stream(seed, 1), epoch), size)
    batches = order[: steps * replica.batch_size].reshape(steps, replica.batch_size)
    keys = jax.random.split(jax.random.fold_in(_stream(seed, 2), epoch), steps)
    # One row per image: of rows, XLA gathers twice as fast as of [H, W, C].
    rows = train.images.reshape(size, -1)

    def one(state, inputs):
        step, at, key = inputs
        batch = Split(rows[at].reshape(-1, *replica.image_shape), train.labels[at])
        return train_step(replica, state, hparams, batch, key, epoch * steps + step)

    state, metrics = jax.lax.scan(one, state, (jnp.arange(steps), batches, keys))
    return state, jax.tree.map(lambda leaf: leaf.sum(axis=0), metrics)


def evaluate(model: nn.Module, params: Any, split: Split) -> Metrics:
    """Counts every example of a split once, dropout off.

    Args:
        model: The network.
        params: Its parameters.
        split: Images [N, H, W, C] and labels int32 [N].
    """
    size = split.labels.shape[0]
    batch = min(EVAL_BATCH, size)
    batches = -(-size // batch)
    # The last batch is filled up with copies of the last example, which do not count.
    rows = jnp.arange(batches * batch).reshape(batches, batch)

    def one(sums, row):
        indices = jnp.minimum(row, size - 1)
        logits = apply(model, params, pixels(split.images[indices]))
        metrics = measure(logits, split.labels[indices], row < size)
        return jax.tree.map(jnp.add, sums, metrics), None

    zero = Metrics(jnp.int32(0), jnp.int32(0), jnp.float32(0))
    return jax.lax.scan(one, zero, rows)[0]


def run_epoch(
    replica: Replica,
    state: TrainState,
    hparams: Hparams,
    splits: tuple[Split, Split, Split],
    seed: jax.Array,
    epoch: jax.Array,
    in_full: jax.Array,
) -> tuple[TrainState, EpochMetrics]:
    """Trains for one epoch, evaluates, and keeps the best parameters so far.

    "Best" is by validation accuracy, the earlier epoch winning a tie; the test split
    decides nothing, and is not looked at but after the epochs that were asked for.

    Args:
        replica: The static part.
        state: Before the epoch.
        hparams: Float32 scalars.
        splits: The training, validation and test examples.
        seed: Int32 [].
        epoch: Epochs done before, int32 [].
        in_full: Whether to evaluate the training and test splits too, bool [].
    """
    train, validation, test = splits
    state, running = train_epoch(replica, state, hparams, train, seed, epoch)
    on_validation = evaluate(replica.model, state.params, validation)
    # The epoch's last update shows in no training loss.
    steps = train.labels.shape[0] // replica.batch_size
    healthy = on_validation.loss_sum < LOSS_LIMIT * on_validation.total
    state = state._replace(
        diverged_at=jnp.where(
            (state.diverged_at < 0) & ~healthy,
            (epoch + 1) * steps - 1,
            state.diverged_at,
        )
    )
    better = (on_validation.correct > state.best_correct) & (state.diverged_at < 0)
    state = state._replace(
        best_params=jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            state.params,
            state.best_params,
        ),
        best_correct=jnp.where(better, on_validation.correct, state.best_correct),
    )
    nothing = Metrics(jnp.int32(0), jnp.int32(0), jnp.float32(0))
    rest = jax.lax.cond(
        in_full,
        lambda: (
            evaluate(replica.model, state.params, train),
            evaluate(replica.model, state.params, test),
            evaluate(replica.model, state.best_params, test),
        ),
        lambda: (nothing,) * 3,
    )
    return state, EpochMetrics(running, on_validation, *rest)
