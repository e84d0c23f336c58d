"""Classes: which are taken for which, how often each is right, and how surely."""

from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mnistopt.report.charts.theme import chosen_or_best, finished, picked, rows
from mnistopt.results.calibration import reliability
from mnistopt.results.predictions import Predictions

# Counts in the cells can be read for so many classes.
MOST_COUNTS = 20


def _predicted(
    summary: pd.DataFrame, predictions: Mapping[str, Predictions]
) -> Iterator[tuple[str, int, Predictions]]:
    """Yields label, rank and predictions of the points that have some, best first."""
    for _, row in summary.iterrows():
        if row["point"] in predictions:
            yield row["label"], row["rank"], predictions[row["point"]]


def confusion_frame(
    summary: pd.DataFrame, predictions: Mapping[str, Predictions]
) -> pd.DataFrame:
    """Returns how often each class was taken for each, as a mean over seeds.

    Args:
        summary: The table of points, `labelled`.
        predictions: Predictions for the test split by point.

    Returns:
        A row per point, `true` and `predicted` class that occurs, by their names and in
        the order of the study's classes: `label` and `rank`;
        `count`, the mean over its `n` seeds; and the `share` of the true class, in
        per cent.
    """
    frames = []
    for label, rank, said in _predicted(summary, predictions):
        table, seeds = said.confusion(), len(said.seeds)
        true, predicted = np.nonzero(table)
        names = np.array(said.class_names, object)
        frame = pd.DataFrame({"true": names[true], "predicted": names[predicted]})
        frame["count"] = table[true, predicted]
        frame["share"] = 100 * frame["count"] / table.sum(axis=1)[true]
        frames.append(frame.assign(label=label, rank=rank, n=seeds))
    columns = ["label", "rank", "true", "predicted", "count", "share", "n"]
    cells = pd.concat(frames, ignore_index=True)[columns]
    cells.attrs["classes"] = list(next(iter(predictions.values())).class_names)
    return cells


def confusion_chart(frame: pd.DataFrame) -> Any:
    """Draws the confusion matrix of the chosen point; takes a `confusion_frame`."""
    choice = picked(clicked=False)
    classes = frame.attrs["classes"]
    axis = alt.Axis(labelAngle=0, labelOverlap="greedy")
    base = (
        alt.Chart(rows(frame))
        .transform_filter(chosen_or_best(choice))
        .encode(
            x=alt.X("predicted:N", title="taken for", axis=axis).scale(domain=classes),
            y=alt.Y("true:N", title="class", axis=axis).scale(domain=classes),
            tooltip=[
                alt.Tooltip("label:N", title="setting"),
                alt.Tooltip("true:N", title="class"),
                alt.Tooltip("predicted:N", title="taken for"),
                alt.Tooltip("count:Q", title="times, mean over seeds", format=".3~g"),
                alt.Tooltip("share:Q", title="% of the class", format=".2f"),
            ],
        )
    )  # fmt: skip
    wrong = base.transform_filter("datum.true != datum.predicted")
    right = base.transform_filter("datum.true == datum.predicted")
    off = frame[frame["true"] != frame["predicted"]]["share"]
    top = max(1.0, float(off.quantile(0.99)) if len(off) else 1.0)
    shade = alt.Color(
        "share:Q",
        scale=alt.Scale(scheme="oranges", domain=[0, top], clamp=True),
        legend=None,
    )
    many = len(classes) > MOST_COUNTS
    layers = [
        wrong.mark_rect(cornerRadius=2).encode(color=shade),
        wrong.mark_text(fontSize=12).encode(
            text=alt.Text("count:Q", format=".2~g"),
            color=alt.when(f"datum.share > {0.6 * top:.6g}")
            .then(alt.value("white"))
            .otherwise(alt.value("#1B1F24")),
        ),
        right.mark_text(style="soft").encode(text=alt.Text("count:Q", format=".3~g")),
    ][: 1 if many else None]
    best = frame[(frame["rank"] == 0) & (frame["true"] != frame["predicted"])]
    words = "Confusion matrix of the best setting."
    if len(best):
        row = best.sort_values("count").iloc[-1]
        words += f" Most often {row['true']} is taken for {row['predicted']}."
    return finished(
        alt.layer(*layers).properties(height=560 if many else 340).add_params(choice),
        "Classes taken for others",
        [
            "Numbers count test images (mean over seeds) of the best or the selected",
            "setting; shades are per cent of a class. Click a cell to see its digits.",
        ],
        words,
    )


def accuracy_frame(
    summary: pd.DataFrame, predictions: Mapping[str, Predictions]
) -> pd.DataFrame:
    """Returns how many of each class' test images each point recognizes.

    Args:
        summary: The table of points, `labelled`.
        predictions: Predictions for the test split by point.

    Returns:
        A row per point and class: `label`, `rank`, `class`, its `order`, and the
        `accuracy` in per cent, the seeds' mean, of `count` images.
    """
    frames = []
    for label, rank, said in _predicted(summary, predictions):
        table = said.per_class().rename_axis("order").reset_index()
        frames.append(table[table["count"] > 0].assign(label=label, rank=rank))
    whole = pd.concat(frames, ignore_index=True)
    whole["accuracy"] *= 100
    return whole[["label", "rank", "class", "order", "accuracy", "count"]]


