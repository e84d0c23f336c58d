"""Which pictures a study has."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from mnistopt.report.charts import classes, costs, curves, points, sweep
from mnistopt.report.charts.theme import TOP
from mnistopt.results.labels import point_labels, varying_axes
from mnistopt.results.predictions import Predictions


class Picture(NamedTuple):
    """A chart, and the numbers that it shows.

    Attributes:
        frame: The numbers, a tidy table.
        chart: An Altair chart, with title and description.
        spec: The same as Vega-Lite has it.
    """

    frame: pd.DataFrame
    chart: Any
    spec: dict[str, Any]

    @classmethod
    def of(cls, frame: pd.DataFrame, chart: Any) -> "Picture":
        """Returns a picture of its numbers and its chart."""
        return cls(frame, chart, chart.to_dict(validate=False))

    @property
    def title(self) -> str:
        """What it shows."""
        return self.spec["title"]["text"]

    @property
    def subtitle(self) -> str:
        """How to read it."""
        return " ".join(self.spec["title"]["subtitle"])


def study_pictures(
    trials: pd.DataFrame,
    curve_rows: pd.DataFrame,
    summary: pd.DataFrame,
    predictions: Mapping[str, Predictions],
    mistakes: pd.DataFrame,
) -> dict[str, Picture]:
    """Returns the pictures that a study has something to show in, by name.

    Args:
        trials: The table of trials.
        curve_rows: The table of epochs.
        summary: The table of points, best first.
        predictions: Of the test split, by point, for those that have finished.
        mistakes: From `mistakes.read_mistakes`.
    """
    found: dict[str, Picture] = {}

    def add(name: str, frame: pd.DataFrame, chart: Any, *arguments: Any) -> None:
        if len(frame):
            found[name] = Picture.of(frame, chart(frame, *arguments))

    known = curves.curves_frame(curve_rows, trials, summary)
    done = summary[summary["n"] > 0]
    swept = varying_axes(done)
    add("seeds", points.seeds_frame(trials, summary), points.seeds_chart)
    add("error", known, curves.error_chart)
    add("loss", known, curves.loss_chart)
    if len(swept) == 2:
        add("sweep", sweep.grid_frame(done), sweep.grid_chart, done)
    if len(swept) > 2:
        add("sweep", sweep.parallel_frame(done), sweep.parallel_chart)
    labels = point_labels(summary)
    for best in summary[summary["choice"] == "best"]["point"]:
        apart = points.differences_frame(trials, summary)
        add("differences", apart, points.differences_chart, labels[best])
    if "dropout" in swept:
        add("gap", costs.gap_frame(summary), costs.gap_chart)
    known_costs = costs.cost_frame(trials, summary)
    if known_costs[["params", "multiply_adds"]].nunique().max() > 1:
        for cost in costs.COSTS:
            if known_costs[cost].nunique() > 1:
                add(cost, known_costs, costs.cost_chart, cost)
    if predictions:
        confused = classes.confusion_frame(summary, predictions)
        add("confusion", confused, classes.confusion_chart)
        sure = classes.reliability_frame(summary, predictions)
        add("reliability", sure, classes.reliability_chart)
    ranks = {point: rank for rank, point in enumerate(summary["point"])}
    named = mistakes.assign(
        label=mistakes["point"].map(labels), rank=mistakes["point"].map(ranks)
    )
    drawn = named[named["rank"] < TOP].sort_values(["rank", "place"])
    add("mistakes", drawn, classes.mistakes_chart)
    return found
