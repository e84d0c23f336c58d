"""Pictures of a reproduction: tables beside the paper's, claims, curves, robustness."""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import pandas as pd

from experiments.reproduction.evidence import Evidence
from experiments.reproduction.findings import Findings
from experiments.reproduction.judge import (
    CONTRADICTED,
    NEGLIGIBLE,
    SUPPORTED,
    UNDECIDED,
)
from experiments.reproduction.paper import Comparison, Table
from experiments.reproduction.tables import interval_of
from mnistopt.data.corrupt import CORRUPTIONS
from mnistopt.report.charts.curves import error_chart, grouped_curves, loss_chart
from mnistopt.report.charts.pictures import Picture
from mnistopt.report.charts.theme import PALETTE, finished, rows, rows_high
from mnistopt.results.stats import accuracy_interval
from mnistopt.study.evaluation import CLEAN

_OURS, _PAPER = "here, a dot per seed", "the paper, one run"
_METRICS = {
    "test_accuracy": "test accuracy (%)",
    "robust": "on corrupted digits (%)",
    "convergence_epoch": "convergence epoch",
    "multiply_adds": "multiply-adds (millions)",
}
# Sign and shape say it, too, to those who see no colour.
_VERDICTS = {
    SUPPORTED: ("#009E73", "circle"),
    CONTRADICTED: ("#D55E00", "cross"),
    NEGLIGIBLE: ("#0072B2", "square"),
    UNDECIDED: ("#8A929B", "diamond"),
}


def pictures(found: Findings) -> dict[str, dict[str, Picture]]:
    """Returns the pictures that there is something to show in, by section and name."""
    made: dict[str, dict[str, Picture]] = {"The answer": {}, "The tables": {}}
    if found.asked.paper == "paper":
        frame = _headline_frame(found)
        if len(frame):
            chart = _rows_chart(frame, "The paper's networks, trained again", found)
            made["The answer"]["headline"] = Picture.of(frame, chart)
    for table in found.paper.tables:
        frame = table_frame(table, found)
        if len(frame):
            chart = _rows_chart(frame, f"Table {table.number}: {table.title}", found)
            made["The tables"][f"table{table.number}"] = Picture.of(frame, chart)
    if len(found.evidence.tables["robustness"]):
        frame = robust_frame(found)
        made["The tables"]["robustness"] = Picture.of(frame, robust_chart(frame))
    frame = claims_frame(found).dropna(subset=["difference"])
    if len(frame):
        chart = claims_chart(frame, 100 * found.paper.margin)
        made["The claims"] = {"claims": Picture.of(frame, chart)}
    curves = [(one, curves_frame(one, found)) for one in found.paper.curves]
    made["What the curves show"] = {
        one.id: Picture.of(frame, _curves_chart(one, frame, found))
        for one, frame in curves
        if frame["label"].nunique() > 1
    }
    return made


# --- Tables ---


def _marks(name: str, values: Iterable[float], **shared: Any) -> list[dict[str, Any]]:
    """Returns a mark per seed, and one of their mean with its interval."""
    values = list(values)
    share = 1 if name == "convergence_epoch" else 100
    interval = interval_of(name, values)
    ends = {"value": interval.mean, "low": interval.low, "high": interval.high}
    mean = {name: share * one for name, one in ends.items()}
    shared |= {"metric": _METRICS[name]}
    seeds = [shared | {"what": "seed", "value": share * one} for one in values]
    return [*seeds, shared | {"what": "mean", "n": interval.n} | mean]


def _framed(found: Sequence[dict[str, Any]]) -> pd.DataFrame:
    columns = ["label", "order", "metric", "what", "value", "low", "high", "n"]
    return pd.DataFrame(found, columns=columns).dropna(subset=["value"])


