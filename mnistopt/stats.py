"""Intervals over seeds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Not scipy.stats, which takes over a second to import.
from scipy import special


class Interval(NamedTuple):
    """A mean and what is known of it.

    Attributes:
        mean: Of the values; nan without any.
        std: Their sample standard deviation (n - 1); nan for fewer than two.
        half_width: Half of the mean's confidence interval; nan for fewer than two.
        n: How many values.
    """

    mean: float
    std: float
    half_width: float
    n: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Returns the mean of independent values with Student's t interval.

    Args:
        values: One per seed.
        confidence: Of the interval, in (0, 1).
    """
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    std = float(np.std(values, ddof=1))
    quantile = special.stdtrit(n - 1, (1 + confidence) / 2)
    return Interval(mean, std, float(quantile) * std / math.sqrt(n), n)


def proportion_interval(
    correct: int, count: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Returns the Wilson score interval of a proportion (Wilson 1927).

    For the accuracy of one network: how it may differ on other examples of the kind.

    Args:
        correct: Successes.
        count: Trials, at least 1.
        confidence: Of the interval, in (0, 1).

    Returns:
        Its ends, in [0, 1].
    """
    z = special.ndtri((1 + confidence) / 2)
    share, wide = correct / count, z**2 / count
    middle = (share + wide / 2) / (1 + wide)
    half = math.sqrt(wide * (share * (1 - share) + wide / 4)) / (1 + wide)
    return float(max(0, middle - half)), float(min(1, middle + half))
