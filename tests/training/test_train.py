"""Training one replica, against a plain loop of flax and optax, and its promises."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from mnistopt.data.splits import Split
from mnistopt.hparams import Hparams
from mnistopt.models.mlp_cnn import CNN, MLP
from mnistopt.training.cohort import Cohort, init_state
from mnistopt.training.metrics import EVAL_BATCH, Metrics, evaluate, pixels
from mnistopt.training.train import LOSS_LIMIT, run_epoch, train_epoch, train_step

pytestmark = pytest.mark.usefixtures("quick_compile")

MLP_ADAM = Cohort(MLP((8,)), "adam", batch_size=8)
MLP_ADAMW = Cohort(MLP((8,)), "adamw", batch_size=7)
MLP_SGD = Cohort(MLP((6, 5)), "sgd", batch_size=30)
CNN_ADAM = Cohort(CNN((2,), 5), "adam", batch_size=8)

start = jax.jit(init_state, static_argnums=0)
one_step = jax.jit(train_step, static_argnums=0)
one_epoch = jax.jit(run_epoch, static_argnums=0)
count = jax.jit(evaluate, static_argnums=0)


def numbers(lr=1e-3, dropout=0.0, weight_decay=0.0, label_smoothing=0.0):
    return Hparams(*map(np.float32, (lr, dropout, weight_decay, label_smoothing)))


def splits_of(dataset):
    return dataset.train, dataset.validation, dataset.test


def run(cohort, hparams, splits, epochs, seed=0, state=None):
    """States and metrics after each epoch."""
    state = start(cohort, np.int32(seed)) if state is None else state
    history = []
    for epoch in range(epochs):
        last = np.bool_(epoch == epochs - 1)
        arguments = (hparams, splits, np.int32(seed), np.int32(epoch), last)
        state, metrics = one_epoch(cohort, state, *arguments)
        history.append((state, metrics))
    return history


def kernel_of(state, layer):
    return state.variables["params"][layer]["kernel"]


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


# --- A plain loop ---


class Plain(nn.Module):
    """The same networks of flax's own layers, without dropout."""

    channels: tuple[int, ...]
    units: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for features in self.channels:
            x = nn.relu(nn.Conv(features, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        for units in self.units:
            x = nn.relu(nn.Dense(units)(x))
        return nn.Dense(10)(x)


def count_by_hand(logits, labels):
    losses = -log_softmax(np.asarray(logits, float), axis=1)
    right = np.argmax(logits, axis=1) == labels
    return len(labels), right.sum(), losses[np.arange(len(labels)), labels].sum()


def plain_training(model, optimizer, split, batch_size, epochs, seed, smoothing):
    """Yields parameters and the epoch's counts, as a textbook would have them."""
    images, labels = split.images / np.float32(255), split.labels
    key = jax.random.key(seed)
    weights_key, batches_key = (jax.random.fold_in(key, use) for use in (0, 1))
    params = jax.jit(model.init)(weights_key, images[:1])["params"]
    opt_state = optimizer.init(params)

    @jax.jit
    def update(params, opt_state, x, y):
        def loss_of(params):
            logits = model.apply({"params": params}, x)
            wanted = (1 - smoothing) * (y[:, None] == jnp.arange(10)) + smoothing / 10
            losses = -(wanted * nn.log_softmax(logits)).sum(axis=1)
            return losses.mean(), logits

        grads, logits = jax.grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, logits

    for epoch in range(epochs):
        order_key = jax.random.fold_in(batches_key, epoch)
        order = np.asarray(jax.random.permutation(order_key, len(labels)))
        sums = np.zeros(3)
        while len(order) >= batch_size:
            batch, order = order[:batch_size], order[batch_size:]
            params, opt_state, logits = update(
                params, opt_state, images[batch], labels[batch]
            )
            sums += count_by_hand(logits, labels[batch])
        yield params, sums


@pytest.mark.parametrize(
    ("cohort", "hparams", "plain", "optimizer"),
    [
        (MLP_ADAM, numbers(lr=0.01), Plain((), (8,)), optax.adam(0.01)),
        (
            MLP_ADAMW,
            numbers(lr=0.01, weight_decay=0.5, label_smoothing=0.2),
            Plain((), (8,)),
            optax.adamw(0.01, weight_decay=0.5),
        ),
        (
            MLP_SGD,
            numbers(lr=0.05, label_smoothing=0.1),
            Plain((), (6, 5)),
            optax.sgd(0.05, momentum=0.9),
        ),
        (CNN_ADAM, numbers(lr=0.01), Plain((2,), (5,)), optax.adam(0.01)),
        (
            # Three steps an epoch.
            MLP_ADAM._replace(schedule="cosine", stages=("warmup",)),
            numbers(lr=0.01)._replace(warmup=1.0, horizon=3.0, lr_floor=0.1),
            Plain((), (8,)),
            optax.adam(optax.warmup_cosine_decay_schedule(0, 0.01, 3, 9, 0.001)),
        ),
        (
            MLP_SGD._replace(batch_size=8, stages=("clip",)),
            numbers(lr=0.5)._replace(clip=0.2),
            Plain((), (6, 5)),
            optax.chain(optax.clip_by_global_norm(0.2), optax.sgd(0.5, momentum=0.9)),
        ),
    ],
    ids=["mlp adam", "mlp adamw", "mlp sgd", "cnn adam", "cosine", "clip"],
)
def test_training_is_that_of_a_plain_loop(cohort, hparams, plain, optimizer, tiny):
    epochs, seed = 3, 5
    ours = run(cohort, hparams, splits_of(tiny), epochs, seed)
    wanted = plain_training(
        plain,
        optimizer,
        tiny.train,
        cohort.batch_size,
        epochs,
        seed,
        float(hparams.label_smoothing),
    )
    for (state, metrics), (params, sums) in zip(ours, wanted, strict=True):
        found = state.variables["params"]
        assert jax.tree.structure(found) == jax.tree.structure(params)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params)):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(metrics.running, sums, rtol=1e-4)
        for name in ("validation", "test"):
            counted, split = getattr(metrics, name), getattr(tiny, name)
            if name == "test" and not metrics.test.total:
                continue  # measured after the last epoch only
            logits = plain.apply({"params": params}, split.images / np.float32(255))
            by_hand = count_by_hand(logits, split.labels)
            np.testing.assert_allclose(counted, by_hand, rtol=1e-4)
    assert metrics.test.total == len(tiny.test.labels)
    assert state.diverged_at == -1


