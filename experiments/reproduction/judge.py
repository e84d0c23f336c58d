"""Verdicts: where each contrast lies, as far as the seeds show, and how firm that is.

A line of a claim is

- supported, if its contrast is shown to lie where the paper says,
- contradicted, if it is shown to lie elsewhere,
- negligible, if neither is shown, but that it is closer to zero than the margin:
  whichever setting is ahead, it does not matter,
- undecided otherwise,

at 5 % over all lines of the paper (Holm 1979), by two-sided t tests over the seeds.
That something does not differ is shown, as by the two one-sided tests of Schuirmann
(1987); it does not follow from a failure to see a difference. A few seeds know little
of their spread, so lines of one kind of network share what they know of it
(`results.compare.shared_spread`).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.reproduction.evidence import Measured
from experiments.reproduction.paper import Claim, Line, Paper
from mnistopt.results.compare import (
    NO_SPREAD,
    POWER,
    Spread,
    holm,
    moderated_interval,
    seeds_to_show,
    shared_spread,
    t_tests,
    two_sided,
    unpaired_t_tests,
)
from mnistopt.results.stats import Interval, accuracy_interval, shown
from mnistopt.results.tables import ERROR_RATE

SUPPORTED, CONTRADICTED = "supported", "contradicted"
NEGLIGIBLE, PARTLY = "negligible", "negligible in part"
UNDECIDED = "undecided"
VERDICTS = (SUPPORTED, CONTRADICTED, NEGLIGIBLE, PARTLY, UNDECIDED)
TOO_LARGE, TOO_SMALL = "too large", "too small"


class Sample(NamedTuple):
    """What the seeds say of a line.

    Attributes:
        line: The line.
        terms: A column per weighted setting, with a row per seed (or repeat of timing)
            that all of them have.
        shared: The spread that lines of its kind share.
    """

    line: Line
    terms: pd.DataFrame
    shared: Spread = NO_SPREAD

    @property
    def values(self) -> list[float]:
        """The contrast by seed."""
        return self.terms.to_numpy().sum(axis=1).tolist()

    @property
    def interval(self) -> Interval:
        """Its mean and 95 % interval, logarithms of a ratio."""
        if len(self.line.of) == 1:
            return shown(accuracy_interval(self.values))
        return moderated_interval(self.values, self.shared)

    def sides(self, bound: float) -> tuple[float, float]:
        """Returns the p values for the contrast being below, and above, a bound."""
        return t_tests(self.values, bound, self.shared)

    def sides_unpaired(self, bound: float) -> tuple[float, float]:
        """Returns the same as if the settings had no seeds in common."""
        terms = [self.terms[name].to_numpy() for name in self.terms]
        return unpaired_t_tests(terms, bound)


class Decision(NamedTuple):
    """What the tests of a line say.

    Attributes:
        verdict: One of `VERDICTS`.
        p: The two-sided p value of the test behind the verdict.
        p_holm: The same, corrected for the family.
        small: Whether the contrast is shown to be closer to zero than the margin.
    """

    verdict: str
    p: float
    p_holm: float
    small: bool


def judge(measured: Measured, claims: Sequence[Claim]) -> pd.DataFrame:
    """Returns a row per line of claims that are corrected together (claims.csv).

    Args:
        measured: The measurements.
        claims: The claims.

    Returns:
        The claim and its verdict; the line, its `estimate` with the ends of its
        95 % interval (of a ratio: all three exponentials), n, p and the corrected
        p, its verdict, and whether it is `small`; the `paper`'s figure, and whether
        that is shown to be `TOO_LARGE` or `TOO_SMALL`; `seeds_needed`, with which
        four studies of five would show a true difference of the margin, or that
        there is none; and by the names of `ALTERNATIVES` the verdicts that other
        tests would give.
    """
    lines = [line for claim in claims for line in claim.lines]
    samples, margin = samples_of(measured, lines), measured.paper.margin
    decisions = decide(samples, margin)
    sizes = _judge_figures(samples)
    others = {name: find(measured, lines) for name, (_, find) in ALTERNATIVES.items()}
    rows: list[dict[str, Any]] = []
    for claim in claims:
        first = len(rows)
        for line in claim.lines:
            i = len(rows)
            rows.append(
                {
                    "table": claim.table,
                    "claim": claim.id,
                    "claim_verdict": "",
                    "line": line.id,
                    **_estimate(samples[i]),
                    **decisions[i]._asdict(),
                    "paper": math.nan if line.figure is None else line.figure,
                    "paper_is": sizes[i],
                    "seeds_needed": seeds_needed(samples[i], margin, len(lines)),
                    **{name: of[i].verdict for name, of in others.items()},
                }
            )
        whole = together([row["verdict"] for row in rows[first:]])
        for row in rows[first:]:
            row["claim_verdict"] = whole
    return pd.DataFrame(rows)


def samples_of(
    measured: Measured, lines: Sequence[Line], metric: str | None = None
) -> list[Sample]:
    """Returns the samples of lines, maybe with another metric for accuracies."""
    if metric:
        lines = [
            dataclasses.replace(line, metric=metric)
            if line.metric == "test_accuracy" and len(line.of) > 1
            else line
            for line in lines
        ]
    samples = [Sample(line, _terms(measured, line)) for line in lines]
    return share_spreads(samples, measured.paper)


def _terms(measured: Measured, line: Line) -> pd.DataFrame:
    terms = []
    for id, weight in line.of.items():
        if line.metric == "seconds":
            values = measured.seconds(id)
        else:
            values = measured(id)[line.metric]
        values = values.map(math.log) if line.ratio else values
        terms.append((weight * values).rename(id))
    return pd.concat(terms, axis=1, join="inner").dropna().sort_index()


def share_spreads(samples: Sequence[Sample], paper: Paper) -> list[Sample]:
    """Returns samples with the spread that those of their kind have in common."""
    kinds = [_kind(sample.line, paper) for sample in samples]
    alike: dict[tuple, list[Sample]] = {}
    for sample, kind in zip(samples, kinds):
        if kind and len(sample.terms) > 1:
            alike.setdefault(kind, []).append(sample)
    shared: dict[tuple | None, Spread] = {None: NO_SPREAD}
    for kind, some in alike.items():
        stds = [
            float(np.std(sample.values, ddof=1)) / _weight(sample.line)
            for sample in some
        ]
        shared[kind] = shared_spread(stds, [len(sample.terms) - 1 for sample in some])
    sharing = []
    for sample, kind in zip(samples, kinds):
        spread = shared.get(kind, NO_SPREAD)
        std = spread.std * _weight(sample.line)
        sharing.append(sample._replace(shared=spread._replace(std=std)))
    return sharing


def _kind(line: Line, paper: Paper) -> tuple | None:
    """Returns what lines that share a spread have in common; None to share none."""
    if line.ratio or len(line.of) == 1:
        return None
    settings = (paper.settings[id] for id in line.of)
    return line.metric, frozenset(setting.point.structure.model for setting in settings)


def _weight(line: Line) -> float:
    """Returns how wide a sum of independent terms spreads beside one of them."""
    return math.sqrt(sum(weight**2 for weight in line.of.values()))


def decide(
    samples: Sequence[Sample],
    margin: float,
    correct: Callable[[Sequence[float], Sequence[int]], Sequence[float]] = holm,
    sides: Callable[[Sample, float], tuple[float, float]] = Sample.sides,
) -> list[Decision]:
    """Returns the decisions on lines that are corrected together.

    Args:
        samples: The lines.
        margin: A smaller difference is none.
        correct: Corrects p values, each with the number of its line, for how many
            there are.
        sides: Returns of a sample and a bound the p values for being below and above.
    """
    tested = [_test(sample, sample.line.region(margin), sides) for sample in samples]
    # Whether it is below the margin is another question of each line. A contrast is
    # zero or beyond the margin, never both, so one of the two answers cannot be wrong.
    more = [
        i
        for i, sample in enumerate(samples)
        if sample.line.has_margin and sample.line.says == "more"
    ]
    within = [_test(samples[i], (-margin, margin), sides) for i in more]
    p_values = [p for p, _ in (*tested, *within)]
    corrected = correct(p_values, [*range(len(samples)), *more])
    of_within = dict(zip(more, zip(within, corrected[len(samples) :])))
    decisions = []
    for i, ((p, tends), p_holm) in enumerate(zip(tested, corrected)):
        (p_small, inside), small_holm = of_within.get(i, ((1.0, ""), 1.0))
        small = inside == SUPPORTED and small_holm < ERROR_RATE
        if p_holm < ERROR_RATE or not small:
            verdict = tends if p_holm < ERROR_RATE else UNDECIDED
            decisions.append(Decision(verdict, p, p_holm, small))
        else:
            decisions.append(Decision(NEGLIGIBLE, p_small, small_holm, small))
    return decisions


def _test(
    sample: Sample,
    region: tuple[float, float],
    sides: Callable[[Sample, float], tuple[float, float]],
) -> tuple[float, str]:
    """Returns the two-sided p value, and the verdict that it is for.

    Inside the region is above its lower bound and below its upper one; outside is
    beyond either.
    """
    below_low, above_low = sides(sample, region[0])
    below_high, above_high = sides(sample, region[1])
    inside, outside = max(above_low, below_high), min(below_low, above_high)
    verdict = SUPPORTED if inside < outside else CONTRADICTED
    return two_sided(inside, outside), verdict


def together(verdicts: Sequence[str]) -> str:
    """Returns the verdict on a claim from those on all of its lines."""
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    if UNDECIDED in verdicts:
        return UNDECIDED
    if NEGLIGIBLE in verdicts:
        return NEGLIGIBLE if set(verdicts) == {NEGLIGIBLE} else PARTLY
    return SUPPORTED


def _judge_figures(samples: Sequence[Sample]) -> list[str]:
    """Returns whether the paper's figures are shown to be too large or too small."""
    sizes, given, tested = [""] * len(samples), [], []
    for i, sample in enumerate(samples):
        if (figure := sample.line.figure) is not None:
            given.append(i)
            tested.append(
                sample.sides(math.log(figure) if sample.line.ratio else figure)
            )
    corrected = holm([two_sided(*pair) for pair in tested])
    for i, (below, above), p in zip(given, tested, corrected):
        if p < ERROR_RATE:
            sizes[i] = TOO_LARGE if below < above else TOO_SMALL
    return sizes


