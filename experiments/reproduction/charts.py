"""Pictures of a reproduction: tables beside the paper's, claims, curves, robustness."""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import pandas as pd

from experiments.reproduction import judge
from experiments.reproduction.findings import Findings
from experiments.reproduction.paper import Comparison, Row, Table
from experiments.reproduction.tables import interval_of
from mnistopt.data.corrupt import CORRUPTIONS
from mnistopt.report.charts.curves import error_chart, grouped_curves, loss_chart
from mnistopt.report.charts.pictures import Picture
from mnistopt.report.charts.theme import PALETTE, finished, rows, rows_high
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
    judge.SUPPORTED: ("#009E73", "circle"),
    judge.CONTRADICTED: ("#D55E00", "cross"),
    judge.NEGLIGIBLE: ("#0072B2", "square"),
    judge.UNDECIDED: ("#8A929B", "diamond"),
}


def pictures(findings: Findings) -> dict[str, dict[str, Picture]]:
    """Returns the pictures that there is something to show in, by section and name."""
    made: dict[str, dict[str, Picture]] = {"The answer": {}, "The tables": {}}
    if findings.paper.name == "paper":
        title = "The paper's networks, trained again"
        _add(
            made["The answer"],
            "headline",
            headline_frame(findings),
            rows_chart,
            title,
            findings,
        )
    for table in findings.paper.tables:
        title = f"Table {table.number}, seed by seed"
        name, frame = f"table{table.number}", table_frame(table, findings)
        _add(made["The tables"], name, frame, rows_chart, title, findings)
    _add(made["The tables"], "robustness", robust_frame(findings), robust_chart)
    made["The claims"], made["What the curves show"] = {}, {}
    frame = claims_frame(findings).dropna(subset=["difference"])
    margin = 100 * findings.paper.margin
    _add(made["The claims"], "claims", frame, claims_chart, margin)
    for comparison in findings.paper.curves:
        frame = curves_frame(comparison, findings)
        if frame["label"].nunique() > 1:
            _add(
                made["What the curves show"],
                comparison.id,
                frame,
                curves_chart,
                comparison,
                findings,
            )
    return made


def _add(to: dict, name: str, frame: pd.DataFrame, chart: Any, *about: Any) -> None:
    if len(frame):
        to[name] = Picture.of(frame, chart(frame, *about))


def _tips(**titles: str) -> list[alt.Tooltip]:
    """Returns what a hover shows: columns by title, numbers with two decimals."""
    words = ("label", "what", "claim", "verdict", "corruption", "n", "strength")
    return [
        alt.Tooltip(f"{name}:N", title=title or name)
        if name in words
        else alt.Tooltip(f"{name}:Q", title=title, format=".2f")
        for name, title in titles.items()
    ]


# --- Tables ---


def _marks(row: Row, names: Sequence[str], label: str, order: int, findings: Findings):
    """Yields a mark per metric and seed, and ones of their mean and the paper's."""
    measured = findings.measured(row.setting)
    for name in names:
        shared = {"label": label, "order": order, "metric": _METRICS[name]}
        if name == "multiply_adds":
            value = measured[name].iloc[0] / 1e6 if len(measured) else None
            yield shared | {"what": "mean", "value": value}
            continue
        share = 1 if name == "convergence_epoch" else 100
        for value in measured[name]:
            yield shared | {"what": "seed", "value": share * value}
        interval = interval_of(name, measured[name])
        ends = {
            "low": share * interval.low,
            "high": share * interval.high,
            "n": interval.n,
        }
        yield shared | {"what": "mean", "value": share * interval.mean} | ends
        if name == "test_accuracy" and name in row.figures:
            yield shared | {"what": "paper", "value": 100 * row.figures[name]}


def _framed(marks: Iterable[dict[str, Any]]) -> pd.DataFrame:
    columns = ["label", "order", "metric", "what", "value", "low", "high", "n"]
    return pd.DataFrame(list(marks), columns=columns).dropna(subset=["value"])