def test_a_moving_average_is_evaluated_and_kept_and_changes_no_training(tiny):
    averaged = MLP_ADAM._replace(stages=("average",))
    hparams = numbers(lr=0.02)._replace(average=0.5)
    plain = run(MLP_ADAM, hparams, splits_of(tiny), 3)
    ours = run(averaged, hparams, splits_of(tiny), 3)
    for (state, metrics), (other, plain_metrics) in zip(ours, plain):
        assert_same_bits(state.variables, other.variables)
        assert_same_bits(metrics.running, plain_metrics.running)
        found = count(averaged.model, state.average, tiny.validation)
        assert_same_bits(metrics.validation, found)
    found = count(averaged.model, ours[-1][0].average, tiny.test)
    assert_same_bits(ours[-1][1].test, found)
    # By hand, from the weights after each step: three an epoch, of 30 examples.
    state = start(averaged, np.int32(0))
    by_hand = state.variables
    for step in range(9):
        batch = Split(tiny.train.images[step : step + 8], tiny.train.labels[:8])
        state, _ = one_step(
            averaged, state, hparams, batch, jax.random.key(1), np.int32(step), 3
        )
        decay = min(0.5, (1 + step) / (10 + step))
        by_hand = jax.tree.map(
            lambda a, b, d=decay: d * a + (1 - d) * b, by_hand, state.variables
        )
    for a, b in zip(jax.tree.leaves(state.average), jax.tree.leaves(by_hand)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_images_are_changed_in_training_only_and_by_the_seed_and_epoch(tiny):
    noisy = MLP_ADAM._replace(stages=("noise",))
    splits, hparams = splits_of(tiny), numbers(lr=1e-30)._replace(noise=0.5)
    # Weights that do not move: what differs, differs in the images.
    (_, one), (_, two) = run(noisy, hparams, splits, 2)
    (_, plain), _ = run(MLP_ADAM, hparams, splits, 2)
    assert_same_bits(one.validation, plain.validation)
    assert_same_bits(two.test, run(MLP_ADAM, hparams, splits, 2)[1][1].test)
    assert one.running.loss_sum != plain.running.loss_sum
    assert_same_bits(run(noisy, hparams, splits, 1)[0][1].running, one.running)


def test_an_epoch_trains_on_whole_batches_of_different_examples(tiny):
    """Of 30 examples, 4 batches of 7: the 2 left out differ from epoch to epoch."""
    _, metrics = run(MLP_ADAMW, numbers(), splits_of(tiny), 1)[0]
    assert metrics.running.total == 28


def test_training_and_test_splits_are_measured_when_asked_for_only(tiny):
    history = run(MLP_ADAM, numbers(lr=0.02, dropout=0.3), splits_of(tiny), 6)
    nothing = Metrics(np.int32(0), np.int32(0), np.float32(0))
    for _, metrics in history[:-1]:
        for found in (metrics.train, metrics.test, metrics.best_test):
            assert_same_bits(found, nothing)
    state, last = history[-1]
    for found, params, split in (
        (last.train, state.variables, tiny.train),
        (last.test, state.variables, tiny.test),
        (last.best_test, state.best, tiny.test),
    ):
        wanted = count(MLP_ADAM.model, params, split)
        assert wanted.total == len(split.labels)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert last.best_test.loss_sum != last.test.loss_sum


@pytest.mark.parametrize("cohort", [MLP_ADAM, CNN_ADAM], ids=["mlp", "cnn"])
def test_loss_falls_on_a_tiny_set(cohort, tiny):
    metrics = run(cohort, numbers(lr=0.01, dropout=0.1), splits_of(tiny), 60)[-1][1]
    # Guessing has ln 10 = 2.3, and 3 right. (Labels are random: it is all by heart.)
    assert metrics.train.loss_sum / 30 < 1.15
    assert metrics.train.correct > 15


# --- Keys ---


def test_the_seed_decides_first_weights_batches_and_dropout(tiny):
    splits = splits_of(tiny)
    hparams = numbers(dropout=0.5)
    one, again, other = (run(MLP_ADAM, hparams, splits, 2, seed) for seed in (1, 1, 2))
    assert_same_bits(one, again)
    first, second = start(MLP_ADAM, np.int32(1)), start(MLP_ADAM, np.int32(2))
    kernels = [kernel_of(state, "Dense_0") for state in (first, second)]
    assert not np.array_equal(*kernels)
    # From equal weights, another seed still means other batches and dropout bits.
    moved = run(MLP_ADAM, hparams, splits, 1, seed=2, state=first)
    assert moved[0][1].running.loss_sum != one[0][1].running.loss_sum
    assert other[0][1].running.loss_sum != one[0][1].running.loss_sum


def test_each_epoch_and_each_step_has_its_own_dropout_bits(tiny):
    """Equal examples and no learning: nothing but the bits can make losses differ."""
    # Enough units that no two draws have the same loss by chance.
    cohort = Cohort(MLP((99,)), "adam", batch_size=8)
    train = functools.partial(jax.jit(train_epoch, static_argnums=0), cohort)
    state, still = start(cohort, np.int32(0)), numbers(lr=0.0, dropout=0.5)

    def loss(steps, epoch):
        copies = [0] * (steps * cohort.batch_size)
        split = Split(tiny.train.images[copies], tiny.train.labels[copies])
        after, metrics = train(state, still, split, np.int32(0), np.int32(epoch))
        assert_same_bits(after.variables, state.variables)
        return float(metrics.loss_sum) / steps

    losses = [loss(steps=1, epoch=0), loss(steps=1, epoch=1), loss(steps=2, epoch=0)]
    assert losses[0] == loss(steps=1, epoch=0)
    assert min(abs(np.diff(sorted(losses)))) > 0.01, losses


# --- Evaluation ---


@pytest.mark.parametrize("size", [1, EVAL_BATCH - 1, EVAL_BATCH, 2 * EVAL_BATCH + 3])
def test_every_example_is_evaluated_exactly_once(size):
    rng = np.random.default_rng(size)
    images = rng.integers(0, 256, (size, 28, 28, 1), np.uint8)
    split = Split(images, rng.integers(0, 10, size, np.int32))
    variables = start(MLP_ADAM, np.int32(0)).variables
    logits = MLP_ADAM.model.apply(variables, images / np.float32(255))
    # The last example is what pads: give it a loss that would show.
    split.labels[-1] = np.argmin(logits[-1])
    found = count(MLP_ADAM.model, variables, split)
    total, correct, loss = count_by_hand(logits, split.labels)
    assert (found.total, found.correct) == (total, correct) and total == size
    np.testing.assert_allclose(found.loss_sum, loss, rtol=1e-5)


def test_pixels_are_scaled_to_0_to_1():
    found = pixels(np.arange(256, dtype=np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.arange(256) / 255, rtol=1e-6)
    assert (found[0], found[255]) == (0, 1)


# --- Choosing ---


def test_the_best_parameters_are_those_of_the_best_validation_epoch(tiny):
    history = run(MLP_ADAM, numbers(lr=0.005, dropout=0.1), splits_of(tiny), 10)
    correct = [int(metrics.validation.correct) for _, metrics in history]
    ties = np.flatnonzero(np.array(correct) == max(correct))
    assert 0 < ties[0] < ties[-1] < 9, "choose an lr with a tie of the best in between"
    for epoch, (state, _) in enumerate(history, 1):
        best = int(np.argmax(correct[:epoch]))  # the first of equals
        assert_same_bits(state.best, history[best][0].variables)
        assert state.best_correct == correct[best]


def test_the_earlier_epoch_wins_a_tie(tiny):
    """Steps so small that predictions stay, though the parameters move."""
    (first, one), (second, two) = run(MLP_ADAM, numbers(lr=1e-6), splits_of(tiny), 2)
    assert one.validation.correct == two.validation.correct
    kernels = [kernel_of(state, "Dense_1") for state in (first, second)]
    assert not np.array_equal(*kernels)
    assert_same_bits(second.best, first.variables)


def test_test_labels_change_nothing_but_the_test_metrics(tiny):
    train, validation, test = splits_of(tiny)
    other = Split(test.images[::-1], np.roll(test.labels, 1))
    hparams = numbers(lr=0.01, dropout=0.2)
    one = run(MLP_ADAM, hparams, (train, validation, test), 3)
    two = run(MLP_ADAM, hparams, (train, validation, other), 3)
    for (state, metrics), (other_state, other_metrics) in zip(one, two):
        assert_same_bits(state, other_state)
        same = {"test": None, "best_test": None}
        assert_same_bits(metrics._replace(**same), other_metrics._replace(**same))
    assert one[-1][1].test.loss_sum != two[-1][1].test.loss_sum


# --- Divergence ---


def kept(state):
    """All that stays when a replica has stopped: the optimizer's state need not."""
    return state._replace(opt_state=None)


def test_a_replica_that_diverges_is_marked_and_stays_as_it_was(tiny):
    history = run(MLP_ADAM, numbers(lr=1e6), splits_of(tiny), 3)
    first = history[0][0]
    assert 0 < first.diverged_at < 30 // 8
    for state, _ in history:
        assert_same_bits(kept(state), kept(first))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.variables))


