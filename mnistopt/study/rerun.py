"""A study once more, from its config.json and trials.csv: are the numbers the same?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mnistopt.axes import Typed
from mnistopt.data.dataset import Dataset
from mnistopt.engine.identity import Modules
from mnistopt.errors import InputError
from mnistopt.files import check_path
from mnistopt.hparams import TRAINING
from mnistopt.points import Point, replica_id
from mnistopt.results.columns import axes_of
from mnistopt.results.config import Config, read_config
from mnistopt.results.table_files import read_table
from mnistopt.results.tables import UNFINISHED
from mnistopt.study.grid import make_point
from mnistopt.study.runner import run
from mnistopt.study.study import Study
from mnistopt.study.waves import Wave, Waves, everything

# Where bits cannot agree. Rounding has hardly grown after one epoch; later it decides
# single images, of which 500 to 5,000 are held out for validation.
FIRST_LOSS = 0.01
ACCURACY = 0.02
_MEASURED = [
    f"{split}_{what}"
    for split in ("train", "validation", "test")
    for what in ("accuracy", "loss")
]


class Agreement(NamedTuple):
    """How far two tables of curves agree.

    Attributes:
        replicas: How many both have.
        epochs: How many of all replicas both have.
        apart: Rows that differ in a bit, first epochs first: `replica`, `epoch`, and
            what is measured, with `_there` and `_here` added.
        beyond: The rows that differ by more than rounding should.
    """

    replicas: int
    epochs: int
    apart: pd.DataFrame
    beyond: pd.DataFrame

    @property
    def largest(self) -> float:
        """The largest difference of a validation accuracy."""
        return float(_difference(self.apart, "validation_accuracy").max())


def compare(there: pd.DataFrame, here: pd.DataFrame) -> Agreement:
    """Compares two tables of curves, as far as both have the same epochs.

    The tolerance is 1 % of the validation loss after the first epoch, and 2 points of
    any validation accuracy.

    Args:
        there: The original's table, from `tables.curves_table`.
        here: The new study's table.
    """
    columns = ["replica", "epoch", *_MEASURED]
    both = there[columns].merge(
        here[columns], on=["replica", "epoch"], suffixes=("_there", "_here")
    )
    same = pd.Series(True, both.index)
    for name in _MEASURED:
        left, right = both[f"{name}_there"], both[f"{name}_here"]
        same &= (left == right) | (left.isna() & right.isna())
    apart = both[~same].sort_values(["epoch", "replica"], ignore_index=True)
    loss = _difference(apart, "validation_loss") / apart["validation_loss_there"]
    # NaN on one side only is not rounding.
    far = ~(_difference(apart, "validation_accuracy") <= ACCURACY)
    far |= (apart["epoch"] == 1) & ~(loss <= FIRST_LOSS)
    beyond = apart[far].reset_index(drop=True)
    return Agreement(both["replica"].nunique(), len(both), apart, beyond)


def _difference(rows: pd.DataFrame, name: str) -> pd.Series:
    return (rows[f"{name}_there"] - rows[f"{name}_here"]).abs()


class Rerun(NamedTuple):
    """What a study has given once more.

    Attributes:
        study: The new one.
        agreement: How its numbers agree with the original's.
        exact: Whether they are to agree to the bit: all was computed by the same kind
            of machine, with the same versions and lanes.
    """

    study: Study
    agreement: Agreement
    exact: bool

    @property
    def holds(self) -> bool:
        """Whether the numbers are as much the same as they are to be."""
        agreement = self.agreement
        return (
            bool(agreement.epochs)
            and (agreement.apart if self.exact else agreement.beyond).empty
        )


def rerun(
    source: str | Path, workdir: str | Path | None = None, **settings: Any
) -> Rerun:
    """Trains all trials of a study in another workdir, and compares.

    Args:
        source: The study's config.json, or its folder; trials.csv and curves.csv are
            beside it, checkpoints need not be.
        workdir: The new study's folder; the original's with "-rerun" by default.
        **settings: Arguments of `run`: the data, or where they are; devices, callbacks.

    Raises:
        InputError: If the study cannot be read, or what it was trained on is not what
            is there now.
    """
    path = check_path("rerun", source)
    if path is None:
        raise InputError("give the config.json of a study to run again")
    folder = path if path.is_dir() else path.parent
    original = read_config(folder)
    trials = read_table(folder, "trials")
    again = folder.with_name(f"{folder.name}-rerun")
    target = check_path("workdir", workdir or again) or again
    if target.resolve() == folder.resolve():
        raise InputError(f"{folder} cannot be run again into itself: give `workdir`")
    data = _data(original)
    if (given := settings.get("data")) is not None:
        theirs = {"dataset", "data_dir", "data"}
        theirs |= {"image_size"} if isinstance(given, Dataset) else set()
        data = {name: value for name, value in data.items() if name not in theirs}
    if trials.empty:
        raise InputError("trials.csv has no trials to run again")
    asked = {**data, "workdir": target, **settings, "rerun": original}
    # Those of a search were not measured in full.
    searched = trials["status"] != UNFINISHED
    searched &= trials["test_accuracy"].isna()
    # Points of the same seeds are run together.
    for rows, scheduler in ((searched, _validated), (~searched, everything)):
        for seeds, some in points(trials[rows], original).items():
            study = run(points=some, seeds=seeds, scheduler=scheduler, **asked)
    agreement = compare(read_table(folder, "curves"), study.curves)
    exact = set(original.machines) == set(study.config.machines)
    return Rerun(study, agreement, exact)


def _validated(points: Sequence[Point]) -> Waves:
    """Trains all to their ends, measured on validation only."""
    yield Wave(points, in_full=False)


def _data(original: Config) -> dict[str, Any]:
    """Returns the settings of `run` that say where a study's data are."""
    about, file = original.data, original.data_file
    named = {"dataset": about.dataset, "data_dir": original.data_dir}
    own = {"data": file, "image_size": about.image_size}
    size = {
        "train_examples": about.train_examples,
        "train_on": about.train_on,
        "teacher": (original.teacher or {}).get("workdir"),
    }
    return {**(own if file else named), **size}


