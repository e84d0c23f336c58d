"""What the trials of a search say of its space."""

import math
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from mnistopt.axes import show
from mnistopt.report.charts.search import state_colour
from mnistopt.report.charts.sweep import parallel_axes
from mnistopt.report.charts.theme import (
    HEIGHT,
    WIDTH,
    finished,
    positive_scale,
    rows,
)
from mnistopt.results.ledger import Ledger, search_table


def _trained(ledger: Ledger) -> pd.DataFrame:
    """Returns the trials that have trained, with their `error` in per cent."""
    table = search_table(ledger)
    table = table[table["epochs"] > 0]
    return table.assign(error=100 * (1 - table["accuracy"]))


def _places(table: pd.DataFrame, space: Mapping[str, str], name: str) -> pd.Series:
    """Returns where the values of a hyper-parameter are, from 0 to 1."""
    column = table[name]
    if ".." not in space.get(name, ""):
        values = space[name].split(",")
        where = {value: i / max(1, len(values) - 1) for i, value in enumerate(values)}
        return column.map(lambda value: where.get(show(value)), na_action="ignore")
    numbers = column.astype(float)
    if space[name].startswith("log:"):
        numbers = numbers.map(math.log, na_action="ignore")
    spread = max(numbers.max() - numbers.min(), 1e-12)
    return (numbers - numbers.min()) / spread


def _chosen(ledger: Ledger) -> list[str]:
    """Returns the hyper-parameters of the space that have more than one value."""
    space = ledger.about["space"]
    return [
        name
        for name, values in space.items()
        if name != "epochs" and (".." in values or "," in values)
    ]


def slices_frame(ledger: Ledger) -> pd.DataFrame:
    """Returns a row per trial and hyper-parameter that was chosen.

    Returns:
        `trial`, `state`, `error` in per cent, `axis`, and its value as a `number`, or
        as a `word` where it has none.
    """
    table, frames = _trained(ledger), []
    for name in _chosen(ledger):
        part = table.dropna(subset=[name])[["trial", "state", "error", name]]
        is_range = ".." in ledger.about["space"][name]
        part = part.rename(columns={name: "value"}).assign(axis=name)
        part["number"] = part["value"].astype(float) if is_range else math.nan
        part["word"] = "" if is_range else part["value"].map(show)
        frames.append(part.drop(columns="value"))
    columns = ["trial", "state", "error", "axis", "number", "word"]
    whole = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return whole.reindex(columns=columns)


def slices_chart(frame: pd.DataFrame, space: Mapping[str, str]) -> Any:
    """Draws the error over each hyper-parameter; takes a `slices_frame`."""
    names = frame["axis"].unique().tolist()
    columns = min(3, len(names))
    width = (WIDTH - 60 * (columns - 1)) // columns
    scale = positive_scale(frame["error"], padding=6)
    panels = []
    for i, name in enumerate(names):
        part = frame[frame["axis"] == name]
        log = space[name].startswith("log:")
        if ".." in space[name]:
            kind = alt.Scale(type="log" if log else "linear", nice=False, padding=6)
            x = alt.X("number:Q", title=name, scale=kind)
            x = x.axis(tickCount=3, format="~e" if log else "~g", labelOverlap=True)
        else:
            order = space[name].split(",")
            x = alt.X("word:N", title=name, sort=order).axis(
                labelAngle=0 if len(order) < 4 else -40
            )
        y = alt.Y("error:Q", title="error (%)" if i % columns == 0 else None)
        y = y.scale(scale).axis(format="~g", tickCount=4)
        panels.append(
            alt.Chart(rows(part))
            .mark_point(filled=True, size=45, opacity=0.7)
            .encode(
                x=x,
                y=y,
                color=state_colour(frame),
                tooltip=[
                    alt.Tooltip("trial:Q", format="d"),
                    alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
                ],
            )
            .properties(width=width, height=150)
        )
    return finished(
        alt.concat(*panels, columns=columns),
        "Each hyper-parameter",
        ["Validation error of each trial when it stopped, over what it was given."],
        f"Validation error over {', '.join(names)}.",
    )


