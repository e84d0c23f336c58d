"""How a study's networks do on corrupted images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mnistopt.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from mnistopt.data.splits import Split
from mnistopt.engine.predict import Predictor
from mnistopt.files import writing_to
from mnistopt.manifest import OF_FIGURES, Manifest
from mnistopt.results.columns import labelled
from mnistopt.results.stats import FEWEST_SEEDS, accuracy_interval, proportion_interval
from mnistopt.results.table_files import read_table
from mnistopt.results.tables import summary_table
from mnistopt.study.study import Study

CLEAN, ALL, MEAN = "clean", "all", "mean"
_COLUMNS = ["trial", "seed", "corruption", "strength", "amount"]
_COLUMNS += ["correct", "count", "accuracy"]


def trials_of(study: Study, trial: str) -> list[str]:
    """Returns which trials are meant, by seed.

    Args:
        study: The study.
        trial: A trial's name, for that one; "best" for all finished seeds of its point.

    Raises:
        InputError: If the trial is unknown.
    """
    return study.siblings(trial) if trial == "best" else [study.trial(trial)["trial"]]


def robustness(
    study: Study, examples: Split, trials: Sequence[str], weights: str = "last"
) -> pd.DataFrame:
    """Returns the accuracy of trials on images as they are, and corrupted.

    Args:
        study: The study.
        examples: Images uint8 [N, H, W, C], and labels [N].
        trials: The names of the trials.
        weights: See `Study.variables`.

    Returns:
        A row per corruption, trial and strength: `trial`, `seed`, `corruption`,
        `strength`, its `amount`, `correct` of `count` images, and `accuracy`. The
        corruption "clean", of strength 0, is none.

    Raises:
        InputError: If a trial is unknown, or the images are no uint8.
    """
    seeds = dict(zip(study.trials["trial"], study.trials["seed"]))
    networks = [
        (study.network(name), study.variables(name, weights)) for name in trials
    ]
    rows = []
    for corruption in (CLEAN, *CORRUPTIONS):
        images, amounts = {"0": examples.images}, {"0": 0.0}
        if corruption != CLEAN:
            amounts = {
                str(strength): amount
                for strength, amount in zip(STRENGTHS, CORRUPTIONS[corruption].amounts)
            }
            images = {
                strength: corrupt(examples.images, corruption, int(strength))
                for strength in amounts
            }
        predictor = Predictor(images, study.config.precision)
        for name, predicted in zip(trials, predictor(networks)):
            for strength, prediction in predicted.items():
                right = prediction.classes == examples.labels
                condition = (corruption, int(strength), amounts[strength])
                counts = (int(right.sum()), right.size, right.mean())
                rows.append((name, seeds[name], *condition, *counts))
    return pd.DataFrame(rows, columns=_COLUMNS)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the mean accuracy over trials, with its 95 % interval.

    Of `FEWEST_SEEDS` or more trials it is that over the seeds, the images being fixed
    (`stats.accuracy_interval`); of fewer Wilson's, over images, which for a mean over
    strengths is at least as wide as need be: the images are the same.

    Args:
        frame: The table from `robustness`.

    Returns:
        A row per `corruption` and `strength`, a text; of the corruption "all", the mean
        over all of them; of the strength "mean", that over all strengths: `accuracy`,
        `low`, `high`, and `n`, the number of trials.
    """
    corrupted = frame[frame["corruption"] != CLEAN]
    parts = [
        frame.assign(strength=frame["strength"].astype(str)),
        corrupted.assign(corruption=ALL, strength=corrupted["strength"].astype(str)),
        corrupted.assign(strength=MEAN),
        corrupted.assign(corruption=ALL, strength=MEAN),
    ]
    rows = []
    for part in parts:
        for key, group in part.groupby(["corruption", "strength"], sort=False):
            values = group.groupby("trial")["accuracy"].mean()
            accuracy, count = float(values.mean()), int(group["count"].iloc[0])
            low, high = proportion_interval(accuracy * count, count)
            if len(values) >= FEWEST_SEEDS:
                accuracy, _, low, high, _ = accuracy_interval(values)
            rows.append((*key, accuracy, low, high, len(values)))
    columns = ["corruption", "strength", "accuracy", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def write_robustness(workdir: Path, frame: pd.DataFrame, examples: Split) -> Path:
    """Writes corrupt.csv and figures/robustness.* into a workdir.

    Args:
        workdir: The folder of the study.
        frame: The table from `robustness`.
        examples: The images that it describes; the picture shows one of them corrupted.

    Returns:
        The path of the picture as PNG.
    """
    # Drawing takes a second to import.
    from mnistopt.report.charts import robustness as charts
    from mnistopt.report.charts.pictures import Picture, keep_picture

    # The first of the middle class; of ten digits the 5, which looks best turned.
    classes = np.unique(examples.labels)
    first = np.argmax(examples.labels == classes[len(classes) // 2])
    example = examples.images[first]
    trials = read_table(workdir, "trials")
    summary = labelled(summary_table(trials))
    point = trials[trials["trial"] == frame["trial"].iloc[0]]["point"].iloc[0]
    (setting,) = summary[summary["point"] == point]["label"]
    drawn = charts.robustness_frame(summarise(frame), example, setting)
    picture = Picture.of(drawn, charts.robustness_chart(drawn))
    with writing_to(workdir):
        table = frame.to_csv(index=False).encode()
        Manifest(workdir, OF_FIGURES).write({"corrupt.csv": table})
        keep_picture(workdir, "robustness", picture)
    return workdir / "figures" / "robustness.png"
