"""Intervals over seeds, and comparisons: by seeds, by images, of many with the best.

Points of one seed start from the same weights and see the same batches, so they are
compared seed by seed: what a seed does to both drops out of their difference.
"""

import bisect
import math
import warnings
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

# Not scipy.stats, which takes over a second to import: that happens where it is used.
from scipy import special


class Interval(NamedTuple):
    """A mean and what is known of it.

    Attributes:
        mean: Of the values; nan without any. This and the next three may be arrays.
        std: Their sample standard deviation (n - 1); nan for fewer than two.
        low: Lower end of the mean's confidence interval; nan for fewer than two.
        high: Its upper end.
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


def _spread(values: Any, confidence: float) -> tuple[Any, Any, Any]:
    """Returns mean, standard deviation, and half the width of Student's interval.

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
    quantile = special.stdtrit(n - 1, (1 + confidence) / 2)
    return mean, std, quantile * std / math.sqrt(n)


def _interval(*numbers: Any, n: int) -> Interval:
    """Makes an interval of arrays, or of floats where these have no axis."""
    mean, std, low, high = (one if np.ndim(one) else float(one) for one in numbers)
    return Interval(mean, std, low, high, n)


def exact_sum(accuracies: Iterable[float]) -> Fraction:
    """Returns the sum of ratios of whole numbers, without rounding.

    Equally many right answers are equal so, however they are spread over the seeds;
    sums of floats differ in their last bits, and those would decide between points.

    Args:
        accuracies: Each of at most ten million examples: a float tells such ratios
            from one another.
    """
    return sum(
        (Fraction(one).limit_denominator(10**7) for one in accuracies), Fraction()
    )


def mean_interval(values: Any, confidence: float = 0.95) -> Interval:
    """Returns the mean of independent values with Student's t interval.

    Args:
        values: One per seed, [..., n]: floats [...] come of them.
        confidence: Of the interval, in (0, 1).
    """
    mean, std, half = _spread(values, confidence)
    return _interval(mean, std, mean - half, mean + half, n=np.shape(values)[-1])


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
    worse somewhere: the mean of logits (down to 81 %), arcsine roots (85 %).
    `tests/results/test_stats.py` repeats it.

    Args:
        values: One per seed, [..., n], in [0, 1]: floats [...] come of them.
    """
    mean, std, half = _spread(values, 0.95)
    low, high = mean - half, mean + half
    with np.errstate(divide="ignore", invalid="ignore"):
        logit, width = special.logit(mean), half / (mean * (1 - mean))
        inside = (mean > 0) & (mean < 1) & (half > 0)
        low = np.where(inside, special.expit(logit - width), low)
        high = np.where(inside, special.expit(logit + width), high)
    return _interval(mean, std, low, high, n=np.shape(values)[-1])


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Returns the mean with its bias-corrected and accelerated bootstrap interval.

    It assumes no distribution, but needs many seeds: of normal values, simulated, it
    covers 74 % at n = 3, 87 % at n = 5 and 88 % at n = 10. Always the same 9,999
    resamples of a list.

    Args:
        values: One per seed.
        confidence: Of the interval, in (0, 1).
    """
    mean, std, _ = map(float, _spread(values, confidence))
    n = len(values)
    if n < 2 or std == 0:
        return Interval(mean, std, mean if n > 1 else std, mean if n > 1 else std, n)
    from scipy import stats

    with warnings.catch_warnings():
        # A resample without spread, in small samples: its end is nan, and stays so.
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (np.asarray(values),),
            np.mean,
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return Interval(mean, std, float(found.low), float(found.high), n)