def parallel_frame(ledger: Ledger) -> pd.DataFrame:
    """Returns a row per trial and hyper-parameter, and one for its error.

    Returns:
        `trial`; `axis`, in order; `position` on it from 0 to 1; `value` in words; and
        `error` in per cent. Without rows for fewer than two hyper-parameters.
    """
    table, frames = _trained(ledger), []
    names = _chosen(ledger)
    if len(names) < 2 or table.empty:
        return pd.DataFrame(columns=["trial", "axis", "position", "value", "error"])
    for name in names:
        part = table.dropna(subset=[name])
        frames.append(
            part[["trial", "error"]].assign(
                axis=name,
                position=_places(part, ledger.about["space"], name),
                value=[_word(value) for value in part[name]],
            )
        )
    low, high = math.log(table["error"].clip(1e-3).min()), 0.0
    high = math.log(table["error"].clip(1e-3).max())
    logs = table["error"].clip(1e-3).map(math.log)
    frames.append(
        table[["trial", "error"]].assign(
            axis="error %",
            position=(logs - low) / max(high - low, 1e-12),
            value=[f"{error:.2f}" for error in table["error"]],
        )
    )
    return pd.concat(frames, ignore_index=True)


def _word(value: Any) -> str:
    return show(value, 3) if isinstance(value, float) else show(value)


def parallel_chart(frame: pd.DataFrame, space: Mapping[str, str]) -> Any:
    """Draws a line per trial through its choices; takes a `parallel_frame`."""
    names = frame["axis"].unique().tolist()
    x, y = parallel_axes(names)
    tooltip = [
        alt.Tooltip("trial:Q", format="d"),
        alt.Tooltip("error:Q", title="validation error (%)", format=".2f"),
    ]
    scale = alt.Scale(scheme="viridis", type="log", reverse=False)
    lines = alt.Chart(rows(frame.sort_values("error", ascending=False))).encode(
        x=x,
        y=y,
        detail="trial:N",
        color=alt.Color("error:Q", scale=scale, legend=None),
        tooltip=tooltip,
    )
    ends = []
    for name in names:
        part = frame[frame["axis"] == name].sort_values("position")
        listed = ".." not in space.get(name, "..")
        some = part.drop_duplicates("value") if listed else part.iloc[[0, -1]]
        ends.append(some)
    labels = alt.Chart(rows(pd.concat(ends))).encode(x=x, y=y)
    layers = [
        lines.mark_line(strokeWidth=1.6, opacity=0.75),
        *(
            labels.mark_text(style=style, align="left", dx=7, dy=-7).encode(
                text="value:N"
            )
            for style in ("halo", "ink")
        ),
    ]
    best = frame.sort_values("error").iloc[0]
    return finished(
        alt.layer(*layers).properties(height=HEIGHT),
        "All hyper-parameters",
        ["One line per trial, dark where its validation error is small."],
        f"Parallel coordinates of {frame['trial'].nunique()} trials; the best is trial "
        f"{best['trial']}, with {best['error']:.2f} % validation error.",
    )


def importance_frame(importances: Mapping[str, float]) -> pd.DataFrame:
    """Returns a row per hyper-parameter: `axis` and `share` in per cent."""
    table = pd.DataFrame(
        {
            "axis": list(importances),
            "share": [100 * share for share in importances.values()],
        }
    )
    return table.sort_values("share", ascending=False, ignore_index=True)


def importance_chart(frame: pd.DataFrame) -> Any:
    """Draws what decides whether a trial is good; takes an `importance_frame`."""
    base = alt.Chart(rows(frame)).encode(
        y=alt.Y("axis:N", sort=None, title=None),
        x=alt.X("share:Q", title="importance (%)", scale=alt.Scale(domainMin=0)),
    )
    layers = [
        base.mark_bar(height=14, style="first"),
        base.mark_text(align="left", dx=5).encode(
            text=alt.Text("share:Q", format=".0f")
        ),
    ]
    parts = [f"{axis} {share:.0f} %" for axis, share in frame.to_numpy().tolist()]
    return finished(
        alt.layer(*layers).properties(height=max(60, 26 * len(frame))),
        "What decides",
        ["How much better trials stand out by each value (Optuna's PED-ANOVA)."],
        f"Importance: {', '.join(parts)}.",
    )
