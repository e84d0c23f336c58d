"""The tables of a study: tidy data frames, and the files they are kept in."""

import dataclasses
import math
import types
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.hparams import RECIPE
from mnistopt.points import Point
from mnistopt.results.columns import (
    COSTS,
    Costs,
    axes_of,
    columns,
    kinds_of,
    network_name,
    typed,
)
from mnistopt.results.compare import behind_best
from mnistopt.results.stats import (
    Interval,
    accuracy_interval,
    exact_sum,
    mean_interval,
    positive_interval,
    shown,
)
from mnistopt.training.metrics import Metrics, convergence_epoch

FINISHED, DIVERGED, UNFINISHED = "finished", "diverged", "unfinished"
# What a search has measured on validation only: to the end, or no further.
SEARCHED, PRUNED = "searched", "pruned"
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
# Columns of words, some of them none.
WORDS = {"choice", "cause", "machine"}
# And those with a word in each row.
TEXT = {name for name, axis in RECIPE.items() if axis.kind == "text"}
TEXT |= {"model", "status"}


def trial_id(replica: str, epochs: int) -> str:
    """Returns the name of a row of trials.csv: a replica after so many epochs."""
    return f"{replica}-{epochs}"


def _ratios(record: Record, split: str, index: int) -> tuple[float, float]:
    """Returns accuracy and mean loss of an epoch, exact from the counts, or nans."""
    total, correct, loss_sum = (
        record.history[f"{split}_{field}"][index] for field in Metrics._fields
    )
    return (correct / total, loss_sum / total) if total else (math.nan, math.nan)


def _trial_row(record: Record, epochs: int, costs: Costs, top: int) -> dict[str, Any]:
    """Returns a row; `top` are the most epochs that a search has asked for."""
    point = dataclasses.replace(record.point, epochs=epochs)
    end = min(epochs, record.stopped or epochs)
    done = min(record.epochs_done, end)
    row = {
        "trial": trial_id(record.replica, epochs),
        "replica": record.replica,
        "point": point.identity(),
        **point.row(),
        "seed": record.seed,
        "status": UNFINISHED,
        "cause": "",
        "epochs_done": done,
        "params": record.params,
        **costs.get(network_name(record.point.structure), {}),
    }
    climbed = epochs in record.rungs and end <= record.epochs_done
    if end in record.measured or climbed:
        last = end - 1
        row["status"] = (
            DIVERGED if record.history["diverged_at"][last] >= 0 else FINISHED
        )
        if end not in record.measured and row["status"] == FINISHED:
            row["status"] = PRUNED if epochs < top else SEARCHED
        row["cause"] = record.history["cause"][last]
        for split in ("train", "validation", "test"):
            accuracy, loss = _ratios(record, split, last)
            row[f"{split}_accuracy"], row[f"{split}_loss"] = accuracy, loss
        row["overfitting"] = row["train_accuracy"] - row["test_accuracy"]
        # Weights are kept as the best ones only of epochs before it has diverged.
        sane = [i for i in range(done) if record.history["diverged_at"][i] < 0]
        curve = [_ratios(record, "validation", i)[0] for i in sane]
        if curve:
            row["convergence_epoch"] = convergence_epoch(curve)
            best = curve.index(max(curve))
            row["best_epoch"] = best + 1
            row["best_validation_accuracy"] = curve[best]
            row["best_test_accuracy"] = _ratios(record, "best_test", last)[0]
    row["seconds"] = math.fsum(record.history.get("seconds", [])[:done])
    row["machine"] = record.machine(done)
    return row


_TRIAL_COLUMNS = (
    *("seed", "status", "cause", "epochs_done", "params", *COSTS),
    *(name for name in MEASURED if not name.startswith("best_")),
    *("best_epoch", "best_validation_accuracy", "best_test_accuracy"),
    *("seconds", "machine"),
)


