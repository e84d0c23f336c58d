"""Learning curves: loss and error by epoch, a line per point, a band over its seeds."""

from collections.abc import Collection, Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mnistopt.report.charts.theme import (
    PALETTE,
    TOP,
    chosen_or_best,
    faded,
    finished,
    legend,
    picked,
    positive_scale,
    rows,
)

# In nats: guessing has ln 10 = 2.3, and a replica that diverges goes to infinity.
FAR = 10


def curves_frame(
    curves: pd.DataFrame, trials: pd.DataFrame, summary: pd.DataFrame
) -> pd.DataFrame:
    """Returns a row per point and epoch: means over its seeds, and their range.

    Points that differ in epochs only are one curve, with the best one's name.

    Args:
        curves: The table of epochs.
        trials: The table of trials.
        summary: The table of points, `labelled`.

    Returns:
        As `grouped_curves`; `rank` is that of the point.
    """
    replicas = trials.groupby("point")["replica"].agg(frozenset)
    names: dict[frozenset, str] = {}
    for point, label in zip(summary["point"], summary["label"]):
        names.setdefault(replicas[point], label)
    frame = grouped_curves(curves, {name: members for members, name in names.items()})
    ranks = dict(zip(summary["label"], summary["rank"]))
    return frame.assign(rank=frame["label"].map(ranks).astype(int))


def grouped_curves(
    curves: pd.DataFrame, groups: Mapping[str, Collection[str]]
) -> pd.DataFrame:
    """Returns a row per group of replicas and epoch: their means and range.

    Args:
        curves: The table of epochs.
        groups: Replicas by the label of what they share, best first.

    Returns:
        `label`, `rank` (from 0), `epoch`, `n`, the number of seeds; and for
        `loss` (validation, nats) and `error` (validation, %) their mean and, with
        `_low` and `_high`, range; empty where a loss is NaN.
    """
    loss = curves["validation_loss"].astype(float)
    losses = curves.assign(
        loss=loss.where(np.isfinite(loss)),
        error=100 * (1 - curves["validation_accuracy"]),
    )
    columns = ["label", "rank", "epoch", "n"]
    columns += [f"{v}{end}" for v in ("loss", "error") for end in ("", "_low", "_high")]
    frames = [pd.DataFrame(columns=columns)] if not groups else []
    for rank, (name, members) in enumerate(list(groups.items())[:TOP]):
        epochs = losses[losses["replica"].isin(members)].groupby("epoch")
        frame = pd.DataFrame({"n": epochs.size()})
        for value in ("loss", "error"):
            frame[value] = epochs[value].mean()
            frame[f"{value}_low"] = epochs[value].min()
            frame[f"{value}_high"] = epochs[value].max()
        frames.append(frame.reset_index().assign(label=name, rank=rank))
    return pd.concat(frames, ignore_index=True)[columns].astype({"rank": int})


# Points whose training is drawn, the best ones.
FITTED = 12
_PARTS = {"train": "training images, dropout on", "validation": "validation images"}


def fit_frame(
    curves: pd.DataFrame, trials: pd.DataFrame, summary: pd.DataFrame
) -> pd.DataFrame:
    """Returns errors on training and validation images, of the best points.

    Args:
        curves: The table of epochs.
        trials: The table of trials.
        summary: The table of points, `labelled`.

    Returns:
        A row per point, `part` (which images) and `epoch`: `label`, `rank`, `n`, and
        the mean `error` over seeds in per cent with its range, `low` to `high`.
    """
    frames = [pd.DataFrame(columns=["label", "rank", "part", "epoch", "error"])]
    for _, point in summary.head(FITTED).iterrows():
        members = trials[trials["point"] == point["point"]]["replica"]
        known = curves["replica"].isin(members) & (curves["epoch"] <= point["epochs"])
        epochs = curves[known].groupby("epoch")
        for name, words in _PARTS.items():
            error = 100 * (1 - epochs[f"{name}_accuracy"].mean())
            about = {"label": point["label"], "rank": point["rank"], "part": words}
            ends = {
                "low": 100 * (1 - epochs[f"{name}_accuracy"].max()),
                "high": 100 * (1 - epochs[f"{name}_accuracy"].min()),
            }
            part = pd.DataFrame({"error": error, **ends, "n": epochs.size()})
            frames.append(part.reset_index().assign(**about))
    whole = [frame for frame in frames if len(frame)] or frames
    return pd.concat(whole, ignore_index=True).astype({"rank": int})


