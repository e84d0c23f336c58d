"""Reliability diagrams of a vote, before and after its temperature is fitted."""

from typing import Any

import altair as alt
import pandas as pd

from mnistopt.report.charts.theme import finished, rows
from mnistopt.results.calibration import calibration_error

# By what the table of an ensemble's reliability calls them.
_WHO = {"vote": "the vote", "single": "the best network alone"}
_WIDTH, _HEIGHT = 400, 300
RAW, HELD = "as it says", "by its temperature"


def votes_frame(reliability: pd.DataFrame) -> pd.DataFrame:
    """Returns what the chart shows.

    Args:
        reliability: As of `study.ensemble.Ensemble`.

    Returns:
        A row per "vote" or "single", `raw` or not, and bin of confidence on test
        images: `who` and `when` in words, and mean `confidence`, `accuracy`, its `low`
        and `high` end, in per cent; and `count`.
    """
    table = reliability[reliability["split"] == "test"].copy()
    shares = ["confidence", "accuracy", "low", "high"]
    table[shares] *= 100
    table["who"] = table["which"].map(_WHO)
    table["when"] = table["raw"].map({True: RAW, False: HELD})
    return table[["who", "when", *shares, "count"]].reset_index(drop=True)


def votes_chart(frame: pd.DataFrame) -> Any:
    """Draws accuracy against confidence, a panel each; takes a `votes_frame`."""
    ticks = alt.Axis(values=[0, 25, 50, 75, 100], labelExpr="datum.label + ' %'")
    x = alt.X("confidence:Q", title="confidence", axis=ticks).scale(domain=[0, 100])
    y = alt.Y("accuracy:Q", title=None, axis=ticks).scale(domain=[0, 100])
    colour = alt.Color("when:N", title=None, sort=[RAW, HELD])
    tooltip = [
        alt.Tooltip("when:N", title="confidence"),
        alt.Tooltip("confidence:Q", title="mean confidence (%)", format=".1f"),
        alt.Tooltip("accuracy:Q", title="right (%)", format=".1f"),
        alt.Tooltip("count:Q", title="test images", format=","),
    ]
    base = alt.Chart()
    diagonal = base.transform_calculate(end="datum.confidence").mark_line(
        style="reference"
    )
    layers = [
        diagonal.encode(x=x, y=alt.Y("end:Q").scale(domain=[0, 100])),
        base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour
        ),
        base.mark_point(filled=True, opacity=1).encode(
            x=x,
            y=y,
            color=colour,
            size=alt.Size("count:Q", legend=None).scale(type="log", range=[30, 400]),
            tooltip=tooltip,
        ),
    ]
    header = alt.Header(title=None, labelAnchor="start", labelFontSize=14)
    chart = (
        alt.layer(*layers, data=rows(frame))
        .properties(width=_WIDTH, height=_HEIGHT)
        .facet(alt.Facet("who:N", sort=list(_WHO.values()), header=header))
    )
    errors = {
        key: calibration_error(part)
        for key, part in frame.groupby(["who", "when"], sort=False)
    }
    words = "; ".join(
        f"{who} {errors[who, RAW]:.2f} points, {errors[who, HELD]:.2f} {HELD}"
        for who in dict.fromkeys(frame["who"])
    )
    return finished(
        chart,
        "Is the vote as sure as it is right?",
        [
            "How many test images are right, by confidence, with 95 % intervals; size: "
            "how many there are.",
            f"Expected calibration error: {words}.",
        ],
        f"Reliability diagrams; expected calibration error: {words}.",
    )
