"""Pictures and classes: confusion, calibration, mistakes, and a contact sheet."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mnistopt.report.charts.theme import finished, picked, rows
from mnistopt.results.predictions import SEPARATOR, Predictions
from mnistopt.results.stats import proportion_interval

# Of the confidence, from 0 to 1.
BINS = 10
COLUMNS = 4
# Counts in the cells can be read for so many classes.
MOST_COUNTS = 20


def chosen_or_best(choice: alt.Parameter) -> Any:
    """Returns a filter of the rows of the point that is chosen, or else the best."""
    none_chosen = "!length(data('picked_store')) && datum.rank == 0"
    return alt.LogicalOrPredicate(
        **{"or": [{"param": choice.name, "empty": False}, none_chosen]}
    )


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
    for point, label, rank in summary[["point", "label", "rank"]].itertuples(
        index=False
    ):
        if point not in predictions:
            continue
        said = predictions[point]
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
    choice = picked()
    classes = frame.attrs["classes"]
    axis = alt.Axis(labelAngle=0, labelOverlap="greedy")
    base = (
        alt.Chart(rows(frame))
        .transform_filter(chosen_or_best(choice))
        .encode(
            x=alt.X("predicted:N", title="taken for", axis=axis).scale(domain=classes),
            y=alt.Y("true:N", title="class", axis=axis).scale(domain=classes),
            tooltip=[
                alt.Tooltip("label:N", title="point"),
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
    words = "Confusion matrix of the best point."
    if len(best):
        row = best.sort_values("count").iloc[-1]
        words += f" Most often {row['true']} is taken for {row['predicted']}."
    return finished(
        alt.layer(*layers).properties(height=560 if many else 340).add_params(choice),
        "Classes taken for others",
        ["Test images, mean count over seeds, of the best or the selected point."],
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
    for point, label, rank in summary[["point", "label", "rank"]].itertuples(
        index=False
    ):
        if point not in predictions:
            continue
        predicted = predictions[point]
        confidence = predicted.probabilities.max(axis=1).astype(float)
        right = predicted.vote == predicted.labels
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        for index in np.unique(bins):
            inside = bins == index
            count, hits = int(inside.sum()), int(right[inside].sum())
            ends = proportion_interval(hits, count)
            values = (confidence[inside].mean(), hits / count, *ends)
            drawn.append((label, rank, *(100 * value for value in values), count))
    columns = ["label", "rank", "confidence", "accuracy", "low", "high", "count"]
    return pd.DataFrame(drawn, columns=columns)


def reliability_chart(frame: pd.DataFrame) -> Any:
    """Draws accuracy against confidence; takes a `reliability_frame`."""
    choice = picked()
    base = alt.Chart(rows(frame)).transform_filter(chosen_or_best(choice))
    x = alt.X("confidence:Q", title="confidence of the vote (%)").scale(domain=[0, 100])
    y = alt.Y("accuracy:Q", title="right (%)").scale(domain=[0, 100])
    tooltip = [
        alt.Tooltip("label:N", title="point"),
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
            f"Expected calibration error of the best point: {error:.2f} points.",
        ],
        f"Reliability diagram of the best point; expected calibration error {error:.2f}"
        " percentage points.",
    )


def _tally(votes: str) -> str:
    """Writes what the seeds say as counts: "7 | 7 | 9" as 7 ×2, 9 ×1."""
    counts = Counter(votes.split(SEPARATOR))
    return ", ".join(f"{name} ×{count}" for name, count in counts.most_common())


def mistakes_chart(frame: pd.DataFrame) -> Any:
    """Draws the most confidently misread images of the chosen point.

    Args:
        frame: The table from `predictions.read_mistakes`, with `label` and `rank`.
    """
    choice = picked()
    placed = frame.assign(
        x=frame["place"] % COLUMNS,
        y=frame["place"] // COLUMNS,
        text=[
            f"{true} read as {vote}" for true, vote in zip(frame["true"], frame["vote"])
        ],
        sure=[f"{confidence:.0f} % sure" for confidence in frame["confidence"]],
        said=frame["votes"].map(_tally),
    )
    high = int(placed["y"].max()) + 1 if len(placed) else 1
    base = (
        alt.Chart(rows(placed))
        .transform_filter(chosen_or_best(choice))
        .encode(
            x=alt.X("x:Q", axis=None).scale(domain=[-0.5, COLUMNS - 0.5], nice=False),
            y=alt.Y("y:Q", axis=None).scale(
                domain=[high - 0.31, -0.31], nice=False, zero=False
            ),
            tooltip=[
                alt.Tooltip("label:N", title="point"),
                alt.Tooltip("index:Q", title="test image", format="d"),
                alt.Tooltip("votes:N", title="each seed's answer"),
            ],
        )
    )
    layers = [
        base.mark_image(width=64, height=64, smooth=False).encode(url="image:N"),
        base.mark_text(dy=43).encode(text="text:N"),
        base.mark_text(style="soft", dy=59, fontSize=11).encode(text="sure:N"),
        base.mark_text(style="soft", dy=73, fontSize=11).encode(text="said:N"),
    ]
    shown = placed[placed["rank"] == 0]["text"].tolist()
    return finished(
        alt.layer(*layers).properties(height=130 * high).add_params(choice),
        "Surely wrong",
        [
            "The test images that the seeds' vote misreads with most confidence,",
            "and each seed's answer; of the best or the selected point.",
        ],
        f"The most confidently misread images of the best point: {', '.join(shown)}.",
    )


# Pixels of an image on the sheet, and from one to the next.
_SIZE, _STEP = 40, 46


def samples_chart(frame: pd.DataFrame) -> Any:
    """Draws images as they are, and as each setting changes them.

    Args:
        frame: The table from `predictions.read_samples`.
    """
    lines = frame[["row", "draw"]].drop_duplicates().reset_index(drop=True)
    # A setting's draws stand together, a little apart from the next.
    lines["y"] = lines.index * _STEP + 22 * (lines["row"] + 1)
    placed = frame.merge(lines, on=["row", "draw"])
    placed["x"] = placed["place"] * _STEP + _STEP / 2
    heads = placed[(placed["draw"] == 0) & (placed["place"] == 0)]
    wide, high = int(placed["x"].max() + _STEP / 2), int(placed["y"].max() + _STEP)
    x = alt.X("x:Q", axis=None).scale(domain=[0, wide], nice=False)
    y = alt.Y("y:Q", axis=None).scale(domain=[high, 0], nice=False)
    layers = [
        alt.Chart(rows(placed[["x", "y", "image", "setting"]]))
        .mark_image(width=_SIZE, height=_SIZE, smooth=False, baseline="top")
        .encode(x=x, y=y, url="image:N", tooltip="setting:N"),
        alt.Chart(rows(heads[["y", "setting"]]))
        .mark_text(align="left", baseline="bottom", dy=-4)
        .encode(x=alt.value(3), y=y, text="setting:N"),
    ]
    settings = frame["setting"].unique()[1:]
    return finished(
        alt.layer(*layers).properties(width=wide, height=high),
        "What the network sees",
        ["Training images as they are, and two draws of each augmentation."],
        f"Training images changed by: {'; '.join(settings)}.",
    )
