"""Comparisons, against scipy, by definition, and by simulated studies."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistopt.results.stats import (
    holm,
    t_tests,
    tied_with_best,
    two_sided,
)

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


@seeds
@pytest.mark.parametrize("points", [2, 3, 6])
def test_where_all_are_equal_a_winner_is_rarely_announced(points, n):
    """At most 5 %, and four standard deviations of 2,000 studies."""
    winners = sum(sum(tied_with_best(one)) == 1 for one in draw(n, points))
    assert winners / STUDIES <= 0.05 + 4 * 0.005


@seeds
def test_rounded_accuracies_announce_no_more_winners(n):
    """Counts of 500 images often tie, and then have no spread."""
    studies = np.round(490 + 2 * draw(n, points=3)) / 500
    winners = sum(sum(tied_with_best(one)) == 1 for one in studies)
    assert winners / STUDIES <= 0.05 + 4 * 0.005


@pytest.mark.parametrize(("points", "least"), [(2, 0.8), (3, 0.8)])
def test_a_difference_of_two_standard_deviations_is_found_with_five_seeds(
    points, least
):
    """A point better by twice the deviation of the differences between two points.

    92 % of studies of two points announce it, and 81 % of three; of six, 59 %.
    """
    found = [tied_with_best(one) for one in draw(5, points, gap=2.0)]
    assert np.mean([one == [True] + [False] * (points - 1) for one in found]) > least


def test_the_first_of_equals_is_best_and_the_others_are_tied():
    assert tied_with_best([[0.5, 0.6], [0.6, 0.5], [0.1, 0.2]]) == [True, True, True]
    assert tied_with_best([[0.5]]) == [True]
