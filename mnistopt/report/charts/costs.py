"""What accuracy costs: overfitting against dropout, error against size, work, time."""

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mnistopt.report.charts.points import rank_colour
from mnistopt.report.charts.theme import (
    HEIGHT,
    PALETTE,
    TOP,
    faded,
    finished,
    legend,
    picked,
    positive_scale,
    rows,
)
from mnistopt.results.columns import TIMED, network_axes, point_labels
from mnistopt.results.tables import FINISHED


def gap_frame(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per point: train minus test accuracy, against dropout.

    Returns:
        `label` and `rank`; `others`, what it is but for its dropout; `best`, the rank
        of the best such point; `dropout`; the mean `gap` in percentage points with its
        95 % interval, `low` to `high`; `n`.
    """
    alone = summary.assign(dropout=0.0)
    without = point_labels(alone) if len(summary) else {}
    table = summary[summary["n"] > 0]
    others = table["point"].map(without)
    return pd.DataFrame(
        {
            "label": table["label"],
            "rank": table["rank"],
            "best": table["rank"].groupby(others).transform("min"),
            "others": others,
            "dropout": table["dropout"],
            "gap": 100 * table["overfitting_mean"],
            "low": 100 * table["overfitting_low"],
            "high": 100 * table["overfitting_high"],
            "n": table["n"],
        }
    )


def gap_chart(frame: pd.DataFrame) -> Any:
    """Draws train minus test accuracy against dropout; takes a `gap_frame`."""
    choice = picked()
    # A line has the colour that its best point has in all charts.
    shown = frame[frame["best"] < len(PALETTE)]
    names = dict(zip(map(str, shown["best"]), shown["others"]))
    key = legend()
    key.labelExpr = f"{json.dumps(names)}[datum.label]"
    key["values"] = sorted(set(shown["best"]))
    colour = alt.Color(
        "best:N",
        scale=alt.Scale(domain=list(range(len(PALETTE)))),
        legend=key if len(names) > 1 else None,
    )
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("gap:Q", title="train - test (points)", format=".2f"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    base = alt.Chart(rows(shown)).encode(
        x=alt.X("dropout:Q", axis=alt.Axis(values=sorted(set(frame["dropout"])))),
        color=colour,
    )
    y = alt.Y("gap:Q", title="train − test (points)")
    layers = [
        base.mark_line(strokeWidth=2.5).encode(y=y, opacity=faded(choice)),
        base.mark_rule(strokeWidth=1.5).encode(
            y=alt.Y("low:Q"), y2="high:Q", opacity=faded(choice, 0.6)
        ),
        base.mark_point(filled=True, size=70).encode(
            y=y, tooltip=tooltip, opacity=faded(choice)
        ),
    ]
    if shown["low"].isna().all():  # one or two seeds have no interval
        del layers[1]
    least = frame.sort_values("gap").iloc[0]
    return finished(
        alt.layer(*layers).add_params(choice),
        "Overfitting and dropout",
        ["Mean over each setting's seeds, with its 95 % interval."],
        f"Train minus test accuracy by dropout; least, {least['gap']:.2f} points, at "
        f"{least['label']}.",
    )


# Points of a front that are named below a title.
NAMED = 8


# By the columns of `cost_frame`: the picture's title, what is measured, with its unit,
# and the format of its numbers, as d3 has it. Bytes are left out: four times the
# parameters, and the running statistics, a tenth of them at most.
COSTS = {
    "params": ("Error and size", "parameters", "~s"),
    "multiply_adds": ("Error and work", "multiplications per image", "~s"),
    "latency_1_ms": ("Error and latency", "time to classify an image (ms)", "~g"),
    "latency_256_ms": (
        *("Error and latency of a batch", "time to classify 256 images at once (ms)"),
        "~g",
    ),
    "seconds": ("Error and training time", "training time of a replica (s)", "~g"),
}


def pareto_front(costs: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Says of each point whether none is as good in both ways and better in one.

    Args:
        costs: [N], NaN where they are not known, which no front has.
        errors: [N].

    Returns:
        Booleans [N]; of equal points all or none are on the front.
    """
    cheaper, better = costs[:, None] < costs, errors[:, None] < errors
    as_good = (costs[:, None] <= costs) & (errors[:, None] <= errors)
    return ~(as_good & (cheaper | better)).any(axis=0) & ~np.isnan(costs)


def cost_frame(trials: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Returns the best point of each network: its validation error, and what it costs.

    A network's costs are those of all its points, but for the training time.

    Returns:
        `label` and `rank`; `error`, the mean validation error in per cent, of `n`
        seeds, with its 95 % interval, `low` to `high`; and per cost in `COSTS` its
        value (`seconds`: of training per replica, the mean), and in `COST_front`
        whether no point is both cheaper and better by `error`: the test split has no
        say.
    """
    done = trials[trials["status"] == FINISHED]
    seconds = done.groupby("point")["seconds"].mean()
    table = summary[summary["n"] > 0]
    table = table[~table.duplicated(["model", *network_axes(table)])].head(TOP)
    table = table.assign(seconds=table["point"].map(seconds))
    frame = pd.DataFrame(
        {
            "label": table["label"],
            "rank": table["rank"],
            "error": 100 * (1 - table["validation_accuracy_mean"]),
            "low": 100 * (1 - table["validation_accuracy_high"]),
            "high": 100 * (1 - table["validation_accuracy_low"]),
            "n": table["n"],
            **{cost: table[cost] for cost in COSTS},
        }
    )
    errors = frame["error"].to_numpy(float)
    for cost in COSTS:
        values = frame[cost].to_numpy(float, na_value=np.nan)
        frame[f"{cost}_front"] = pareto_front(values, errors)
    return frame


def differing(frame: pd.DataFrame) -> list[str]:
    """Returns the costs in which networks differ, by a `cost_frame`.

    By a twentieth where they are counted, and by half where they are measured: a quiet
    machine's medians vary by a few per cent, and a run's seconds by what else runs.
    """
    chosen = []
    for cost in COSTS:
        known = frame[cost].dropna().astype(float)
        least = 1.5 if cost in (*TIMED, "seconds") else 1.05
        if len(known) and known.max() > least * known.min():
            chosen.append(cost)
    return chosen


def cost_chart(frame: pd.DataFrame, cost: str) -> Any:
    """Draws validation error against a cost, with the Pareto front.

    Args:
        frame: A `cost_frame`.
        cost: One of `COSTS`.
    """
    (picture, measured, form), choice = COSTS[cost], picked()
    frame = frame[frame[cost].notna()].sort_values([cost, "error"])
    front = frame[frame[f"{cost}_front"]]
    front = front.assign(number=range(1, len(front) + 1))
    x = alt.X(
        f"{cost}:Q",
        title=measured,
        scale=positive_scale(frame[cost], padding=24),
        axis=alt.Axis(format=form, tickCount=5),
    )
    y = alt.Y(
        "error:Q",
        title="validation error (%)",
        scale=positive_scale(frame["error"], domain=_domain(frame)),
        axis=alt.Axis(format="~g", tickCount=5),
    )
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
        alt.Tooltip(f"{cost}:Q", title=measured, format=",.4~g"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    base = alt.Chart(rows(frame)).encode(x=x, y=y)
    on = base.transform_filter(f"datum.{cost}_front")
    beaten = base.transform_filter(f"!datum.{cost}_front")
    spread = bool(frame["low"].notna().any())  # one seed has no interval
    numbers = alt.Chart(rows(front)).encode(x=x, y=y, text="number:N")
    layers = [
        on.mark_line(
            style="soft", interpolate="step-after", strokeWidth=1.5, opacity=0.6
        ),
        *(
            _points(beaten, choice, 0.35, spread, tooltip)
            if len(front) < len(frame)
            else ()
        ),
        *_points(on, choice, 1.0, spread, tooltip),
        *(numbers.mark_text(style=style, dx=10, dy=-11) for style in ("halo", "ink")),
    ]
    # The page has the lines in one.
    names = [f"{i}: {label};" for i, label in enumerate(front["label"][:NAMED], 1)]
    names[-1] = names[-1].rstrip(";") + "."
    return finished(
        alt.layer(*layers).properties(height=HEIGHT).add_params(choice),
        picture,
        [
            "The best setting of each network; means with 95 % intervals over seeds.",
            "The line joins those that no other beats on both cost and validation:",
            *names,
        ],
        f"Validation error against {measured}. On the Pareto front: "
        f"{', '.join(front['label'])}.",
    )


def _domain(frame: pd.DataFrame) -> list[float]:
    """Returns the ends of the axis of errors: of intervals it shows those nearby.

    One point may have an interval from 0 to 100 %, which would squeeze the others.
    """
    positive = (frame["error"] > 0).all()
    bent, back = (np.log, np.exp) if positive else (np.asarray, float)
    errors = bent(frame["error"].to_numpy())
    ends = frame[["low", "high"]].to_numpy(float).ravel()
    shown = bent(ends[ends > 0] if positive else ends[~np.isnan(ends)])
    wide = (errors.max() - errors.min()) or 1.0
    first, last = errors.min() - 2 * wide, errors.max() + 2 * wide
    near = [*errors, *shown[(shown > first) & (shown < last)]]
    return [float(back(min(near) - wide / 9)), float(back(max(near) + wide / 9))]


def _points(
    base: Any, choice: alt.Parameter, full: float, spread: bool, tooltip: Any
) -> list[Any]:
    """Returns layers of points as dark as `full`, with intervals if they `spread`."""
    interval = base.mark_rule(strokeWidth=1.5, clip=True).encode(
        y=alt.Y("low:Q"),
        y2="high:Q",
        color=rank_colour(),
        opacity=faded(choice, 0.75 * full),
    )
    point = base.mark_point(filled=True, size=90).encode(
        color=rank_colour(), tooltip=tooltip, opacity=faded(choice, full)
    )
    return [interval, point] if spread else [point]
