"""Comparisons: of two points, and of many with the best.

Points of one seed start from the same weights and see the same batches, so they are
compared seed by seed: what a seed does to both drops out of their difference.
"""

import bisect
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Not scipy.stats, which takes over a second to import: that happens where it is used.
from scipy import special

from mnistopt.results.stats import (
    ROUNDING,
    Interval,
    exact_sum,
    mean_interval,
    shown,
    spread,
)


class Spread(NamedTuple):
    """What is known of a standard deviation before it is measured.

    Attributes:
        std: About where it is.
        freedom: How sure that is, as degrees of freedom; 0 for not at all.
    """

    std: float
    freedom: float


NO_SPREAD = Spread(0.0, 0.0)


def shared_spread(
    stds: Sequence[float], freedoms: Sequence[int], most: float = 4.0
) -> Spread:
    """Returns what the standard deviations of like samples say of each other's.

    Three seeds alone hardly know their spread: Student's t asks for 26 standard errors
    at the level of 30 tests. But a study has dozens of such samples. Their variances
    are taken to scatter by an inverse chi-square about a common one, which is fitted to
    the mean and the variance of their logarithms (the moderated t of Smyth 2004,
    doi:10.2202/1544-6115.1027, section 6.2). Where they scatter widely, it says little.

    Args:
        stds: Standard deviations of samples of one kind; zeros are ignored.
        freedoms: The samples' degrees of freedom, n - 1 each.
        most: Degrees of freedom that they give each other at most. Simulated, 31 lines
            with three or five seeds and Holm's correction: where settings have spreads
            within a factor of 7, or one has 8 times the others', some line is decided
            wrongly in 1 to 5.5 % of studies with 4, in 6 to 12 % without a limit.

    Returns:
        The common spread; `NO_SPREAD` of fewer than three samples.
    """
    samples = [(std, n) for std, n in zip(stds, freedoms) if std > ROUNDING and n > 0]
    if len(samples) < 3:
        return NO_SPREAD
    half = np.array([n for _, n in samples]) / 2
    logs = (
        2 * np.log([std for std, _ in samples]) - special.digamma(half) + np.log(half)
    )
    excess = np.var(logs, ddof=1) - np.mean(special.polygamma(1, half))
    if excess <= special.polygamma(1, most / 2):
        freedom = most
    else:
        x = 0.5 + 1 / excess
        for _ in range(50):  # Newton's, for the inverse of the trigamma function.
            slope = special.polygamma(2, x)
            now = special.polygamma(1, x)
            x += now * (1 - now / excess) / slope
        freedom = 2 * float(x)
    shift = special.digamma(freedom / 2) - math.log(freedom / 2)
    return Spread(math.exp((np.mean(logs) + shift) / 2), freedom)


def _moderated(values: Any, shared: Spread) -> tuple[float, float, float]:
    """Returns mean, standard deviation and degrees of freedom, with what is shared."""
    own, n = float(np.std(values, ddof=1)), len(values)
    freedom = shared.freedom + n - 1
    square = shared.freedom * shared.std**2 + (n - 1) * own**2
    return float(np.mean(values)), math.sqrt(square / freedom), freedom


def moderated_interval(values: Sequence[float], shared: Spread) -> Interval:
    """Returns the mean with its 95 % interval by Student's t and a shared spread.

    Args:
        values: One per seed; with fewer than two, or no spread, there is no interval.
        shared: The spread from `shared_spread`; with `NO_SPREAD` it is `mean_interval`.
    """
    n = len(values)
    if n < 2:
        return mean_interval(values)
    mean, std, freedom = _moderated(values, shared)
    half = float(special.stdtrit(freedom, 0.975)) * std / math.sqrt(n)
    half = half if std > ROUNDING else math.nan
    return Interval(mean, std, mean - half, mean + half, n)


