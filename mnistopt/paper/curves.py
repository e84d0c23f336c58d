"""Learning curves of a reproduction: by learning rate, and by dropout."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from mnistopt.paper.learning import Run
from mnistopt.paper.tables import cnn_dropout, mlp_dropout, tuned
from mnistopt.points import Point
from mnistopt.report.charts.curves import error_chart, grouped_curves, loss_chart


class Comparison(NamedTuple):
    """Runs that differ in one number.

    Attributes:
        name: Of the picture.
        title: What it shows.
        chart: Draws a `runs_frame`.
        point: One of them.
        axis: What differs, a column of `Point.row`.
    """

    name: str
    title: str
    chart: Callable[[pd.DataFrame], Any]
    point: Point
    axis: str

    def find(self, runs: Iterable[Run]) -> dict[float, Run]:
        """Returns those of `runs` that are compared, by the number that differs.

        Length apart, and not of the part "best". Two parts may have trained the same;
        the one with most seeds stands for it.
        """
        ordered = sorted(runs, key=lambda run: len(run.replicas))
        return {run.point.row()[self.axis]: run for run in ordered if self._has(run)}

    def _has(self, run: Run) -> bool:
        one, other = run.point.row(), self.point.row()
        ignored = (self.axis, "epochs")
        same = all(one[name] == other[name] for name in other if name not in ignored)
        return run.part != "best" and same


COMPARISONS = (
    Comparison(
        "rates",
        "Validation error of the paper's best CNN",
        error_chart,
        tuned(),
        "lr",
    ),
    Comparison(
        "cnn-dropout",
        "Validation loss of the CNN 32x64x64/128",
        loss_chart,
        cnn_dropout(0.0),
        "dropout",
    ),
    Comparison(
        "mlp-dropout",
        "Validation loss of the MLP 128x128",
        loss_chart,
        mlp_dropout(0.0),
        "dropout",
    ),
)
_WORDS = {"lr": "learning rate"}


def runs_frame(
    comparison: Comparison, by_value: Mapping[float, Run], curves: pd.DataFrame
) -> pd.DataFrame:
    """Returns the curves of a comparison by epoch, best first by their last accuracy.

    They are shown for as many epochs as all of them have.

    Args:
        comparison: What is compared.
        by_value: From its `find`, some.
        curves: From `evidence.collect_curves`.

    Returns:
        As `report.charts.curves.grouped_curves`.
    """
    epochs = min(run.point.epochs for run in by_value.values())
    curves = curves[curves["epoch"] <= epochs]
    last = curves[curves["epoch"] == epochs].set_index(["part", "replica"])
    accuracy = last["validation_accuracy"]
    best_first = sorted(
        by_value,
        key=lambda value: (
            -accuracy.loc[by_value[value].part].reindex(by_value[value].replicas).mean()
        ),
    )
    words = _WORDS.get(comparison.axis, comparison.axis)
    return grouped_curves(
        curves, {f"{words} {value:g}": by_value[value].replicas for value in best_first}
    )
