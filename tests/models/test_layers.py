"""Dense against flax.linen's, dropout against its definition."""

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mnistopt.models.layers import Dense, Dropout, random_bits

pytestmark = pytest.mark.usefixtures("quick_compile")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- Dense ---


@pytest.mark.parametrize("replicas", [None, 3])
def test_dense_and_its_gradients_are_those_of_linen(replicas):
    axis = () if replicas is None else (replicas,)
    x, kernel, bias = normal(0, 6, 9), normal(1, *axis, 9, 4), normal(2, *axis, 4)
    weights = normal(3, *axis, 6, 4)

    def gradients(layer):
        def loss(x, kernel, bias, weights):
            variables = {"params": {"kernel": kernel, "bias": bias}}
            return (weights * layer.apply(variables, x)).sum()

        both = jax.value_and_grad(loss, argnums=(0, 1, 2))
        mapped = both if replicas is None else jax.vmap(both, (None, 0, 0, 0))
        return mapped(x, kernel, bias, weights)

    found, wanted = gradients(Dense(4)), gradients(nn.Dense(4))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        found,
        wanted,
    )


def test_dense_starts_from_the_weights_that_linen_starts_from():
    x = normal(0, 2, 7)
    found = Dense(5).init(jax.random.key(1), x)
    wanted = nn.Dense(5).init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


# --- Random bits ---


def bits(key, *shape):
    """The bits drawn, [32, N], as 0 and 1."""
    words = np.asarray(random_bits(jax.random.key(key), shape)).ravel()
    return (words >> np.arange(32, dtype=np.uint32)[:, None]) & 1


def test_each_bit_is_set_half_of_the_time():
    drawn = bits(0, 256, 256)
    # 4.5 standard deviations over 32 bits: one failure in 4,600 keys.
    assert np.abs(drawn.mean(axis=1) - 0.5).max() < 4.5 * 0.5 / 256


@pytest.mark.parametrize("distance", [1, 2, 16, 128, 1024])
def test_bits_do_not_depend_on_those_of_a_neighbour(distance):
    drawn = bits(1, 256, 256) - 0.5
    near, far = drawn[:, :-distance], drawn[:, distance:]
    correlation = 4 * near @ far.T / near.shape[1]
    # 1,024 pairs of bits, normal with deviation 1/256: 5 of them, one in 1,700.
    assert np.abs(correlation).max() < 5 / 256


def test_consecutive_keys_draw_independent_bits():
    key = jax.random.key(3)
    first, second = (
        np.asarray(random_bits(jax.random.fold_in(key, i), (256, 256))) >> 31
        for i in (0, 1)
    )
    assert abs(np.mean(first == second) - 0.5) < 4 * 0.5 / 256


def test_pairs_of_draws_fill_the_square_evenly():
    words = np.asarray(random_bits(jax.random.key(2), (1 << 16, 2)))
    cells = np.bincount((words[:, 0] >> 27) * 32 + (words[:, 1] >> 27), minlength=1024)
    assert stats.chisquare(cells).pvalue > 0.001


def test_draws_under_vmap_are_those_of_each_key_alone():
    keys = jax.random.split(jax.random.key(4), 3)
    together = jax.vmap(lambda key: random_bits(key, (5, 7)))(keys)
    for key, found in zip(keys, together):
        np.testing.assert_array_equal(found, random_bits(key, (5, 7)))


# --- Dropout ---

MANY = jnp.ones((256, 256))


def drop(x, rate, key=0):
    return Dropout().apply({}, x, rate, rngs={"dropout": jax.random.key(key)})


def test_no_dropout_needs_no_key():
    x = normal(0, 3, 4)
    assert Dropout().apply({}, x, None) is x


@pytest.mark.parametrize("traced", [False, True])
def test_rate_zero_is_the_identity(traced):
    x = normal(0, 50, 40)
    function = jax.jit(drop) if traced else drop
    np.testing.assert_array_equal(function(x, 0.0), x)


def test_a_rate_without_a_key_is_refused():
    with pytest.raises(flax.errors.InvalidRngError):
        Dropout().apply({}, MANY, 0.5)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
def test_right_share_is_kept_and_the_mean_preserved(rate):
    dropped = np.asarray(drop(MANY, rate))
    kept = dropped > 0
    np.testing.assert_allclose(dropped[kept], 1 / (1 - rate), rtol=1e-6)
    # Counts are binomial: 4 standard deviations, one failure in 16,000 keys (and
    # none here, where the key is fixed). The rate itself is exact to 2^-24.
    n = MANY.size
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs(kept.mean() - (1 - rate)) < 4 * deviation + 2**-24
    assert abs(dropped.mean() - 1) < (4 * deviation + 2**-24) / (1 - rate)


@pytest.mark.parametrize("rate", [0.001, 0.3, 1 / 3, 0.7, 0.999, 0.9999, 1 - 2**-16])
def test_what_is_kept_is_divided_by_the_chance_of_it(rate):
    # Of the 2^24 values that are drawn, those at or above the rate as a float32.
    values = np.arange(2**24) / 2**24
    chance = np.mean(values >= float(np.float32(rate)))
    dropped = np.asarray(drop(jnp.ones((1024, 1024)), rate))
    kept = dropped[dropped > 0]
    assert kept.size
    np.testing.assert_allclose(kept, 1 / chance, rtol=2**-23)


def test_rates_of_one_key_share_their_bits_under_vmap():
    rates = jnp.array([0.0, 0.2, 0.5, 0.8])
    x = normal(0, 64, 64)
    together = np.asarray(jax.vmap(drop, in_axes=(None, 0))(x, rates))
    for rate, found in zip(rates, together):
        np.testing.assert_array_equal(found, drop(x, rate))
    dropped = together == 0
    for fewer, more in zip(dropped, dropped[1:]):
        assert not (fewer & ~more).any() and fewer.sum() < more.sum()


def test_keys_draw_independent_bits():
    first, second = drop(MANY, 0.5, key=0) > 0, drop(MANY, 0.5, key=1) > 0
    both = np.mean(first & second)  # 1/4 expected, standard deviation 0.0017
    assert abs(both - 0.25) < 4 * np.sqrt(0.25 * 0.75 / MANY.size)


def test_gradient_of_dropout_is_the_mask_times_the_scale():
    x, weights = normal(0, 40, 30), normal(1, 40, 30)
    gradient = jax.grad(lambda x: (weights * drop(x, jnp.float32(0.4))).sum())(x)
    mask = drop(jnp.ones_like(x), 0.4) > 0
    np.testing.assert_allclose(gradient, weights * mask / 0.6, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_dropout_is_distributed_as_that_of_linen(rate):
    def linen(x):
        layer = nn.Dropout(rate, deterministic=False)
        return layer.apply({}, x, rngs={"dropout": jax.random.key(7)})

    x = jnp.ones((4096, 16))
    ours, theirs = np.asarray(drop(x, rate)), np.asarray(linen(x))
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-6)
    # How many of a row's 16 are kept: the same distribution, by a chi-squared test.
    counts = [np.bincount((y > 0).sum(axis=1), minlength=17) for y in (ours, theirs)]
    common = np.array(counts)[:, np.sum(counts, axis=0) >= 10]
    assert stats.chi2_contingency(common).pvalue > 0.001