def test_diverging_is_dated_in_steps_since_the_start_of_training(tiny):
    splits = splits_of(tiny)
    state, _ = run(MLP_ADAM, numbers(), splits, 1)[0]
    assert state.diverged_at == -1
    arguments = (numbers(lr=1e6), splits, np.int32(0), np.int32(7), np.bool_(False))
    state, _ = one_epoch(MLP_ADAM, state, *arguments)
    steps = 30 // 8
    assert 7 * steps < state.diverged_at < 8 * steps


@pytest.mark.parametrize("factor", [np.nan, np.inf, 1e7], ids=["nan", "inf", "huge"])
def test_a_step_whose_loss_is_not_sound_changes_nothing(factor, tiny):
    state = start(MLP_ADAM, np.int32(0))
    params = jax.tree.map(lambda leaf: leaf * np.float32(factor), state.variables)
    batch = Split(tiny.train.images[:8], tiny.train.labels[:8])
    before = state._replace(variables=params)
    after, metrics = one_step(
        MLP_ADAM, before, numbers(), batch, jax.random.key(0), np.int32(41), 3
    )
    assert after.diverged_at == 41
    assert_same_bits(kept(after), kept(before._replace(diverged_at=np.int32(41))))
    if factor == 1e7:
        assert LOSS_LIMIT < metrics.loss_sum / 8 < np.inf
    # A later step does not move the date, nor a sound loss wake the replica up.
    for params in (after.variables, state.variables):
        asleep = after._replace(variables=params)
        later, _ = one_step(
            MLP_ADAM, asleep, numbers(), batch, jax.random.key(0), np.int32(42), 3
        )
        assert_same_bits(kept(later), kept(asleep))