def t_tests(
    values: Sequence[float] | np.ndarray, bound: float, shared: Spread = NO_SPREAD
) -> tuple[float, float]:
    """Returns the p values for the mean being below, and above, a bound.

    Each is small if the values support it. Without any spread there is no t, and
    the exact sign test stands in; fewer than two values say nothing.

    Args:
        values: One per seed.
        bound: The value that the mean is compared with; any mean is below infinity.
        shared: The spread of similar samples, from `shared_spread`.
    """
    n = len(values)
    if math.isinf(bound):
        return (0.0, 1.0) if bound > 0 else (1.0, 0.0)
    if n < 2:
        return 1.0, 1.0
    mean, std, freedom = _moderated(values, shared)
    mean -= bound
    # Equal up to the rounding of sums: no spread.
    if std < ROUNDING * (1 + abs(bound)):
        certain = 1.0 if abs(mean) < ROUNDING * (1 + abs(bound)) else 0.5**n
        return (certain, 1.0) if mean < 0 else (1.0, certain)
    t = mean / (std / math.sqrt(n))
    return float(special.stdtr(freedom, t)), float(special.stdtr(freedom, -t))


def unpaired_t_tests(
    samples: Sequence[Sequence[float] | np.ndarray], bound: float
) -> tuple[float, float]:
    """Returns the p values for a sum of means being below, and above, a bound.

    As if the samples had nothing in common: Welch's test (1947), with the degrees of
    freedom of Satterthwaite (1946).

    Args:
        samples: Samples of at least two values each, with some spread.
        bound: The value that the sum of the samples' means is compared with.
    """
    if math.isinf(bound) or min(map(len, samples)) < 2:
        return t_tests([], bound)
    squares = [float(np.var(sample, ddof=1)) / len(sample) for sample in samples]
    if math.fsum(squares) == 0:
        return 1.0, 1.0
    freedom = math.fsum(squares) ** 2 / math.fsum(
        square**2 / (len(sample) - 1) for square, sample in zip(squares, samples)
    )
    mean = math.fsum(float(np.mean(sample)) for sample in samples)
    t = (mean - bound) / math.sqrt(math.fsum(squares))
    return float(special.stdtr(freedom, t)), float(special.stdtr(freedom, -t))


# What sample sizes are commonly planned for: a true difference is seen in four studies
# of five (Cohen 1988, section 2.4).
POWER = 0.8


def seeds_to_show(
    std: float,
    difference: float,
    error_rate: float,
    power: float = POWER,
    shared: float = 0.0,
) -> float:
    """Returns how many seeds a two-sided t test needs to show a true difference.

    By the noncentral t distribution.

    Args:
        std: Standard deviation of the contrast over seeds.
        difference: How far the truth is from what is to be excluded.
        error_rate: The error rate of the test.
        power: The share of studies that show it.
        shared: Degrees of freedom that like samples give.

    Returns:
        At least 2; infinity beyond 1,000.
    """
    from scipy import stats

    def shows(n: int) -> bool:
        freedom = n - 1 + shared
        beyond = special.stdtrit(freedom, 1 - error_rate / 2)
        shift = math.sqrt(n) * difference / std
        # Far beyond, the distribution has no digits left, and nothing to ask.
        return shift > beyond + 10 or stats.nct.sf(beyond, freedom, shift) >= power

    most = 1000
    if std == 0:
        return 2.0
    seeds = bisect.bisect_left(range(2, most + 1), True, key=shows) + 2
    return float(seeds) if seeds <= most else math.inf


def two_sided(p: float, contrary: float) -> float:
    """Returns the two-sided p value of a test, from those of its two sides."""
    return min(1.0, 2 * min(p, contrary))