def table_frame(table: Table, found: Findings) -> pd.DataFrame:
    """Returns what a table's picture shows.

    Returns:
        A row per row of the table, metric and seed (`what` is "seed"), one of their
        mean ("mean", with the ends `low` and `high` of its 95 % interval, and `n`), and
        one of the paper's figure ("paper"): `label`, `order`, `metric` in words, and
        `value`, per cent of accuracies.
    """
    marks: list[dict[str, Any]] = []
    names = [name for name in table.measures if name in _METRICS]
    if not found.paper.costs:
        names = ["test_accuracy"]
    for order, row in enumerate(table.rows):
        pairs = zip(table.words, row.words)
        words = [
            value if not value.replace(".", "").isdecimal() else f"{name} {value}"
            for name, value in pairs
            if value != "-" and name != "convolutions"
        ]
        shared = {"label": ", ".join(words), "order": order}
        mine = found.measured(row.setting)
        for name in names:
            marks += _marks(name, mine[name], **shared)
        if (figure := row.figures.get("test_accuracy")) is not None:
            metric = {"metric": _METRICS["test_accuracy"]}
            marks.append(shared | metric | {"what": "paper", "value": 100 * figure})
        if found.paper.costs and mine["multiply_adds"].nunique():
            value = {"what": "mean", "value": mine["multiply_adds"].iloc[0] / 1e6}
            marks.append(shared | value | {"metric": _METRICS["multiply_adds"]})
    frame = _framed(marks)
    costs = frame["metric"] == _METRICS["multiply_adds"]
    return frame if frame[costs]["value"].nunique() > 1 else frame[~costs]


def _headline_frame(found: Findings) -> pd.DataFrame:
    """Returns the rows of all tables, each setting once; as `table_frame`."""
    marks: dict[str, list[dict[str, Any]]] = {}
    for row in (row for table in found.paper.tables for row in table.rows):
        setting, mine = found.paper.settings[row.setting], found.measured(row.setting)
        label = f"{found.paper.describe(setting)}, {setting.point.epochs} epochs"
        if label in marks or mine.empty:
            continue
        shared = {"label": label, "order": len(marks)}
        marks[label] = _marks("test_accuracy", mine["test_accuracy"], **shared)
        if (figure := row.figures.get("test_accuracy")) is not None:
            paper = {"what": "paper", "metric": _METRICS["test_accuracy"]}
            marks[label].append(shared | paper | {"value": 100 * figure})
    return _framed([mark for of in marks.values() for mark in of])


def _rows_chart(frame: pd.DataFrame, title: str, found: Findings) -> Any:
    """Draws a panel per metric, every seed, and the paper's figures beside them."""
    sources = frame["what"].map(lambda what: _PAPER if what == "paper" else _OURS)
    frame = frame.assign(source=sources)
    domain = [_OURS, _PAPER] if (frame["what"] == "paper").any() else [_OURS]
    legend = alt.Legend(title=None, symbolOpacity=1) if len(domain) > 1 else None
    colour = alt.Color("source:N", legend=legend).scale(
        domain=domain, range=PALETTE[:2]
    )
    shapes = ["circle", "diamond"]
    shape = alt.Shape("source:N", legend=legend).scale(domain=domain, range=shapes)
    panels = []
    metrics = list(dict.fromkeys(frame["metric"]))
    for i, metric in enumerate(metrics):
        labels = alt.Axis() if i == 0 else alt.Axis(labels=False, ticks=False)
        y = alt.Y("label:N", sort=alt.SortField("order"), title=None, axis=labels)
        axis = alt.Axis(tickCount=6, labelOverlap="greedy", labelFlush=False)
        x = alt.X("value:Q", title=metric, axis=axis)
        x = x.scale(zero=False, padding=12, nice=False)
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
        dots = {"x": x, "color": colour, "shape": shape, "tooltip": tooltip}
        layers = [
            mean.mark_rule(style="ink", strokeWidth=1.5).encode(
                x=alt.X("low:Q"), x2="high:Q"
            ),
            base.transform_filter("datum.what == 'seed'")
            .mark_point(filled=True, size=60, opacity=0.65)
            .encode(**dots),
            mean.mark_tick(style="ink", thickness=3, size=18).encode(
                x=x, tooltip=tooltip
            ),
            base.transform_filter("datum.what == 'paper'")
            .mark_point(filled=True, size=110, opacity=1)
            .encode(**dots),
        ]
        size: dict[str, Any] = {"height": rows_high(mine)}
        if len(metrics) > 1:
            size["width"] = 520 // len(metrics)
        panels.append(alt.layer(*layers).properties(**size))
    means = frame[frame["what"] != "seed"]
    words = "; ".join(
        f"{label}: "
        + ", ".join(
            f"{row['metric']} {row['value']:.2f}"
            + (" in the paper" if row["what"] == "paper" else "")
            for _, row in of.iterrows()
        )
        for label, of in means.groupby("label", sort=False)
    )
    shown = "Every seed, the mean and its 95 % interval"
    shown += "; diamonds are the paper's." if len(domain) > 1 else "."
    return finished(
        alt.hconcat(*panels, spacing=14) if len(panels) > 1 else panels[0],
        title,
        [shown, f"Trained here on {found.data['train']:,} digits."],
        f"{words}.",
    )