def table_frame(table: Table, findings: Findings) -> pd.DataFrame:
    """Returns what a table's picture shows.

    Returns:
        A row per row of the table, metric and seed (`what` is "seed"), one of their
        mean ("mean", with the ends `low` and `high` of its 95 % interval, and `n`), and
        one of the paper's figure ("paper"): `label`, `order`, `metric` in words, and
        `value`, per cent of accuracies.
    """
    names, marks = ["test_accuracy"], []
    if findings.paper.costs:
        names = [
            *(name for name in table.measures if name in _METRICS),
            "multiply_adds",
        ]
    for order, row in enumerate(table.rows):
        words = [
            f"{name} {value}" if value.replace(".", "").isdecimal() else value
            for name, value in zip(table.words, row.words)
            if value != "-" and name != "convolutions"
        ]
        marks += _marks(row, names, ", ".join(words), order, findings)
    frame = _framed(marks)
    costs = frame["metric"] == _METRICS["multiply_adds"]
    return frame if frame[costs]["value"].nunique() > 1 else frame[~costs]


def headline_frame(findings: Findings) -> pd.DataFrame:
    """Returns the rows of all tables, each setting once; as `table_frame`."""
    labels: dict[str, Row] = {}
    for row in (row for table in findings.paper.tables for row in table.rows):
        setting = findings.paper.settings[row.setting]
        if len(findings.measured(row.setting)):
            label = f"{findings.paper.describe(setting)}, {setting.point.epochs} epochs"
            labels.setdefault(label, row)
    marks = [
        _marks(row, ["test_accuracy"], label, order, findings)
        for order, (label, row) in enumerate(labels.items())
    ]
    return _framed(mark for of_row in marks for mark in of_row)