class Comparison(NamedTuple):
    """How two settings differ, paired by seed.

    Attributes:
        difference: Mean of the first minus the second.
        low: Lower end of its 95 % interval (Student's t); nan for fewer than three
            seeds.
        high: The upper end.
        p: Two-sided p value of the paired t test; nan for one seed. It is of one
            comparison that was planned: of many, some are small by chance.
        n: Seeds that both have.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int


def paired(apart: Sequence[float]) -> Comparison:
    """Returns what is known of a difference, of one value per seed."""
    mean, _, low, high, n = shown(mean_interval(apart))
    p = two_sided(*t_tests(apart, 0.0)) if n > 1 else math.nan
    return Comparison(mean, float(low), float(high), p, n)


def holm(p: Sequence[float], of: Sequence[int] | None = None) -> list[float]:
    """Returns p values corrected for how many there are (Holm 1979).

    Rejecting those below an error rate makes any wrong rejection in the family at most
    that likely.

    Args:
        p: The family's p values.
        of: A number for each hypothesis. At most one of those with equal numbers can be
            true, so they count once (Shaffer 1986, doi:10.1080/01621459.1986.10478341);
            None where all may be true.
    """
    order = np.argsort(p, kind="stable")
    groups = np.arange(len(p)) if of is None else np.asarray(of)
    left = groups[order]
    factors = np.array([len(set(left[i:])) for i in range(len(p))])
    adjusted = np.minimum(np.maximum.accumulate(factors * np.asarray(p)[order]), 1)
    corrected = np.empty(len(p))
    corrected[order] = adjusted
    return corrected.tolist()


@functools.lru_cache(maxsize=256)
def tukey(count: int, freedom: float) -> float:
    """Returns how many standard errors simultaneous intervals reach.

    Intervals of all differences between so many means contain the truth in 95 % of
    studies (Tukey 1953), the largest difference among them: the best may be chosen
    first, and compared then.

    Args:
        count: The number of means.
        freedom: Degrees of freedom of the spread.

    Returns:
        The quantile of the studentized range, divided by the root of 2; nan without
        degrees of freedom. As scipy's, which takes a hundred times as long, to 1e-4 of
        up to 200 means, to 1e-3 of 2,000.
    """
    if not freedom > 0 or count < 2:
        return math.nan
    if count == 2:
        return float(special.stdtrit(freedom, 0.975))
    from scipy.optimize import brentq

    # The lowest mean is at z, and the others within the range above it; the spread has
    # the quantile u (Gauss's nodes for both).
    z, weights = np.polynomial.legendre.leggauss(96)
    z, weights = 9 * z, 9 * weights * np.exp(-((9 * z) ** 2) / 2)
    weights *= count / math.sqrt(2 * math.pi)
    u, of_spread = np.polynomial.legendre.leggauss(200)
    spread = np.sqrt(special.chdtri(freedom, (1 - u) / 2) / freedom)[:, None]

    def excess(wide: float) -> float:
        inside = special.ndtr(z + wide * spread) - special.ndtr(z)
        return of_spread / 2 @ inside ** (count - 1) @ weights - 0.95

    return brentq(excess, 0.1, 1e4, xtol=1e-9) / math.sqrt(2)


def behind_best(values: Sequence[Sequence[float]]) -> list[Interval]:
    """Returns how far each point is behind the best one, with simultaneous intervals.

    A point is worse if its interval is above 0; the others are tied with the best.
    Differences are paired by seed. Each keeps a spread of its own, as settings that
    train badly vary tenfold; the other differences weigh at most twice as much as its
    own seeds (`shared_spread`). Simulated, with 2 to 50 points and 3 to 10 seeds:

    - Where all points are equal, one is called worse in 4 to 8 % of studies; where
      their spreads differ up to elevenfold, in 4 to 11 %. With two seeds, in 2 to 14 %.
    - Of 24 points, 23 of them behind by four standard deviations, 91 % are called worse
      with five seeds, and 49 % with three.

    Other ways, in the same studies: paired t tests with Holm's correction call an
    equal point worse in 5 to 27 % (most with many points and seeds), and 75 % and 6 %
    of those behind. One variance for all points: 4 to 6 %, but up to 41 % where spreads
    differ; 99 % and 84 % of those behind. Hsu's comparisons with the best (1981) ask
    another question, which points can be shown not to be the only best: they keep the
    best in 95 % and exclude 98 % of those behind, and call an equal one worse in 9 to
    73 %.
    `tests/results/test_compare.py` repeats parts of it.

    Args:
        values: Per point an accuracy per seed, of the same seeds in the same order.

    Returns:
        Per point the difference of the best's mean and its own, at least 0, with its
        95 % interval. The first of equals is the best, and has an interval of zeros;
        where nothing is known of a spread, the ends are nan.
    """
    sums = [exact_sum(accuracies) for accuracies in values]
    best = sums.index(max(sums))
    apart = np.asarray(values[best], float) - np.asarray(values, float)
    n = apart.shape[1]
    if n < 2:
        behind = [mean_interval(seeds) for seeds in apart]
    else:
        stds = np.delete(spread(apart)[1], best).tolist()
        shared = shared_spread(stds, [n - 1] * len(stds), most=2.0 * (n - 1))
        factor = tukey(len(values), shared.freedom + n - 1)
        behind = []
        for seeds in apart:
            mean, std, _ = _moderated(seeds, shared)
            half = factor * std / math.sqrt(n) if std > ROUNDING else math.nan
            behind.append(Interval(mean, std, mean - half, mean + half, n))
    behind[best] = Interval(0.0, 0.0, 0.0, 0.0, n)
    return behind
