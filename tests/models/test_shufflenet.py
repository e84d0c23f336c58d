"""The ShuffleNets against the tables of their papers, made of flax.linen's layers."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linen import (
    Plain,
    assert_close,
    assert_same_bits,
    evaluated,
    float64,
    random_variables,
    replica,
    stacked,
    trained,
)

from mnistopt.models import separable
from mnistopt.models.networks import count_params, multiply_adds
from mnistopt.models.shufflenet import CHANNELS, ShuffleNetV1, ShuffleNetV2

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(autouse=True)
def short_sums(monkeypatch):
    """Compiles in half the time; `test_separable.py` has the sums as they are."""
    monkeypatch.setattr(separable, "ROWS", 2)


IMAGES = np.random.default_rng(0).random((5, 28, 28, 1))


def dealt(x, groups):
    """The channels in the order of the shuffle, picked one by one."""
    size = x.shape[-1] // groups
    return x[..., [g * size + i for i in range(size) for g in range(groups)]]


class PlainV1(Plain):
    """Stages of v1's Table 1: channels, and units."""

    stem_channels: int
    stages: tuple
    groups: int

    def features(self, x):
        x = nn.relu(self.norm(self.stem(x, self.stem_channels)))
        for stage, (channels, units) in enumerate(self.stages):
            for unit in range(units):
                first = stage == unit == 0
                groups = 1 if first else self.groups
                y = self.pointwise(x, channels // 4, groups)
                y = dealt(nn.relu(self.norm(y)), groups)
                y = self.norm(self.depthwise(y, 1 if unit else 2))
                if unit:
                    x += self.norm(self.pointwise(y, channels, self.groups))
                else:
                    left = channels - x.shape[-1]
                    y = self.norm(self.pointwise(y, left, self.groups))
                    x = nn.avg_pool(x, (3, 3), (2, 2), "SAME")
                    x = jnp.concatenate([x, y], axis=-1)
                x = nn.relu(x)
        return x


class PlainV2(Plain):
    """Stages of v2's Table 5: channels, and units."""

    stages: tuple
    last: int

    def features(self, x):
        x = nn.relu(self.norm(self.stem(x, 24)))
        for channels, units in self.stages:
            half = channels // 2
            for unit in range(units):
                left, right = (x[..., :half], x[..., half:]) if unit else (x, x)
                right = nn.relu(self.norm(self.pointwise(right, half)))
                right = self.norm(self.depthwise(right, 1 if unit else 2))
                right = nn.relu(self.norm(self.pointwise(right, half)))
                if not unit:
                    left = self.norm(self.depthwise(left, 2))
                    left = nn.relu(self.norm(self.pointwise(left, half)))
                x = dealt(jnp.concatenate([left, right], axis=-1), 2)
        return nn.relu(self.norm(self.pointwise(x, self.last)))


PAIRS = {
    "v1": (ShuffleNetV1(width=0.1, depth=1), PlainV1(3, ((24, 2), (48, 2)), 3)),
    "v2": (ShuffleNetV2(width=0.1, depth=1), PlainV2(((12, 2), (24, 2)), 512)),
}
by_pair = pytest.mark.parametrize(("model", "plain"), PAIRS.values(), ids=PAIRS)


@by_pair
def test_training_is_that_of_a_plain_network(model, plain):
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


@pytest.mark.parametrize("groups", CHANNELS)
def test_v1_at_width_1_has_the_channels_of_its_table(groups):
    """A third stage has twice the channels of the second, which the table gives."""
    shapes = jax.eval_shape(
        ShuffleNetV1(groups=groups).init, jax.random.key(0), IMAGES
    )["params"]
    table = {1: 288, 2: 400, 3: 480, 4: 544, 8: 768}
    assert shapes["Stem_0"]["kernel"].shape[-1] == 24
    assert shapes["Dense_0"]["kernel"].shape[0] == table[groups]


def test_v1_has_the_work_of_its_papers_formula():
    """Section 3.2: h w (2 c m / g + 9 m), with m = c / 4 and g = 3."""
    work = 14 * 14 * 9 * 24
    for c, size, before, first in ((240, 7, 24, 1), (480, 4, 240, 3)):
        m = c // 4
        work += (
            (2 * size) ** 2 * before * m // first if size == 7 else 49 * 240 * m // 3
        )
        work += size**2 * (9 * m + m * (c - before) // 3)
        work += 2 * size**2 * (2 * c * m // 3 + 9 * m)
    assert multiply_adds(ShuffleNetV1()) == work + 480 * 10


def test_v2_has_the_work_of_its_table():
    work = 14 * 14 * 9 * 24 + 4 * 4 * 232 * 512 + 512 * 10
    for half, size, before, into in ((58, 7, 14, 24), (116, 4, 7, 116)):
        work += size**2 * (9 * into + into * half)
        work += before**2 * into * half + size**2 * (9 * half + half * half)
        work += 2 * size**2 * (half * half + 9 * half + half * half)
    assert multiply_adds(ShuffleNetV2()) == work


def test_networks_have_as_many_parameters_as_their_tables_say():
    # Two numbers per channel are the normalization's.
    count = (9 + 2) * 24
    for c, before, first in ((240, 24, 1), (480, 240, 3)):
        m = c // 4
        count += before // first * m + (2 + 9 + 2) * m + (m // 3 + 2) * (c - before)
        count += 2 * (c // 3 * m + (2 + 9 + 2) * m + (m // 3 + 2) * c)
    assert count_params(ShuffleNetV1()) == count + 4810
    count = (9 + 2) * 24 + (232 + 2) * 512
    for half, into in ((58, 24), (116, 116)):
        count += (9 + 2) * into + (into + 2) * half
        count += (into + 2) * half + (9 + 2) * half + (half + 2) * half
        count += 2 * ((half + 2) * half + (9 + 2) * half + (half + 2) * half)
    assert count_params(ShuffleNetV2()) == count + 5130


def test_replicas_train_side_by_side_and_stay_apart():
    model = ShuffleNetV2(0.01, 0)
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
