"""Depthwise, pointwise and first convolutions against flax.linen's; the shuffle."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linen import assert_close, assert_same_bits, float64, replica, stacked

from mnistopt.models.forms import form_of, laid_out
from mnistopt.models.separable import ROWS, Depthwise, Pointwise, Stem, shuffle

pytestmark = pytest.mark.usefixtures("quick_compile")


def depthwise(channels, stride, padding="SAME"):
    groups = {"feature_group_count": channels, "use_bias": False}
    linen = nn.Conv(channels, (3, 3), stride, padding, **groups)
    return Depthwise(stride, padding), linen, (3, 3, 1, channels)


def pointwise(channels, features, groups):
    linen = nn.Conv(features, (1, 1), feature_group_count=groups, use_bias=False)
    return Pointwise(features, groups), linen, (1, 1, channels // groups, features)


def stem(channels, features, stride):
    linen = nn.Conv(features, (3, 3), stride, use_bias=False)
    return Stem(features, stride), linen, (3, 3, channels, features)


# Each with the shape of its input: even and odd sizes; rows that are fewer, as many,
# twice as many and more than those summed at a time.
PAIRS = [
    (depthwise(3, 1), (1, 7, 7, 3)),
    (depthwise(2, 1), (ROWS // 14, 14, 5, 2)),
    (depthwise(2, 1), (ROWS // 5 + 1, 5, 5, 2)),
    (depthwise(3, 2), (ROWS // 4 * 2, 7, 7, 3)),
    (depthwise(4, 2), (3, 6, 4, 4)),
    (depthwise(1, 2), (2, ROWS * 2 + 1, 3, 1)),
    (depthwise(2, 1), (3, 1, 2, 2)),
    (depthwise(3, 1, "VALID"), (2, 6, 5, 3)),
    (depthwise(2, 1, "VALID"), (3, 3, 3, 2)),
    (pointwise(3, 5, 1), (2, 4, 3, 3)),
    (pointwise(4, 6, 2), (3, 3, 3, 4)),
    (pointwise(6, 9, 3), (3, 3, 2, 6)),
    (stem(1, 4, 2), (3, 28, 28, 1)),
    (stem(2, 3, 2), (3, 7, 5, 2)),
    (stem(3, 4, 1), (2, 5, 6, 3)),
]
by_pair = pytest.mark.parametrize(
    ("layers", "shape"), PAIRS, ids=[f"{type(one[0]).__name__} {x}" for one, x in PAIRS]
)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@functools.partial(jax.jit, static_argnums=(0, 3))
def gradients(layer, kernel, x, platform="cpu"):
    """The output, and the gradients of an uneven sum of it."""

    def apply(kernel, x):
        with laid_out(form_of(platform)):
            return layer.apply({"params": {"kernel": kernel}}, x)

    y, backward = jax.vjp(apply, kernel, x)
    return y, backward(jnp.asarray(normal(9, *y.shape), y.dtype))


@by_pair
def test_outputs_and_gradients_are_those_of_linen(layers, shape):
    ours, linen, kernel = layers
    given = normal(1, *kernel), normal(0, *shape)
    with float64():
        wanted = gradients(linen, *given)
        for platform in ("cpu", "gpu"):
            assert_close(gradients(ours, *given, platform), wanted)
        assert all(np.abs(gradient).max() > 0 for gradient in wanted[1])


@by_pair
def test_kernels_start_as_those_of_linen(layers, shape):
    ours, linen, _ = layers
    x, key = np.zeros(shape, np.float32), jax.random.key(3)
    found, wanted = ours.init(key, x), linen.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


REPLICAS = pytest.mark.parametrize(
    "layers",
    [
        *(depthwise(4, 1), depthwise(4, 2), depthwise(4, 1, "VALID")),
        *(pointwise(4, 6, 2), stem(4, 3, 2)),
    ],
    ids=["depthwise", "depthwise, stride 2", "depthwise, valid", "pointwise", "stem"],
)


@REPLICAS
@pytest.mark.parametrize("own_images", [True, False])
def test_replicas_have_kernels_of_their_own(layers, own_images):
    ours, linen, kernel = layers
    kernels, x = normal(1, 3, *kernel), normal(0, 3, 5, 7, 5, 4)
    with float64():
        if own_images:
            found = jax.vmap(functools.partial(gradients, ours))(kernels, x)
        else:
            x = np.stack([x[0]] * 3)
            found = jax.vmap(lambda kernel: gradients(ours, kernel, x[0]))(kernels)
        each = [gradients(linen, *one) for one in zip(kernels, x)]
        assert_close(found, stacked(each))


@REPLICAS
@pytest.mark.parametrize("sick", ["kernel", "images"])
def test_a_replica_of_nans_changes_no_bit_of_the_others(layers, sick):
    ours, _, kernel = layers
    kernels = normal(1, 3, *kernel).astype(np.float32)
    x = normal(0, 3, 5, 7, 5, 4).astype(np.float32)
    together = jax.vmap(functools.partial(gradients, ours))
    wanted = together(kernels, x)
    (kernels if sick == "kernel" else x)[1] = np.nan
    found = together(kernels, x)
    assert np.isnan(found[0][1]).all()
    assert_same_bits(replica([0, 2], found), replica([0, 2], wanted))


def test_the_shuffle_deals_channels_out():
    found = shuffle(np.array([[["a", "b", "c", "d", "e", "f"]]]), 3)
    assert "".join(found[0, 0]) == "acebdf"


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_after_the_shuffle_each_group_has_channels_of_all(groups):
    channels = np.arange(18)
    dealt = np.split(shuffle(channels, groups), groups)
    came_from = [set(group // (18 // groups)) for group in dealt]
    assert came_from == [set(range(groups))] * groups
    # Dealt back, as many at a time as a group had, they are in their places again.
    again = shuffle(np.concatenate(dealt), 18 // groups)
    np.testing.assert_array_equal(again, channels)