def trials_table(
    records: Iterable[Record], costs: Costs = types.MappingProxyType({})
) -> pd.DataFrame:
    """Returns a row per replica and asked number of epochs (trials.csv).

    Sorted by hyper-parameters and seed, so that equal studies give equal tables
    whatever their history.

    Args:
        records: The records of the replicas.
        costs: The known costs of their networks.
    """
    records, rows = list(records), []
    asked: dict[Point, set[int]] = {}
    for record in records:
        counts = () if record.stopped else record.measured
        of_point = asked.setdefault(dataclasses.replace(record.point, epochs=1), set())
        of_point.update(record.asked, counts)
    top = max((epochs for record in records for epochs in record.rungs), default=0)
    for record in records:
        # A replica that stopped early is at all later counts what it was then: those
        # that were asked of it, or of another seed.
        stopped = record.stopped or math.inf
        counts = [epochs for epochs in record.measured if epochs < stopped]
        if stopped < math.inf:
            of_point = asked[dataclasses.replace(record.point, epochs=1)]
            wanted = of_point | {record.point.epochs}
            counts += sorted(epochs for epochs in wanted if epochs >= stopped)
        elif record.epochs_done < record.point.epochs:
            counts.append(record.point.epochs)
        elif record.rungs and record.rungs[-1] > max(counts, default=0):
            counts.append(record.rungs[-1])
        rows += [_trial_row(record, epochs, costs, top) for epochs in counts]
    points = [record.point for record in records]
    axes = columns(points)
    names = ["trial", "replica", "point", *axes, *_TRIAL_COLUMNS]
    table = typed(pd.DataFrame(rows, columns=names), kinds_of(points))
    return table.sort_values([*axes, "seed"], kind="stable", ignore_index=True)


CURVE_COLUMNS = (
    *("seed", "epoch"),
    *("train_accuracy", "train_loss", "validation_accuracy", "validation_loss"),
    *("test_accuracy", "test_loss", "seconds"),
)


def curves_table(records: Iterable[Record], since: int = 0) -> pd.DataFrame:
    """Returns a row per replica and epoch (curves.csv), with the types it is read with.

    `train_accuracy` and `train_loss` are of the batches as they were trained on,
    dropout on; trials.csv has the measurement of the whole training split. The test
    split is measured after the epochs that were asked for, and its columns are empty
    elsewhere.

    Args:
        records: The records of the replicas.
        since: Leaves out as many epochs from the start.
    """
    records, rows = list(records), []
    for record in records:
        point = record.point.row()
        for i in range(since, record.epochs_done):
            row = {"replica": record.replica, **point}
            row |= {"seed": record.seed, "epoch": i + 1}
            for split, name in (
                ("running", "train"),
                ("validation", "validation"),
                ("test", "test"),
            ):
                row[f"{name}_accuracy"], row[f"{name}_loss"] = _ratios(record, split, i)
            rows.append(row | {"seconds": record.history["seconds"][i]})
    points = [record.point for record in records]
    axes = columns(points)[:-1]  # without the epochs
    names = ["replica", *axes, *CURVE_COLUMNS]
    table = typed(pd.DataFrame(rows, columns=names), kinds_of(points))
    order = [*axes, "seed", "epoch"]
    return table.sort_values(order, kind="stable", ignore_index=True)


