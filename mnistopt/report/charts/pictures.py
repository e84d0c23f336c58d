"""Which pictures a study has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
import vl_convert

from mnistopt.files import replacing
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


# Pixels per unit of the chart: 1,160 for its usual width.
SCALE = 2


def vegalite_version() -> str:
    """Returns the version of Vega-Lite that the charts are written in, as "6.4"."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def to_svg(picture: Picture) -> str:
    """Returns a picture as SVG."""
    # None of its data is elsewhere: nothing may be fetched.
    return vl_convert.vegalite_to_svg(
        picture.spec, vl_version=vegalite_version(), allowed_base_urls=[]
    )


def write_picture(folder: Path, name: str, picture: Picture) -> bytes:
    """Writes NAME.png, .svg and .pdf, and its numbers as .csv; returns the PNG.

    Args:
        folder: Where they go.
        name: Of the picture.
        picture: The picture.
    """
    svg = to_svg(picture)
    contents = {
        "svg": svg.encode(),
        "png": vl_convert.svg_to_png(svg, scale=SCALE),
        "pdf": vl_convert.svg_to_pdf(svg),
        "csv": picture.frame.to_csv(index=False).encode(),
    }
    for form, content in contents.items():
        with replacing(folder / f"{name}.{form}") as partial:
            partial.write_bytes(content)
    return contents["png"]
