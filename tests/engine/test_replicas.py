import copy
import functools
import logging

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnistopt.data.load import load
from mnistopt.engine import replicas
from mnistopt.engine.devices import Lanes, LocalDevice
from mnistopt.engine.predict import predict
from mnistopt.engine.queue import Queue
from mnistopt.engine.replicas import Program, put_splits
from mnistopt.engine.rounds import Member, make_rounds
from mnistopt.hparams import Hparams
from mnistopt.models.light import ShuffleNetV2
from mnistopt.models.mlp_cnn import CNN, MLP
from mnistopt.training.cohort import Cohort, init_state

SMALL = Cohort(MLP((16,)), "adam", 32)


@functools.cache
def digits():
    return load("mnist_5k", train_examples=160)


@functools.cache
def program(cohort: Cohort, lanes: Lanes, devices: int = 2) -> Program:
    cores = [LocalDevice(jax.local_devices()[0], number) for number in range(devices)]
    return Program(cohort, lanes, put_splits(digits(), cores))


def train(settings, cohort=SMALL, lanes=(1, 2), devices=2, epochs=2, compiled_for=1):
    """Trains (hparams, seed) pairs; returns their states and last epoch's metrics."""
    compiled = copy.copy(program(cohort, Lanes(*lanes), max(devices, compiled_for)))
    compiled.devices = compiled.devices[:devices]
    members = [
        Member(str(i), seed, hparams) for i, (hparams, seed) in enumerate(settings)
    ]
    queue = Queue(compiled, dict.fromkeys(make_rounds(compiled.lanes, members), 0))
    found = {}
    for done in queue.train(epochs):
        found |= done.results
    states = queue.states()
    return [(states[one.name], found[one.name].metrics) for one in members]


def setting(lr=1e-3, dropout=0.0, seed=0):
    return Hparams(lr, dropout, 0.0, 0.0), seed


GRID = [setting(lr, 0.2, seed) for lr in (1e-3, 1e-2) for seed in (0, 1, 2)]


def assert_same_bits(ours, theirs):
    for left, right in zip(ours, theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize("model", [MLP((16,)), CNN((4, 4), 8)])
def test_where_a_replica_begins_is_its_seed_s_matter_alone(model):
    cohort = Cohort(model, "adam", 32)
    begin = jax.jit(lambda seeds: replicas._init_rows(cohort, 2, seeds))
    alone = jax.jit(functools.partial(init_state, cohort))
    rows, others = (begin(jnp.array(seeds)) for seeds in ([5, 0, 2], [0, 2, 7]))
    for row, point in np.ndindex(3, 2):
        begun = jax.tree.map(lambda leaf, at=(row, point): leaf[at], rows)
        if row:  # Whatever other rows there are, to the bit.
            beside = jax.tree.map(lambda leaf, at=row - 1: leaf[at, 0], others)
            assert_same_bits([begun], [beside])
        # Of one row XLA may round otherwise.
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6),
            begun,
            alone(jnp.int32([5, 0, 2][row])),
        )


def test_a_call_begins_all_its_epochs_before_it_waits_and_copies_next_to_nothing():
    """On an accelerator that waits for the host between two, an epoch takes 10 ms."""
    compiled = copy.copy(program(SMALL, Lanes(1, 2)))
    device, events, given = compiled.devices[0], [], []

    def begin(*arguments):
        events.append("begun")
        given.append(sum(x.nbytes for x in arguments if isinstance(x, np.generic)))
        return whole(*arguments)

    whole, wait = compiled._epoch[device], jax.block_until_ready
    compiled._epoch = {device: begin}
    members = [Member(str(lr), 0, setting(lr)[0]) for lr in (1e-3, 1e-2)]
    (round_,) = make_rounds(compiled.lanes, members)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            replicas.jax,
            "block_until_ready",
            lambda x: events.append("wait") or wait(x),
        )
        done = compiled.train(round_, device, range(3), True).result()
    assert events == ["begun"] * 3 + ["wait"] and given == [5] * 3
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(r)) for r in done.results]
    assert sizes == [2 * 4 * (12 + 5)] * 3