def _estimate(sample: Sample) -> dict[str, float]:
    interval = sample.interval
    ends = (interval.mean, interval.low, interval.high)
    if sample.line.ratio:
        ends = (math.exp(ends[0]), math.exp(ends[1]), math.exp(ends[2]))
    return {**dict(zip(("estimate", "low", "high"), ends)), "n": interval.n}


def seeds_needed(sample: Sample, margin: float, lines: int) -> float:
    """Returns how many seeds would decide, in four studies of five.

    Planned for a truth that is the margin away from the region's bound, or in its
    middle where the margin bounds it, with the spread that was seen, at the strictest
    level of Holm's correction.
    """
    std = sample.interval.std
    if sample.line.ratio or not std > 0:
        return math.nan
    # Inside of two bounds: both have to be excluded, each in nine studies of ten.
    both = not any(map(math.isinf, sample.line.region(margin)))
    power = (1 + POWER) / 2 if both else POWER
    rate = ERROR_RATE / lines
    return seeds_to_show(std, margin, rate, power, sample.shared.freedom)


_Find = Callable[[Measured, Sequence[Line]], list[Decision]]


def _by(
    metric: str | None = None,
    margin: float | None = None,
    alone: bool = False,
    **options: Any,
) -> _Find:
    """Returns a way to decide: by another metric or margin, sharing no spread."""

    def find(measured: Measured, lines: Sequence[Line]) -> list[Decision]:
        samples = samples_of(measured, lines, metric)
        if alone:
            samples = [sample._replace(shared=NO_SPREAD) for sample in samples]
        return decide(samples, margin or measured.paper.margin, **options)

    return find


# Other sensible ways to decide: verdicts that they turn are less firm. By their columns
# in claims.csv, what they are called, and how they decide.
ALTERNATIVES: Mapping[str, tuple[str, _Find]] = {
    "uncorrected": ("uncorrected", _by(correct=lambda p, of: p)),
    "alone": ("own spread", _by(alone=True)),
    "unpaired": ("unpaired", _by(sides=Sample.sides_unpaired)),
    "validation": ("validation digits", _by("validation_accuracy")),
    "stopped": ("best epoch", _by("best_test_accuracy")),
    "narrow": ("margin 0.1", _by(margin=0.001)),
    "wide": ("margin 0.3", _by(margin=0.003)),
}
