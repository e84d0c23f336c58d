"""Pictures of the outlook: each table's rows side by side, and what they bear."""

from collections.abc import Iterable
from typing import Any

import altair as alt
import pandas as pd

from mnistopt.data.corrupt import CORRUPTIONS
from mnistopt.paper.frames import finished_seeds
from mnistopt.paper.outlook.measure import Measured, interval_of
from mnistopt.paper.outlook.rows import TABLES, make_cells
from mnistopt.report.charts.theme import PALETTE, finished, rows, rows_high
from mnistopt.results.stats import accuracy_interval
from mnistopt.study.evaluation import CLEAN

_METRICS = {
    "test_accuracy": "test accuracy (%)",
    "robust": "on corrupted digits (%)",
    "convergence_epoch": "convergence epoch",
    "multiply_adds": "multiply-adds (millions)",
}
_MILLION = 1e6


def _marks(name: str, values: Iterable[float], **shared: Any) -> list[dict]:
    """Returns a mark per seed, and one of their mean with its interval."""
    values, share = list(values), 1 if name == "convergence_epoch" else 100
    interval = interval_of(name, values)
    ends = {"value": interval.mean, "low": interval.low, "high": interval.high}
    mean = {name: share * one for name, one in ends.items()}
    seeds = [shared | {"what": "seed", "value": share * one} for one in values]
    return [*seeds, shared | {"what": "mean"} | mean]


def table_frame(number: int, measured: Measured) -> pd.DataFrame:
    """Returns what a table's picture shows.

    Returns:
        A row per row of the table, metric and seed (`what` is "seed"), and one of
        their mean ("mean", with the ends `low` and `high` of its 95 % interval):
        `label`, `order`, `metric` in words, and `value`.
    """
    found: list[dict[str, Any]] = []
    metrics = [name for name in TABLES[number].measured if name in _METRICS]
    cells = [cell for cell in make_cells(measured.options) if cell.table == number]
    for order, cell in enumerate(cells):
        mine = finished_seeds(measured.seeds, cell)
        words = [word for word in cell.row.words.values() if word != "-"]
        shared = {"label": ", ".join(words), "order": order}
        for name in metrics:
            found += _marks(name, mine[name], **shared, metric=_METRICS[name])
        if number == 8 and len(mine):
            cost = mine["multiply_adds"].iloc[0] / _MILLION
            metric = {"metric": _METRICS["multiply_adds"]}
            found.append(shared | metric | {"what": "mean", "value": cost})
    columns = ["label", "order", "metric", "what", "value", "low", "high"]
    return pd.DataFrame(found, columns=columns).dropna(subset=["value"])


