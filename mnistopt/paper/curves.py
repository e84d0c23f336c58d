"""Learning curves of a reproduction: by learning rate, and by dropout."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from mnistopt.paper.evidence import Evidence
from mnistopt.paper.learning import Run
from mnistopt.paper.tables import cnn_dropout, mlp_dropout, tuned
from mnistopt.report.charts.curves import error_chart, grouped_curves, loss_chart


def _like(point: Any, *names: str) -> Callable[[Run], bool]:
    """Says whether a run differs from a point in these columns only, if at all."""
    ignored = {*names, "epochs"}

    def is_like(run: Run) -> bool:
        one, other = run.point.row(), point.row()
        same = all(one[name] == other[name] for name in other if name not in ignored)
        return run.part != "best" and same

    return is_like


# Name, title, chart, and which runs are in it.
CURVES = (
    (
        "rates",
        "Validation error of the best CNN, by learning rate",
        error_chart,
        _like(tuned(), "lr"),
    ),
    (
        "cnn-dropout",
        "Validation loss of the best CNN, by dropout",
        loss_chart,
        _like(cnn_dropout(0.0), "dropout"),
    ),
    (
        "mlp-dropout",
        "Validation loss of the MLP 128x128, by dropout",
        loss_chart,
        _like(mlp_dropout(0.0), "dropout"),
    ),
)


def runs_frame(runs: Sequence[Run], evidence: Evidence) -> pd.DataFrame:
    """Returns the curves of runs by epoch, best first by their last accuracy.

    They are shown for as many epochs as all of them have.

    Args:
        runs: Of one picture.
        evidence: With their curves.

    Returns:
        As `report.charts.curves.grouped_curves`.
    """
    last = {}
    epochs = min((run.point.epochs for run in runs), default=0)
    curves = evidence.curves[evidence.curves["epoch"] <= epochs]
    for run in runs:
        known = curves[
            (curves["part"] == run.part) & curves["replica"].isin(run.replicas)
        ]
        last[run] = known[known["epoch"] == epochs]["validation_accuracy"].mean()
    # Two parts may have trained the same; the one with most seeds stands for it.
    by_name = {run.name: run for run in sorted(last, key=lambda run: len(run.replicas))}
    best_first = sorted(by_name.values(), key=lambda run: last[run], reverse=True)
    names = {run.name.rpartition(", ")[0]: run.replicas for run in best_first}
    if not names:
        return pd.DataFrame(columns=["label"])
    return grouped_curves(curves, names)
