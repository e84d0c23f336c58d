"""The layers against flax.linen's, and dropout against its definition."""

import functools

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mnistopt.layers import GROUP, Conv, Dropout, conv3x3, max_pool2x2

# Batch, height, width, channels in and out: batches below, at, above and at twice
# the group; even and odd sizes; one channel and several.
SHAPES = [
    (1, 28, 28, 1, 4),
    (GROUP - 1, 7, 7, 3, 5),
    (GROUP, 6, 4, 2, 3),
    (GROUP + 3, 5, 9, 1, 2),
    (2 * GROUP, 8, 5, 4, 1),
]
pytestmark = pytest.mark.usefixtures("quick_compile")
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def conv(x, kernel, bias, pool=False):
    variables = {"params": {"kernel": kernel, "bias": bias}}
    return Conv(kernel.shape[-1], pool).apply(variables, x)


def linen_conv(x, kernel, bias):
    variables = {"params": {"kernel": kernel, "bias": bias}}
    return nn.relu(nn.Conv(kernel.shape[-1], (3, 3)).apply(variables, x))


def conv_and_pool(x, kernel, bias):
    return conv(x, kernel, bias, pool=True)


def linen_conv_and_pool(x, kernel, bias):
    return linen_max_pool(linen_conv(x, kernel, bias))


def linen_max_pool(x):
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def linen_conv3x3(x, kernel):
    layer = nn.Conv(kernel.shape[-1], (3, 3), use_bias=False)
    return layer.apply({"params": {"kernel": kernel}}, x)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole_numbers(seed, *shape):
    """Few small whole numbers: sums of them are exact, and maxima often tie."""
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32)


def arguments(shape, draw=normal):
    b, h, w, c, o = shape
    return draw(0, b, h, w, c), draw(1, 3, 3, c, o), draw(2, o)


@functools.partial(jax.jit, static_argnums=0)
def _output_and_gradients(layer, weights, *inputs):
    y, backward = jax.vjp(layer, *inputs)
    return y, backward(weights)


def output_and_gradients(layer, *inputs):
    """The output, and the gradients of a random weighting of it."""
    shape = jax.eval_shape(layer, *inputs).shape
    return _output_and_gradients(layer, normal(9, *shape), *inputs)


def assert_close(found, wanted):
    """Each array is within 1e-5 of the other's largest element."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
        assert one.shape == other.shape and one.dtype == other.dtype
        bound = 1e-5 * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=bound)


@by_shape
def test_conv_with_pool_and_its_gradients_are_those_of_linen(shape):
    inputs = arguments(shape)
    found = output_and_gradients(conv_and_pool, *inputs)
    wanted = output_and_gradients(linen_conv_and_pool, *inputs)
    assert_close(found, wanted)
    assert all(np.abs(gradient).max() > 0 for gradient in wanted[1])


@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[3]], ids=str)
def test_conv_without_pool_and_its_gradients_are_those_of_linen(shape):
    inputs = arguments(shape)
    found = output_and_gradients(conv, *inputs)
    assert_close(found, output_and_gradients(linen_conv, *inputs))


@by_shape
def test_gradients_go_where_xla_sends_them_when_maxima_tie(shape):
    """Background pixels are equal, so ties are the rule: the first maximum wins."""
    images, kernel, _ = arguments(shape, whole_numbers)
    images[:, : images.shape[1] // 2] = 0
    # A bias above 0 lets the gradient through where a whole cell is background.
    inputs = (images, kernel, np.full(kernel.shape[-1], 2, np.float32))
    y, gradients = output_and_gradients(conv_and_pool, *inputs)
    wanted = output_and_gradients(linen_conv_and_pool, *inputs)
    np.testing.assert_array_equal(y, wanted[0])
    assert_close(gradients, wanted[1])


@pytest.mark.parametrize("shape", [(3, 5, 9, 2), (2, 7, 7, 1), (1, 4, 6, 3)], ids=str)
def test_max_pool_and_its_gradient_are_those_of_linen_to_the_bit(shape):
    for draw in (normal, whole_numbers):
        x = draw(3, *shape)
        found = output_and_gradients(max_pool2x2, x)
        wanted = output_and_gradients(linen_max_pool, x)
        jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_plain_convolution_of_whole_numbers_is_that_of_linen_to_the_bit():
    inputs = arguments(SHAPES[1], whole_numbers)[:2]
    found = output_and_gradients(conv3x3, *inputs)
    wanted = output_and_gradients(linen_conv3x3, *inputs)
    np.testing.assert_array_equal(found[0], wanted[0])
    assert_close(found, wanted)


@pytest.mark.parametrize("own_images", [False, True])
def test_a_replica_axis_over_kernels_changes_nothing(own_images):
    b, h, w, c, o = shape = GROUP + 3, 6, 7, 2, 3
    replicas = 3
    images = normal(4, replicas, b, h, w, c) if own_images else arguments(shape)[0]
    kernels, biases = normal(5, replicas, 3, 3, c, o), normal(6, replicas, o)
    side_by_side = jax.vmap(conv_and_pool, in_axes=(0 if own_images else None, 0, 0))

    def one_by_one(x, kernel, bias):
        own = x if own_images else [x] * replicas
        each = [linen_conv_and_pool(*one) for one in zip(own, kernel, bias)]
        return jnp.stack(each)

    inputs = images, kernels, biases
    found = output_and_gradients(side_by_side, *inputs)
    assert_close(found, output_and_gradients(one_by_one, *inputs))


def test_conv_starts_from_the_weights_that_linen_starts_from():
    x = normal(0, 2, 7, 7, 3)
    found = Conv(5, pool=True).init(jax.random.key(1), x)
    wanted = nn.Conv(5, (3, 3)).init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


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
    # none here, where the key is fixed). The rate itself is exact to 2^-16.
    n = MANY.size
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs(kept.mean() - (1 - rate)) < 4 * deviation + 2**-16
    assert abs(dropped.mean() - 1) < (4 * deviation + 2**-16) / (1 - rate)


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
