"""What luck is worth: networks that differ in their seed alone, and who is reported."""

import math
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mnistopt.report.charts.theme import finished, rows

MEAN, CHOSEN, LUCKY = "mean of all", "best by validation", "best by test"
_WIDTH, _HEIGHT = 400, 300
# Widths of a bar in the left panel, in points, of which the first that suffices counts.
_STEPS, _BARS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), 40


def best_of(order: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns what is to be expected of the best of so many, drawn without repeats.

    The one that is first by `order` among k of n is the i-th from the end with the
    probability C(i - 1, k - 1) / C(n, k): exact, with nothing drawn.

    Args:
        order: What they are chosen by, [n]: the highest is best.
        values: What the chosen one has, [n].
        counts: How many are drawn, k of them, each from 1 to n.

    Returns:
        The expected values, [len(counts)]. Equals in order count equally.
    """
    n = len(order)
    # The mean value of those that are equal in order.
    means = pd.Series(values).groupby(order).transform("mean").to_numpy()
    ranked = means[np.argsort(order, kind="stable")]
    expected = []
    for k in map(int, counts):
        logs = [_log_choose(i - 1, k - 1) - _log_choose(n, k) for i in range(1, n + 1)]
        expected.append(float(np.exp(logs) @ ranked))
    return np.array(expected)


def _log_choose(n: int, k: int) -> float:
    if k > n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def luck_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns what the left panel shows: a row per network, in per cent.

    Args:
        trials: Finished trials of one point.
    """
    names = ["seed", "validation_accuracy", "test_accuracy"]
    table = trials[names].sort_values("seed").reset_index(drop=True)
    table[names[1:]] *= 100
    return table


def marks(table: pd.DataFrame) -> dict[str, float]:
    """Returns what would be reported of the networks of a `luck_frame`."""
    validation, test = table["validation_accuracy"], table["test_accuracy"]
    return {
        MEAN: float(test.mean()),
        # Of equals, the mean: nothing chooses between them.
        CHOSEN: float(test[validation == validation.max()].mean()),
        LUCKY: float(test.max()),
    }


def curve_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Returns what the right panel shows: expected test accuracy by networks trained.

    Args:
        table: A `luck_frame`.
    """
    n = len(table)
    counts = np.unique(np.geomspace(1, n, 40).round().astype(int))
    test = table["test_accuracy"].to_numpy()
    by = {
        LUCKY: best_of(test, test, counts),
        CHOSEN: best_of(table["validation_accuracy"].to_numpy(), test, counts),
        MEAN: np.full(len(counts), test.mean()),
    }
    return pd.concat(
        pd.DataFrame({"who": who, "networks": counts, "test": values})
        for who, values in by.items()
    )


def luck_chart(table: pd.DataFrame, what: str, published: Mapping[str, float]) -> Any:
    """Draws how the networks lie, and what choosing among more of them reports.

    Args:
        table: A `luck_frame`.
        what: What they are, in words.
        published: A figure that was reported, by who has.
    """
    found = marks(table)
    reported = {**found, **published}
    labels = {who: f"{who}: {value:.2f} %" for who, value in reported.items()}
    lines = pd.DataFrame({"who": labels.values(), "test": reported.values()})
    values = np.r_[table["test_accuracy"], lines["test"]]
    low, high = float(values.min()), float(values.max())
    step = next((s for s in _STEPS if high - low < _BARS * s), _STEPS[-1])
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step + step
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    by_tens = alt.Scale(type="log", nice=False)
    first = ((table["test_accuracy"] + 1e-9) // step) * step
    bins = pd.DataFrame({"low": first, "high": first + step})
    bins = bins.round(6).value_counts().rename("networks").reset_index()
    colour = alt.Color("who:N", sort=list(labels.values()), title=None)
    axis = alt.Axis(format=".2f", tickCount=6)
    x = alt.X("low:Q", title="test accuracy (%)", axis=axis, scale=scale)
    bars = (
        alt.Chart(rows(bins))
        .mark_bar(style="others")
        .encode(
            x=x, x2="high:Q", y=alt.Y("networks:Q", title="networks"), y2=alt.datum(0)
        )
    )
    base = alt.Chart(rows(lines)).encode(
        x=alt.X("test:Q", axis=axis, scale=scale), color=colour
    )
    rules = base.mark_rule(strokeWidth=2.5)
    left = alt.layer(bars, rules).properties(width=_WIDTH, height=_HEIGHT)
    curves = curve_frame(table)
    curves["who"] = curves["who"].map(labels)
    line = (
        alt.Chart(rows(curves))
        .mark_line(strokeWidth=3)
        .encode(
            x=alt.X("networks:Q", title="networks trained", scale=by_tens),
            y=alt.Y("test:Q", title="test accuracy (%)", axis=axis, scale=scale),
            color=colour,
        )
    )
    level = lines[lines["who"].isin([labels[who] for who in published])]
    levels = (
        alt.Chart(rows(level))
        .mark_rule(strokeWidth=2, strokeDash=[6, 4])
        .encode(y=alt.Y("test:Q", scale=scale), color=colour)
    )
    right = alt.layer(line, levels).properties(width=_WIDTH, height=_HEIGHT)
    words, n = "; ".join(labels.values()), len(table)
    return finished(
        alt.hconcat(left, right, spacing=40),
        "What luck is worth",
        [
            f"{n} networks of {what} that differ in their seed alone.",
            "Left: how many come to which test accuracy. Right: what to expect of the "
            "one that is",
            "reported, by how many were trained.",
        ],
        f"Test accuracies of {n} networks that differ in their seed alone: {words}.",
    )