# --- Claims ---


def claims_frame(found: Findings) -> pd.DataFrame:
    """Returns what each line is about as a difference.

    Returns:
        A row per line, in order: `label`; `claim`, the paper's sentence; `verdict`;
        `difference`, `low`, `high` and the `paper`'s: of accuracies in percentage
        points, of ratios in per cent; `n` and `p_holm`. A level is shown as its
        difference from the paper's figure.
    """
    made: list[dict[str, Any]] = []
    by_line = found.claims.set_index("line")
    for claim in found.paper.claims:
        for line in claim.lines:
            row = by_line.loc[line.id]
            base = 1.0 if line.ratio else line.at_least or 0.0
            name = line.words + (
                f" − {100 * base:.1f} %" if base and not line.ratio else ""
            )
            shown = {"label": f"T{claim.table}  {name}", "order": len(made)}
            shown |= {"claim": claim.words, "verdict": row["verdict"]}
            shown["difference"] = 100 * (row["estimate"] - base)
            for end in ("low", "high", "paper"):
                shown[end] = 100 * (row[end] - base)
            made.append(shown | {"n": row["n"], "p_holm": row["p_holm"]})
    return pd.DataFrame(made)


def claims_chart(frame: pd.DataFrame, margin: float) -> Any:
    """Draws every contrast with its verdict; takes a `claims_frame`."""
    # Half a point and thirty per cent are both to be seen.
    scale = alt.Scale(type="symlog", constant=0.5)
    values = [-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50]
    axis = alt.Axis(values=values, format="+~f")
    title = "difference (points; of ratios: %)"
    x = alt.X("difference:Q", title=title, scale=scale, axis=axis)
    y = alt.Y("label:N", sort=alt.SortField("order"), title=None)
    colours, shapes = zip(*_VERDICTS.values())
    domain, legend = list(_VERDICTS), alt.Legend(title=None)
    colour = alt.Color("verdict:N", legend=legend).scale(domain=domain, range=colours)
    shape = alt.Shape("verdict:N", legend=legend).scale(domain=domain, range=shapes)
    tooltip = [
        alt.Tooltip("claim:N", title="the paper says"),
        alt.Tooltip("difference:Q", title="here", format="+.2f"),
        alt.Tooltip("low:Q", format="+.2f"),
        alt.Tooltip("high:Q", format="+.2f"),
        alt.Tooltip("paper:Q", title="the paper's", format="+.2f"),
        alt.Tooltip("n:Q"),
        alt.Tooltip("p_holm:Q", title="p (Holm)", format=".3f"),
        alt.Tooltip("verdict:N"),
    ]
    base = alt.Chart(rows(frame)).encode(y=y)
    zero = alt.Chart(alt.InlineData(values=[{}]))
    layers = [
        zero.mark_rect(style="others", opacity=0.18).encode(
            x=alt.datum(-margin), x2=alt.datum(margin)
        ),
        zero.mark_rule(style="reference").encode(x=alt.datum(0)),
        base.mark_tick(style="ink", thickness=2.5, size=16).encode(
            x=alt.X("paper:Q", scale=scale), tooltip=tooltip
        ),
        base.mark_rule(strokeWidth=2.5).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q", color=colour
        ),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            x=x, color=colour, shape=shape, tooltip=tooltip
        ),
    ]
    counts = frame["verdict"].value_counts()
    words = ", ".join(f"{counts.get(name, 0)} {name}" for name in _VERDICTS)
    has_figures = frame["paper"].notna().any()
    return finished(
        alt.layer(*layers).properties(height=rows_high(frame)),
        "The paper's claims",
        [
            "Each contrast with its 95 % interval, by the table it is about (T)"
            + ("; the upright" if has_figures else "."),
            ("line is the paper's figure. " if has_figures else "")
            + "Right of zero is as the paper says, but for “no",
            f"better”. In the grey band a difference is below {margin:.1f} points.",
        ],
        f"{len(frame)} contrasts: {words}.",
    )


