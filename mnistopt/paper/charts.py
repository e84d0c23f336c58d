"""Pictures of a reproduction: its tables beside the paper's, and its claims."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from mnistopt.paper.frames import row_of
from mnistopt.paper.hypotheses import CONTRADICTED, NEGLIGIBLE, SUPPORTED, UNDECIDED
from mnistopt.paper.plan import Cell, describe
from mnistopt.paper.tables import MARGIN, TABLES
from mnistopt.report.charts.theme import finished, rows, rows_high

# The paper's words, short enough to stand beside a row.
_SHORT = {
    "hidden layers": "layers",
    "neurons per layer": "neurons",
    "dense neurons": "dense",
    "convolutions 2, ": "",
    "convolutions 3, ": "",
    "learning rate": "lr",
    "batch size": "batch",
    "model ": "",
}
_OURS, _PAPER = "here, a dot per seed", "the paper, one run"
# Sign and shape say it, too, to those who see no colour.
_VERDICTS = {
    SUPPORTED: ("#009E73", "circle"),
    CONTRADICTED: ("#D55E00", "cross"),
    NEGLIGIBLE: ("#0072B2", "square"),
    UNDECIDED: ("#8A929B", "diamond"),
}


def _row_frame(row: pd.Series, own: pd.DataFrame, **shared: Any) -> list[dict]:
    """Returns the marks of a row of a table: its seeds, their mean, the paper's."""
    shared["train_examples"] = row["train_examples"]
    mean = {"what": "mean", "accuracy": 100 * row["test_accuracy"], "n": row["n"]}
    ends = {end: 100 * row[f"test_accuracy_{end}"] for end in ("low", "high")}
    paper = {"what": "paper", "accuracy": 100 * row["test_accuracy_paper"]}
    seeds = [
        shared | {"what": "seed", "accuracy": 100 * accuracy}
        for accuracy in own["test_accuracy"].dropna()
    ]
    return [*seeds, shared | mean | ends, shared | paper]


def _own_seeds(number: int, row: pd.Series, seeds: pd.DataFrame) -> pd.DataFrame:
    return seeds[
        (seeds["table"] == number)
        & (seeds["row"] == row["row"])
        & (seeds["part"] == row["part"])
    ]


def _framed(found: list[dict]) -> pd.DataFrame:
    columns = ["label", "order", "train_examples", "what", "accuracy"]
    columns += ["low", "high", "n"]
    return pd.DataFrame(found, columns=columns).dropna(subset=["accuracy"])


def table_frame(number: int, table: pd.DataFrame, seeds: pd.DataFrame) -> pd.DataFrame:
    """Returns test accuracies of a table's rows, in per cent.

    Args:
        number: Of the table.
        table: From `frames.make_table`.
        seeds: From `evidence.collect_seeds`.

    Returns:
        A row per seed (`what` is "seed"), and two per row of the table ("mean", with
        the ends `low` and `high` of its 95 % interval and `n`; "paper", where it has a
        figure): `label`, `order` and `train_examples` of the row, and `accuracy`.
    """
    sizes = table["train_examples"].nunique() > 1
    found: list[dict[str, Any]] = []
    for order, row in table.reset_index(drop=True).iterrows():
        label = row["row"]
        for long, short in _SHORT.items():
            label = label.replace(long, short)
        if sizes:
            label += f" ({row['train_examples']:,} digits)"
        own = _own_seeds(number, row, seeds)
        found += _row_frame(row, own, label=label, order=order)
    return _framed(found)


def headline_frame(
    tables: Mapping[int, pd.DataFrame], cells: Sequence[Cell], seeds: pd.DataFrame
) -> pd.DataFrame:
    """Returns the rows of all tables that were trained on most digits, each once.

    Args:
        tables: By number, from `frames.make_table`.
        cells: The rows of all tables.
        seeds: From `evidence.collect_seeds`.

    Returns:
        As `table_frame`; the label is the network in words.
    """
    most = max(table["train_examples"].max() for table in tables.values())
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        row, label = row_of(cell, tables), describe(cell.row.point)
        if row["train_examples"] == most and label not in found:
            own = _own_seeds(cell.table, row, seeds)
            found[label] = _row_frame(row, own, label=label, order=len(found))
    return _framed([mark for marks in found.values() for mark in marks])


def _common(frame: pd.DataFrame) -> str:
    """Says on how many digits all rows were trained, if on as many."""
    sizes = set(frame["train_examples"])
    return f"; here, on {sizes.pop():,} training digits" if len(sizes) == 1 else ""


def table_chart(frame: pd.DataFrame, number: int) -> Any:
    """Draws a table's test accuracies beside the paper's; takes a `table_frame`."""
    title = f"{TABLES[number].title}{_common(frame)}."
    return _beside(frame, f"Table {number} beside the paper's", title)


def headline_chart(frame: pd.DataFrame) -> Any:
    """Draws what was trained on most digits; takes a `headline_frame`."""
    digits = frame["train_examples"].max()
    return _beside(
        frame,
        "The paper's networks, trained again with seeds",
        f"Those trained here on {digits:,} digits, beside the paper's figures.",
    )


