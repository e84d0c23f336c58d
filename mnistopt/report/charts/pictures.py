"""Which pictures a study has, what they are made of, and how they are written."""

import contextlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
import vl_convert

from mnistopt.engine.memory import address_space
from mnistopt.errors import InputError
from mnistopt.files import read_csv, replacing
from mnistopt.manifest import FIGURES, OF_FIGURES, Manifest, digest
from mnistopt.report.charts import (
    classes,
    costs,
    curves,
    effects,
    images,
    points,
    robustness,
    search,
    space,
    sweep,
    votes,
)
from mnistopt.report.charts.theme import TOP
from mnistopt.results.columns import labelled, varying_axes
from mnistopt.results.config import Config, read_config
from mnistopt.results.effects import Effects, find_effects, interactions
from mnistopt.results.journal import find_importances
from mnistopt.results.ledger import Ledger, read_ledger
from mnistopt.results.predictions import Predictions, read_predictions
from mnistopt.results.sheets import (
    EVERY,
    read_mistakes,
    read_samples,
    read_weights,
)
from mnistopt.results.table_files import read_table
from mnistopt.results.tables import summary_table

_ROBUST = {"panel": str, "amount": str, "image": str}
# Pictures that `evaluate` has drawn.
EVALUATED = "robustness", "votes"
# The heading of pictures that a menu chooses from.
COST = "Cost"


class Picture(NamedTuple):
    """A chart, and the numbers that it shows.

    Attributes:
        frame: The numbers, a tidy table.
        chart: An Altair chart, with title and description.
        spec: The same as Vega-Lite has it.
        group: The heading that it stands under.
    """

    frame: pd.DataFrame
    chart: Any
    spec: dict[str, Any]
    group: str = ""

    @classmethod
    def of(cls, frame: pd.DataFrame, chart: Any, group: str = "") -> "Picture":
        """Returns a picture of its numbers and its chart."""
        return cls(frame, chart, chart.to_dict(validate=False), group)

    @property
    def title(self) -> str:
        """What it shows."""
        return self.spec["title"]["text"]

    @property
    def subtitle(self) -> str:
        """How to read it."""
        return " ".join(self.spec["title"]["subtitle"])


class Results(NamedTuple):
    """What a study's pictures and words are made of, read once.

    Attributes:
        config: The study's config.json.
        trials: The table of trials.
        curves: The table of epochs.
        summary: The table of points, best first, `labelled`.
        predictions: Predictions for the test split by point, of those drawn.
        mistakes: The table from `sheets.read_mistakes`.
        samples: The table from `sheets.read_samples`.
        effects: What the axes do; None if no axis varies.
        weights: The table from `sheets.read_weights`.
        ledger: Of a search: what it has proposed, and what that came to.
        importances: Of a search: Optuna's, by hyper-parameter.
        robust: What figures/robustness.csv has, where `evaluate --corrupt` has run.
        votes: What figures/votes.csv has, where `evaluate --ensemble` has run.
    """

    config: Config
    trials: pd.DataFrame
    curves: pd.DataFrame
    summary: pd.DataFrame
    predictions: Mapping[str, Predictions]
    mistakes: pd.DataFrame
    samples: pd.DataFrame
    effects: Effects | None = None
    weights: pd.DataFrame = pd.DataFrame()
    robust: pd.DataFrame = pd.DataFrame()
    votes: pd.DataFrame = pd.DataFrame()
    ledger: Ledger | None = None
    importances: Mapping[str, float] = {}

    @classmethod
    def read(cls, workdir: Path) -> "Results":
        """Reads what a workdir has; raises InputError if it is none."""
        config = read_config(workdir)
        trials, curves = read_table(workdir, "trials"), read_table(workdir, "curves")
        summary = labelled(summary_table(trials))
        predictions = {}
        for point in summary[summary["n"] > 0]["point"].head(TOP):
            with contextlib.suppress(InputError):  # a study that runs has none yet
                predictions[point] = read_predictions(workdir, point, "test")
        sheets = read_mistakes(workdir), read_samples(workdir)
        ledger = read_ledger(workdir)
        robust, voted = (_kept(workdir, name) for name in EVALUATED)
        rest = *sheets, find_effects(trials), read_weights(workdir), robust, voted
        searched = ledger, find_importances(workdir) if ledger else {}
        return cls(config, trials, curves, summary, predictions, *rest, *searched)