def fit_chart(frame: pd.DataFrame) -> Any:
    """Draws training beside validation error; takes a `fit_frame`."""
    choice = picked()
    # A logarithmic axis cannot show a zero: there the range is left out.
    frame = frame.assign(low=frame["low"].where(frame["low"] > 0))
    colour = alt.Color("part:N", legend=alt.Legend(title=None, symbolOpacity=1))
    colour = colour.scale(domain=list(_PARTS.values()))
    scale = positive_scale(frame["error"].dropna(), padding=8)
    base = (
        alt.Chart(rows(frame))
        .transform_filter(chosen_or_best(choice))
        .encode(x=_epochs(frame), color=colour)
    )
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("part:N", title="on"),
        alt.Tooltip("epoch:Q", format="d"),
        alt.Tooltip("error:Q", title="error (%)", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    y = alt.Y("error:Q", title="error (%)", scale=scale).axis(format="~g", tickCount=5)
    layers = [
        base.mark_area(opacity=0.15, strokeWidth=0).encode(
            y=alt.Y("low:Q", scale=scale), y2="high:Q"
        ),
        base.mark_line(strokeWidth=2.5).encode(y=y),
        base.mark_point(filled=True, size=40, opacity=1).encode(y=y, tooltip=tooltip),
    ]
    last = frame[frame["rank"] == 0].groupby("part", sort=False)["error"].last()
    ends = "; ".join(f"{part}: {error:.2f} %" for part, error in last.items())
    return finished(
        alt.layer(*layers).add_params(choice),
        "Training beside validation",
        [
            "Mean over seeds and their range, of the best or the selected setting. In",
            "training, images count as they came: augmented, as the epoch went on.",
        ],
        f"Error of the best setting by epoch; at the end, {ends}.",
    )


def loss_chart(frame: pd.DataFrame) -> Any:
    """Draws the validation loss by epoch; takes a `curves_frame`."""
    return _chart(frame, "loss", "Validation loss", "nats")


def error_chart(frame: pd.DataFrame) -> Any:
    """Draws the validation error by epoch; takes a `curves_frame`."""
    return _chart(frame, "error", "Validation error", "%")


def _epochs(frame: pd.DataFrame) -> alt.X:
    """Returns the axis of epochs, with a tick for each of up to a dozen."""
    epochs = sorted(set(frame["epoch"].astype(int)))
    few: dict[str, Any] = {"values": epochs} if len(epochs) <= 12 else {}
    return alt.X("epoch:Q", axis=alt.Axis(format="d", tickMinStep=1, **few))


def _chart(frame: pd.DataFrame, name: str, title: str, unit: str) -> Any:
    labels = frame.drop_duplicates("label")["label"].tolist()
    # A logarithmic axis cannot show a zero: it is left out of it.
    shown = frame[frame[name] > 0].copy()
    shown[f"{name}_low"] = shown[f"{name}_low"].where(shown[f"{name}_low"] > 0)
    far = bool(name == "loss" and shown[name].max() > FAR)
    choice = picked(legend=True)
    top: dict[str, Any] = {"domainMax": FAR} if far else {}
    scale = alt.Scale(type="log", nice=False, padding=8, **top)
    axis = alt.Axis(tickCount=5, format="~g")
    words = f"{title.lower()} ({unit})"
    y = alt.Y(f"{name}:Q", title=words, scale=scale, axis=axis)
    tooltip = [
        alt.Tooltip("label:N", title="setting"),
        alt.Tooltip("epoch:Q", format="d"),
        alt.Tooltip(f"{name}:Q", title="mean", format=".3~g"),
        alt.Tooltip(f"{name}_low:Q", title="lowest", format=".3~g"),
        alt.Tooltip(f"{name}_high:Q", title="highest", format=".3~g"),
        alt.Tooltip("n:Q", title="seeds", format="d"),
    ]
    base = alt.Chart(rows(shown)).encode(x=_epochs(shown))
    best = base.transform_filter(f"datum.rank < {len(PALETTE)}")
    # The colour of a point is that of its rank; points without a curve leave theirs.
    ranks = dict(zip(frame["rank"], frame["label"]))
    domain = [ranks.get(rank, f" {rank}") for rank in range(len(PALETTE))]
    key = legend()
    key["values"] = [label for label in domain if label in labels]
    colours = alt.Scale(domain=domain)
    best = best.encode(color=alt.Color("label:N", scale=colours, legend=key))
    size = 30 if shown["epoch"].nunique() < 20 else 12
    layers = [
        best.mark_area(strokeWidth=0, clip=far).encode(
            y=alt.Y(f"{name}_low:Q", scale=scale),
            y2=f"{name}_high:Q",
            opacity=faded(choice, 0.15),
        ),
        # The layer of the legend, which the choice is bound to.
        best.mark_line(strokeWidth=2.5, clip=far)
        .encode(y=y, opacity=faded(choice))
        .add_params(choice),
        base.mark_point(filled=True, size=3 * size, opacity=0, clip=far).encode(
            y=y, tooltip=tooltip, detail="label:N"
        ),
        best.mark_point(filled=True, size=size, clip=far).encode(
            y=y, tooltip=tooltip, opacity=faded(choice)
        ),
    ]
    if frame["rank"].max() >= len(PALETTE):
        others = base.transform_filter(f"datum.rank >= {len(PALETTE)}")
        lines = others.mark_line(style="others", strokeWidth=1, clip=far)
        opacity = faded(choice, 0.5)
        layers.insert(0, lines.encode(y=y, detail="label:N", opacity=opacity))
    words = f"{title} by epoch of {len(labels)} settings."
    last = shown[shown["rank"] == 0].tail(1)
    for label, end in zip(last["label"], last[name]):
        words += f" The best, {label}, ends at {end:.3g} {unit}."
    return finished(
        alt.layer(*layers),
        title,
        ["Mean over seeds; bands from the lowest to the highest seed."]
        + [f"Losses above {FAR} nats, from networks that learn nothing, are cut off."]
        * far,
        words,
    )
