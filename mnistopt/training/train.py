"""Training and evaluating one replica; `replicas.py` runs many of them at once."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mnistopt.data.splits import Split, Taught
from mnistopt.hparams import AVERAGE_START, Hparams
from mnistopt.models.networks import apply_training
from mnistopt.training.augment import STAGES, augment
from mnistopt.training.cohort import Cohort, TrainState, stream
from mnistopt.training.metrics import Metrics, evaluate, measure, nothing, pixels
from mnistopt.training.optimizers import learning_rate, make_optimizer

# A batch loss beyond this counts as divergence, as does one that is not finite:
# 10,000 nats is more than 4,000 times the loss of guessing, ln 10. Without such a
# bound Adam at lr=1e6 stays finite forever, at losses of 1e20.
LOSS_LIMIT = 1e4
# What logits are divided by where a network learns from a teacher: Hinton, Vinyals and
# Dean 2015 (arXiv:1503.02531), section 3: 2.5 to 4 was best for small networks.
TEMPERATURE = 4.0


class EpochMetrics(NamedTuple):
    """The metrics of one epoch.

    Attributes:
        running: Over the training batches, each before its update, dropout on.
        validation: Metrics on the validation split, after the epoch.
        train: Metrics on the whole training split, after the epoch, dropout off. This
            and what follows is zeros unless the epoch was to be measured in full.
        test: Metrics on the test split, after the epoch.
        best_test: Metrics on the test split, at the best epoch so far.
    """

    running: Metrics
    validation: Metrics
    train: Metrics
    test: Metrics
    best_test: Metrics


def train_step(
    cohort: Cohort,
    state: TrainState,
    hparams: Hparams,
    batch: Split,
    key: jax.Array,
    step: jax.Array,
    epoch_steps: int,
    taught: jax.Array | None = None,
) -> tuple[TrainState, Metrics]:
    """Makes one update, unless the replica has diverged or does so on this batch.

    Args:
        cohort: The static part of the replica.
        state: Before the step.
        hparams: Float32 scalars.
        batch: Images [B, H, W, C] and labels int32 [B].
        key: The key for dropout and augmentation.
        step: Number of the step since the start of training, int32 [].
        epoch_steps: Steps of an epoch.
        taught: In the stage "distill", the teacher's probabilities, float32 [B, K].

    Returns:
        The state after the step, and the batch's metrics before it.
    """
    images = pixels(batch.images)
    if set(STAGES) & set(cohort.stages):
        draws = jax.random.fold_in(key, 0)
        images = augment(cohort.stages, images, hparams, draws, cohort.within)

    def loss_of(params):
        variables = {**state.variables, "params": params}
        logits, statistics = apply_training(
            cohort.model, variables, images, hparams.dropout, key
        )
        targets = optax.smooth_labels(
            jax.nn.one_hot(batch.labels, logits.shape[-1]), hparams.label_smoothing
        )
        loss = optax.softmax_cross_entropy(logits, targets).mean()
        if taught is not None:
            loss += hparams.distill * (_distilled(logits, taught) - loss)
        return loss, (logits, statistics)

    params = state.variables["params"]
    gradient = jax.value_and_grad(loss_of, has_aux=True)
    (loss, (logits, statistics)), grads = gradient(params)
    epochs = step / epoch_steps
    if "clip" in cohort.stages:
        grads, _ = optax.clip_by_global_norm(hparams.clip).update(grads, ())
    if cohort.schedule != "constant" or "warmup" in cohort.stages:
        hparams = hparams._replace(lr=learning_rate(cohort.schedule, hparams, epochs))
    optimizer = make_optimizer(cohort.optimizer, hparams)
    updates, opt_state = optimizer.update(grads, state.opt_state, params)
    variables = {"params": optax.apply_updates(params, updates), **statistics}

    healthy = jnp.isfinite(loss) & (loss < LOSS_LIMIT)
    alive = (state.diverged_at < 0) & healthy
    # Choosing between the optimizer's states too would make XLA copy them every step
    # (the MLP lost a tenth to it); a replica that has stopped needs no moments.
    variables = _choose(alive, variables, state.variables)
    average = state.average
    if average is not None:
        share = 1 - _decay(hparams.average, step)
        moved = optax.incremental_update(variables, average, share)
        average = _choose(alive, moved, average)
    first = (state.diverged_at < 0) & ~healthy
    state = state._replace(
        variables=variables,
        opt_state=opt_state,
        diverged_at=jnp.where(first, step, state.diverged_at),
        average=average,
    )
    return state, measure(logits, batch.labels, jnp.ones(batch.labels.shape, bool))


def _distilled(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the loss by which a network learns from a teacher: section 2 there.

    The square of the temperature keeps its gradients as large as the labels'.
    """
    soft = jax.nn.softmax(jnp.log(targets) / TEMPERATURE)
    losses = optax.softmax_cross_entropy(logits / TEMPERATURE, soft)
    return TEMPERATURE**2 * losses.mean()