class Plain(nn.Module):
    """The networks as anybody would write them in flax."""

    channels: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x):
        for i, features in enumerate(self.channels):
            x = nn.relu(nn.Conv(features, (3, 3), name=f"Conv_{i}")(x))
            if i < 2:
                x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1)))
        return nn.Dense(10)(x)


def plain_run(model, batch_size, hparams, seed, epochs):
    """Trains one network in a plain flax and optax loop, step by step."""
    data = digits()
    # The documented streams of a seed: 0 for the weights, 1 for the batches.
    stream = functools.partial(jax.random.fold_in, jax.random.key(seed))
    params = model.init(stream(0), jnp.zeros((1, 28, 28, 1)))["params"]
    optimizer = optax.adam(hparams.lr)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params, opt_state, images, labels):
        def loss(params):
            logits = model.apply({"params": params}, images)
            targets = jax.nn.one_hot(labels, 10)
            return optax.softmax_cross_entropy(logits, targets).mean()

        grads = jax.grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for epoch in range(epochs):
        key = jax.random.fold_in(stream(1), epoch)
        order = jax.random.permutation(key, len(data.train.labels))
        for i in range(0, len(order) - batch_size + 1, batch_size):
            batch = np.asarray(order[i : i + batch_size])
            images = data.train.images[batch].astype(np.float32) / 255
            labels = data.train.labels[batch]
            params, opt_state = step(params, opt_state, images, labels)
    return params


@pytest.mark.parametrize(
    ("model", "plain", "lanes"),
    [
        pytest.param(MLP((16,)), Plain(), (1, 1), marks=pytest.mark.full),
        (MLP((16,)), Plain(), (2, 3)),
        (CNN((4, 6, 5), 16), Plain((4, 6, 5)), (1, 2)),
    ],
    ids=str,
)
def test_replicas_equal_separate_plain_runs(model, plain, lanes):
    # 160 examples in batches of 48: the last 16 of each epoch are left out.
    cohort = Cohort(model, "adam", 48)
    settings = [setting(lr, seed=seed) for lr in (1e-3, 3e-3) for seed in (0, 5)]
    trained = train(settings, cohort, lanes, devices=1)
    for (state, _), (hparams, seed) in zip(trained, settings):
        expected = plain_run(plain, 48, hparams, seed, epochs=2)
        jax.tree.map(
            # Adam divides by the root of tiny second moments: float32 rounding of a
            # gradient near zero shows as a few hundredths of an update, lr = 3e-3.
            lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-4),
            state.variables["params"],
            expected,
        )


@pytest.mark.usefixtures("short_sums")
@pytest.mark.parametrize(
    ("model", "lanes"),
    [
        (MLP((16,)), (1, 2)),
        (MLP((16,)), (2, 2)),
        (CNN((3, 4), 8, norm="batch"), (1, 2)),
        pytest.param(MLP((16,)), (1, 1), marks=pytest.mark.full),
        pytest.param(CNN((3, 4), 8), (1, 1), marks=pytest.mark.full),
        pytest.param(CNN((3, 4), 8), (1, 2), marks=pytest.mark.full),
        pytest.param(ShuffleNetV2(0.1, 0), (1, 2), marks=pytest.mark.full),
    ],
    ids=str,
)
def test_packing_changes_no_bit_of_a_replica(model, lanes):
    cohort = Cohort(model, "adam", 32)
    together = train(GRID, cohort, lanes, epochs=1)
    order = [4, 2, 0, 5, 1, 3]
    permuted = train([GRID[i] for i in order], cohort, lanes, epochs=1)
    assert_same_bits(permuted, [together[i] for i in order])
    halved = train(GRID[:3], cohort, lanes, epochs=1)
    assert_same_bits(halved, together[:3])
    more = [setting(0.1, 0.5, seed) for seed in (0, 1, 2, 7)]
    extended = train(more + GRID, cohort, lanes, epochs=1)
    assert_same_bits(extended[len(more) :], together)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        *((MLP((16,)), count) for count in (1, 3, 7)),
        (CNN((3, 4), 8), 3),
        *(pytest.param(CNN((3, 4), 8), n, marks=pytest.mark.full) for n in (1, 7)),
    ],
    ids=str,
)
def test_devices_change_no_bit_of_a_replica(model, count):
    cohort = Cohort(model, "adam", 32)
    settings = [setting(1e-2, 0.2, seed) for seed in range(count)]
    one, two, four = (
        train(settings, cohort, (1, 1), devices=devices, epochs=3, compiled_for=4)
        for devices in (1, 2, 4)
    )
    assert_same_bits(two, one)
    assert_same_bits(four, one)