# --- Curves ---


def curves_frame(comparison: Comparison, found: Findings) -> pd.DataFrame:
    """Returns the curves of a comparison, best first by their last accuracy.

    They are shown for as many epochs as all of them have.

    Returns:
        As `report.charts.curves.grouped_curves`.
    """
    known = {
        label: found.measured(id) for label, id in comparison.of.items()
        if id in found.paper.trained()
    }  # fmt: skip
    known = {label: one for label, one in known.items() if len(one)}
    last = {label: one["validation_accuracy"].mean() for label, one in known.items()}
    best_first = sorted(known, key=lambda label: -last[label])
    groups = {label: tuple(known[label]["replica"]) for label in best_first}
    epochs = min((int(one["epochs"].max()) for one in known.values()), default=0)
    curves = found.evidence.tables["curves"]
    return grouped_curves(curves[curves["epoch"] <= epochs], groups)


def _curves_chart(comparison: Comparison, frame: pd.DataFrame, found: Findings) -> Any:
    chart = (error_chart if comparison.shows == "error" else loss_chart)(frame)
    digits = found.data["train"]
    chart.title.text = f"{comparison.title}, {digits:,} training digits"
    return chart


# --- Robustness ---


def robust_frame(found: Findings) -> pd.DataFrame:
    """Returns how accuracy falls with strength, for the rows of the first table.

    Returns:
        A row per row of the table, corruption and strength (0 is none): `label`,
        `corruption`, `strength`, `accuracy` in per cent, and the ends `low` and `high`
        of its 95 % interval over the seeds.
    """
    evidence: Evidence = found.evidence
    robust = evidence.tables["robustness"]
    robust = robust.assign(accuracy=robust["correct"] / robust["count"])
    made = []
    for row in found.paper.tables[0].rows:
        mine = robust[robust["trial"].isin(found.measured(row.setting)["trial"])]
        conditions: Any = mine.groupby(["corruption", "strength"])
        for (name, strength), group in conditions:
            interval = accuracy_interval(group["accuracy"].tolist())
            ends = [100 * one for one in (interval.mean, interval.low, interval.high)]
            # What is not corrupted begins each panel.
            for shown in CORRUPTIONS if name == CLEAN else (name,):
                made.append((", ".join(row.words), shown, int(strength), *ends))
    columns = ["label", "corruption", "strength", "accuracy", "low", "high"]
    return pd.DataFrame(made, columns=columns)


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
        "Robustness by augmentation",
        [
            "Accuracy on corrupted test digits (%), by corruption and strength;",
            "bands are 95 % intervals over the seeds.",
        ],
        f"Mean accuracy at the highest strength. {words}.",
    )
