"""Intervals against scipy, published values and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistopt.results.compare import (
    NO_SPREAD,
    Spread,
    moderated_interval,
    shared_spread,
    t_tests,
    two_sided,
)
from mnistopt.results.stats import (
    accuracy_interval,
    mean_interval,
    positive_interval,
    proportion_interval,
)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_mean_interval_is_student_s(values):
    found = mean_interval(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    if found.std < 1e-6:
        # Equal values: scipy has no interval around them, here it has no width.
        assert found.half_width < 1e-4
        return
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert found.half_width == pytest.approx((high - low) / 2)


intervals = pytest.mark.parametrize(
    "interval", [mean_interval, accuracy_interval, positive_interval]
)


@intervals
def test_one_value_has_a_mean_but_no_spread(interval):
    found = interval([0.5])
    assert (found.mean, found.n) == (0.5, 1)
    assert all(map(math.isnan, (found.std, found.low, found.high, found.half_width)))


@intervals
def test_no_values_have_no_mean(interval):
    found = interval([])
    assert found.n == 0 and all(map(math.isnan, found[:4]))


@intervals
@pytest.mark.parametrize("value", [0.0, 0.1, 0.93, 0.975, 1.0])
@pytest.mark.parametrize("n", [3, 7, 10])
def test_equal_values_have_no_width(interval, value, n):
    found = interval([value] * n)
    assert found[:4] == (value, 0.0, value, value)


# --- Accuracies ---


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=10))
def test_intervals_of_accuracies_stay_between_0_and_100_percent(correct):
    found = accuracy_interval([count / 1000 for count in correct])
    assert 0 <= found.low <= found.mean <= found.high <= 1
    if found.std > 0:
        assert 0 < found.low < found.mean < found.high < 1


def test_intervals_of_accuracies_are_student_s_far_from_100_percent():
    values = [0.5, 0.502, 0.499, 0.503]
    student, found = mean_interval(values), accuracy_interval(values)
    np.testing.assert_allclose(found, student, rtol=1e-4)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("mean", [0.97, 0.99, 0.997])
@pytest.mark.parametrize(
    ("spread", "least"), [(0.05, 0.93), (0.2, 0.93), (0.5, 0.92), (1.0, 0.905)]
)
def test_intervals_of_accuracies_cover_the_mean(spread, least, mean, n):
    """Error rates from a gamma distribution, standard deviation `spread` times the
    mean: 2,000 synthetic studies on 10,000 images.

    The documented 92 to 96 %, less four standard deviations of 0.5 points; Student's
    interval covers less than 90.5 % where the spread is 1.
    """
    rng = np.random.default_rng([n, round(1000 * mean), round(100 * spread)])
    shape = spread**-2
    errors = rng.gamma(shape, (1 - mean) / shape, (2000, n))
    accuracies = np.round(np.clip(1 - errors, 0, 1), 4)
    found = [accuracy_interval(values.tolist()) for values in accuracies]
    covered = np.mean([one.low <= mean <= one.high for one in found])
    assert least < covered < 0.97


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize(
    ("mean", "images"), [(0.97, 1000), (0.99, 1000), (0.99, 10**4)]
)
def test_intervals_of_accuracies_cover_the_mean_of_counts(mean, images, n):
    rng = np.random.default_rng([n, round(1000 * mean), images])
    accuracies = rng.binomial(images, mean, (2000, n)) / images
    found = [accuracy_interval(values.tolist()) for values in accuracies]
    covered = np.mean([one.low <= mean <= one.high for one in found])
    assert 0.93 < covered < 0.97


@pytest.mark.parametrize(
    ("times", "shares"), [(2, (0.88, 0.78, 0.73)), (4, (0.52, 0.40, 0.64))]
)
def test_rare_bad_seeds_are_covered_as_rarely_as_it_says(times, shares):
    """One seed in ten has so many times the error; 4,000 studies: +- 0.8 points."""
    for n, share in zip((3, 5, 10), shares):
        rng = np.random.default_rng([n, times])
        rates = 0.01 * (1 + 0.1 * rng.normal(size=(4000, n)))
        rates *= np.where(rng.random((4000, n)) < 0.1, times, 1)
        mean = 1 - 0.01 * (1 + 0.1 * (times - 1))
        found = accuracy_interval(1 - rates)
        covered = np.mean((found.low <= mean) & (mean <= found.high))
        assert covered == pytest.approx(share, abs=0.03)


# --- Positive numbers ---


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=10))
def test_intervals_of_positive_numbers_stay_positive(values):
    found = positive_interval(values)
    assert 0 <= found.low <= found.mean <= found.high


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize(
    ("variation", "least", "students"),
    [(0.1, 0.94, 1), (0.5, 0.925, 0.935), (1.0, 0.89, 0.89)],
)
def test_intervals_of_positive_numbers_cover_the_mean(variation, least, students, n):
    """Lognormal; 20,000 studies, so +- 0.2 points."""
    rng = np.random.default_rng([n, round(10 * variation)])
    sigma = math.sqrt(math.log(1 + variation**2))
    values = rng.lognormal(-(sigma**2) / 2, sigma, (20_000, n))

    def covered(interval):
        found = interval(values)
        return np.mean((found.low <= 1) & (found.high >= 1))

    assert least < covered(positive_interval) < 0.96
    assert covered(mean_interval) < students


# --- Spreads that samples share ---


@pytest.mark.parametrize("freedom", [3.0, 12.0])
def test_what_samples_share_is_found(freedom):
    rng = np.random.default_rng(round(freedom))
    variances = freedom * 0.3**2 / rng.chisquare(freedom, 40_000)
    samples = rng.normal(size=(40_000, 4)) * np.sqrt(variances)[:, None]
    found = shared_spread(samples.std(axis=1, ddof=1), [3] * 40_000, most=100)
    assert found.std == pytest.approx(0.3, rel=0.05)
    assert found.freedom == pytest.approx(freedom, rel=0.2)


def test_equal_spreads_are_as_sure_as_can_be_and_few_say_nothing():
    samples = np.random.default_rng(0).normal(size=(500, 30))
    assert shared_spread(samples.std(axis=1, ddof=1), [29] * 500).freedom == 4
    assert shared_spread([0.1, 0.2], [2, 2]) == NO_SPREAD
    assert shared_spread([0.1, 0.2, 0.0, 0.0], [2] * 4) == NO_SPREAD


def test_a_shared_spread_is_so_many_more_seeds():
    """By scipy's t distribution; without one it is Student's."""
    values = [0.3, 0.1, 0.5]
    assert moderated_interval(values, NO_SPREAD) == pytest.approx(mean_interval(values))
    shared = Spread(0.1, 6.0)
    square = (6 * 0.1**2 + 2 * np.var(values, ddof=1)) / 8
    t = stats.t(8, 0.3, math.sqrt(square / 3))
    found = moderated_interval(values, shared)
    np.testing.assert_allclose((found.low, found.high), t.interval(0.95))
    below, above = t_tests(values, 0.05, shared)
    standard = (0.3 - 0.05) / math.sqrt(square / 3)
    assert above == pytest.approx(stats.t(8).sf(standard))
    assert below == pytest.approx(stats.t(8).cdf(standard))


@pytest.mark.parametrize("n", [3, 5])
def test_tests_that_share_a_spread_err_as_often_as_they_say(n):
    """24 lines without any difference, their variances within a factor of some three;
    400 studies, one test in 20 wrong: 5 +- 1 %."""
    rng, wrong = np.random.default_rng(n), []
    for _ in range(400):
        spreads = np.exp(0.5 * rng.normal(size=24))
        values = rng.normal(size=(24, n)) * spreads[:, None]
        shared = shared_spread(values.std(axis=1, ddof=1), [n - 1] * 24)
        tests = [two_sided(*t_tests(one, 0.0, shared)) for one in values]
        wrong.append(np.mean(np.array(tests) < 0.05))
    assert 0.04 < np.mean(wrong) < 0.06


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