def _kept(workdir: Path, name: str) -> pd.DataFrame:
    """Returns the numbers of a picture that `evaluate` has drawn, if it has."""
    kept = f"{FIGURES}/{name}.csv"
    if not Manifest(workdir).is_altered(kept):
        with contextlib.suppress(OSError, ValueError):
            return read_csv(workdir / kept, dtype=_ROBUST, na_values=[])
    return pd.DataFrame()


def study_pictures(results: Results) -> dict[str, Picture]:
    """Returns the pictures that a study has something to show in, by name.

    The only place that knows which there are, and under which heading of the page.
    """
    _, trials, curve_rows, summary, predictions, mistakes, samples, found, *_ = results
    pictures: dict[str, Picture] = {}

    def add(
        group: str, name: str, frame: pd.DataFrame, chart: Any, *arguments: Any
    ) -> None:
        if len(frame):
            pictures[name] = Picture.of(frame, chart(frame, *arguments), group)

    if ledger := results.ledger:
        of, what = ledger.about["space"], "What it found"
        add("Search", "search", search.way_frame(ledger), search.way_chart)
        add("Search", "rungs", search.curves_frame(ledger), search.curves_chart)
        found_schedule = search.schedule_frame(ledger)
        add("Search", "schedule", found_schedule, search.schedule_chart, of)
        shares = space.importance_frame(results.importances)
        add(what, "decides", shares, space.importance_chart)
        slices = space.slices_frame(ledger)
        add(what, "slices", slices, space.slices_chart, of)
        lines = space.parallel_frame(ledger)
        add(what, "parallel", lines, space.parallel_chart, of)
    done = summary[summary["n"] > 0]
    swept = varying_axes(done)
    add("What matters", "effects", effects.values_frame(found), effects.values_chart)
    shares = effects.importance_frame(found)
    add("What matters", "importance", shares, effects.importance_chart)
    add("Accuracy", "seeds", points.seeds_frame(trials, summary), points.seeds_chart)
    if sweep.is_grid(done):
        add("Accuracy", "sweep", sweep.grid_frame(done), sweep.grid_chart, done)
    else:
        # At most as many as fill a row or two.
        for first, second, _ in interactions(found)[:4]:
            frame = sweep.pair_frame(done, first, second)
            name = f"interaction-{first}-{second}"
            add("What matters", name, frame, sweep.pair_chart, done, first, second)
        if len(swept) > 2:
            add("Accuracy", "sweep", sweep.parallel_frame(done), sweep.parallel_chart)
    for best in summary[summary["choice"] == "best"]["label"]:
        apart = points.differences_frame(trials, summary)
        add("Accuracy", "differences", apart, points.differences_chart, best)
    known = curves.curves_frame(curve_rows, trials, summary)
    fit = curves.fit_frame(curve_rows, trials, done)
    add("Learning", "fit", fit, curves.fit_chart)
    add("Learning", "error", known, curves.error_chart)
    add("Learning", "loss", known, curves.loss_chart)
    if "dropout" in swept:
        add("Learning", "gap", costs.gap_frame(summary), costs.gap_chart)
    add("Learning", "samples", samples, images.samples_chart)
    add("Learning", "weights", results.weights, images.weights_chart)
    known_costs = costs.cost_frame(trials, summary)
    for cost in costs.differing(known_costs):
        add(COST, cost, known_costs, costs.cost_chart, cost)
    ranked = mistakes.merge(summary[["point", "label", "rank"]], on="point")
    drawn = ranked[ranked["rank"] < TOP].sort_values(["rank", "place"])
    add("Mistakes", "mistakes", drawn, images.mistakes_chart)
    if predictions:
        confused = classes.confusion_frame(summary, predictions)
        add("Mistakes", "confusion", confused, classes.confusion_chart)
        right = classes.accuracy_frame(summary, predictions)
        add("Mistakes", "classes", right, classes.accuracy_chart)
        every = mistakes[mistakes["point"] == EVERY]
        add("Mistakes", "hardest", every, images.hardest_chart)
        sure = classes.reliability_frame(summary, predictions)
        add("Mistakes", "reliability", sure, classes.reliability_chart)
    add("Mistakes", "votes", results.votes, votes.votes_chart)
    add("Robustness", "robustness", results.robust, robustness.robustness_chart)
    return pictures


