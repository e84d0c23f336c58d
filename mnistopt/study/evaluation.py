"""What a study's networks are evaluated on: its data, others, corrupted images."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mnistopt.data.arrays import read_arrays
from mnistopt.data.check import check_own
from mnistopt.data.classes import positions
from mnistopt.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split, make_splits
from mnistopt.engine.predict import Predictor
from mnistopt.errors import InputError
from mnistopt.files import check_path, writing_to
from mnistopt.manifest import OF_FIGURES, Manifest
from mnistopt.results.columns import labelled
from mnistopt.results.config import Config, DataDescription
from mnistopt.results.stats import FEWEST_SEEDS, accuracy_interval, proportion_interval
from mnistopt.results.table_files import read_table
from mnistopt.results.tables import summary_table
from mnistopt.study.request import load_data
from mnistopt.study.study import Study

CLEAN, ALL, MEAN = "clean", "all", "mean"
_COLUMNS = ["trial", "seed", "corruption", "strength", "amount"]
_COLUMNS += ["correct", "count", "accuracy"]


def study_data(config: Config, data_dir: str | Path | None) -> Dataset:
    """Returns the data of a study, split as they were for it.

    Args:
        config: The study's.
        data_dir: See `load`; None for where they were.

    Raises:
        InputError: If they cannot be had.
    """
    about, file = config.data, config.data_file
    if file and data_dir:
        raise InputError(f"data_dir={data_dir} has no effect: the data are {file}")
    folder = data_dir or config.data_dir
    try:
        if file:
            return _read_own(Path(file), about)
        return load_data(None, about.dataset, folder, about.train_examples)
    except InputError as error:
        moved = file or (None if data_dir else folder)
        if not moved or Path(moved).exists():
            raise
        setting = "data" if file else "data_dir"
        raise InputError(
            f"{error}\nThe study's data were in {moved}. If they have been moved, say "
            f"where they are: `{setting}=...`"
        ) from error


def _read_own(path: Path, about: DataDescription) -> Dataset:
    """Returns a file or folder as data for a study, its classes matched by name.

    Args:
        path: See `Dataset.from_file`.
        about: The study's data.

    Raises:
        InputError: If it cannot be used, or has a class that the study has not.
    """
    path, names = check_path("data", path) or Path(), about.class_names
    height, width, channels = about.image_shape
    fitted = ((height, width), channels) if path.is_dir() else ()
    parts, theirs = check_own(**read_arrays(path, *fitted))
    parts = [
        part._replace(labels=positions(theirs, names, str(path), part.labels))
        for part in parts
    ]
    data = Dataset.from_splits(path.stem, *make_splits(*parts), names)
    size = about.train_examples
    return data.with_train_examples(
        size if size and size <= len(data.train.labels) else None
    )


def evaluated_data(
    config: Config,
    data: str | Path | None,
    dataset: str | None,
    data_dir: str | Path | None,
    split: str,
) -> Dataset:
    """Returns the data to evaluate a study on: its own, or others to test it on.

    Args:
        config: The study's.
        data: See `load_data`.
        dataset: See `load`; None, or the study's, for its own.
        data_dir: See `load`.
        split: The part that is evaluated: "train", "validation" or "test".

    Returns:
        The data, their labels positions among the study's classes.

    Raises:
        InputError: If they cannot be had, or have a class that the study has not; or if
            they are others, and not to be tested on: what was held out of others has
            nothing to do with the study.
    """
    about = config.data
    if not data and dataset in (None, about.dataset):
        chosen = study_data(config, data_dir)
    elif data:
        if dataset or data_dir:
            raise InputError("give either data, or dataset and data_dir")
        chosen = _read_own(Path(data), about)
    else:
        chosen = _matched(load_data(None, dataset, data_dir, None), about.class_names)
    if chosen.image_shape != about.image_shape:
        raise InputError(
            f"{chosen.name} has images of shape {chosen.image_shape}; the study's "
            f"networks take {about.image_shape}"
        )
    if chosen.fingerprint != about.fingerprint and split != "test":
        raise InputError(
            f"{chosen.name} is not the data that the study was trained on "
            f"({about.dataset}, {about.train} training examples): its {split} part was "
            "not the study's. Only `split=test` can be evaluated on other data"
        )
    return chosen


def _matched(data: Dataset, names: Sequence[str]) -> Dataset:
    """Returns data whose labels are positions among a study's classes."""
    if data.class_names == tuple(names):
        return data
    train, validation, test = (
        part._replace(labels=positions(data.class_names, names, data.name, part.labels))
        for part in (data.train, data.validation, data.test)
    )
    return Dataset.from_splits(data.name, train, validation, test, names)


def count_seen(config: Config, images: np.ndarray) -> int | None:
    """Returns how many of some images a study was trained on, None if not known.

    It is not known where the study's data are gone, or have changed.

    Args:
        config: The study's.
        images: Images of other data, [N, H, W, C].
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = study_data(config, None)
    except InputError:
        return None
    train = data.train.images
    if data.fingerprint != config.data.fingerprint or train.dtype != images.dtype:
        return None
    trained_on = {image.tobytes() for image in train}
    return sum(image.tobytes() in trained_on for image in images)


# --- Corrupted images ---


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
