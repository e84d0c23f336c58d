"""The summary of a study: a row per point, with intervals over its seeds."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.results.columns import COSTS, axes_of
from mnistopt.results.stats import (
    Interval,
    accuracy_interval,
    exact_sum,
    mean_interval,
    tied_with_best,
)

FINISHED, DIVERGED, UNFINISHED = "finished", "diverged", "unfinished"
# Of saying that a point is below the best where it is not.
ERROR_RATE = 0.05

# The columns of trials.csv that summary.csv describes by mean, std and ci95.
MEASURED = (
    "train_accuracy",
    "train_loss",
    "validation_accuracy",
    "validation_loss",
    "test_accuracy",
    "test_loss",
    "overfitting",
    "convergence_epoch",
    "best_validation_accuracy",
    "best_test_accuracy",
)


def summary_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per point, best first (summary.csv).

    Means, standard deviations and 95 % intervals are over the finished seeds, `n` of
    them. The order is by mean validation accuracy, exact from the counts, then by mean
    validation loss; a point with fewer seeds than others comes after those, one with a
    diverged seed after all without, and one with nothing finished last. The test split
    has no say.
    `choice` is "best" for the first, "tied" for those that cannot be told from it
    (`stats.tied_with_best`, at 5 %), and "fewer seeds" for those that are not
    compared for lack of them.
    """
    if trials.empty:
        return pd.DataFrame()
    groups = trials.groupby("point", sort=False)
    first = groups[["point", *axes_of(trials), "params", *COSTS]].head(1)
    table = first.set_index("point", drop=False)
    for name, status in (
        ("n", FINISHED),
        ("diverged", DIVERGED),
        ("unfinished", UNFINISHED),
    ):
        table[name] = (trials["status"] == status).groupby(trials["point"]).sum()
    finished = trials[trials["status"] == FINISHED]
    table = pd.concat([table, _intervals(finished, table["n"])], axis=1)
    table["seconds"] = groups["seconds"].sum()
    # The axes have the types of trials.csv.
    table = table.reset_index(drop=True)
    by_point = finished.set_index("seed").groupby("point")["validation_accuracy"]
    validation = {point: by_point.get_group(point) for point in by_point.groups}
    nothing = finished["validation_accuracy"].iloc[:0]
    values = [validation.get(point, nothing) for point in table["point"]]
    order = pd.DataFrame(
        {
            "nothing": table["n"] == 0,
            "diverged": table["diverged"] > 0,
            "fewer": table["n"] < table["n"].max(),
            "accuracy": [-_exact_mean(one) for one in values],
            "loss": table["validation_loss_mean"],
        }
    ).sort_values(["nothing", "diverged", "fewer", "accuracy", "loss"], kind="stable")
    table = table.loc[order.index].reset_index(drop=True)
    table["choice"] = choices([values[i] for i in order.index])
    return table


def _exact_mean(accuracies: pd.Series) -> Fraction:
    return exact_sum(accuracies) / max(len(accuracies), 1)


def _intervals(finished: pd.DataFrame, n: pd.Series) -> pd.DataFrame:
    """Returns what summary.csv says of `MEASURED`, all points of equal `n` at once.

    Args:
        finished: The trials.
        n: How many of them each point has, by point.
    """
    names = [f"{name}_{part}" for name in MEASURED for part in _PARTS]
    columns = {name: np.full(len(n), np.nan) for name in names}
    rows = finished.set_index("point")[list(MEASURED)].astype(float)
    order = rows.index.map({point: i for i, point in enumerate(n.index)})
    rows = rows.iloc[np.argsort(order, kind="stable")]
    for count in set(n) - {0}:
        points = (n == count).to_numpy()
        some = rows[rows.index.isin(n.index[points])]
        for name in MEASURED:
            found = interval_of(name, some[name].to_numpy().reshape(-1, count))
            ends = found.half_width, found.low, found.high
            for part, value in zip(_PARTS, (found.mean, found.std, *ends)):
                columns[f"{name}_{part}"][points] = value
    return pd.DataFrame(columns, n.index)


_PARTS = ("mean", "std", "ci95", "low", "high")


def interval_of(name: str, values: Any) -> Interval:
    """Returns the 95 % interval over seeds that suits a column of trials.csv."""
    suits = accuracy_interval if name.endswith("_accuracy") else mean_interval
    return suits(values)


def choices(values: Sequence[pd.Series]) -> list[str]:
    """Says which points are best, by what each seed reached.

    Args:
        values: Per point a series of validation accuracies by seed.

    Returns:
        Per point "best", "tied" with it, "fewer seeds" than others, or "". The first
        of equals is the best; one point alone is nothing.
    """
    full = max((len(one) for one in values), default=0)
    found = ["fewer seeds" if len(one) < full else "" for one in values]
    rivals = [i for i, one in enumerate(values) if len(one) == full]
    seeds = sorted(set.intersection(*(set(values[i].index) for i in rivals)))
    if len(rivals) > 1 and seeds:
        by_seed = [values[i].loc[seeds].tolist() for i in rivals]
        best = max(range(len(rivals)), key=lambda i: exact_sum(by_seed[i]))
        for i, tied in enumerate(tied_with_best(by_seed, ERROR_RATE)):
            if tied:
                found[rivals[i]] = "best" if i == best else "tied"
    return found
