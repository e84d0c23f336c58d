"""What the learning curves say that the tables do not: who learns nothing, and when."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from mnistopt.paper.plan import Cell, describe
from mnistopt.points import Point
from mnistopt.results.tables import DIVERGED

# A replica whose validation accuracy ends below this learnt next to nothing; guessing
# one of ten digits is right in 10 %.
DEAD = 0.2


class Run(NamedTuple):
    """Replicas of one setting, trained for as long as any row of it asks.

    Attributes:
        part: The part that trained them.
        point: The setting, with the most epochs.
        name: In words.
        replicas: Their names.
    """

    part: str
    point: Point
    name: str
    replicas: tuple[str, ...]


def find_runs(cells: Iterable[Cell], seeds: pd.DataFrame) -> list[Run]:
    """Returns what was trained, each once; rows share runs, or differ in epochs only.

    Args:
        cells: The rows of the paper's tables.
        seeds: From `evidence.collect_seeds`.
    """
    longest: dict[tuple[str, Point], Point] = {}
    for cell in cells:
        point = cell.row.point
        key = (cell.part, dataclasses.replace(point, epochs=1))
        if key not in longest or longest[key].epochs < point.epochs:
            longest[key] = point
    found = []
    for (part, _), point in longest.items():
        mine = seeds[(seeds["part"] == part) & (seeds["point"] == point.identity())]
        replicas = tuple(dict.fromkeys(mine["replica"]))
        found.append(Run(part, point, describe(point), replicas))
    return found


def collect_learning(
    runs: Iterable[Run], seeds: pd.DataFrame, curves: pd.DataFrame
) -> pd.DataFrame:
    """Returns what the curves of a run's replicas have in common (learning.csv).

    Args:
        runs: From `find_runs`.
        seeds: From `evidence.collect_seeds`.
        curves: From `evidence.collect_curves`.

    Returns:
        A row per run: its part and name and `train_examples`; `replicas`; how many are
        `diverged` and how many `dead`, see `DEAD`; means over the others:
        `lowest_epoch`, after which the validation loss is lowest, `lowest_loss` and
        `last_loss` (nats); `best_epoch`, after which the validation accuracy is
        highest, and the test accuracies then and at the end; and `largest_fall`, the
        most that any of them loses of its validation accuracy in one epoch of the last
        half.
    """
    rows = []
    for run in runs:
        mine = seeds[
            (seeds["part"] == run.part) & (seeds["point"] == run.point.identity())
        ].drop_duplicates("replica")
        known = curves[
            (curves["part"] == run.part) & curves["replica"].isin(run.replicas)
        ]
        last = known.groupby("replica").tail(1)
        well = last[last["validation_accuracy"] >= DEAD]["replica"]
        bad = set(mine[mine["status"] == DIVERGED]["replica"])
        rows.append(
            {
                "part": run.part,
                "run": run.name,
                "train_examples": mine["train_examples"].max(),
                "replicas": len(run.replicas),
                "diverged": len(bad),
                "dead": len(set(last["replica"]) - set(well) - bad),
                **_turning(known[known["replica"].isin(set(well) - bad)]),
                **_best(mine[mine["replica"].isin(set(well) - bad)]),
            }
        )
    return pd.DataFrame(rows)


def _turning(curves: pd.DataFrame) -> dict[str, float]:
    """Returns where the validation loss turns, and what follows."""
    by_replica = curves.groupby("replica")
    lowest = curves.loc[by_replica["validation_loss"].idxmin()]
    last = by_replica.tail(1)
    falls = -by_replica["validation_accuracy"].diff()
    late = curves["epoch"] > curves["epoch"].max() / 2
    return {
        "lowest_epoch": lowest["epoch"].mean(),
        "lowest_loss": lowest["validation_loss"].mean(),
        "last_loss": last["validation_loss"].mean(),
        "largest_fall": falls[late].max(),
    }


def _best(seeds: pd.DataFrame) -> dict[str, float]:
    """Returns what the best epochs are worth beside the last ones."""
    names = ("best_epoch", "best_test_accuracy", "test_accuracy")
    return {name: seeds[name].mean() for name in names}
