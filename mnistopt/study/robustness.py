"""What the finished replicas of a point bear: their accuracy on corrupted images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mnistopt.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from mnistopt.data.splits import Split
from mnistopt.engine.predict import Predictor
from mnistopt.files import replacing
from mnistopt.results.stats import accuracy_interval, proportion_interval
from mnistopt.results.tables import FINISHED
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
    row, trials = study.trial(trial), study.trials
    if trial != "best":
        return [row["trial"]]
    mine = trials[(trials["point"] == row["point"]) & (trials["status"] == FINISHED)]
    return mine.sort_values("seed")["trial"].tolist()


def robustness(
    study: Study, examples: Split, trials: Sequence[str], weights: str = "last"
) -> pd.DataFrame:
    """Returns the accuracy of trials on images as they are, and corrupted.

    Args:
        study: The study.
        examples: Images uint8 [N, H, W, C], and labels [N].
        trials: Their names.
        weights: As in `Study.variables`.

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
    found = []
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
        for name, predicted in zip(trials, Predictor(images)(networks)):
            for strength, one in predicted.items():
                right = one.classes == examples.labels
                condition = (corruption, int(strength), amounts[strength])
                counts = (int(right.sum()), right.size, right.mean())
                found.append((name, seeds[name], *condition, *counts))
    return pd.DataFrame(found, columns=_COLUMNS)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the mean accuracy over trials, with its 95 % interval.

    Of several trials it is that over the seeds (`stats.accuracy_interval`), the images
    being fixed; of one trial Wilson's, over images, which for a mean over strengths is
    at least as wide as need be: the images are the same.

    Args:
        frame: From `robustness`.

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
    found = []
    for part in parts:
        for key, group in part.groupby(["corruption", "strength"], sort=False):
            values = group.groupby("trial")["accuracy"].mean()
            accuracy, count = float(values.mean()), int(group["count"].iloc[0])
            low, high = proportion_interval(accuracy * count, count)
            if len(values) > 1:
                accuracy, _, low, high, _ = accuracy_interval(values)
            found.append((*key, accuracy, low, high, len(values)))
    columns = ["corruption", "strength", "accuracy", "low", "high", "n"]
    return pd.DataFrame(found, columns=columns)


def write_robustness(workdir: Path, frame: pd.DataFrame, examples: Split) -> Path:
    """Writes corrupt.csv and figures/robustness.* into a workdir.

    Args:
        workdir: The folder of the study.
        frame: From `robustness`.
        examples: Those that it is of; the picture shows one of them corrupted.

    Returns:
        The path of the picture as PNG.
    """
    # Drawing takes a second to import.
    from mnistopt.report.charts import robustness as charts
    from mnistopt.report.charts.pictures import Picture, write_picture

    with replacing(workdir / "corrupt.csv") as partial:
        frame.to_csv(partial, index=False)
    # The first of the middle class; of ten digits the 5, which looks best turned.
    classes = np.unique(examples.labels)
    first = np.argmax(examples.labels == classes[len(classes) // 2])
    example = examples.images[first]
    drawn = charts.robustness_frame(summarise(frame), example)
    picture = Picture.of(drawn, charts.robustness_chart(drawn))
    write_picture(workdir / "figures", "robustness", picture)
    return workdir / "figures" / "robustness.png"