def test_an_epoch_after_diverging_is_never_the_best(tiny):
    """Not even if the frozen parameters happen to do better."""
    splits = splits_of(tiny)
    good = run(MLP_ADAM, numbers(lr=0.01), splits, 1)[0][0]
    frozen = good._replace(best_correct=np.int32(0), diverged_at=np.int32(3))
    after = run(MLP_ADAM, numbers(), splits, 1, state=frozen)[0][0]
    assert count(MLP_ADAM.model, frozen.variables, tiny.validation).correct > 0
    assert_same_bits(kept(after), kept(frozen))


def test_a_replica_that_its_last_update_breaks_is_marked_too(tiny):
    """One batch per epoch: its loss, before the update, is sound."""
    state, metrics = run(MLP_SGD, numbers(lr=1e20), splits_of(tiny), 1)[0]
    assert not metrics.validation.loss_sum / 20 < LOSS_LIMIT
    assert state.diverged_at == 0  # the step that broke it
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.best))


@pytest.mark.parametrize(("factor", "sound"), [(1.0, True), (3e5, False)])
def test_a_finite_validation_loss_beyond_the_bound_is_divergence(factor, sound, tiny):
    """What the last update left is seen on the validation split only."""
    state = start(MLP_SGD, np.int32(0))
    variables = jax.tree.map(lambda leaf: leaf * np.float32(factor), state.variables)
    # No step of this epoch changes anything, or sees these images.
    dark = Split(np.zeros_like(tiny.train.images), tiny.train.labels)
    before = state._replace(variables=variables)
    arguments = (dark, tiny.validation, tiny.test)
    after, metrics = run(MLP_SGD, numbers(lr=0.0), arguments, 1, state=before)[0]
    loss = metrics.validation.loss_sum / 20
    assert np.isfinite(loss) and (loss < LOSS_LIMIT) == sound
    assert (after.diverged_at < 0) == sound
    assert (after.best_correct >= 0) == sound