def rows_chart(frame: pd.DataFrame, title: str, findings: Findings) -> Any:
    """Draws a panel per metric, every seed, and the paper's figures beside them."""
    sources = frame["what"].map(lambda what: _PAPER if what == "paper" else _OURS)
    both = _PAPER in set(sources)
    domain = [_OURS, _PAPER] if both else [_OURS]
    legend = alt.Legend(title=None, symbolOpacity=1) if both else None
    colour, shape = (
        channel("source:N", legend=legend).scale(domain=domain, range=values)
        for channel, values in (
            (alt.Color, PALETTE[:2]),
            (alt.Shape, ["circle", "diamond"]),
        )
    )
    panels, metrics = [], list(dict.fromkeys(frame["metric"]))
    for metric in metrics:
        first = metric == metrics[0]
        labels = alt.Axis(labels=first, ticks=first)
        axis = alt.Axis(tickCount=6, labelOverlap="greedy", labelFlush=False)
        x = alt.X("value:Q", title=metric, axis=axis)
        x = x.scale(zero=False, padding=12, nice=False)
        y = alt.Y("label:N", sort=alt.SortField("order"), title=None, axis=labels)
        panel = frame.assign(source=sources)[frame["metric"] == metric]
        base = alt.Chart(rows(panel)).encode(y=y)
        seed, mean, paper = (
            base.transform_filter(f"datum.what == '{what}'")
            for what in ("seed", "mean", "paper")
        )
        tips = _tips(label="row", what="", value=metric, low="low", high="high")
        dots: dict[str, Any] = {
            "x": x,
            "color": colour,
            "shape": shape,
            "tooltip": tips,
        }
        ends = {"x": alt.X("low:Q"), "x2": "high:Q"}
        layers = [
            mean.mark_rule(style="ink", strokeWidth=1.5).encode(**ends),
            seed.mark_point(filled=True, size=60, opacity=0.65).encode(**dots),
            mean.mark_tick(style="ink", thickness=3, size=18).encode(x=x, tooltip=tips),
            paper.mark_point(filled=True, size=110, opacity=1).encode(**dots),
        ]
        width = {"width": 520 // len(metrics)} if len(metrics) > 1 else {}
        panels.append(alt.layer(*layers).properties(height=rows_high(panel), **width))
    words = "; ".join(
        f"{row['label']}: {row['metric']} {row['value']:.2f}"
        + (" in the paper" if row["what"] == "paper" else "")
        for _, row in frame[frame["what"] != "seed"].iterrows()
    )
    shown = "Every seed, the mean and its 95 % interval"
    shown += "; diamonds are the paper's." if both else "."
    return finished(
        alt.hconcat(*panels, spacing=14) if len(panels) > 1 else panels[0],
        title,
        [shown, f"Trained here on {findings.data['train']:,} digits."],
        f"{words}.",
    )


# --- Claims ---


def claims_frame(findings: Findings) -> pd.DataFrame:
    """Returns what each line is about as a difference.

    Returns:
        A row per line, in order: `label`; `claim`, the paper's sentence; `verdict`;
        `difference`, `low`, `high` and the `paper`'s: of accuracies in percentage
        points, of ratios in per cent; `n` and `p_holm`. A level is shown as its
        difference from the paper's figure.
    """
    made: list[dict[str, Any]] = []
    by_line = findings.claims.set_index("line")
    for claim, line in ((c, line) for c in findings.paper.claims for line in c.lines):
        row = by_line.loc[line.id]
        base = 1.0 if line.ratio else line.at_least or 0.0
        name = f"{line.words} − {100 * base:.1f} %" if line.at_least else line.words
        shown = {"label": f"T{claim.table}  {name}", "order": len(made)}
        shown |= {"claim": claim.words, "difference": 100 * (row["estimate"] - base)}
        shown |= {end: 100 * (row[end] - base) for end in ("low", "high", "paper")}
        made.append(shown | {name: row[name] for name in ("verdict", "n", "p_holm")})
    return pd.DataFrame(made)


def claims_chart(frame: pd.DataFrame, margin: float) -> Any:
    """Draws every contrast with its verdict; takes a `claims_frame`."""
    # Half a point and thirty per cent are both to be seen.
    scale = alt.Scale(type="symlog", constant=0.5)
    values = [-50, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50]
    axis = alt.Axis(values=values, format="+~f")
    title = "difference (points; of ratios: %)"
    x = alt.X("difference:Q", title=title, scale=scale, axis=axis)
    y = alt.Y("label:N", sort=alt.SortField("order"), title=None)
    colours, shapes = zip(*_VERDICTS.values())
    domain, legend = list(_VERDICTS), alt.Legend(title=None)
    colour = alt.Color("verdict:N", legend=legend).scale(domain=domain, range=colours)
    shape = alt.Shape("verdict:N", legend=legend).scale(domain=domain, range=shapes)
    tips = _tips(
        **{"claim": "the paper says", "difference": "here", "low": "low"},
        **{"high": "high", "paper": "the paper's", "n": "n"},
        **{"p_holm": "p (Holm)", "verdict": "verdict"},
    )
    base = alt.Chart(rows(frame)).encode(y=y)
    zero = alt.Chart(alt.InlineData(values=[{}]))
    band = zero.mark_rect(style="others", opacity=0.18)
    low, figure = (alt.X(f"{name}:Q", scale=scale) for name in ("low", "paper"))
    layers = [
        band.encode(x=alt.datum(-margin), x2=alt.datum(margin)),
        zero.mark_rule(style="reference").encode(x=alt.datum(0)),
        base.mark_tick(style="ink", thickness=2.5, size=16).encode(
            x=figure, tooltip=tips
        ),
        base.mark_rule(strokeWidth=2.5).encode(x=low, x2="high:Q", color=colour),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            x=x, color=colour, shape=shape, tooltip=tips
        ),
    ]
    about = ["Each contrast with its 95 % interval, by the table it is about (T)."]
    if frame["paper"].notna().any():
        about.append("The upright line is the paper's figure.")
    about.append(
        "Right of zero is as the paper says, but for “no better” or “different”."
    )
    about.append(f"In the grey band a difference is below {margin:.1f} points.")
    counts = frame["verdict"].value_counts()
    words = ", ".join(f"{counts.get(name, 0)} {name}" for name in _VERDICTS)
    chart = alt.layer(*layers).properties(height=rows_high(frame))
    text = f"{len(frame)} contrasts: {words}."
    return finished(chart, "The paper's claims", about, text)


# --- Curves ---


