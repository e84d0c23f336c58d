"""The ShuffleNets' channels and work, by the tables and formulas of their papers."""

import jax
import numpy as np
import pytest

from mnistopt.models.light import CHANNELS, ShuffleNetV1, ShuffleNetV2
from mnistopt.models.networks import count_params, multiply_adds

IMAGES = np.zeros((1, 28, 28, 1))


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
