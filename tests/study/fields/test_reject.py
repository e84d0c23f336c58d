"""Thresholds hold what they claim; curves say what is accepted."""

import numpy as np
import pytest
from scipy import stats

from mnistopt.study.fields.reject import CONFIDENCE, claim, curve, needed, upper


def test_the_bound_is_scipys():
    for wrong, count in ((0, 10), (3, 200), (17, 1000)):
        interval = stats.binomtest(wrong, count).proportion_ci(2 * CONFIDENCE - 1)
        assert upper(wrong, count) == pytest.approx(interval.high)
    assert upper(5, 5) == 1


def test_a_thousandth_takes_2995_fields_without_an_error():
    assert needed(0.001) == 2995
    assert upper(0, 2995) <= 0.001 < upper(0, 2994)


def fields(rng, count):
    """Fields whose probabilities are too high, but rank."""
    chances = rng.beta(8, 0.5, count)
    return chances, rng.random(count) < chances**1.3


def test_claims_are_kept_as_often_as_they_say():
    rng = np.random.default_rng(0)
    chances, right = fields(rng, 400_000)
    broken, made = 0, 0
    for _ in range(400):
        found = claim(*fields(rng, 1000), 0.04)
        made += found.accepted > 0
        accepted = chances >= found.threshold
        broken += bool(accepted.any() and (~right[accepted]).mean() > 0.04)
    # The interval of 400 such studies, of which 5 % may break their claim.
    assert made > 200 and broken <= stats.binom.ppf(0.999, 400, 0.05)


def test_nothing_is_accepted_where_nothing_can_be_claimed():
    chances = np.linspace(0.9, 1, 100)
    found = claim(chances, np.ones(100, bool), 0.005)
    assert found.accepted == 0 and not (chances >= found.threshold).any()
    assert claim(chances, np.ones(100, bool), 0.06).accepted == 100
    # As many as it takes, and not one less.
    for count, accepted in ((597, 0), (598, 598)):
        chances = np.linspace(0.9, 1, count)
        assert claim(chances, np.ones(count, bool), 0.005).accepted == accepted
    assert claim(np.zeros(0), np.zeros(0, bool), 0.5).accepted == 0


def test_the_curve_ends_with_all_fields():
    rng = np.random.default_rng(1)
    chances, right = fields(rng, 500)
    chances = chances.round(2)
    table = curve(chances, right)
    assert table["threshold"].is_monotonic_decreasing
    last = table.iloc[-1]
    assert last["coverage"] == 1 and last["risk"] == pytest.approx(1 - right.mean())
    for row in table.iloc[:: len(table) // 5].itertuples():
        accepted = chances >= row.threshold
        assert row.coverage == accepted.mean()
        wrong, count = int((~right[accepted]).sum()), int(accepted.sum())
        interval = stats.binomtest(wrong, count).proportion_ci()
        assert (row.low, row.high) == pytest.approx(interval)