def summary_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per point, best first (summary.csv).

    Means, standard deviations and 95 % intervals are over the finished seeds, `n` of
    them; an interval takes `stats.FEWEST_SEEDS` with some spread. The order is by mean
    validation accuracy, exact from the counts, then by mean validation loss; a point
    with fewer seeds than others comes after those, one with a diverged seed after all
    without, and one with nothing finished last. The test split has no say.
    `choice` is "best" for the first, "tied" for those that do not differ clearly
    (`compare.behind_best`, at 5 %), and "fewer seeds" for those that are not
    compared for lack of them. Points that a search has measured on validation only
    have no row.
    """
    searched = trials["status"].isin([SEARCHED, PRUNED])
    searched |= (trials["status"] == DIVERGED) & trials["test_accuracy"].isna()
    trials = trials[~searched | trials["point"].isin(trials["point"][~searched])]
    if trials.empty:
        axes, counts = axes_of(trials), ("n", DIVERGED, UNFINISHED)
        names = ["point", *axes, "params", *COSTS, *counts, *_SPREADS]
        return pd.DataFrame(columns=[*names, "seconds", "choice"])
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
    validation = dict(iter(by_point))
    nothing = finished["validation_accuracy"].iloc[:0]
    values = [validation.get(point, nothing) for point in table["point"]]
    order = pd.DataFrame(
        {
            "nothing": table["n"] == 0,
            "diverged": table["diverged"] > 0,
            "fewer": table["n"] < table["n"].max(),
            "accuracy": [
                -exact_sum(by_seed) / max(len(by_seed), 1) for by_seed in values
            ],
            "loss": table["validation_loss_mean"],
        }
    ).sort_values(["nothing", "diverged", "fewer", "accuracy", "loss"], kind="stable")
    table = table.loc[order.index].reset_index(drop=True)
    table["choice"] = choices([values[i] for i in order.index])
    return table


def _intervals(finished: pd.DataFrame, n: pd.Series) -> pd.DataFrame:
    """Returns what summary.csv says of `MEASURED`, all points of equal `n` at once.

    Args:
        finished: The trials.
        n: How many of them each point has, by point.
    """
    columns = {name: np.full(len(n), np.nan) for name in _SPREADS}
    rows = finished.set_index("point")[list(MEASURED)].astype(float)
    order = rows.index.map({point: i for i, point in enumerate(n.index)})
    rows = rows.iloc[np.argsort(order, kind="stable")]
    for count in set(n) - {0}:
        points = (n == count).to_numpy()
        some = rows[rows.index.isin(n.index[points])]
        for name in MEASURED:
            interval = interval_of(name, some[name].to_numpy().reshape(-1, count))
            ends = interval.half_width, interval.low, interval.high
            for part, value in zip(_PARTS, (interval.mean, interval.std, *ends)):
                columns[f"{name}_{part}"][points] = value
    return pd.DataFrame(columns, n.index)


_PARTS = ("mean", "std", "ci95", "low", "high")
_SPREADS = [f"{name}_{part}" for name in MEASURED for part in _PARTS]


def interval_of(name: str, values: Any) -> Interval:
    """Returns the mean over seeds with the 95 % interval that suits a column.

    Args:
        name: The column of trials.csv.
        values: One per seed, [..., n].

    Returns:
        What `stats.shown` leaves of it.
    """
    positive = name.endswith(("_loss", "convergence_epoch"))
    suited = positive_interval if positive else mean_interval
    found = (accuracy_interval if name.endswith("_accuracy") else suited)(values)
    return shown(found)


def choices(values: Sequence[pd.Series]) -> list[str]:
    """Says which points are best, by what each seed reached.

    Args:
        values: Per point a series of validation accuracies by seed.

    Returns:
        Per point "best", "tied" with it, "fewer seeds" than others, or "". The first
        of equals is the best; one point alone is nothing.
    """
    full = max((len(by_seed) for by_seed in values), default=0)
    words = ["fewer seeds" if len(seeds) < full else "" for seeds in values]
    rivals = [i for i, by_seed in enumerate(values) if len(by_seed) == full]
    seeds = sorted(set.intersection(*(set(values[i].index) for i in rivals)))
    if len(rivals) > 1 and seeds:
        by_seed = [values[i].loc[seeds].tolist() for i in rivals]
        for i, behind in zip(rivals, behind_best(by_seed)):
            words[i] = "" if behind.low > 0 else "tied"
            if behind.high == 0:
                words[i] = "best"
    return words


def best_trial(trials: pd.DataFrame) -> str:
    """Returns the trial of the best point that does best on the validation split.

    Raises:
        InputError: If no trial has finished.
    """
    finished = trials[trials["status"] == FINISHED]
    if (trials["status"] == DIVERGED).all() and len(trials):
        raise InputError(
            f"all {len(trials)} trials have diverged, so there is no best: name "
            "one, or train with a smaller learning rate"
        )
    if finished.empty:
        raise InputError("no trial has finished yet: run the grid to its end first")
    point = summary_table(trials)["point"].iloc[0]
    ranked = finished[finished["point"] == point].sort_values(
        ["validation_accuracy", "validation_loss", "seed"],
        ascending=[False, True, True],
    )
    return ranked["trial"].iloc[0]
