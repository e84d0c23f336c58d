"""Comparisons, against scipy, by definition, and by simulated studies."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistopt.results.compare import behind_best, holm, t_tests, tukey, two_sided

STUDIES = 2000
seeds = pytest.mark.parametrize("n", [3, 5, 10])


def draw(n, points=2, gap=0.0, seed_share=0.5):
    """Synthetic studies, [studies, points, n]: seeds are shared, point 0 is better.

    The differences of two points have a standard deviation of 1, whatever part of the
    noise the seeds have in common.
    """
    rng = np.random.default_rng([n, points, round(10 * gap)])
    own = rng.normal(size=(STUDIES, points, n)) / np.sqrt(2)
    common = seed_share * rng.normal(size=(STUDIES, 1, n))
    own[:, 0] += gap
    return own + common


# --- Differences ---


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=9))
def test_tests_of_differences_are_those_of_scipy(differences):
    if len(set(differences)) == 1:
        return  # no spread: below
    theirs = stats.ttest_1samp(differences, 5.0)
    found = two_sided(*t_tests(differences, 5.0))
    np.testing.assert_allclose(found, theirs.pvalue, rtol=1e-6)


def test_what_does_not_vary_is_left_to_the_sign_test():
    """Three equal differences: no t, and a chance of 1/8 to be on one side."""
    assert t_tests([0.25] * 3, 0.0) == (1.0, 0.125)
    assert t_tests([0.25] * 3, 0.5) == (0.125, 1.0)
    assert t_tests([0.1 + 0.2] * 3, 0.3) == (1.0, 1.0)
    assert t_tests([1.0, 2.0], math.inf) == (0.0, 1.0)
    assert t_tests([1.0, 2.0], -math.inf) == (1.0, 0.0)
    for few in ([], [0.5]):
        assert t_tests(few, 0.0) == (1.0, 1.0)


# --- Families ---


@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_closes_the_tests_of_bonferroni(p):
    """A hypothesis falls when all sets with it do (Marcus, Peritz and Gabriel 1976)."""

    def bonferroni(some):
        return min(1.0, len(some) * min(p[i] for i in some))

    sets = [
        some
        for size in range(1, len(p) + 1)
        for some in itertools.combinations(range(len(p)), size)
    ]
    wanted = [
        max(bonferroni(some) for some in sets if i in some) for i in range(len(p))
    ]
    np.testing.assert_allclose(holm(p), wanted)


def worse(study):
    """Which points of a study, [points, n], are called worse than its best."""
    return [behind.low > 0 for behind in behind_best(study)]


@pytest.mark.parametrize("freedom", [1, 3.5, 40])
@pytest.mark.parametrize("count", [2, 3, 24])
def test_tukeys_quantile_is_that_of_scipy(count, freedom):
    theirs = stats.studentized_range.ppf(0.95, count, freedom) / math.sqrt(2)
    assert tukey(count, freedom) == pytest.approx(theirs, rel=1e-4)
    assert math.isnan(tukey(count, 0)) and math.isnan(tukey(1, freedom))


@seeds
@pytest.mark.parametrize("points", [2, 3, 6])
def test_where_all_are_equal_none_is_often_called_worse(points, n):
    """In 5 % of two, 8 % of six, and four standard deviations of 2,000 studies."""
    wrong = sum(any(worse(study)) for study in draw(n, points))
    most = 0.05 if points == 2 else 0.08
    assert wrong / STUDIES <= most + 4 * 0.006


@seeds
def test_one_point_that_spreads_widely_is_not_often_called_worse(n):
    """One variance for all points errs in 14 to 19 % of such studies."""
    studies = draw(n, points=6, seed_share=0)[:500]
    studies[:, 0] *= 10
    wrong = np.mean([any(worse(study)) for study in studies])
    assert wrong <= 0.10 + 3 * 0.013


@seeds
def test_rounded_accuracies_announce_no_more_winners(n):
    """Counts of 500 images often tie, and then have no spread."""
    studies = np.round(490 + 2 * draw(n, points=3)) / 500
    wrong = sum(any(worse(study)) for study in studies)
    assert wrong / STUDIES <= 0.08 + 4 * 0.006


@pytest.mark.parametrize(("points", "least"), [(2, 0.8), (6, 0.35)])
def test_a_difference_of_two_standard_deviations_is_found_with_five_seeds(
    points, least
):
    """A point better by twice the deviation of the differences between two points."""
    found = [worse(study) for study in draw(5, points, gap=2.0)]
    right = [row == [False] + [True] * (points - 1) for row in found]
    assert np.mean(right) > least


def test_three_seeds_of_many_points_show_what_paired_tests_cannot():
    """23 of 24 points behind by four deviations of the noise of one point."""
    studies = draw(3, 24, gap=4 / np.sqrt(2))[:100]
    found = np.mean([worse(study)[1:] for study in studies])
    p = [
        [two_sided(*t_tests(row - study[0], 0.0)) for row in study[1:]]
        for study in studies
    ]
    before = np.mean([np.array(holm(of_study)) < 0.05 for of_study in p])
    assert found > 0.4 > 0.15 > before


@given(
    st.lists(
        st.lists(st.integers(0, 99), min_size=3, max_size=3), min_size=2, max_size=5
    )
)
def test_intervals_are_of_paired_differences_from_the_best(counts):
    accuracies = np.array(counts) / 100
    behind = behind_best(accuracies.tolist())
    best = int(np.argmax(np.sum(counts, axis=1)))
    wanted = (accuracies[best] - accuracies).mean(axis=1)
    np.testing.assert_allclose([row.mean for row in behind], wanted, atol=1e-12)
    assert behind[best] == (0, 0, 0, 0, 3)
    for row in behind:
        assert not row.high < row.mean and not row.low > row.mean


def test_equal_differences_that_rounding_spreads_say_nothing_of_the_others():
    """Counts on 5,000 images: in each seed point 1 is 20 behind, with a last bit."""
    rng = np.random.default_rng(3)
    studies = rng.integers(4800, 4860, (20, 12, 3)) / 5000
    for study in studies:
        study[1] = 0
        study[1] = study[np.argmax(study.sum(axis=1))] - 20 / 5000
        without = np.delete(study, 1, axis=0)
        whole, rest = behind_best(study.tolist()), behind_best(without.tolist())
        del whole[1]
        # One more point widens the intervals a little, and changes nothing else.
        for row, other in zip(whole, rest):
            if other.std:
                assert row.std == pytest.approx(other.std)
                assert 1 <= row.half_width / other.half_width < 1.1


def test_one_seed_or_no_spread_show_nothing():
    assert not any(worse([[0.9], [0.5], [0.1]]))
    assert not any(worse([[0.9, 0.8, 0.7], [0.5, 0.4, 0.3]]))
    assert worse([[0.5]]) == [False]
    # The spread of other differences says how far one without any may be off.
    assert worse([[0.9, 0.8], [0.5, 0.4], [0.89, 0.8], [0.9, 0.79], [0.8, 0.81]])[1]