def curves_frame(comparison: Comparison, findings: Findings) -> pd.DataFrame:
    """Returns the curves of a comparison, best first by their last accuracy.

    They are shown for as many epochs as all of them have; columns are those of
    `report.charts.curves.grouped_curves`.
    """
    asked = [
        labelled
        for labelled in comparison.of.items()
        if labelled[1] in findings.paper.trained()
    ]
    by_label = {label: findings.measured(id) for label, id in asked}
    by_label = {label: frame for label, frame in by_label.items() if len(frame)}
    order = sorted(
        by_label, key=lambda label: -by_label[label]["validation_accuracy"].mean()
    )
    epochs = min(
        (int(curves["epochs"].max()) for curves in by_label.values()), default=0
    )
    curves = findings.evidence.tables["curves"]
    groups = {label: tuple(by_label[label]["replica"]) for label in order}
    return grouped_curves(curves[curves["epoch"] <= epochs], groups)


def curves_chart(
    frame: pd.DataFrame, comparison: Comparison, findings: Findings
) -> Any:
    """Draws a comparison; takes a `curves_frame`."""
    chart = (error_chart if comparison.shows == "error" else loss_chart)(frame)
    digits = f"{findings.data['train']:,} training digits"
    chart.title.text = f"{comparison.title}, {digits}"
    return chart


# --- Robustness ---


_ALL = "mean of all"


def robust_frame(findings: Findings) -> pd.DataFrame:
    """Returns how accuracy falls with strength, for the rows of the first table.

    Returns:
        A row per row of the table, corruption, the mean of all being one, and strength
        (0 is none): `label`, `corruption`, `strength`, `accuracy` in per cent, and the
        ends `low` and `high` of its 95 % interval over the seeds.
    """
    robust, made = findings.evidence.tables["robustness"], []
    robust = robust.assign(share=robust["correct"] / robust["count"])
    for row in findings.paper.tables[0].rows:
        of_row = robust[robust["trial"].isin(findings.measured(row.setting)["trial"])]
        corrupted: Any = of_row[of_row["corruption"] != CLEAN]
        means = corrupted.groupby(["trial", "strength"])["share"].mean()
        means = means.reset_index().assign(corruption=_ALL)
        conditions: Any = pd.concat([of_row, means]).groupby(["corruption", "strength"])
        for (name, strength), shares in conditions["share"]:
            interval = interval_of("robust", shares.tolist())
            ends = [
                100 * value for value in (interval.mean, interval.low, interval.high)
            ]
            # What is not corrupted begins each panel.
            for shown in (*CORRUPTIONS, _ALL) if name == CLEAN else (name,):
                made.append((", ".join(row.words), shown, int(strength), *ends))
    columns = ["label", "corruption", "strength", "accuracy", "low", "high"]
    return pd.DataFrame(made, columns=columns)


def robust_chart(frame: pd.DataFrame) -> Any:
    """Draws a panel per corruption, a line per row; takes a `robust_frame`."""
    labels = list(dict.fromkeys(frame["label"]))
    look: dict[str, Any] = {"symbolOpacity": 1, "orient": "top", "columns": len(labels)}
    legend = alt.Legend(title="augmentation", **look)
    colour = alt.Color("label:N", legend=legend)
    tips = _tips(
        label="augmentation", corruption="corruption", strength="strength",
        accuracy="right (%)", low="low", high="high",
    )  # fmt: skip
    base = alt.Chart().encode(
        x=alt.X("strength:Q", title="strength").axis(values=list(range(6)), format="d"),
        color=colour.scale(domain=labels, range=PALETTE[: len(labels)]),
        tooltip=tips,
    )
    y = alt.Y("accuracy:Q", title=None).scale(domain=[0, 100])
    layered = alt.layer(
        base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(point=True).encode(y=y),
        data=rows(frame),
    ).properties(width=130, height=110)
    facet = alt.Facet("corruption:N", title=None, sort=[*CORRUPTIONS, _ALL])
    last = frame[frame["strength"] == frame["strength"].max()]
    last = last[last["corruption"] == _ALL]
    means = last.groupby("label", sort=False)["accuracy"].mean()
    words = "; ".join(f"{label}: {value:.1f} %" for label, value in means.items())
    return finished(
        layered.facet(facet=facet, columns=4),
        "Robustness by augmentation",
        [
            "Accuracy on corrupted test digits (%), by corruption and strength;",
            "bands are 95 % intervals over the seeds.",
        ],
        f"Mean accuracy at the highest strength. {words}.",
    )