def _choose(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


def _decay(decay: jax.Array, step: jax.Array) -> jax.Array:
    """Returns the decay of a moving average after some steps, as `AVERAGE_START`."""
    first, second = AVERAGE_START
    return jnp.minimum(decay, (first + step) / (second + step))


def train_epoch(
    cohort: Cohort,
    state: TrainState,
    hparams: Hparams,
    train: Split | Taught,
    seed: jax.Array,
    epoch: jax.Array,
) -> tuple[TrainState, Metrics]:
    """Trains on whole batches of a fresh permutation of the training examples.

    The permutation and the dropout bits come from `seed` and `epoch` alone, so that
    points of one seed are compared on the same draws. The last `N % batch_size`
    examples of the permutation are left out.

    Args:
        cohort: The static part of the replica.
        state: Before the epoch.
        hparams: Float32 scalars.
        train: Images [N, H, W, C] and labels int32 [N]; N >= batch_size.
        seed: Int32 [].
        epoch: Epochs done before, int32 [].

    Returns:
        The state after the epoch, and the metrics summed over its batches.
    """
    size = train.labels.shape[0]
    steps = size // cohort.batch_size
    order = jax.random.permutation(jax.random.fold_in(stream(seed, 1), epoch), size)
    batches = order[: steps * cohort.batch_size].reshape(steps, cohort.batch_size)
    keys = jax.random.split(jax.random.fold_in(stream(seed, 2), epoch), steps)
    # One row per image: of rows, XLA gathers twice as fast as of [H, W, C].
    rows = train.images.reshape(size, -1)

    def one(state, inputs):
        step, at, key = inputs
        images = rows[at].reshape(-1, *cohort.image_shape)
        batch = Split(images, train.labels[at])
        taught: Any = None
        if "distill" in cohort.stages and isinstance(train, Taught):
            taught = train.targets[at]
        when = epoch * steps + step, steps
        return train_step(cohort, state, hparams, batch, key, *when, taught)

    state, metrics = jax.lax.scan(one, state, (jnp.arange(steps), batches, keys))
    return state, jax.tree.map(lambda leaf: leaf.sum(axis=0), metrics)


def run_epoch(
    cohort: Cohort,
    state: TrainState,
    hparams: Hparams,
    splits: tuple[Split | Taught, Split, Split],
    seed: jax.Array,
    epoch: jax.Array,
    in_full: jax.Array,
) -> tuple[TrainState, EpochMetrics]:
    """Trains for one epoch, evaluates, and keeps the best variables so far.

    "Best" is by validation accuracy, the earlier epoch winning a tie; the test split
    decides nothing, and is not looked at but after the epochs that were asked for.

    Args:
        cohort: The static part of the replica.
        state: Before the epoch.
        hparams: Float32 scalars.
        splits: The training, validation and test examples.
        seed: Int32 [].
        epoch: Epochs done before, int32 [].
        in_full: Whether to evaluate the training and test splits too, bool [].
    """
    train, validation, _ = splits
    state, running = train_epoch(cohort, state, hparams, train, seed, epoch)
    on_validation = evaluate(cohort.model, state.evaluated, validation)
    # The epoch's last update shows in no training loss.
    steps = train.labels.shape[0] // cohort.batch_size
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
        best=_choose(better, state.evaluated, state.best),
        best_correct=jnp.where(better, on_validation.correct, state.best_correct),
    )
    rest = jax.lax.cond(
        in_full,
        lambda: _rest(cohort, state, splits),
        lambda: (nothing(),) * 3,
    )
    return state, EpochMetrics(running, on_validation, *rest)


def measure_in_full(
    cohort: Cohort, state: TrainState, splits: tuple[Split | Taught, Split, Split]
) -> EpochMetrics:
    """Measures a replica on all splits, as `run_epoch` does after an epoch.

    Args:
        cohort: The static part of the replica.
        state: After some epoch.
        splits: The training, validation and test examples.
    """
    on_validation = evaluate(cohort.model, state.evaluated, splits[1])
    return EpochMetrics(nothing(), on_validation, *_rest(cohort, state, splits))


def _rest(cohort, state, splits) -> tuple[Metrics, Metrics, Metrics]:
    train, _, test = splits
    return (
        evaluate(cohort.model, state.evaluated, train),
        evaluate(cohort.model, state.evaluated, test),
        evaluate(cohort.model, state.best, test),
    )
