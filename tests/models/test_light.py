"""MobileNet and ShuffleNet against networks that are made of flax.linen's layers."""

import functools

import jax
import light
import numpy as np
import pytest
from linen import (
    assert_close,
    assert_same_bits,
    evaluated,
    float64,
    random_variables,
    replica,
    stacked,
    trained,
)

from mnistopt.models.light import MobileNetV1, MobileNetV2, ShuffleNetV1, ShuffleNetV2
from mnistopt.models.networks import multiply_adds

pytestmark = pytest.mark.usefixtures("quick_compile", "short_sums")
IMAGES = np.random.default_rng(0).random((5, 28, 28, 1))
PAIRS = {
    "mobilenet v1": (
        MobileNetV1(width=0.25, depth=1),
        light.MobileNetV1(8, ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1))),
    ),
    "mobilenet v2": (
        MobileNetV2(width=0.5, depth=1),
        light.MobileNetV2(
            16, ((1, 8, 1, 1), (6, 16, 2, 2), (6, 16, 2, 2), (6, 32, 2, 1)), 256
        ),
    ),
    "shufflenet v1": (
        ShuffleNetV1(width=0.1, depth=1),
        light.ShuffleNetV1(3, ((24, 2), (48, 2)), 3),
    ),
    "shufflenet v2": (
        ShuffleNetV2(width=0.1, depth=1),
        light.ShuffleNetV2(((12, 2), (24, 2)), 512),
    ),
}
by_pair = pytest.mark.parametrize(("model", "plain"), PAIRS.values(), ids=PAIRS)


# It has all layers that there are; the others with -m full.
MOST = ("shufflenet v2",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.full] * (n not in MOST)) for n in PAIRS],
)
def test_training_is_that_of_a_plain_network(name):
    model, plain = PAIRS[name]
    variables = random_variables(plain, IMAGES)
    with float64():
        wanted = trained(plain, variables, IMAGES)
        assert_close(trained(model, variables, IMAGES), wanted, 1e-8)


@by_pair
def test_evaluation_is_that_of_a_plain_network(model, plain):
    variables = random_variables(plain, IMAGES)
    with float64():
        wanted = evaluated(plain, variables, IMAGES)
        assert_close(evaluated(model, variables, IMAGES), wanted)
    assert wanted.shape == (5, 10)


@by_pair
def test_variables_are_those_of_a_plain_network(model, plain):
    found, wanted = (
        jax.eval_shape(one.init, jax.random.key(0), IMAGES) for one in (model, plain)
    )
    assert found == wanted
    assert multiply_adds(model) == multiply_adds(plain)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(MobileNetV1(0.01, 0), id="mobile"),
        pytest.param(ShuffleNetV2(0.01, 0), id="shuffle", marks=pytest.mark.full),
    ],
)
def test_replicas_train_side_by_side_and_stay_apart(model):
    each = [model.init(jax.random.key(i), IMAGES) for i in range(3)]
    variables = stacked(each)
    together = jax.vmap(functools.partial(trained, model), (0, None))
    with float64():
        wanted = together(variables, IMAGES)
        alone = [trained(model, one, IMAGES) for one in each]
        assert_close(wanted, stacked(alone), 1e-8)
        variables["params"]["Depthwise_1"]["kernel"][1] = np.nan
        found = together(variables, IMAGES)
    sick = jax.tree.leaves(replica(1, found))
    assert any(np.isnan(leaf).any() for leaf in sick)
    assert_same_bits(replica([0, 2], found), replica([0, 2], wanted))