def points(
    trials: pd.DataFrame, original: Config
) -> dict[tuple[int, ...], list[Point]]:
    """Returns the points of a table of trials, by their seeds.

    Raises:
        InputError: If they are not what the replicas' names are made of.
    """
    by_seeds: dict[tuple[int, ...], list[Point]] = {}
    for _, rows in trials.groupby("point", sort=False):
        seeds = {int(s): r for s, r in zip(rows["seed"], rows["replica"])}
        fits = [
            point
            for point in _candidates(rows.iloc[0], original.modules)
            if all(
                replica_id(point, seed, original.data.identity) == replica
                for seed, replica in seeds.items()
            )
        ]
        if not fits:
            raise InputError(
                f"trials.csv has settings of {rows['replica'].iloc[0]} that do not "
                "match its name: trials.csv or config.json was changed"
            )
        by_seeds.setdefault(tuple(sorted(seeds)), []).append(fits[0])
    return by_seeds


def _candidates(row: pd.Series, modules: Modules) -> Iterator[Point]:
    """Yields the points that a row of trials.csv may be of.

    More than one of a class of modules: config.json has their values, of which the
    replica's name shows the right ones.
    """
    values: dict[str, Any] = {}
    for name in axes_of(row.to_frame().T):
        value = row[name]
        plain = value.item() if hasattr(value, "item") else value
        values[name] = None if pd.isna(plain) else plain
    about = modules.get(values["model"])
    if not about:
        # Beside a module's field of the same name a column may be text.
        typed = {k: Typed(v) if isinstance(v, str) else v for k, v in values.items()}
        yield make_point(**{k: v for k, v in typed.items() if v is not None})
        return
    others = {"model", *TRAINING}
    common = {name: value for name, value in values.items() if name in others}
    for entry in about["programs"].values():
        point = common | entry["values"]
        yield Point.from_row(point, entry["name"], about["path"])
