"""Points side by side: every replica with its point's interval, and the differences."""

from typing import Any

import altair as alt
import pandas as pd

from mnistopt.report.charts.theme import (
    PALETTE,
    TOP,
    faded,
    finished,
    picked,
    positive_scale,
    row_words,
    rows,
    rows_high,
)
from mnistopt.results.compare import behind_best
from mnistopt.results.tables import FINISHED


def seeds_frame(trials: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per finished replica, with what is known of its point.

    Args:
        trials: The table of trials.
        summary: The table of points, `labelled`.

    Returns:
        `label`, `rank` (from 0) and `choice` of the point; `seed`, and the replica's
        `error` (test, %); of the point's errors `mean`, the ends `low` and `high` of
        its 95 % interval over seeds, and `n`.
    """
    done = trials[trials["status"] == FINISHED][["point", "seed", "test_accuracy"]]
    table = done.merge(summary.head(TOP), on="point")
    table = table.sort_values(["rank", "seed"], ignore_index=True)
    return pd.DataFrame(
        {
            **{name: table[name] for name in ("label", "rank", "choice", "seed")},
            "error": 100 * (1 - table["test_accuracy"]),
            "mean": 100 * (1 - table["test_accuracy_mean"]),
            "low": 100 * (1 - table["test_accuracy_high"]),
            "high": 100 * (1 - table["test_accuracy_low"]),
            "n": table["n"],
        }
    )


def seeds_chart(frame: pd.DataFrame) -> Any:
    """Draws every replica's test error, and its point's mean and interval."""
    choice = picked()
    shown = pd.concat([frame["error"], frame["low"].dropna()])
    scale = positive_scale(shown, padding=12)
    axis = alt.Axis(format="~g", tickCount=5)
    x = alt.X("error:Q", title="test error (%)", scale=scale, axis=axis)
    y = alt.Y("label:N", sort=alt.SortField("rank"), title=None)
    replica = alt.Chart(rows(frame)).encode(y=y)
    point = alt.Chart(rows(frame.drop_duplicates("label"))).encode(y=y)
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("mean:Q", title="mean (%)", format=".2f"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
        alt.Tooltip("choice:N"),
    ]
    layers = [
        point.mark_rule(style="ink", strokeWidth=1.5).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q", opacity=faded(choice)
        ),
        replica.mark_point(filled=True, size=70).encode(
            x=x,
            color=rank_colour(),
            opacity=faded(choice, 0.65),
            tooltip=[
                alt.Tooltip("label:N", title="setting"),
                alt.Tooltip("seed:N"),
                alt.Tooltip("error:Q", title="test error (%)", format=".2f"),
            ],
        ),
        point.mark_tick(style="ink", thickness=3, size=18).encode(
            x=alt.X("mean:Q", scale=scale), opacity=faded(choice), tooltip=tooltip
        ),
        row_words(point),
    ]
    if frame["low"].isna().all():  # one or two seeds have no interval
        layers = layers[1:]
    best = frame.iloc[0]
    words = (
        f"Test error of {frame['label'].nunique()} settings, a dot per seed. The best "
        f"by validation, {best['label']}: {best['mean']:.2f} %."
    )
    return finished(
        alt.layer(*layers).properties(height=rows_high(frame)).add_params(choice),
        "Every replica",
        [
            "One dot per seed, the mean, and its 95 % interval over seeds.",
            "Best first by validation; “tied”: not clearly different from it, at 5 %.",
        ],
        words,
    )


def rank_colour() -> Any:
    """Returns the colour of a point by its rank: the palette, then grey."""
    ranks = alt.Scale(domain=list(range(len(PALETTE))))
    # What is not in the domain would get a colour a second time.
    return (
        alt.when(f"datum.rank < {len(PALETTE)}")
        .then(alt.Color("rank:N", scale=ranks, legend=None))
        .otherwise(alt.value("#8A929B"))
    )


def differences_frame(trials: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per point but the best: its validation accuracy minus the best's.

    Args:
        trials: The table of trials.
        summary: The table of points, `labelled`.

    Returns:
        `label`, `rank` and `choice` of the point; its mean `difference` from the best,
        paired by seed, in percentage points, with the ends `low` and `high` of an
        interval that is simultaneous for all rows at 95 % (`compare.behind_best`); and
        `n` pairs.
    """
    columns = ["label", "rank", "choice", "difference", "low", "high", "n"]
    done = trials[trials["status"] == FINISHED]
    by_seed = done.pivot(index="seed", columns="point", values="validation_accuracy")
    rivals = summary[(summary["choice"] != "fewer seeds") & (summary["n"] > 0)]
    pairs = by_seed[rivals["point"]].dropna()
    found = []
    if (rivals["choice"] == "best").any() and len(pairs) > 1:
        behind = behind_best(pairs.to_numpy().T.tolist())
        for row, wide in zip(rivals.itertuples(), behind):
            ends = (-100 * end for end in (wide.mean, wide.high, wide.low))
            found.append((row.label, row.rank, row.choice, *ends, wide.n))
    table = pd.DataFrame(found, columns=columns)
    return table[table["choice"] != "best"].head(TOP - 1)


def differences_chart(frame: pd.DataFrame, best: str) -> Any:
    """Draws how far points are from the best; takes a `differences_frame`.

    Args:
        frame: The frame.
        best: The label of the best point.
    """
    choice = picked()
    y = alt.Y("label:N", sort=alt.SortField("rank"), title=None)
    x = alt.X(
        "difference:Q",
        title="difference (points)",
        axis=alt.Axis(format="+.3~f", tickCount=6),
    )
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("difference:Q", format="+.2f"),
        alt.Tooltip("low:Q", format="+.2f"),
        alt.Tooltip("high:Q", format="+.2f"),
        alt.Tooltip("n:Q", title="pairs"),
    ]
    base = alt.Chart(rows(frame)).encode(y=y, opacity=faded(choice))
    zero = alt.Chart(alt.InlineData(values=[{}]))
    layers = [
        zero.mark_rule(style="reference").encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=2.5).encode(
            x=alt.X("low:Q"), x2="high:Q", color=rank_colour()
        ),
        base.mark_point(filled=True, size=90).encode(
            x=x, color=rank_colour(), tooltip=tooltip
        ),
        row_words(base),
    ]
    tied = int((frame["choice"] == "tied").sum())
    return finished(
        alt.layer(*layers).properties(height=rows_high(frame)).add_params(choice),
        "Differences from the best",
        [
            f"Validation accuracy minus that of {best}, seed by seed.",
            "Intervals hold together at 95 %; “tied”: the interval includes zero.",
        ],
        f"Differences of {len(frame)} settings from {best}; {tied} are tied with it.",
    )
