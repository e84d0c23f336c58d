"""Calibration, votes and McNemar's test: scikit-learn, scipy and plain loops agree."""

import numpy as np
import pytest
from scipy import special, stats
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from mnistopt.results import calibration


def drawn(seed=0, images=400, classes=4, sharpness=2.0, networks=5, worths=(0.3, 1.5)):
    """Labels, and what networks of different worth say of images, [M, N, K]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    worth = rng.uniform(*worths, (networks, 1, 1))
    logits = rng.normal(size=(networks, images, classes))
    logits += worth * np.eye(classes)[labels]
    return labels, special.softmax(sharpness * logits, axis=-1)


def test_the_calibration_error_is_that_of_a_plain_loop_and_of_scikit_learns_bins():
    labels, said = drawn()
    confidence, right = said[0].max(-1), said[0].argmax(-1) == labels
    bins = calibration.reliability(confidence, right)
    gaps = []
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & (confidence < low + 0.1)
        if inside.any():
            off = abs(confidence[inside].mean() - right[inside].mean())
            gaps.append(off * inside.mean())
    assert calibration.calibration_error(bins) == pytest.approx(sum(gaps), rel=1e-6)
    accuracy, means = calibration_curve(right, confidence, n_bins=10)
    np.testing.assert_allclose(bins["accuracy"], accuracy)
    np.testing.assert_allclose(bins["confidence"], means, rtol=1e-6)
    assert bins["count"].sum() == 400
    inside = (bins["low"] <= bins["accuracy"]) & (bins["accuracy"] <= bins["high"])
    assert inside.all()


def test_certain_answers_are_in_the_last_bin():
    bins = calibration.reliability(np.ones(3), np.array([True, True, False]))
    assert bins["count"].tolist() == [3]
    assert calibration.calibration_error(bins) == pytest.approx(1 / 3)


def test_the_loss_is_scikit_learns_and_survives_certainty():
    labels, said = drawn()
    wanted = log_loss(labels, said[1], labels=range(4))
    assert calibration.log_loss(said[1], labels) == pytest.approx(wanted)
    certain = np.eye(4)[[0, 1]]
    assert np.isfinite(calibration.log_loss(certain, np.array([0, 2])))


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_is_the_one_that_answers_were_drawn_at(true):
    """Labels are drawn from softmax(z / T); of two classes, 1 / T is the slope of a
    logistic regression without intercept on the difference of logits."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(20_000, 2)) * 2
    labels = (rng.random(20_000) < special.softmax(logits / true, -1)[:, 1]).astype(int)
    found = calibration.fit_temperature(logits, labels)
    regression = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-8)
    slope = regression.fit(logits[:, 1:] - logits[:, :1], labels).coef_.item()
    assert found == pytest.approx(1 / slope, rel=1e-3)
    assert found == pytest.approx(true, rel=0.1)
    heated = calibration.heated(special.softmax(logits, -1), found)
    np.testing.assert_allclose(heated, special.softmax(logits / found, -1), atol=1e-9)


def test_networks_are_chosen_as_a_plain_loop_chooses_them():
    """Four of seven at a time, in as many bags."""
    labels, said = drawn(networks=7)
    wanted = np.zeros(7, int)
    rng = np.random.default_rng(0)
    for _ in range(calibration.BAGS):
        bag = rng.permutation(7)[:4]
        chosen, least = [], np.inf
        while len(chosen) < calibration.ROUNDS:
            losses = [
                log_loss(labels, said[[*chosen, k]].mean(0), labels=range(4))
                for k in bag
            ]
            if min(losses) >= least:
                break
            least = min(losses)
            chosen.append(bag[np.argmin(losses)])
        wanted += np.bincount(chosen, minlength=7)
    counts = calibration.choose_greedily(said, labels)
    assert counts.tolist() == wanted.tolist()
    vote = np.average(said, axis=0, weights=counts)
    alone = [calibration.log_loss(one, labels) for one in said]
    assert calibration.log_loss(vote, labels) < min(alone)


def test_bags_generalise_better_than_the_best_network_and_than_one_climb():
    """To images that chose nothing, where networks are nearly equal, as seeds are."""
    losses = []
    for seed in range(10):
        labels, said = drawn(seed, images=200, networks=9, worths=(0.95, 1))
        counts = calibration.choose_greedily(said[:, :100], labels[:100])
        vote = np.average(said[:, 100:], axis=0, weights=counts)
        of_labels = np.take_along_axis(said, labels[None, :, None], 2)[:, :100, 0]
        climb = np.average(said[:, 100:], axis=0, weights=calibration._climb(of_labels))
        best = said[np.log(of_labels).mean(axis=1).argmax(), 100:]
        row = (calibration.log_loss(one, labels[100:]) for one in (vote, climb, best))
        losses.append([*row])
    vote, climb, best = np.mean(losses, axis=0)
    assert vote < climb - 0.001 and vote < best - 0.1


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_vote_no_better_than_the_best_network_is_its_own(count):
    """The others are sure of what is wrong."""
    labels, said = drawn(networks=1)
    wrong = 0.997 * np.eye(4)[(labels + 1) % 4] + 0.00075
    said = np.concatenate([np.repeat(wrong[None], count - 1, axis=0), said])
    found = calibration.choose_greedily(said, labels)
    assert found.argmax() == count - 1 and (found[:-1] == 0).all()


def test_one_that_is_far_better_than_the_others_votes_alone():
    labels, said = drawn(networks=3)
    said[2] = 0.98 * np.eye(4)[labels] + 0.005
    assert calibration.choose_greedily(said, labels).tolist() == [0, 0, 1]


@pytest.mark.parametrize("seed", range(4))
def test_mcnemars_test_is_the_binomial_one(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.random(60) < 0.9, rng.random(60) < 0.7
    found = calibration.mcnemar(first, second)
    ahead = sum(a and not b for a, b in zip(first, second))
    behind = sum(b and not a for a, b in zip(first, second))
    assert found[:2] == (ahead, behind)
    wanted = stats.binomtest(ahead, ahead + behind).pvalue
    assert found.p == pytest.approx(wanted)


def test_two_that_agree_do_not_differ():
    assert calibration.mcnemar([True, False], [True, False]) == (0, 0, 1.0)