@pytest.mark.parametrize("other", [(3, 2), (1, 1)])
def test_other_lanes_agree_within_rounding(other):
    for (ours, _), (theirs, _) in zip(train(GRID), train(GRID, lanes=other)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4),
            ours.variables,
            theirs.variables,
        )


def test_a_diverging_replica_is_marked_and_leaves_the_others_alone():
    healthy = train([setting(1e-3, 0.2), setting(1e-3, 0.2, seed=1)])
    with_bad = train([setting(1e6), *(setting(1e-3, 0.2, seed) for seed in (0, 1))])
    assert with_bad[0][0].diverged_at >= 0
    assert all(state.diverged_at == -1 for state, _ in with_bad[1:])
    assert_same_bits(with_bad[1:], healthy)


def test_points_of_a_seed_start_from_the_same_weights():
    # At such a learning rate an epoch moves no weight by more than float32 shows.
    (one, _), (same, _), (other, _) = train(
        [setting(1e-30), setting(2e-30), setting(1e-30, seed=1)], epochs=1
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-20),
        one.variables,
        same.variables,
    )
    for first, second in zip(
        jax.tree.leaves(one.variables), jax.tree.leaves(other.variables)
    ):
        assert first.ndim == 1 or not np.array_equal(first, second)


@pytest.fixture
def log_compiles():
    # In all threads, other than `jax.log_compiles`.
    jax.config.update("jax_log_compiles", True)
    yield
    jax.config.update("jax_log_compiles", False)


def test_a_cohort_compiles_once_whatever_its_numbers_and_its_size(caplog, log_compiles):
    program.cache_clear()
    replicas.compiled.cache_clear()
    with caplog.at_level(logging.WARNING):
        train(GRID, epochs=2)
        train([setting(0.5, 0.9, seed) for seed in range(9)], epochs=1)
    compiled = [r for r in caplog.messages if "Finished XLA compilation" in r]
    # Once for both cores.
    assert sum("train_rows" in message for message in compiled) == 1


def test_a_second_program_in_a_process_compiles_nothing():
    replicas.compiled.cache_clear()
    first, second = (program.__wrapped__(SMALL, Lanes(1, 2)) for _ in range(2))
    found = replicas.compiled.cache_info()
    assert (found.misses, found.hits) == (1, 1)
    assert first.bytes == second.bytes > 0


def test_predict_agrees_with_the_metrics():
    data = digits()
    ((state, metrics),) = train([setting(1e-2)])
    predicted = predict(SMALL.model, state.variables, data.test.images)
    assert (predicted.classes == data.test.labels).sum() == metrics.test.correct
    assert predicted.classes.dtype == np.uint8
    np.testing.assert_allclose(predicted.probabilities.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(
        predicted.probabilities.argmax(axis=-1), predicted.classes
    )
    own = predicted.probabilities[np.arange(1000), data.test.labels]
    loss = -np.log(own, dtype=np.float64).sum()
    np.testing.assert_allclose(loss, metrics.test.loss_sum, rtol=1e-4)
    assert metrics.test.total == 1000
    assert metrics.train.total == 160
    assert metrics.running.total == 160