def proportion_interval(
    correct: float, count: int, confidence: float = 0.95
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


class Difference(NamedTuple):
    """A mean of seed-paired differences, and its tests.

    Attributes:
        interval: Of the mean difference, by Student's t.
        p: Two-sided p value of the paired t test.
        p_permutation: Of the exact test over all exchanges within pairs; it cannot be
            below 2 / 2^n, so needs 6 seeds to reach 5 %.
    """

    interval: Interval
    p: float
    p_permutation: float


def paired_difference(
    one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray
) -> Difference:
    """Compares two points, seed by seed.

    Args:
        one: A value per seed.
        other: The values of the same seeds, in the same order.
    """
    differences = np.subtract(one, other)
    return Difference(
        interval=mean_interval(differences.tolist()),
        p=two_sided(*t_tests(differences, 0.0)),
        p_permutation=_sign_flip_p(differences),
    )


def t_tests(values: Sequence[float] | np.ndarray, bound: float) -> tuple[float, float]:
    """Returns the p values for the mean being below, and above, a bound.

    Each is small where the values speak for it. Without any spread there is no t, and
    the exact sign test stands in; fewer than two values say nothing.

    Args:
        values: One per seed.
        bound: What the mean is compared with; any mean is below infinity.
    """
    n = len(values)
    if math.isinf(bound):
        return (0.0, 1.0) if bound > 0 else (1.0, 0.0)
    if n < 2:
        return 1.0, 1.0
    mean, std = float(np.mean(values)) - bound, float(np.std(values, ddof=1))
    # Equal up to the rounding of sums: no spread.
    if std < 1e-12 * (1 + abs(bound)):
        certain = 1.0 if abs(mean) < 1e-12 * (1 + abs(bound)) else 0.5**n
        return (certain, 1.0) if mean < 0 else (1.0, certain)
    t = mean / (std / math.sqrt(n))
    return float(special.stdtr(n - 1, t)), float(special.stdtr(n - 1, -t))


def unpaired_t_tests(
    samples: Sequence[Sequence[float] | np.ndarray], bound: float
) -> tuple[float, float]:
    """Returns the p values for a sum of means being below, and above, a bound.

    As if the samples had nothing in common: Welch's test (1947), with the degrees of
    freedom of Satterthwaite (1946).

    Args:
        samples: Their values, each sample of two at least and with some spread.
        bound: What the sum of the samples' means is compared with.
    """
    if math.isinf(bound) or min(map(len, samples)) < 2:
        return t_tests([], bound)
    squares = [float(np.var(one, ddof=1)) / len(one) for one in samples]
    if math.fsum(squares) == 0:
        return 1.0, 1.0
    freedom = math.fsum(squares) ** 2 / math.fsum(
        square**2 / (len(one) - 1) for square, one in zip(squares, samples)
    )
    mean = math.fsum(float(np.mean(one)) for one in samples)
    t = (mean - bound) / math.sqrt(math.fsum(squares))
    return float(special.stdtr(freedom, t)), float(special.stdtr(freedom, -t))


# What sample sizes are commonly planned for: a true difference is seen in four studies
# of five (Cohen 1988, section 2.4).
POWER = 0.8


def seeds_to_show(
    std: float, difference: float, error_rate: float, power: float = POWER
) -> float:
    """Returns how many seeds a two-sided t test needs to show a true difference.

    By the noncentral t distribution.

    Args:
        std: Standard deviation of the contrast over seeds.
        difference: How far the truth is from what is to be excluded.
        error_rate: Of the test.
        power: The share of studies that show it.

    Returns:
        At least 2; infinity beyond 1,000.
    """
    from scipy import stats

    def shows(n: int) -> bool:
        beyond = special.stdtrit(n - 1, 1 - error_rate / 2)
        shift = math.sqrt(n) * difference / std
        # Far beyond, the distribution has no digits left, and nothing to ask.
        return shift > beyond + 10 or stats.nct.sf(beyond, n - 1, shift) >= power

    most = 1000
    if std == 0:
        return 2.0
    found = bisect.bisect_left(range(2, most + 1), True, key=shows) + 2
    return float(found) if found <= most else math.inf


def two_sided(p: float, contrary: float) -> float:
    """Returns the two-sided p value of a test, from those of its two sides."""
    return min(1.0, 2 * min(p, contrary))


def _sign_flip_p(differences: np.ndarray) -> float:
    """Returns the two-sided p value of all 2^n sign flips (9,999 of them from n=14)."""
    if len(differences) < 2:
        return 1.0
    from scipy import stats

    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


class Disagreement(NamedTuple):
    """How two classifiers differ on the same images.

    Attributes:
        only_one: Images that the first alone has right.
        only_other: Images that the second alone has right.
        p: Two-sided p value of McNemar's exact test (McNemar 1947).
    """

    only_one: int
    only_other: int
    p: float


def mcnemar(one: np.ndarray, other: np.ndarray) -> Disagreement:
    """Compares two networks, or two votes, on the same images.

    Whether they would differ on other images of the kind; other seeds are another
    question, which `paired_difference` asks.

    Args:
        one: Whether the first is right, bool [N].
        other: Whether the second is, bool [N].
    """
    only_one = int(np.sum(one & ~other))
    only_other = int(np.sum(other & ~one))
    # The smaller tail of Binomial(both, 1/2), twice.
    both, fewer = only_one + only_other, min(only_one, only_other)
    p = min(1.0, 2 * float(special.bdtr(fewer, both, 0.5))) if both else 1.0
    return Disagreement(only_one, only_other, p)


def holm(p: Sequence[float]) -> list[float]:
    """Returns p values corrected for how many there are (Holm 1979).

    Rejecting those below an error rate makes any wrong rejection in the family at most
    that likely.

    Args:
        p: The family's p values.
    """
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.minimum(np.maximum.accumulate(factors * np.asarray(p)[order]), 1)
    corrected = np.empty(len(p))
    corrected[order] = adjusted
    return corrected.tolist()


def tied_with_best(
    values: Sequence[Sequence[float]], error_rate: float = 0.05
) -> list[bool]:
    """Says which points cannot be told from the best one.

    The others are compared with the point of the highest mean by two-sided paired t
    tests, corrected by Holm's method. A single point is left, a winner, only if all
    others are below it at the error rate: where all are equal, that happens in at most
    that share of studies (simulated: 5 % of two points, less of more). A winner by
    twice the standard deviation of the differences is announced in 92 % of studies of
    two points with five seeds, 81 % of three, 59 % of six.

    Args:
        values: Per point an accuracy per seed, of the same seeds in the same order.
        error_rate: Of announcing a difference where there is none.

    Returns:
        Per point whether it is the best or tied with it.
    """
    sums = [exact_sum(one) for one in values]
    best = sums.index(max(sums))
    others = [i for i in range(len(values)) if i != best]
    p = [two_sided(*t_tests(np.subtract(values[i], values[best]), 0.0)) for i in others]
    tied = [True] * len(values)
    for i, corrected in zip(others, holm(p)):
        tied[i] = corrected >= error_rate
    return tied
