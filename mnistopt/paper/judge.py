"""Verdicts on the paper's claims, from the table of seeds, and how firm they are."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from mnistopt.paper.claims import CLAIMS
from mnistopt.paper.frames import epoch_seconds
from mnistopt.paper.hypotheses import (
    CONTRADICTED,
    NEGLIGIBLE,
    SUPPORTED,
    UNDECIDED,
    Claim,
    Hypothesis,
    Term,
)
from mnistopt.paper.tables import MARGIN
from mnistopt.points import Point
from mnistopt.results.stats import (
    POWER,
    holm,
    seeds_to_show,
    t_tests,
    two_sided,
    unpaired_t_tests,
)
from mnistopt.results.tables import ERROR_RATE, FINISHED, interval_of

_Scale = Callable[[Point], Point]
# Of a bound, the p values for a contrast being below and above it.
_Sides = Callable[[float], tuple[float, float]]


class _Decision(NamedTuple):
    """What the tests of a hypothesis say.

    Attributes:
        verdict: One of `hypotheses.VERDICTS`.
        p: Of being inside the region, or outside, whichever is likelier; two-sided.
        p_holm: The same, corrected for the family.
        small: Whether the contrast is shown to be closer to zero than the margin.
    """

    verdict: str
    p: float
    p_holm: float
    small: bool


def judge(
    seeds: pd.DataFrame,
    speeds: pd.DataFrame,
    scale: _Scale,
    claims: Sequence[Claim] = CLAIMS,
) -> pd.DataFrame:
    """Returns a row per hypothesis of the paper's claims (claims.csv).

    Args:
        seeds: From `evidence.collect_seeds`.
        speeds: From `times.make_speeds`, for the claims about time.
        scale: Returns a claim's point with the epochs that were trained.
        claims: The claims.

    Returns:
        The claim and its verdict; the hypothesis, its estimate with the ends of its
        95 % interval (of a ratio: all three exponentials), n, p and the p corrected
        within the table (accuracies and times apart), its verdict, whether it is
        `small`, shown to be below the margin; the paper's figure, and whether that
        `paper_is` shown to be `TOO_LARGE` or `TOO_SMALL`; `seeds_needed`, with which
        four studies of five would show a true difference of the margin, or that there
        is none (not of ratios); and under the names of `ALTERNATIVES` the verdicts that
        other tests would give.
    """
    families = itertools.product(sorted(set(seeds["table"])), (False, True))
    rows: list[dict[str, Any]] = []
    for number, of_time in families:
        family = [
            (claim, hypothesis)
            for claim in claims
            if claim.table == number
            for hypothesis in claim.hypotheses
            if hypothesis.of_time == of_time
        ]
        of_table = seeds[seeds["table"] == number]
        rows += _judge_family(family, of_table, speeds, scale)
    table = pd.DataFrame(rows)
    if not table.empty:
        order = [claim.name for claim in claims]
        table = table.sort_values(
            "claim", kind="stable", key=lambda names: names.map(order.index)
        )
        table = table.reset_index(drop=True)
        verdicts = table.groupby("claim")["verdict"].agg(_together)
        table["claim_verdict"] = table["claim"].map(verdicts)
    return table


def _judge_family(
    family: Sequence[tuple[Claim, Hypothesis]],
    seeds: pd.DataFrame,
    speeds: pd.DataFrame,
    scale: _Scale,
) -> list[dict[str, Any]]:
    """Returns the rows of hypotheses that are corrected together."""

    @functools.cache
    def contrast(hypothesis: Hypothesis) -> pd.DataFrame:
        return _contrast(hypothesis, seeds, speeds, scale)

    asked = [hypothesis for _, hypothesis in family]
    decisions, sizes = _decide(asked, contrast), _judge_figures(asked, contrast)
    others = {
        name: decide(asked, contrast) for name, (_, decide) in ALTERNATIVES.items()
    }
    rows = []
    for i, ((claim, hypothesis), found) in enumerate(zip(family, decisions)):
        values = _summed(contrast(hypothesis))
        row = {
            "table": claim.table,
            "claim": claim.name,
            "section": claim.section,
            "sentence": claim.words,
            "claim_verdict": "",
            "hypothesis": hypothesis.words,
            **found._asdict(),
            **_estimate(hypothesis, values),
            "paper": math.nan if hypothesis.figure is None else hypothesis.figure,
            "paper_is": sizes[i],
            "seeds_needed": _seeds_needed(hypothesis, values, len(family)),
        }
        rows.append(row | {name: one[i].verdict for name, one in others.items()})
    return rows


def _together(verdicts: pd.Series) -> str:
    for verdict in (CONTRADICTED, NEGLIGIBLE):
        if verdict in set(verdicts):
            return verdict
    return SUPPORTED if set(verdicts) == {SUPPORTED} else UNDECIDED


def _contrast(
    hypothesis: Hypothesis, seeds: pd.DataFrame, speeds: pd.DataFrame, scale: _Scale
) -> pd.DataFrame:
    """Returns the weighted terms, a row per seed, or repeat, that all of them have.

    Points are compared where they are trained alike; one that stands alone is taken
    from where it has most examples.
    """
    alone = len(hypothesis.terms) == 1
    if alone and "best" in set(seeds["part"]):
        seeds = seeds[seeds["part"] == "best"]
    else:
        seeds = seeds[seeds["part"] != "best"]
    terms = [_of_term(term, seeds, speeds, scale) for term in hypothesis.terms]
    return pd.concat(terms, axis=1, join="inner").sort_index()


def _of_term(
    term: Term, seeds: pd.DataFrame, speeds: pd.DataFrame, scale: _Scale
) -> pd.Series:
    if term.metric == "log seconds":
        return term.weight * epoch_seconds(speeds, term.point).map(math.log)
    point = scale(term.point).identity()
    found = seeds[(seeds["point"] == point) & (seeds["status"] == FINISHED)]
    metric = term.metric.removeprefix("log ")
    values = found.drop_duplicates("seed").set_index("seed")[metric]
    return term.weight * (values if metric == term.metric else values.map(math.log))


def _summed(terms: pd.DataFrame) -> list[float]:
    return terms.sum(axis=1, skipna=False).tolist()


def _paired(terms: pd.DataFrame) -> _Sides:
    return functools.partial(t_tests, _summed(terms))


def _unpaired(terms: pd.DataFrame) -> _Sides:
    samples = [terms.iloc[:, i].to_numpy() for i in range(terms.shape[1])]
    return functools.partial(unpaired_t_tests, samples)


def _decide(
    family: Sequence[Hypothesis],
    contrast: Callable[[Hypothesis], pd.DataFrame],
    *,
    margin: float = MARGIN,
    metric: str = "test_accuracy",
    correct: Callable[[Sequence[float]], Sequence[float]] = holm,
    sides: Callable[[pd.DataFrame], _Sides] = _paired,
) -> list[_Decision]:
    """Returns the verdicts on hypotheses that are corrected together."""
    asked = [hypothesis.at_margin(margin) for hypothesis in family]
    tests = [sides(contrast(hypothesis.on(metric))) for hypothesis in family]
    tested = [_test(*pair) for pair in zip(asked, tests)]
    # Whether it is below the margin is another question, and another family.
    more = [i for i, hypothesis in enumerate(asked) if hypothesis.says_more]
    within = [
        _test(dataclasses.replace(asked[i], low=-margin, high=margin), tests[i])
        for i in more
    ]
    corrected = correct([p for p, _ in within])
    small = {
        i
        for i, (_, verdict), p in zip(more, within, corrected)
        if verdict == SUPPORTED and p < ERROR_RATE
    }
    found = []
    for i, ((p, tends), p_holm) in enumerate(
        zip(tested, correct([p for p, _ in tested]))
    ):
        unshown = NEGLIGIBLE if i in small else UNDECIDED
        verdict = tends if p_holm < ERROR_RATE else unshown
        found.append(_Decision(verdict, p, p_holm, i in small))
    return found


TOO_LARGE, TOO_SMALL = "too large", "too small"


def _judge_figures(
    family: Sequence[Hypothesis], contrast: Callable[[Hypothesis], pd.DataFrame]
) -> list[str]:
    """Returns whether the paper's figures are shown to be too large or too small."""
    known = [i for i, hypothesis in enumerate(family) if hypothesis.figure is not None]
    tested = []
    for i in known:
        figure = family[i].figure or 0.0
        bound = math.log(figure) if family[i].ratio else figure
        tested.append(_paired(contrast(family[i]))(bound))
    found = [""] * len(family)
    corrected = holm([two_sided(*pair) for pair in tested])
    for i, (below, above), p in zip(known, tested, corrected):
        if p < ERROR_RATE:
            found[i] = TOO_LARGE if below < above else TOO_SMALL
    return found


