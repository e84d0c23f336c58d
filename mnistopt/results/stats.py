"""Intervals of means over seeds, and of one network's accuracy over images."""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

# Not scipy.stats, which takes over a second to import: that happens where it is used.
from scipy import special


class Interval(NamedTuple):
    """A mean and what is known of it.

    Attributes:
        mean: The values' mean; nan without any. This and the next three may be arrays.
        std: The values' sample standard deviation (n - 1); nan for fewer than two.
        low: Lower end of the mean's confidence interval; nan for fewer than two.
        high: The interval's upper end.
        n: How many values.
    """

    mean: float
    std: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half of the distance between the ends."""
        return (self.high - self.low) / 2


def spread(values: Any) -> tuple[Any, Any, Any]:
    """Returns mean, standard deviation, and half the width of Student's 95 % interval.

    Of the last axis, as float64; nan where there are too few values.
    """
    values = np.ascontiguousarray(values, np.float64)
    n = values.shape[-1]
    unknown = np.full(values.shape[:-1], np.nan)
    mean = values.mean(axis=-1) if n else unknown
    if n < 2:
        return mean, unknown, unknown
    std = values.std(axis=-1, ddof=1)
    # Rounding gives equal values a spread, and their mean another last bit.
    equal = values.min(axis=-1) == values.max(axis=-1)
    mean, std = np.where(equal, values[..., 0], mean), np.where(equal, 0, std)
    quantile = special.stdtrit(n - 1, 0.975)
    return mean, std, quantile * std / math.sqrt(n)


def _interval(*numbers: Any, n: int) -> Interval:
    """Makes an interval of arrays, or of floats where these have no axis."""
    mean, std, low, high = (
        number if np.ndim(number) else float(number) for number in numbers
    )
    return Interval(mean, std, low, high, n)


# Seeds of a mean that is shown with an interval. Student's t asks for 12.7 standard
# errors of two, which may lie together by chance: [96.20, 96.20] or [58.72, 99.87].
FEWEST_SEEDS = 3
# Equal differences of accuracies differ by so much, at most.
ROUNDING = 1e-12


def shown(interval: Interval) -> Interval:
    """Returns an interval as tables show it: without ends that say nothing.

    They are nan of fewer than `FEWEST_SEEDS`, and of values that are all equal.
    """
    known = (interval.n >= FEWEST_SEEDS) & (np.asarray(interval.std) > ROUNDING)
    ends: list[Any] = [np.where(known, end, np.nan) for end in interval[2:4]]
    # Floats where there is no axis.
    return interval._replace(low=ends[0][()], high=ends[1][()])


def exact_sum(accuracies: Iterable[float]) -> Fraction:
    """Returns the sum of ratios of whole numbers, without rounding.

    Equally many right answers are equal so, however they are spread over the seeds;
    sums of floats differ in their last bits, and those would decide between points.

    Args:
        accuracies: Each of at most ten million examples: a float distinguishes
            such ratios.
    """
    return sum(
        (Fraction(accuracy).limit_denominator(10**7) for accuracy in accuracies),
        Fraction(),
    )


def mean_interval(values: Any) -> Interval:
    """Returns the mean of independent values with Student's 95 % interval.

    Args:
        values: One per seed, [..., n]: floats [...] come of them.
    """
    mean, std, half = spread(values)
    return _interval(mean, std, mean - half, mean + half, n=np.shape(values)[-1])


def positive_interval(values: Any) -> Interval:
    """Returns the mean of positive values with Student's 95 % interval on a log scale.

    For losses and numbers of epochs: Student's own interval may begin below zero. Its
    width is carried over to the logarithm of the mean (the delta method: divided by the
    mean), and the ends are carried back. Simulated for lognormal values and n = 3, 5
    and 10: where they vary by a tenth of themselves it covers 95 %, as Student's; where
    by a half, 93 to 94 % (Student's 92 to 93 %); where by as much as themselves, 89 to
    90 % (84 to 86 %). `tests/results/test_stats.py` repeats it.

    Args:
        values: One per seed, [..., n], of at least 0: floats [...] come of them.
    """
    mean, std, half = spread(values)
    low, high = mean - half, mean + half
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.exp(half / mean)
        inside = (mean > 0) & (half > 0)
        low = np.where(inside, mean / factor, low)
        high = np.where(inside, mean * factor, high)
    return _interval(mean, std, low, high, n=np.shape(values)[-1])


def accuracy_interval(values: Any) -> Interval:
    """Returns the mean of accuracies with Student's 95 % interval on the logit scale.

    Near 100 % accuracies are skewed: a bad seed is far below, and none is far above.
    Student's interval then reaches beyond 100 %, and lies too high when the sample
    has no bad seed. So its width is carried over to the logit of the mean (the delta
    method: divided by m (1 - m)), and the ends are carried back. Simulated, with means
    of 97, 99 and 99.7 % and n = 3, 5 and 10: where the error rate varies between seeds
    by a twentieth or a fifth of itself, or as counts on 1,000 or 10,000 images do, the
    coverage is 94 to 96 %, as Student's; where by half of itself, 93 to 95 % (Student's
    92 to 94 %); where by as much as itself, 92 to 95 % (88 to 91 %). Other ways were
    worse somewhere: the mean of logits (down to 81 %), arcsine roots (85 %). Rare bad
    seeds are more than three to ten of them show: where one seed in ten has twice the
    error of the others, which vary by a tenth, 88, 78 and 73 % of intervals cover at
    n = 3, 5 and 10; where four times, 52, 40 and 64 %.
    `tests/results/test_stats.py` repeats it.

    Args:
        values: One per seed, [..., n], in [0, 1]: floats [...] come of them.
    """
    mean, std, half = spread(values)
    low, high = mean - half, mean + half
    with np.errstate(divide="ignore", invalid="ignore"):
        logit, width = special.logit(mean), half / (mean * (1 - mean))
        inside = (mean > 0) & (mean < 1) & (half > 0)
        low = np.where(inside, special.expit(logit - width), low)
        high = np.where(inside, special.expit(logit + width), high)
    return _interval(mean, std, low, high, n=np.shape(values)[-1])


def proportion_interval(
    correct: float, count: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Returns the Wilson score interval of a proportion (Wilson 1927).

    For the accuracy of one network: how it may differ on other examples of the kind.

    Args:
        correct: Successes.
        count: Trials, at least 1.
        confidence: The interval's confidence level, in (0, 1).

    Returns:
        Its ends, in [0, 1].
    """
    z = special.ndtri((1 + confidence) / 2)
    share, wide = correct / count, z**2 / count
    middle = (share + wide / 2) / (1 + wide)
    half = math.sqrt(wide * (share * (1 - share) + wide / 4)) / (1 + wide)
    return float(max(0, middle - half)), float(min(1, middle + half))


