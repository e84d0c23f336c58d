"""Verdicts on the paper's claims, from the table of seeds."""

import itertools
import math

import pandas as pd

from mnistopt.paper.claims import (
    CLAIMS,
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    Hypothesis,
    Term,
)
from mnistopt.paper.frames import epoch_seconds
from mnistopt.paper.plan import scaled
from mnistopt.results.compare import holm, t_tests, two_sided
from mnistopt.results.summary import ERROR_RATE, interval_of
from mnistopt.results.tables import FINISHED


def judge(seeds: pd.DataFrame, speeds: pd.DataFrame, scale: float) -> pd.DataFrame:
    """Returns a row per hypothesis of the paper's claims (claims.csv).

    Args:
        seeds: From `frames.collect_seeds`.
        speeds: From `times.make_speeds`, for the claims about time.
        scale: Factor to the paper's epochs, as in `plan.Options`.

    Returns:
        The claim and its verdict; the hypothesis, its estimate with the ends of its
        95 % interval (of a ratio: all three exponentials), n, p and the p corrected
        within the table (accuracies and times apart), its verdict, and the paper's
        figure.
    """
    rows = []
    for number, of_time in itertools.product(
        sorted(set(seeds["table"])), (False, True)
    ):
        of_table = seeds[seeds["table"] == number]
        family = [
            (claim, hypothesis, _contrast(hypothesis, of_table, speeds, scale))
            for claim in CLAIMS
            if claim.table == number
            for hypothesis in claim.hypotheses
            if hypothesis.ratio == of_time
        ]
        tested = [_test(hypothesis, values) for _, hypothesis, values in family]
        corrected = holm([p for p, _ in tested])
        for (claim, hypothesis, values), (p, tends), p_holm in zip(
            family, tested, corrected
        ):
            row = {
                "table": number,
                "claim": claim.name,
                "section": claim.section,
                "sentence": claim.words,
                "claim_verdict": "",
                "hypothesis": hypothesis.words,
                "verdict": tends if p_holm < ERROR_RATE else UNDECIDED,
                **_estimate(hypothesis, values),
                "p": p,
                "p_holm": p_holm,
                "paper": hypothesis.figure,
            }
            rows.append(row)
    table = pd.DataFrame(rows)
    if not table.empty:
        order = [claim.name for claim in CLAIMS]
        table = table.sort_values(
            "claim", kind="stable", key=lambda names: names.map(order.index)
        )
        table = table.reset_index(drop=True)
        verdicts = table.groupby("claim")["verdict"].agg(_together)
        table["claim_verdict"] = table["claim"].map(verdicts)
    return table


def _together(verdicts: pd.Series) -> str:
    if CONTRADICTED in set(verdicts):
        return CONTRADICTED
    return SUPPORTED if set(verdicts) == {SUPPORTED} else UNDECIDED


def _contrast(
    hypothesis: Hypothesis, seeds: pd.DataFrame, speeds: pd.DataFrame, scale: float
) -> list[float]:
    """Returns a value per seed, or repeat, that all points of the contrast have.

    Points are compared where they are trained alike; one that stands alone is taken
    from where it has most examples.
    """
    alone = len(hypothesis.terms) == 1
    if alone and "best" in set(seeds["part"]):
        seeds = seeds[seeds["part"] == "best"]
    else:
        seeds = seeds[seeds["part"] != "best"]
    terms = [_of_term(term, seeds, speeds, scale) for term in hypothesis.terms]
    summed = pd.concat(terms, axis=1, join="inner").sum(axis=1, skipna=False)
    return summed.sort_index().tolist()


def _of_term(
    term: Term, seeds: pd.DataFrame, speeds: pd.DataFrame, scale: float
) -> pd.Series:
    if term.metric == "log seconds":
        return term.weight * epoch_seconds(speeds, term.point).map(math.log)
    point = scaled(term.point, scale).identity()
    found = seeds[(seeds["point"] == point) & (seeds["status"] == FINISHED)]
    return term.weight * found.drop_duplicates("seed").set_index("seed")[term.metric]


def _test(hypothesis: Hypothesis, values: list[float]) -> tuple[float, str]:
    """Returns the two-sided p value, and the verdict that it is for.

    Inside the region is above its lower bound and below its upper one; outside is
    beyond either.
    """
    below_low, above_low = t_tests(values, hypothesis.low)
    below_high, above_high = t_tests(values, hypothesis.high)
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