# Pixels per unit of the chart: 1,160 for its usual width.
SCALE = 2


def vegalite_version() -> str:
    """Returns the version of Vega-Lite that the charts are written in, as "6.4"."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


# Bytes of addresses that vl-convert's V8 reserves; where it gets none, it ends the
# process. 60 GB did not suffice, 68 GB did (vl-convert 1.9, Linux).
ADDRESSES = 68e9


def check_drawing() -> None:
    """Raises InputError if this process cannot draw, as its addresses are limited."""
    if (limit := address_space()) < ADDRESSES:
        raise InputError(
            f"this process is limited to {limit / 1e9:.3g} GB of addresses (ulimit "
            f"-v), and drawing reserves {ADDRESSES / 1e9:.0f} GB: the results are "
            "saved; draw the report without that limit"
        )


def to_svg(picture: Picture) -> str:
    """Returns a picture as SVG."""
    check_drawing()
    # None of its data is elsewhere: nothing may be fetched.
    return vl_convert.vegalite_to_svg(
        picture.spec, vl_version=vegalite_version(), allowed_base_urls=[]
    )


def to_png(spec: dict[str, Any]) -> bytes:
    """Returns a chart in Vega-Lite as PNG, of a size for a page."""
    check_drawing()
    return vl_convert.vegalite_to_png(
        spec, vl_version=vegalite_version(), scale=1.5, allowed_base_urls=[]
    )


def drawn(picture: Picture) -> dict[str, bytes]:
    """Returns a picture as SVG, PNG and PDF, and its numbers as CSV, by suffix."""
    svg = to_svg(picture)
    return {
        "svg": svg.encode(),
        "png": vl_convert.svg_to_png(svg, scale=SCALE),
        "pdf": vl_convert.svg_to_pdf(svg),
        "csv": picture.frame.to_csv(index=False).encode(),
    }


def write_picture(folder: Path, name: str, picture: Picture) -> bytes:
    """Writes NAME.png, .svg and .pdf, and its numbers as .csv; returns the PNG.

    Args:
        folder: Where they go.
        name: The picture's name.
        picture: The picture.
    """
    contents = drawn(picture)
    for form, content in contents.items():
        with replacing(folder / f"{name}.{form}") as partial:
            partial.write_bytes(content)
    return contents["png"]


def keep_picture(workdir: Path, name: str, picture: Picture) -> bytes:
    """Writes a picture into a study's figures/ unless it is there; returns the PNG.

    Args:
        workdir: Folder of the study.
        name: The picture's name.
        picture: The picture.
    """
    manifest = Manifest(workdir, OF_FIGURES)
    of = digest(picture.spec, version("vl-convert-python"))
    names = {form: f"{FIGURES}/{name}.{form}" for form in ("svg", "png", "pdf", "csv")}
    if manifest.fresh(dict.fromkeys(names.values(), of)) != set(names.values()):
        contents = drawn(picture)
        manifest.write({names[form]: contents[form] for form in names}, of)
        return contents["png"]
    return (workdir / names["png"]).read_bytes()
