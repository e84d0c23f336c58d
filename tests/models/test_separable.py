"""Depthwise, pointwise and first convolutions against flax.linen's; the shuffle."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linen import assert_close

from mnistopt.models.separable import GROUP, Depthwise, Pointwise, Stem, shuffle

pytestmark = pytest.mark.usefixtures("quick_compile")


def depthwise(channels, stride):
    linen = nn.Conv(
        channels, (3, 3), stride, feature_group_count=channels, use_bias=False
    )
    return Depthwise(stride), linen, (3, 3, 1, channels)


def pointwise(channels, features, groups):
    linen = nn.Conv(features, (1, 1), feature_group_count=groups, use_bias=False)
    return Pointwise(features, groups), linen, (1, 1, channels // groups, features)


def stem(channels, features, stride):
    linen = nn.Conv(features, (3, 3), stride, use_bias=False)
    return Stem(features, stride), linen, (3, 3, channels, features)


# Each with the shape of its input: batches below, at, above and at twice the group;
# even and odd sizes.
PAIRS = [
    (depthwise(3, 1), (1, 7, 7, 3)),
    (depthwise(2, 1), (GROUP, 5, 5, 2)),
    (depthwise(4, 1), (GROUP + 1, 4, 6, 4)),
    (depthwise(3, 2), (2 * GROUP, 7, 7, 3)),
    (depthwise(2, 2), (GROUP - 1, 5, 5, 2)),
    (depthwise(5, 2), (GROUP + 1, 6, 4, 5)),
    (depthwise(1, 2), (2, 3, 8, 1)),
    (depthwise(2, 1), (3, 1, 2, 2)),
    (pointwise(3, 5, 1), (2, 4, 3, 3)),
    (pointwise(4, 6, 2), (3, 3, 3, 4)),
    (pointwise(6, 9, 3), (3, 3, 2, 6)),
    (stem(1, 4, 2), (3, 28, 28, 1)),
    (stem(2, 3, 2), (3, 7, 5, 2)),
    (stem(3, 4, 1), (2, 5, 6, 3)),
]
by_pair = pytest.mark.parametrize(("layers", "shape"), PAIRS, ids=str)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@functools.partial(jax.jit, static_argnums=0)
def gradients(layer, kernel, x):
    """The output, and the gradients of an uneven sum of it."""

    def apply(kernel, x):
        return layer.apply({"params": {"kernel": kernel}}, x)

    y, backward = jax.vjp(apply, kernel, x)
    return y, backward(jnp.asarray(normal(9, *y.shape), y.dtype))


@by_pair
def test_outputs_and_gradients_are_those_of_linen(layers, shape):
    ours, linen, kernel = layers
    given = normal(1, *kernel), normal(0, *shape)
    with jax.enable_x64():
        wanted = gradients(linen, *given)
        assert_close(gradients(ours, *given), wanted)
        assert all(np.abs(gradient).max() > 0 for gradient in wanted[1])
    given = jax.tree.map(np.float32, given)
    assert_close(gradients(ours, *given), gradients(linen, *given), 1e-5)


@by_pair
def test_kernels_start_as_those_of_linen(layers, shape):
    ours, linen, _ = layers
    x, key = np.zeros(shape, np.float32), jax.random.key(3)
    found, wanted = ours.init(key, x), linen.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


REPLICAS = pytest.mark.parametrize(
    "layers",
    [depthwise(4, 1), depthwise(4, 2), pointwise(4, 6, 2), stem(4, 3, 2)],
    ids=["depthwise", "depthwise, stride 2", "pointwise", "stem"],
)


@REPLICAS
@pytest.mark.parametrize("own_images", [True, False])
def test_replicas_have_kernels_of_their_own(layers, own_images):
    ours, linen, kernel = layers
    kernels, x = normal(1, 3, *kernel), normal(0, 3, GROUP + 1, 7, 5, 4)
    x = x if own_images else x[0]
    with jax.enable_x64():
        mapped = jax.vmap(
            functools.partial(gradients, ours), (0, 0 if own_images else None)
        )
        each = [
            gradients(linen, kernels[i], x[i] if own_images else x) for i in range(3)
        ]
        wanted = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        assert_close(mapped(kernels, x), wanted)


@REPLICAS
@pytest.mark.parametrize("sick", ["kernel", "images"])
def test_a_replica_of_nans_changes_no_bit_of_the_others(layers, sick):
    ours, _, kernel = layers
    kernels = normal(1, 3, *kernel).astype(np.float32)
    x = normal(0, 3, GROUP + 1, 7, 5, 4).astype(np.float32)
    together = jax.jit(jax.vmap(functools.partial(gradients, ours)))
    wanted = together(kernels, x)
    (kernels if sick == "kernel" else x)[1] = np.nan
    found = together(kernels, x)
    assert np.isnan(found[0][1]).all()
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
        np.testing.assert_array_equal(one[[0, 2]], other[[0, 2]])


def test_the_shuffle_deals_channels_out():
    found = shuffle(np.array([[["a", "b", "c", "d", "e", "f"]]]), 3)
    assert "".join(found[0, 0]) == "acebdf"


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_after_the_shuffle_each_group_has_channels_of_all(groups):
    of = np.repeat(np.arange(groups), 12 // groups)
    for group in np.split(shuffle(of, groups), min(groups, 12 // groups)):
        assert set(group) == set(of)
    channels = np.arange(12)
    np.testing.assert_array_equal(
        shuffle(shuffle(channels, groups), 12 // groups), channels
    )
