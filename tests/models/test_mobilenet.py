"""The MobileNets against the tables of their papers, made of flax.linen's layers."""

import functools

import flax.linen as nn
import jax
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
from mnistopt.models.mobilenet import MobileNetV1, MobileNetV2, round_channels
from mnistopt.models.networks import count_params, layer_multiply_adds, multiply_adds

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(autouse=True)
def short_sums(monkeypatch):
    """Compiles in half the time; `test_separable.py` has the sums as they are."""
    monkeypatch.setattr(separable, "ROWS", 2)


IMAGES = np.random.default_rng(0).random((5, 28, 28, 1))


class PlainV1(Plain):
    """Rows of v1's Table 1: the channels, and the stride of the depthwise one."""

    stem_channels: int
    rows: tuple

    def features(self, x):
        x = nn.relu(self.norm(self.stem(x, self.stem_channels)))
        for channels, stride in self.rows:
            x = nn.relu(self.norm(self.depthwise(x, stride)))
            x = nn.relu(self.norm(self.pointwise(x, channels)))
        return x


class PlainV2(Plain):
    """Rows of v2's Table 2: expansion, channels, repeats and stride."""

    stem_channels: int
    rows: tuple
    last: int

    def features(self, x):
        x = nn.relu6(self.norm(self.stem(x, self.stem_channels)))
        for expansion, channels, repeats, stride in self.rows:
            for i in range(repeats):
                y = x
                if expansion > 1:
                    y = self.pointwise(y, expansion * y.shape[-1])
                    y = nn.relu6(self.norm(y))
                y = nn.relu6(self.norm(self.depthwise(y, stride if i == 0 else 1)))
                y = self.norm(self.pointwise(y, channels))
                x = x + y if x.shape == y.shape else y
        return nn.relu6(self.norm(self.pointwise(x, self.last)))


PAIRS = {
    "v1": (
        MobileNetV1(width=0.25, depth=1),
        PlainV1(8, ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1))),
    ),
    "v2": (
        MobileNetV2(width=0.5, depth=1),
        PlainV2(16, ((1, 8, 1, 1), (6, 16, 2, 2), (6, 16, 2, 2), (6, 32, 2, 1)), 256),
    ),
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


@pytest.mark.parametrize(
    ("channels", "rounded"),
    # 12 is halfway; 8 of 11 would be too few.
    [(1, 8), (8, 8), (11, 16), (12, 16), (17, 16), (18, 24), (100, 104), (107, 104)],
)
def test_channels_are_rounded_to_eights(channels, rounded):
    assert round_channels(channels) == rounded


def test_v1_has_the_work_of_its_papers_formula():
    """Equation 5, with D_K = 3: D_K^2 M D_F^2 + M N D_F^2 for each pair."""
    pairs = [(32, 64, 14), (64, 128, 7), *2 * [(128, 128, 7)]]
    pairs += [(128, 256, 4), *2 * [(256, 256, 4)]]
    work = [14 * 14 * 9 * 32]
    for m, n, size in pairs:
        work += [9 * m * size**2, m * n * size**2]
    # The first of a pair works at the size that its stride leaves.
    assert layer_multiply_adds(MobileNetV1()) == [*work, 256 * 10]


def test_v2_has_the_work_of_its_papers_formula():
    """Section 3.3: h w d' t (d' + k^2 + d''), and less where a stride is in it."""
    work = 14 * 14 * 9 * 32 + 14 * 14 * 32 * (9 + 16)
    rows = [(16, 24, 14, 7), (24, 32, 7, 4), (32, 64, 4, 4)]
    for before, after, size, left in rows:
        work += 6 * before * (size**2 * before + left**2 * (9 + after))
        work += 2 * left**2 * 6 * after * (after + 9 + after)
    work += 4 * 4 * 64 * 256 + 256 * 10
    assert multiply_adds(MobileNetV2()) == work


def test_networks_have_as_many_parameters_as_their_tables_say():
    pairs = [(32, 64), (64, 128), *2 * [(128, 128)], (128, 256), *2 * [(256, 256)]]
    # Two numbers per channel are the normalization's.
    count = 9 * 32 + 2 * 32 + sum((9 + 2) * m + (m + 2) * n for m, n in pairs)
    assert count_params(MobileNetV1()) == count + 2570 == 223_114
    count = 9 * 32 + 2 * 32 + (9 + 2) * 32 + (32 + 2) * 16
    for before, after in ((16, 24), (24, 32), (32, 64)):
        for m in (before, after, after):
            count += (m + 2) * 6 * m + (9 + 2) * 6 * m + (6 * m + 2) * after
    assert count_params(MobileNetV2()) == count + (64 + 2) * 256 + 2570 == 212_810


def test_replicas_train_side_by_side_and_stay_apart():
    model = MobileNetV1(0.01, 0)
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
