"""Calibration of probabilities, and the choice and comparison of networks that vote."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# Not scipy.stats and scipy.optimize, which take long to import.
from scipy import special

from mnistopt.results.stats import proportion_interval

# Of a reliability diagram.
BINS = 10
# Temperatures that are tried: where validation has no mistake, the least is best.
TEMPERATURES = 0.25, 8.0
_LEAST = 1e-37
# Random parts of the networks, in each of which a vote is sought.
BAGS = 20
# Times that a network is added to such a vote, at most.
ROUNDS = 30


def logits(probabilities: np.ndarray) -> np.ndarray:
    """Returns logits of probabilities, but for a number added to all of an image's."""
    return np.log(np.maximum(probabilities, _LEAST))


def heated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns probabilities whose logits are divided by a temperature."""
    return special.softmax(logits(probabilities) / temperature, axis=-1)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean cross-entropy, in nats.

    Args:
        probabilities: Float [N, K].
        labels: Int [N].
    """
    of_labels = np.take_along_axis(probabilities, labels[:, None].astype(int), 1)
    return float(-logits(of_labels.astype(np.float64)).mean())


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns what logits are divided by so that probabilities are calibrated.

    The least loss on images that were not trained on: Guo et al. 2017 (arXiv:
    1706.04599), section 4.2.

    Args:
        scores: The logits of validation images, float [N, K].
        labels: Their classes, int [N].
    """
    from scipy import optimize

    def loss(log: float) -> float:
        scaled = scores / np.exp(log)
        of_labels = np.take_along_axis(scaled, labels[:, None].astype(int), 1)[:, 0]
        return float((special.logsumexp(scaled, axis=-1) - of_labels).mean())

    ends = np.log(TEMPERATURES)
    found = optimize.minimize_scalar(loss, bounds=ends, method="bounded")
    return float(np.exp(found.x))


def reliability(confidence: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Returns how often answers are right, by their confidence.

    Args:
        confidence: The probability of each answer, float [N].
        right: Whether it is right, bool [N].

    Returns:
        A row per bin of confidence that occurs, `BINS` of equal width: its mean
        `confidence`, the `accuracy` in it, with the ends `low` and `high` of Wilson's
        95 % interval, and `count`.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = []
    for index in np.unique(bins):
        inside = bins == index
        count, hits = int(inside.sum()), int(right[inside].sum())
        mean = confidence[inside].mean(dtype=np.float64)
        rows.append((mean, hits / count, *proportion_interval(hits, count), count))
    columns = ["confidence", "accuracy", "low", "high", "count"]
    return pd.DataFrame(rows, columns=columns)


def calibration_error(bins: pd.DataFrame) -> float:
    """Returns the expected calibration error of a `reliability` table.

    The mean distance of confidence and accuracy, by the images in each bin: Guo et al.
    2017, equation 3.
    """
    gaps = (bins["confidence"] - bins["accuracy"]).abs()
    return float((gaps * bins["count"]).sum() / bins["count"].sum())


def choose_greedily(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns how often each network votes, so that the loss of all is low.

    Caruana et al. 2004, "Ensemble selection from libraries of models", sections 2, 2.1
    and 2.3, by log-loss. A climb chooses among just over half of the networks, drawn at
    random, `BAGS` times, and all that were chosen vote together: one climb alone fits
    the images by which it chooses.

    Args:
        probabilities: Of validation images by each network, float [M, N, K].
        labels: Their classes, int [N].

    Returns:
        Int [M]; at least one is not 0. Where no vote is better than the best network,
        it votes alone.
    """
    # Only the probability of the true class counts for the loss of a mean.
    places = labels[None, :, None].astype(int)
    of_labels = np.take_along_axis(probabilities, places, 2)[..., 0].astype(np.float64)
    losses = -logits(of_labels).mean(axis=1)
    counts = np.zeros(len(losses), int)
    rng = np.random.default_rng(0)
    for _ in range(BAGS):
        bag = rng.permutation(len(losses))[: len(losses) // 2 + 1]
        counts[bag] += _climb(of_labels[bag])
    if not -logits(counts @ of_labels / counts.sum()).mean() < losses.min():
        counts = np.eye(len(losses), dtype=int)[losses.argmin()]
    return counts


def _climb(of_labels: np.ndarray) -> np.ndarray:
    """Returns how often each network is added to lower the loss of the mean.

    Begins with the best one, and adds whichever lowers the loss most, even one that is
    in it, until none does.

    Args:
        of_labels: Probabilities of the true classes, [M, N].
    """
    counts = np.zeros(len(of_labels), int)
    total, least = np.zeros(of_labels.shape[1]), np.inf
    for size in range(1, ROUNDS + 1):
        losses = -logits((total + of_labels) / size).mean(axis=1)
        best = int(losses.argmin())
        if not losses[best] < least:
            break
        counts[best] += 1
        total, least = total + of_labels[best], losses[best]
    return counts


class McNemar(NamedTuple):
    """Whether one of two is right more often, image by image.

    Attributes:
        first: Images that only the first is right about.
        second: Images that only the second is right about.
        p: How likely such a difference is by chance, two-sided, exact (McNemar 1947).
    """

    first: int
    second: int
    p: float


def mcnemar(first: Any, second: Any) -> McNemar:
    """Compares two networks on the same images.

    Args:
        first: Bool [N], whether the one is right.
        second: Bool [N], whether the other is.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    ahead, behind = int((first & ~second).sum()), int((second & ~first).sum())
    tail = special.bdtr(min(ahead, behind), ahead + behind, 0.5)
    return McNemar(ahead, behind, float(min(1.0, 2 * tail)))