def table_chart(frame: pd.DataFrame, number: int) -> Any:
    """Draws a table: a panel per metric; takes a `table_frame`."""
    panels = []
    metrics = list(dict.fromkeys(frame["metric"]))
    for i, metric in enumerate(metrics):
        labels = alt.Axis() if i == 0 else alt.Axis(labels=False, ticks=False)
        y = alt.Y("label:N", sort=alt.SortField("order"), title=None, axis=labels)
        x = alt.X("value:Q", title=metric).scale(zero=False, padding=12, nice=False)
        tooltip = [
            alt.Tooltip("label:N", title="row"),
            alt.Tooltip("what:N"),
            alt.Tooltip("value:Q", title=metric, format=".2f"),
            alt.Tooltip("low:Q", format=".2f"),
            alt.Tooltip("high:Q", format=".2f"),
        ]
        mine = frame[frame["metric"] == metric]
        base = alt.Chart(rows(mine)).encode(y=y)
        mean = base.transform_filter("datum.what == 'mean'")
        layers = [
            mean.mark_rule(style="ink", strokeWidth=1.5).encode(
                x=alt.X("low:Q"), x2="high:Q"
            ),
            base.transform_filter("datum.what == 'seed'")
            .mark_point(filled=True, size=50, opacity=0.65, color=PALETTE[0])
            .encode(x=x, tooltip=tooltip),
            mean.mark_tick(style="ink", thickness=3, size=16).encode(
                x=x, tooltip=tooltip
            ),
        ]
        size = {"height": rows_high(mine), "width": 520 // len(metrics)}
        panels.append(alt.layer(*layers).properties(**size))
    means = frame[frame["what"] == "mean"]
    words = "; ".join(
        f"{label}: "
        + ", ".join(f"{metric} {value:.2f}" for metric, value in zip(*columns))
        for label, columns in (
            (label, (one["metric"], one["value"]))
            for label, one in means.groupby("label", sort=False)
        )
    )
    return finished(
        alt.hconcat(*panels, spacing=14),
        TABLES[number].title,
        ["Every seed, the mean and its 95 % interval over the seeds."],
        f"{words}.",
    )


def robust_frame(measured: Measured) -> pd.DataFrame:
    """Returns how accuracy falls with strength, for the rows of Table 6.

    Returns:
        A row per row of the table, corruption and strength (0 is none): `label`,
        `corruption` with its unit, `strength`, `accuracy` in per cent, and the ends
        `low` and `high` of its 95 % interval over the seeds.
    """
    found = []
    robust = measured.robustness.set_index("trial")
    for cell in (one for one in make_cells(measured.options) if one.table == 6):
        trials = finished_seeds(measured.seeds, cell)["trial"]
        mine = robust[robust.index.isin(trials)]
        conditions: Any = mine.groupby(["corruption", "strength"])
        for (name, strength), group in conditions:
            interval = accuracy_interval(group["accuracy"].tolist())
            ends = [100 * one for one in (interval.mean, interval.low, interval.high)]
            # What is not corrupted begins each panel.
            for shown in CORRUPTIONS if name == CLEAN else (name,):
                (label,) = cell.row.words.values()
                found.append((label, shown, int(strength), *ends))
    columns = ["label", "corruption", "strength", "accuracy", "low", "high"]
    return pd.DataFrame(found, columns=columns)


def robust_chart(frame: pd.DataFrame) -> Any:
    """Draws a panel per corruption, a line per row; takes a `robust_frame`."""
    labels = list(dict.fromkeys(frame["label"]))
    legend = alt.Legend(
        title="augmentation", symbolOpacity=1, orient="top", columns=len(labels)
    )
    colour = alt.Color("label:N", legend=legend).scale(
        domain=labels, range=PALETTE[: len(labels)]
    )
    base = alt.Chart().encode(
        x=alt.X("strength:Q", title="strength").axis(values=list(range(6)), format="d"),
        color=colour,
        tooltip=[
            alt.Tooltip("label:N", title="augmentation"),
            alt.Tooltip("corruption:N"),
            alt.Tooltip("strength:Q"),
            alt.Tooltip("accuracy:Q", title="right (%)", format=".2f"),
            alt.Tooltip("low:Q", format=".2f"),
            alt.Tooltip("high:Q", format=".2f"),
        ],
    )
    layered = alt.layer(
        base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(point=True).encode(
            y=alt.Y("accuracy:Q", title=None).scale(domain=[0, 100])
        ),
        data=rows(frame),
    ).properties(width=130, height=110)
    chart = layered.facet(
        facet=alt.Facet("corruption:N", title=None, sort=list(CORRUPTIONS)), columns=4
    )
    last = frame[frame["strength"] == frame["strength"].max()]
    means = last.groupby("label", sort=False)["accuracy"].mean()
    words = "; ".join(f"{label}: {value:.1f} %" for label, value in means.items())
    return finished(
        chart,
        "What augmentation makes a network bear",
        [
            "Test digits that are right, in per cent, by corruption and strength;",
            "bands are 95 % intervals over the seeds.",
        ],
        f"Mean accuracy at the highest strength. {words}.",
    )