# Other sensible ways to decide: verdicts that they turn are less firm. By their columns
# in claims.csv, what they are called, and how they decide.
ALTERNATIVES = {
    "uncorrected": ("uncorrected", functools.partial(_decide, correct=list)),
    "unpaired": ("unpaired", functools.partial(_decide, sides=_unpaired)),
    "validation": (
        "validation digits",
        functools.partial(_decide, metric="validation_accuracy"),
    ),
    "stopped": ("best epoch", functools.partial(_decide, metric="best_test_accuracy")),
    "narrow": ("margin 0.1", functools.partial(_decide, margin=0.001)),
    "wide": ("margin 0.3", functools.partial(_decide, margin=0.003)),
}


def _test(hypothesis: Hypothesis, sides: _Sides) -> tuple[float, str]:
    """Returns the two-sided p value, and the verdict that it is for.

    Inside the region is above its lower bound and below its upper one; outside is
    beyond either.
    """
    below_low, above_low = sides(hypothesis.low)
    below_high, above_high = sides(hypothesis.high)
    inside, outside = max(above_low, below_high), min(below_low, above_high)
    verdict = SUPPORTED if inside < outside else CONTRADICTED
    return two_sided(inside, outside), verdict


def _estimate(hypothesis: Hypothesis, values: list[float]) -> dict[str, float]:
    metric = hypothesis.terms[0].metric if len(hypothesis.terms) == 1 else ""
    interval = interval_of(metric, values)
    ends = (interval.mean, interval.low, interval.high)
    if hypothesis.ratio:
        ends = (math.exp(ends[0]), math.exp(ends[1]), math.exp(ends[2]))
    names = ("estimate", "low", "high")
    return {**dict(zip(names, ends)), "ratio": hypothesis.ratio, "n": interval.n}


def _seeds_needed(
    hypothesis: Hypothesis, values: list[float], hypotheses: int
) -> float:
    """Returns how many seeds would decide, in four studies of five.

    Planned for a truth that is the margin away from the region's bound, or in its
    middle where the margin bounds it, with the spread that was seen, at the strictest
    level of Holm's correction.
    """
    std = interval_of("", values).std
    if hypothesis.ratio or math.isnan(std):
        return math.nan
    # Inside of two bounds: both have to be excluded, each in nine studies of ten.
    both = not math.isinf(hypothesis.low) and not math.isinf(hypothesis.high)
    power = (1 + POWER) / 2 if both else POWER
    return seeds_to_show(std, MARGIN, ERROR_RATE / hypotheses, power)
