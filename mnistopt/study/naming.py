"""Which trial or setting of a study is meant."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mnistopt.axes import show
from mnistopt.errors import InputError
from mnistopt.points import NEUTRAL
from mnistopt.results.columns import axes_of
from mnistopt.results.compare import Comparison, paired
from mnistopt.results.tables import FINISHED, MEASURED

# Letters of a trial's name that may stand for all of it.
FEWEST = 4


def find_point(study: Any, trials: pd.DataFrame, setting: Any) -> str:
    """Returns the point of a setting.

    Args:
        study: The study.
        trials: Its table of trials.
        setting: A trial's name, or some of the hyper-parameters.

    Raises:
        InputError: If one is unknown, or more than one setting has them.
    """
    if not isinstance(setting, Mapping):
        return str(study.trial(setting)["point"])
    axes, rows = axes_of(trials), trials
    for name, value in setting.items():
        if name not in axes and name in NEUTRAL and value == NEUTRAL[name]:
            continue
        if name not in axes:
            raise InputError(
                f"unknown hyper-parameter {name}; there are {', '.join(axes)}"
            )
        texts = rows[name].map(show, na_action="ignore")
        rows = rows[texts == show(value)]
    found = rows["point"].unique()
    if len(found) != 1:
        raise InputError(
            f"{setting} fits {len(found)} settings of {study.workdir}; name the "
            "hyper-parameters that tell one from the others"
        )
    return str(found[0])


def compare_settings(study: Any, a: Any, b: Any, metric: str) -> Comparison:
    """Does what `Study.compare` says."""
    trials = study.trials
    if metric not in MEASURED:
        raise InputError(
            f"metric={metric} is not known; choose one of {', '.join(MEASURED)}"
        )
    points = [find_point(study, trials, setting) for setting in (a, b)]
    done = trials[trials["status"] == FINISHED]
    first, second = (
        done[done["point"] == point].set_index("seed")[metric].astype(float)
        for point in points
    )
    apart = (first - second).dropna()
    if apart.empty:
        raise InputError(f"{a} and {b} have no finished seed in common")
    return paired(apart.tolist())


def named(trials: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns the rows of a trial, or else of those whose names begin so."""
    rows = trials[trials["trial"] == name]
    if rows.empty and isinstance(name, str) and len(name) >= FEWEST:
        rows = trials[trials["trial"].str.startswith(name)]
    return rows
