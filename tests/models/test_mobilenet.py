"""The MobileNets' channels and work, by the tables and formulas of their papers."""

import pytest

from mnistopt.models.light import MobileNetV1, MobileNetV2, round_channels
from mnistopt.models.networks import count_params, layer_multiply_adds, multiply_adds


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
