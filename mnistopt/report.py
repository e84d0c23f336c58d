"""Pictures of a study."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mnistopt.files import replacing
from mnistopt.hparams import AXES, show
from mnistopt.results import read_table, summary_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind readers too
# (https://jfly.uni-koeln.de/color/), without its yellow, which is faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def point_labels(summary: pd.DataFrame) -> dict[str, str]:
    """Returns a name per point, made of what differs between the points.

    Args:
        summary: The table of points.

    Returns:
        Per value of the column `point` something like "lr 0.001, dropout 0.3"; model
        and learning rate where nothing differs.
    """
    rows = summary[list(AXES)].astype(object)
    rows = rows.where(rows.notna(), None)
    varying = [axis for axis in AXES if rows[axis].nunique(dropna=False) > 1]
    if not varying:
        varying = ["model", "lr"]
    labels = {}
    for point, (_, row) in zip(summary["point"], rows.iterrows()):
        parts = [
            str(row[axis]) if axis == "model" else f"{axis} {show(row[axis])}"
            for axis in varying
            if row[axis] is not None
        ]
        labels[point] = ", ".join(parts)
    return labels


def draw_curves(curves: pd.DataFrame, trials: pd.DataFrame) -> "Figure":
    """Draws loss and error rate against epochs: a line per point, a band over seeds.

    The best points by validation get a colour each, the others are grey. Lines are
    means over the seeds, bands reach from the lowest to the highest; the axes are
    logarithmic, so that good settings still differ.

    Args:
        curves: The table of epochs.
        trials: The table of trials.
    """
    from matplotlib.figure import Figure

    summary = summary_table(trials)
    labels = point_labels(summary)
    replicas = trials.groupby("point")["replica"].agg(frozenset)
    # Points that differ in epochs only are one curve: it bears the best one's name.
    names: dict[frozenset, str] = {}
    for point in summary["point"]:
        names.setdefault(replicas[point], labels[point])
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for rank, (members, name) in reversed(list(enumerate(names.items()))):
        one = curves[curves["replica"].isin(members)]
        if one.empty:
            continue
        coloured = rank < len(PALETTE)
        style = {
            "color": PALETTE[rank] if coloured else "#BBBBBB",
            "label": name if coloured else None,
            "zorder": len(names) - rank + 2,
        }
        _band(left, one, one["validation_loss"], style)
        _band(right, one, 100 * (1 - one["validation_accuracy"]), style)
    _frame(left, "Validation loss (nats)")
    _frame(right, "Validation error (%)")
    handles, texts = right.get_legend_handles_labels()
    seeds = curves["seed"].nunique()
    right.legend(
        handles[::-1],
        texts[::-1],
        title=f"best first; mean and range of {seeds} seed{'s' if seeds > 1 else ''}",
        title_fontsize=8,
        fontsize=8,
        frameon=False,
    )
    return figure


def _frame(panel: "Axes", title: str) -> None:
    """Gives a panel its title, axes and grid."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    panel.set_title(title, loc="left", fontsize=11, fontweight="bold")
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(True, which="major", color="#E5E5E5", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)
    # A logarithmic axis cannot show a picture without any positive number.
    if any(np.any(np.asarray(line.get_ydata()) > 0) for line in panel.lines):
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())


def _band(panel: "Axes", one: pd.DataFrame, values: pd.Series, style: dict) -> None:
    """Draws the mean over seeds per epoch, and their range."""
    by_epoch = values.where(np.isfinite(values)).groupby(one["epoch"])
    low, mean, high = by_epoch.min(), by_epoch.mean(), by_epoch.max()
    marker = "o" if len(mean) < 20 else None
    panel.plot(mean.index, mean, linewidth=1.8, marker=marker, markersize=3, **style)
    shade = {"color": style["color"], "alpha": 0.15, "zorder": style["zorder"]}
    panel.fill_between(mean.index, low, high, linewidth=0, **shade)


def save_figures(workdir: Path) -> Path:
    """Draws figures/curves.png unless it is newer than its tables; returns its path.

    Args:
        workdir: Folder of a study, with its tables.
    """
    path = workdir / "figures" / "curves.png"
    tables = [workdir / "curves.csv", workdir / "trials.csv"]
    newest = max(table.stat().st_mtime_ns for table in tables)
    if path.exists() and path.stat().st_mtime_ns > newest:
        return path
    curves, trials = (read_table(workdir, table.stem) for table in tables)
    with replacing(path) as partial:
        draw_curves(curves, trials).savefig(partial, format="png", dpi=150)
    return path
