"""What each hyper-parameter does: the mean of each value, and each one's importance."""

from typing import Any

import altair as alt
import pandas as pd

from mnistopt.report.charts.theme import (
    PALETTE,
    TOP,
    finished,
    positive_scale,
    rows,
    rows_high,
)
from mnistopt.results.effects import OTHERS, Effects

_INTERVALS = "Intervals of one axis that do not overlap differ at 5 % (Tukey's test)."


def values_frame(effects: Effects | None) -> pd.DataFrame:
    """Returns a row per value of an axis, axes with the largest share first.

    Returns:
        `label`, axis and value; `axis`; `value`, text; `number`, nan for words; its
        `order`, from 0; and the validation `error` (%) with its ends `low` and `high`.
    """
    columns = ["label", "axis", "value", "number", "order", "error", "low", "high"]
    if effects is None:
        return pd.DataFrame(columns=columns)
    table = effects.values
    several = table["axis"].nunique() > 1
    if several or table["number"].isna().any():
        # Whole axes, as many as can be read; those that matter most come first.
        ends = table.groupby("axis", sort=False).size().cumsum()
        kept = ends[ends <= TOP].index if several else ends.index
        table = table[table["axis"].isin(kept)].head(TOP)
    shown = table[["axis", "value", "number"]].assign(
        label=table["axis"] + " " + table["value"],
        order=range(len(table)),
        # Rounded, or nothing wrong would be a small number on a logarithmic scale.
        error=(100 * (1 - table["mean"])).round(9),
        low=(100 * (1 - table["high"])).round(9),
        high=(100 * (1 - table["low"])).round(9),
    )
    shown.attrs["left_out"] = len(effects.values) - len(shown)
    return shown[columns]


def values_chart(frame: pd.DataFrame) -> Any:
    """Draws the mean error of each value; takes a `values_frame`.

    One axis of three or more numbers is drawn against its value, several as rows.
    """
    alone = frame["axis"].nunique() == 1
    if alone and len(frame) > 2 and frame["number"].notna().all():
        return _trend_chart(frame)
    shown = pd.concat([frame["error"], frame["low"].dropna(), frame["high"].dropna()])
    scale = positive_scale(shown, padding=12)
    axes = list(frame["axis"].unique())
    colour = alt.Color(
        "axis:N",
        scale=alt.Scale(domain=axes, range=_colours(len(axes))),
        legend=None,
    )
    x = alt.X(
        "error:Q",
        title="mean validation error (%)",
        scale=scale,
        axis=alt.Axis(format="~g", tickCount=5),
    )
    base = alt.Chart(rows(frame)).encode(
        y=alt.Y("label:N", sort=alt.SortField("order"), title=None),
        color=colour,
        tooltip=_tooltip(),
    )
    layers = [
        base.mark_rule(strokeWidth=2.5).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q"
        ),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=x),
    ]
    return finished(
        alt.layer(*layers).properties(height=rows_high(frame)),
        "What each setting does",
        ["Mean over all other settings and seeds; axes that matter most come first.",
         *_explained(frame)],
        _words(frame),
    )  # fmt: skip


def _trend_chart(frame: pd.DataFrame) -> Any:
    """Draws the error against the values of one axis of numbers."""
    (axis,) = frame["axis"].unique()
    shown = pd.concat([frame["error"], frame["low"].dropna(), frame["high"].dropna()])
    wide = (
        frame["number"].min() > 0 and frame["number"].max() > 8 * frame["number"].min()
    )
    kind: Any = {"type": "log", "base": 10} if wide else {"zero": False}
    x = alt.X(
        "number:Q",
        title=axis,
        scale=alt.Scale(padding=20, nice=False, **kind),
        axis=alt.Axis(values=frame["number"].tolist(), format="~g", labelOverlap=True),
    )
    y = alt.Y(
        "error:Q",
        title="mean validation error (%)",
        scale=positive_scale(shown, padding=12),
        axis=alt.Axis(format="~g", tickCount=5),
    )
    base = alt.Chart(rows(frame)).encode(x=x, tooltip=_tooltip())
    layers = [
        base.mark_line(style="first", strokeWidth=2).encode(y=y),
        base.mark_rule(style="first", strokeWidth=2).encode(y="low:Q", y2="high:Q"),
        base.mark_point(style="first", filled=True, size=80, opacity=1).encode(y=y),
    ]
    return finished(
        alt.layer(*layers).properties(height=260),
        f"What {axis} does",
        ["Mean over seeds.", *_explained(frame)],
        _words(frame),
    )


def _explained(frame: pd.DataFrame) -> list[str]:
    """Returns how to read the intervals, if there are any, and what is left out."""
    lines = [_INTERVALS] if frame["low"].notna().any() else []
    if count := frame.attrs.get("left_out"):
        lines.append(f"{count} more values are left out here.")
    return lines


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("error:Q", title="mean error (%)", format=".2f"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
    ]


def _colours(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _words(frame: pd.DataFrame) -> str:
    parts = [
        f"{label} {error:.2f} %" for label, error in zip(frame["label"], frame["error"])
    ]
    return f"Mean validation error: {', '.join(parts)}."


def importance_frame(effects: Effects | None) -> pd.DataFrame:
    """Returns a row per source of variation, the largest share first.

    Returns:
        `label`, its name; `kind`: "axis", "interaction" or "chance"; `share`, in per
        cent; and `p`. Without rows for a single axis.
    """
    columns = ["label", "kind", "share", "p"]
    if effects is None or effects.terms["axes"].eq(1).sum() < 2:
        return pd.DataFrame(columns=columns)
    kinds = {1: "axis", 2: "interaction", 0: "chance"}
    table = effects.terms.head(TOP)
    names = {OTHERS: "interactions of three or more"}
    return pd.DataFrame(
        {
            "label": table["term"].replace(names),
            "kind": table["axes"]
            .map(kinds)
            .where(table["term"] != OTHERS, "interaction"),
            "share": 100 * table["share"],
            "p": table["p"],
        }
    )


def importance_chart(frame: pd.DataFrame) -> Any:
    """Draws the share of each source of variation; takes an `importance_frame`."""
    kinds = ["axis", "interaction", "chance"]
    base = alt.Chart(rows(frame)).encode(
        y=alt.Y("label:N", sort=None, title=None),
        x=alt.X(
            "share:Q", title="share of the variance (%)", scale=alt.Scale(domainMin=0)
        ),
        tooltip=[
            alt.Tooltip("label:N", title="source"),
            alt.Tooltip("share:Q", title="share (%)", format=".1f"),
            alt.Tooltip("p:Q", title="p (F test)", format=".2g"),
        ],
    )
    colours = alt.Scale(domain=kinds, range=[PALETTE[0], PALETTE[4], "#8A929B"])
    layers = [
        base.mark_bar(height=14).encode(
            color=alt.Color("kind:N", scale=colours, legend=alt.Legend(title=None))
        ),
        base.mark_text(align="left", dx=5).encode(
            text=alt.Text("share:Q", format=".1f")
        ),
    ]
    parts = [
        f"{label} {share:.1f} %" for label, share in zip(frame["label"], frame["share"])
    ]
    return finished(
        alt.layer(*layers).properties(height=rows_high(frame)),
        "Importance",
        ["Share of the variance of validation accuracy, over all finished replicas."],
        f"Share of the variance: {', '.join(parts)}.",
    )
