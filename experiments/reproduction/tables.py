"""The tables as they were measured here, beside the paper's figures."""

from typing import Any

import pandas as pd

from experiments.reproduction.evidence import COSTS, Measured
from experiments.reproduction.paper import Setting, Table
from mnistopt.results.stats import (
    Interval,
    accuracy_interval,
    mean_interval,
    positive_interval,
    shown,
)
from mnistopt.results.tables import choices
from mnistopt.results.tables import interval_of as suited

# Metrics whose difference from another row is shown.
_COMPARED = ("test_accuracy", "robust")
# The paper's minutes are of 50 epochs (Table 1).
_EPOCHS_OF_MINUTES = 50
# A replica that ends below this learnt next to nothing; guessing is right in 10 %.
DEAD = 0.2


def interval_of(metric: str, values: Any) -> Interval:
    """Returns the 95 % interval over the seeds that stays where a metric can be."""
    if metric.startswith("robust"):
        return shown(accuracy_interval(values))
    if metric == "minutes":
        return shown(positive_interval(values))
    return suited(metric, values)


def make_table(table: Table, measured: Measured) -> pd.DataFrame:
    """Returns a table as it was measured (tableN.csv).

    Args:
        table: The table to lay out.
        measured: The measurements.

    Returns:
        A row per row of the table: its words, `setting`, `epochs` and `n`; per metric
        its mean, standard deviation and the ends of its 95 % interval over the seeds,
        and the paper's figure where it has one; `choice`, "best" by validation accuracy
        among its rivals, "tied" with it, or "fewer seeds"; the `difference` of test
        accuracy from the row that it is compared with, paired by seed, with the ends of
        its interval (and of robustness, where it is measured); and, if the paper has
        costs, their medians and the `seconds` of a replica's training.
    """
    metrics = ["validation_accuracy", *table.measures]
    frames = [measured(row.setting) for row in table.rows]
    rows: list[dict[str, Any]] = []
    for row, frame in zip(table.rows, frames):
        epochs = measured.paper.settings[row.setting].point.epochs
        cells: dict[str, Any] = {**dict(zip(table.words, row.words))}
        cells |= {"setting": row.setting, "epochs": epochs, "n": len(frame)}
        seconds = measured.seconds(row.setting)
        for name in metrics:
            values = frame.get(name, seconds * _EPOCHS_OF_MINUTES / 60)
            cells |= described(name, interval_of(name, values))
            if name in row.figures:
                cells[f"{name}_paper"] = row.figures[name]
        if measured.paper.costs:
            cells |= {name: frame[name].median() for name in COSTS}
            cells["seconds"] = epochs * seconds.median()
        rows.append(cells)
    for group in table.groups().values():
        chosen = choices([frames[i]["validation_accuracy"] for i in group])
        for i, choice in zip(group, chosen):
            rows[i]["choice"] = choice
        best = [i for i, choice in zip(group, chosen) if choice == "best"]
        for against in group[:1] if table.against == "first" else best:
            compared = [metric for metric in _COMPARED if metric in metrics]
            for i in (row for row in group if row != against):
                for name in compared:
                    pairs = (frames[i][name] - frames[against][name]).dropna()
                    rows[i] |= described(f"{name}_against", shown(mean_interval(pairs)))
    return pd.DataFrame(rows)


def described(name: str, interval: Interval) -> dict[str, float]:
    """Returns an interval as columns."""
    return {
        name: interval.mean,
        f"{name}_std": interval.std,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
    }


def make_learning(measured: Measured) -> pd.DataFrame:
    """Returns what the curves of each setting's seeds have in common (learning.csv).

    Settings that differ in epochs only are one, the longest.

    Returns:
        A row per setting: its `words` and `epochs`; how many replicas `diverged`, and
        how many are `dead`, see `DEAD`; of the others, n, the means of `lowest_epoch`,
        `lowest_loss`, `last_loss`, `best_epoch`, the test accuracies then and at the
        end (see `Evidence.measured`), and the largest `largest_fall`.
    """
    rows = []
    for id, setting in longest(measured).items():
        trials = measured(id)
        well = trials[trials["validation_accuracy"] >= DEAD]
        words = measured.paper.describe(setting)
        about = {"setting": id, "words": words, "epochs": setting.point.epochs}
        lost = {
            "diverged": measured.diverged(id),
            "dead": len(trials) - len(well),
        }
        means = {name: well[name].mean() for name in _LEARNING}
        fall = {"largest_fall": well["largest_fall"].max()}
        rows.append(about | {"n": len(well)} | lost | means | fall)
    return pd.DataFrame(rows)


_LEARNING = (
    *("lowest_epoch", "lowest_loss", "last_loss"),
    *("best_epoch", "best_test_accuracy", "test_accuracy"),
)


def longest(measured: Measured) -> dict[str, Setting]:
    """Returns what was trained, of settings that differ in epochs only the longest."""
    longest_of: dict[Any, Setting] = {}
    for setting in measured.paper.trained().values():
        point = setting.point
        key = point.hparams, point.recipe, point.structure
        before = longest_of.get(key)
        longer = before is None or point.epochs > before.point.epochs
        if longer and not setting.stopped and len(measured(setting.id)):
            longest_of[key] = setting
    return {setting.id: setting for setting in longest_of.values()}


def make_sizes(measured: Measured) -> pd.DataFrame:
    """Returns test accuracy by how many digits were trained on (sizes.csv).

    Returns:
        A row per setting that was trained on several sizes, and size: its `words`,
        `epochs` and `digits`, n, and the mean of its test accuracy with its interval.
    """
    paper, evidence, rows = measured.paper, measured.evidence, []
    dataset = evidence.data[measured.data]["dataset"]
    alike = [entry for entry in evidence.data.items() if entry[1]["dataset"] == dataset]
    sizes = sorted((about["train"], data) for data, about in alike)
    for setting in paper.trained().values():
        frames = [(size, evidence.measured(setting, data)) for size, data in sizes]
        trained = [(size, frame) for size, frame in frames if len(frame)]
        if len(trained) < 2 or setting.stopped:
            continue
        about = {"setting": setting.id, "words": paper.describe(setting)}
        for size, frame in trained:
            interval = suited("test_accuracy", frame["test_accuracy"])
            counts = {"epochs": setting.point.epochs, "digits": size, "n": len(frame)}
            rows.append({**about, **counts, **described("test_accuracy", interval)})
    return pd.DataFrame(rows)