def share_right(right: Any) -> dict[str, Any]:
    """Returns how often answers are right, and its interval over images.

    Args:
        right: Bool [N], of at least one image.

    Returns:
        `correct` images of `count`, `accuracy`, and the ends `low` and `high` of
        `proportion_interval`.
    """
    correct, count = int(np.sum(right)), len(right)
    low, high = proportion_interval(correct, count)
    ends = {"accuracy": correct / count, "low": low, "high": high}
    return {"correct": correct, "count": count, **ends}


def lost_interval(first: Any, second: Any) -> Interval:
    """Returns how much more often one network is right than another, image by image.

    Its interval is that of Agresti and Min 2005 (Statistics in Medicine 24, 729-740),
    which stays honest where few images differ: half an image is added to each of the
    four cells.

    Args:
        first: Bool [N], whether the one is right.
        second: Bool [N], whether the other is.

    Returns:
        The difference of accuracies, its `low` and `high` end at 95 %; `n` is N.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    n = first.size
    ahead, behind = int((first & ~second).sum()), int((second & ~first).sum())
    difference = (ahead - behind) / (n + 2)
    square = (ahead + behind + 1) / (n + 2) - difference**2
    half = special.ndtri(0.975) * math.sqrt(max(square, 0) / (n + 2))
    mean = (ahead - behind) / n
    return Interval(mean, math.nan, difference - half, difference + half, n)
