"""Convolution, bias, ReLU and pool in one, against flax.linen's."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistopt.models import forms
from mnistopt.models.conv import GROUP
from mnistopt.models.fused import LIBRARY
from mnistopt.models.layers import Conv

FORMS = forms.FUSED, forms.BLOCKS, forms.PATCHES, forms.NATIVE
if not LIBRARY:  # test_fused.py says where it must be
    FORMS = FORMS[1:]
# Batch, height, width, channels in and out: even and odd sizes; batches below, at and
# above a group; one channel, few and several; what fills vectors of 4 to 16 numbers,
# and what does not.
SHAPES = [
    (1, 28, 28, 1, 4),
    (GROUP, 6, 4, 1, 3),
    (GROUP + 1, 5, 9, 1, 35),
    (GROUP - 1, 7, 7, 3, 5),
    (GROUP + 1, 6, 4, 2, 16),
    (2 * GROUP + 1, 5, 8, 4, 1),
    (2 * GROUP, 8, 5, 32, 33),
    (3, 2, 2, 17, 48),
]
pytestmark = pytest.mark.usefixtures("quick_compile")
# The first has sizes of its own; the others take what there is.
WHERE = [(FORMS[0], shape) for shape in SHAPES]
WHERE += [(form, SHAPES[i]) for form in FORMS[1:] for i in (2, 3, 6)]
by_shape = pytest.mark.parametrize(("form", "shape"), WHERE, ids=str)


class Layers(NamedTuple):
    """Ours in a form; with a function for each, as `jit` knows them."""

    form: str

    def conv(self, x, kernel, bias, pool=False):
        variables = {"params": {"kernel": kernel, "bias": bias}}
        with forms.laid_out(self.form):
            return Conv(kernel.shape[-1], pool).apply(variables, x)

    def conv_and_pool(self, x, kernel, bias):
        return self.conv(x, kernel, bias, pool=True)


def linen_conv(x, kernel, bias):
    variables = {"params": {"kernel": kernel, "bias": bias}}
    return nn.relu(nn.Conv(kernel.shape[-1], (3, 3)).apply(variables, x))


def linen_conv_and_pool(x, kernel, bias):
    return linen_max_pool(linen_conv(x, kernel, bias))


def linen_max_pool(x):
    return nn.max_pool(x, (2, 2), strides=(2, 2))


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
def test_conv_with_pool_and_its_gradients_are_those_of_linen(form, shape):
    inputs = arguments(shape)
    found = output_and_gradients(Layers(form).conv_and_pool, *inputs)
    wanted = output_and_gradients(linen_conv_and_pool, *inputs)
    assert_close(found, wanted)
    assert all(np.abs(gradient).max() > 0 for gradient in wanted[1])


@by_shape
def test_conv_without_pool_and_its_gradients_are_those_of_linen(form, shape):
    inputs = arguments(shape)
    found = output_and_gradients(Layers(form).conv, *inputs)
    assert_close(found, output_and_gradients(linen_conv, *inputs))


@by_shape
def test_gradients_go_where_xla_sends_them_when_maxima_tie(form, shape):
    """Background pixels are equal, so ties are the rule: the first maximum wins."""
    images, kernel, _ = arguments(shape, whole_numbers)
    images[:, : images.shape[1] // 2] = 0
    # A bias above 0 lets the gradient through where a whole cell is background.
    inputs = (images, kernel, np.full(kernel.shape[-1], 2, np.float32))
    y, gradients = output_and_gradients(Layers(form).conv_and_pool, *inputs)
    wanted = output_and_gradients(linen_conv_and_pool, *inputs)
    np.testing.assert_array_equal(y, wanted[0])
    assert_close(gradients, wanted[1])


@by_shape
def test_whole_numbers_give_the_outputs_of_linen_to_the_bit(form, shape):
    inputs = arguments(shape, whole_numbers)
    ours, theirs = Layers(form), (linen_conv, linen_conv_and_pool)
    for one, other in zip((ours.conv, ours.conv_and_pool), theirs):
        np.testing.assert_array_equal(one(*inputs), other(*inputs))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("own_images", [False, True])
def test_a_replica_axis_over_kernels_changes_nothing(own_images, form):
    b, h, w, c, o = shape = GROUP + 3, 6, 7, 2, 3
    replicas = 3
    images = normal(4, replicas, b, h, w, c) if own_images else arguments(shape)[0]
    kernels, biases = normal(5, replicas, 3, 3, c, o), normal(6, replicas, o)
    side_by_side = jax.vmap(
        Layers(form).conv_and_pool, in_axes=(0 if own_images else None, 0, 0)
    )

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