def accuracy_chart(frame: pd.DataFrame) -> Any:
    """Draws the accuracy of each class by two points; takes an `accuracy_frame`."""
    choice = picked()
    base = alt.Chart(rows(frame)).encode(
        y=alt.Y("class:N", sort=alt.SortField("order"), title="class")
    )
    other = base.transform_filter(chosen_or_best(choice, rank=1))
    best = base.transform_filter("datum.rank == 0")
    x = alt.X("accuracy:Q", title="right (%)").scale(zero=False, padding=12, nice=False)
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("class:N"),
        alt.Tooltip("accuracy:Q", title="right (%)", format=".2f"),
        alt.Tooltip("count:Q", title="test images"),
    ]
    layers = [
        best.mark_point(filled=True, size=130, opacity=1, style="first").encode(
            x=x, tooltip=tooltip
        ),
        other.mark_point(
            shape="diamond", size=130, strokeWidth=2.5, style="second"
        ).encode(x=x, tooltip=tooltip),
    ]
    if frame["rank"].nunique() < 2:
        del layers[1]  # there is no other to compare with
    words = "Accuracy of each class."
    for _, row in frame[frame["rank"] == 0].nsmallest(1, "accuracy").iterrows():
        words = (
            f"Of the best setting's classes {row['class']} is recognized least often, "
            f"in {row['accuracy']:.1f} % of its images."
        )
    return finished(
        alt.layer(*layers)
        .properties(height=max(60, 26 * frame["class"].nunique()))
        .add_params(choice),
        "Accuracy of each class",
        [
            "Test images, mean over seeds. Dots: the best setting; diamonds: the",
            "selected one, or else the second best.",
        ],
        words,
    )


def reliability_frame(
    summary: pd.DataFrame, predictions: Mapping[str, Predictions]
) -> pd.DataFrame:
    """Returns how often the vote of a point's seeds is right, by its confidence.

    The vote is the class with the highest mean probability, its confidence.

    Args:
        summary: The table of points, `labelled`.
        predictions: Predictions for the test split by point.

    Returns:
        A row per point and bin of confidence that occurs: `label` and `rank`; the bin's
        mean `confidence`; the `accuracy` in it, with the ends `low` and `high` of
        Wilson's 95 % interval; all in per cent; and `count`, its test images.
    """
    drawn = []
    for label, rank, predicted in _predicted(summary, predictions):
        confidence = predicted.probabilities.max(axis=1).astype(float)
        right = predicted.vote == predicted.labels
        table = reliability(confidence, right)
        shares = ["confidence", "accuracy", "low", "high"]
        table[shares] *= 100
        drawn.append(table.assign(label=label, rank=rank))
    columns = ["label", "rank", "confidence", "accuracy", "low", "high", "count"]
    return pd.concat(drawn, ignore_index=True)[columns]


def reliability_chart(frame: pd.DataFrame) -> Any:
    """Draws accuracy against confidence; takes a `reliability_frame`."""
    choice = picked()
    base = alt.Chart(rows(frame)).transform_filter(chosen_or_best(choice))
    x = alt.X("confidence:Q", title="confidence of the vote (%)").scale(domain=[0, 100])
    y = alt.Y("accuracy:Q", title="right (%)").scale(domain=[0, 100])
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("confidence:Q", title="mean confidence (%)", format=".1f"),
        alt.Tooltip("accuracy:Q", title="right (%)", format=".1f"),
        alt.Tooltip("count:Q", title="test images", format=","),
    ]
    line = alt.InlineData(values=[{"x": 0, "y": 0}, {"x": 100, "y": 100}])
    layers = [
        alt.Chart(line).mark_line(style="reference").encode(x="x:Q", y="y:Q"),
        base.mark_rule(style="ink", strokeWidth=1.5).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q"
        ),
        base.mark_point(filled=True, opacity=1, style="first").encode(
            x=x,
            y=y,
            size=alt.Size("count:Q", legend=None).scale(type="log", range=[30, 400]),
            tooltip=tooltip,
        ),
    ]
    best = frame[frame["rank"] == 0]
    gap = (best["confidence"] - best["accuracy"]).abs()
    error = (gap * best["count"]).sum() / max(best["count"].sum(), 1)
    return finished(
        alt.layer(*layers).add_params(choice),
        "Is it as sure as it is right?",
        [
            "Test images by the confidence of the seeds' vote; size: how many images.",
            f"Expected calibration error of the best setting: {error:.2f} points.",
        ],
        f"Reliability diagram of the best setting; expected calibration error "
        f"{error:.2f} percentage points.",
    )