def _beside(frame: pd.DataFrame, title: str, subtitle: str) -> Any:
    x = alt.X(
        "accuracy:Q",
        title="test accuracy (%)",
        scale=alt.Scale(zero=False, padding=12, nice=False),
        axis=alt.Axis(tickCount=6, labelOverlap="greedy", labelFlush=False),
    )
    y = alt.Y("label:N", sort=alt.SortField("order"), title=None)
    names = alt.Scale(domain=[_OURS, _PAPER])
    legend = alt.Legend(title=None, symbolOpacity=1)
    colour = alt.Color("source:N", scale=names, legend=legend)
    shapes = alt.Scale(domain=[_OURS, _PAPER], range=["circle", "diamond"])
    shape = alt.Shape("source:N", scale=shapes, legend=legend)
    tooltip = [
        alt.Tooltip("label:N", title="row"),
        alt.Tooltip("what:N"),
        alt.Tooltip("accuracy:Q", title="%", format=".2f"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
    ]
    sources = frame["what"].map(lambda what: _PAPER if what == "paper" else _OURS)
    base = alt.Chart(rows(frame.assign(source=sources))).encode(y=y)
    mean = base.transform_filter("datum.what == 'mean'")
    layers = [
        mean.mark_rule(style="ink", strokeWidth=1.5).encode(
            x=alt.X("low:Q"), x2="high:Q"
        ),
        base.transform_filter("datum.what == 'seed'")
        .mark_point(filled=True, size=60, opacity=0.65)
        .encode(x=x, color=colour, shape=shape, tooltip=tooltip),
        mean.mark_tick(style="ink", thickness=3, size=18).encode(x=x, tooltip=tooltip),
        base.transform_filter("datum.what == 'paper'")
        .mark_point(filled=True, size=110, opacity=1)
        .encode(x=x, color=colour, shape=shape, tooltip=tooltip),
    ]
    known = frame[frame["what"] != "seed"]
    pairs = known.pivot(index="label", columns="what", values="accuracy")
    words = "; ".join(
        f"{label}: {row['mean']:.2f} here"
        + ("" if pd.isna(row.get("paper")) else f", {row['paper']:.1f} in the paper")
        for label, row in pairs.iterrows()
    )
    return finished(
        alt.layer(*layers).properties(height=rows_high(frame)),
        title,
        [
            subtitle,
            "Every seed, the mean and its 95 % interval; diamonds are the paper's.",
        ],
        f"Test accuracies in per cent. {words}.",
    )


def claims_frame(claims: pd.DataFrame) -> pd.DataFrame:
    """Returns what each hypothesis is about as a difference.

    Args:
        claims: From `judge.judge`.

    Returns:
        A row per hypothesis, in order: `label`; `claim`, the paper's sentence;
        `verdict`; `difference`, `low`, `high` and the `paper`'s: of accuracies in
        percentage points, of times in per cent; `n` and `p_holm`. A claim about an
        accuracy alone is shown as its difference from the paper's figure.
    """
    level = claims["hypothesis"].str.startswith("accuracy of")
    base = claims["ratio"].astype(float) + claims["paper"].where(level, 0.0).fillna(0.0)
    names = claims["hypothesis"].where(
        ~level, claims["hypothesis"] + " − " + (100 * base).map("{:.1f} %".format)
    )
    frame = pd.DataFrame(
        {
            "label": "T" + claims["table"].astype(str) + "  " + names,
            "order": range(len(claims)),
            "claim": claims["sentence"],
            "verdict": claims["verdict"],
        }
    )
    for name in ("estimate", "low", "high", "paper"):
        frame[name] = 100 * (claims[name] - base)
    frame = frame.rename(columns={"estimate": "difference"})
    return frame.assign(n=claims["n"], p_holm=claims["p_holm"])


_CLAIMS_ABOUT = [
    "Each contrast here with its 95 % interval, by the table it is about (T);",
    "the upright line is the paper's figure. Right of zero is as it says, but",
    "for “no better”. In the grey band a difference is below 0.2 points.",
]
# Where the paper has no figures: of its outlook.
_EXPECTED_ABOUT = [
    "Each contrast here with its 95 % interval, by the table it is about (T).",
    "Right of zero is as it says; the grey band is of 0.2 points.",
]


def claims_chart(frame: pd.DataFrame) -> Any:
    """Draws every contrast with its verdict; takes a `claims_frame`."""
    # Half a point and thirty per cent are both to be seen.
    scale = alt.Scale(type="symlog", constant=0.5)
    values = [-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50]
    x = alt.X(
        "difference:Q",
        title="difference (points; of ratios: %)",
        scale=scale,
        axis=alt.Axis(values=values, format="+~f"),
    )
    y = alt.Y("label:N", sort=alt.SortField("order"), title=None)
    colours, shapes = zip(*_VERDICTS.values())
    domain = list(_VERDICTS)
    legend = alt.Legend(title=None)
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
    margin = 100 * MARGIN
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
    return finished(
        alt.layer(*layers).properties(height=rows_high(frame)),
        "The paper's claims",
        _CLAIMS_ABOUT if frame["paper"].notna().any() else _EXPECTED_ABOUT,
        f"{len(frame)} contrasts: {words}.",
    )
