"""What accuracy costs: overfitting against dropout, error against size and time."""

from typing import Any

import altair as alt
import pandas as pd

from mnistopt.report.charts.points import rank_colour
from mnistopt.report.charts.theme import (
    PALETTE,
    TOP,
    faded,
    finished,
    legend,
    picked,
    rows,
)
from mnistopt.results.labels import point_labels
from mnistopt.results.tables import FINISHED


def gap_frame(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per point: train minus test accuracy, against dropout.

    Returns:
        `label` and `rank`; `others`, what it is but for its dropout; `dropout`; the
        mean `gap` in percentage points with its 95 % interval, `low` to `high`; `n`.
    """
    labels = point_labels(summary)
    alone = summary.assign(dropout=0.0)
    without = point_labels(alone) if len(summary) else {}
    table = summary[summary["n"] > 0]
    return pd.DataFrame(
        {
            "label": table["point"].map(labels),
            "rank": table.index,
            "others": table["point"].map(without),
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
    names = frame.sort_values("rank").drop_duplicates("others")["others"].tolist()
    best = names[: len(PALETTE)]
    colour = alt.Color(
        "others:N",
        scale=alt.Scale(domain=best),
        legend=legend() if len(names) > 1 else None,
    )
    tooltip = [
        alt.Tooltip("label:N", title="point"),
        alt.Tooltip("gap:Q", title="train - test (points)", format=".2f"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    shown = frame[frame["others"].isin(best)]
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
    least = frame.sort_values("gap").iloc[0]
    return finished(
        alt.layer(*layers).add_params(choice),
        "Overfitting and dropout",
        ["Mean over each point's seeds, with its 95 % interval."],
        f"Train minus test accuracy by dropout; least, {least['gap']:.2f} points, at "
        f"{least['label']}.",
    )


def cost_frame(trials: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per point: its validation error, size and training time.

    Returns:
        `label` and `rank`; `params`; `seconds` of training per replica, the mean;
        `error`, the mean validation error in per cent, of `n` seeds; and whether no
        point is both smaller (`params_front`), or faster (`seconds_front`), and better.
    """
    done = trials[trials["status"] == FINISHED]
    seconds = done.groupby("point")["seconds"].mean()
    table = summary[summary["n"] > 0].head(TOP)
    frame = pd.DataFrame(
        {
            "label": table["point"].map(point_labels(summary)),
            "rank": table.index,
            "params": table["params"],
            "seconds": table["point"].map(seconds),
            "error": 100 * (1 - table["validation_accuracy_mean"]),
            "n": table["n"],
        }
    )
    for cost in ("params", "seconds"):
        frame[f"{cost}_front"] = [
            not (
                (frame[cost] <= row[cost])
                & (frame["error"] <= row["error"])
                & ((frame[cost] < row[cost]) | (frame["error"] < row["error"]))
            ).any()
            for _, row in frame.iterrows()
        ]
    return frame


def params_chart(frame: pd.DataFrame) -> Any:
    """Draws validation error against parameters; takes a `cost_frame`."""
    return _cost_chart(frame, "params", "Error and size", "parameters", "~s")


def seconds_chart(frame: pd.DataFrame) -> Any:
    """Draws validation error against training time; takes a `cost_frame`."""
    title = "training time of a replica (s)"
    return _cost_chart(frame, "seconds", "Error and training time", title, "~g")


def _cost_chart(
    frame: pd.DataFrame, cost: str, title: str, axis: str, form: str
) -> Any:
    choice = picked()
    positive = (frame["error"] > 0).all()
    kind: Any = {"type": "log"} if positive else {"zero": False}
    x = alt.X(
        f"{cost}:Q",
        title=axis,
        scale=alt.Scale(type="log", padding=14, nice=False),
        axis=alt.Axis(format=form, tickCount=5),
    )
    y = alt.Y(
        "error:Q",
        title="validation error (%)",
        scale=alt.Scale(padding=14, nice=False, **kind),
        axis=alt.Axis(format="~g", tickCount=5),
    )
    tooltip = [
        alt.Tooltip("label:N", title="point"),
        alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
        alt.Tooltip("params:Q", format=","),
        alt.Tooltip("seconds:Q", format=".3~s"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    base = alt.Chart(rows(frame)).encode(x=x, y=y)
    front = base.transform_filter(f"datum.{cost}_front")
    layers = [
        front.mark_line(style="reference", interpolate="step-after"),
        base.mark_point(filled=True, size=80).encode(
            color=rank_colour(), tooltip=tooltip, opacity=faded(choice, 0.85)
        ),
        front.mark_point(filled=False, size=190, style="ink").encode(
            opacity=faded(choice)
        ),
    ]
    members = frame[frame[f"{cost}_front"]].sort_values(cost)["label"].tolist()
    return finished(
        alt.layer(*layers).add_params(choice),
        title,
        ["Ringed: no other point is both cheaper and better (the Pareto front)."],
        f"Validation error against {axis}. On the Pareto front: {', '.join(members)}.",
    )
