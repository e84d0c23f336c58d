"""Intervals against scipy, published values and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistopt.stats import mean_interval, proportion_interval


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_mean_interval_is_student_s(values, confidence):
    found = mean_interval(values, confidence)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    if found.std < 1e-6:
        # Equal values: scipy has no interval around them, here it has no width.
        assert found.half_width < 1e-4
        return
    low, high = stats.t.interval(
        confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert found.half_width == pytest.approx((high - low) / 2)


def test_one_value_has_a_mean_but_no_spread():
    mean, std, half_width, n = mean_interval([0.5])
    assert (mean, n) == (0.5, 1)
    assert math.isnan(std) and math.isnan(half_width)


def test_no_values_have_no_mean():
    found = mean_interval([])
    assert found.n == 0 and all(map(math.isnan, found[:3]))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_intervals_cover_the_truth_as_often_as_they_say(n):
    """95 % of 2,000 have a standard deviation of 0.5 %: 93 to 97 is four of them."""
    draws = np.random.default_rng(n).normal(loc=0.7, scale=0.2, size=(2000, n))
    intervals = [mean_interval(values.tolist()) for values in draws]
    covered = np.mean([abs(i.mean - 0.7) <= i.half_width for i in intervals])
    assert 0.93 < covered < 0.97


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion",
        # table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_proportion_intervals_are_the_published_ones(correct, count, low, high):
    found = proportion_interval(correct, count)
    np.testing.assert_allclose(found, (low, high), atol=5.1e-5)


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.999]))
def test_proportion_interval_is_wilson_s(count, share, confidence):
    correct = round(share * count)
    z = stats.norm.ppf((1 + confidence) / 2)
    p = correct / count
    middle = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    half /= 1 + z**2 / count
    low, high = proportion_interval(correct, count, confidence)
    np.testing.assert_allclose((low, high), (middle - half, middle + half), atol=1e-9)
    assert 0 <= low < high <= 1
    assert low <= p + 1e-12 and p - 1e-12 <= high
