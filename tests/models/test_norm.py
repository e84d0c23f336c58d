"""Batch normalization against flax.linen's."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linen import assert_close, assert_same_bits, float64, replica, stacked

from mnistopt.models.layers import BatchNorm

pytestmark = pytest.mark.usefixtures("quick_compile")

SHAPES = pytest.mark.parametrize("shape", [(6, 4), (5, 3, 2, 7), (1, 2, 2, 3)], ids=str)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def variables(channels, *axes):
    """Random parameters and statistics, [*axes, C]."""
    scale, bias, mean, var = (normal(i, *axes, channels) for i in range(4))
    return {
        "params": {"scale": scale, "bias": bias},
        "batch_stats": {"mean": mean, "var": np.abs(var) + 0.1},
    }


def ours(variables, x):
    return BatchNorm().apply(variables, x, True, mutable=["batch_stats"])


def linens(variables, x):
    layer = nn.BatchNorm(False, momentum=0.9, epsilon=1e-5)
    return layer.apply(variables, x, mutable=["batch_stats"])


@functools.partial(jax.jit, static_argnums=0)
def gradients(layer, variables, x):
    """The output, the new statistics, and the gradients of an uneven sum."""
    y, backward, updated = jax.vjp(
        lambda params, x: layer(variables | {"params": params}, x),
        *(variables["params"], x),
        has_aux=True,
    )
    return y, updated, backward(jnp.asarray(normal(9, *y.shape), y.dtype))


@SHAPES
@pytest.mark.parametrize("offset", [0, 3])
def test_training_is_that_of_linen(shape, offset):
    given = variables(shape[-1]), normal(0, *shape) + offset
    with float64():
        assert_close(gradients(ours, *given), gradients(linens, *given))
    given = jax.tree.map(np.float32, given)
    found, wanted = gradients(ours, *given), gradients(linens, *given)
    assert_close(found, wanted, 2e-4)


@SHAPES
def test_evaluation_is_that_of_linen_and_keeps_the_statistics(shape):
    given, x = variables(shape[-1]), normal(0, *shape)
    with float64():
        found, updated = BatchNorm().apply(given, x, False, mutable=["batch_stats"])
        wanted = nn.BatchNorm(True, epsilon=1e-5).apply(given, x)
        assert_close(found, wanted)
    assert_same_bits(updated["batch_stats"], given["batch_stats"])


@pytest.mark.parametrize("training", [True, False])
def test_it_starts_as_linen_does(training):
    x = np.float32(normal(0, 5, 2, 2, 3))
    found = BatchNorm().init(jax.random.key(0), x, training)
    wanted = nn.BatchNorm(not training).init(jax.random.key(0), x)
    assert_same_bits(found, wanted)


def test_statistics_that_are_not_mutable_stay():
    given, x = variables(3), normal(0, 5, 3)
    y = BatchNorm().apply(given, x, True)
    np.testing.assert_array_equal(y, ours(given, x)[0])


def test_channels_that_are_constant_have_finite_gradients():
    """Rounding may make the mean of squares less than the mean's square."""
    x = np.full((7, 3), [0, 0.1, 1234.5], np.float32)
    y, updated, back = gradients(ours, jax.tree.map(np.float32, variables(3)), x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((y, updated, back)))


def test_replicas_have_statistics_of_their_own():
    given = variables(4, 3), normal(0, 3, 6, 2, 4)
    with float64():
        found = jax.vmap(functools.partial(gradients, ours))(*given)
        each = [gradients(linens, *replica(i, given)) for i in range(3)]
        assert_close(found, stacked(each))


def test_a_replica_of_nans_changes_no_bit_of_the_others():
    given, x = jax.tree.map(np.float32, (variables(4, 3), normal(0, 3, 6, 2, 4)))
    together = jax.vmap(functools.partial(gradients, ours))
    wanted = together(given, x)
    x[1] = np.nan
    found = together(given, x)
    assert np.isnan(found[0][1]).all()
    assert_same_bits(replica([0, 2], found), replica([0, 2], wanted))
