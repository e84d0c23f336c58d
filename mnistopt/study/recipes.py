"""What a recipe comes to: each seed on the test images, after its last epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.errors import InputError
from mnistopt.recipes import Recipe
from mnistopt.results.stats import accuracy_interval, proportion_interval, shown
from mnistopt.results.tables import FINISHED
from mnistopt.study.ensemble import probabilities, write_ensemble
from mnistopt.study.evaluation import CLEAN, robustness
from mnistopt.study.examples import study_data
from mnistopt.study.study import Study


def measure(
    study: Study, recipe: Recipe, data_dir: str | Path | None = None
) -> dict[str, Any]:
    """Measures the finished seeds of a recipe's study, or their vote.

    Args:
        study: The study.
        recipe: The recipe.
        data_dir: Where its data are, if they have been moved.

    Returns:
        As JSON has it: `test` with the `mean` accuracy, its 95 % interval `low` to
        `high` (over seeds; of a vote Wilson's, over images), `n` and the accuracy of
        each one as `seeds`, in per cent; of a vote `each`, the same of its networks;
        `unshifted`, the same without shifts; `corrupted`, the same of corrupted images;
        `params`; `minutes` of training per seed; what it was trained on; the machine.

    Raises:
        InputError: If nothing has finished.
    """
    trials = study.trials
    finished = trials[trials["status"] == FINISHED].sort_values("seed")
    if finished.empty:
        raise InputError(f"{study.workdir} has no finished seed: all have diverged")
    config, names = study.config, finished["trial"].tolist()
    answer: dict[str, Any] = {
        "params": int(finished["params"].max()),
        "epochs": int(finished["epochs_done"].max()),
        "minutes": float(finished["seconds"].mean() / 60),
        "trained_on": config.data.train,
        "dataset": config.data.dataset,
        "machine": config.cpu,
        "versions": {"python": config.python, **config.versions},
        "commit": config.commit,
    }
    data = study_data(config, data_dir)
    if recipe.votes:
        ensemble = study.ensemble("greedy", recipe.shifts, data_dir)
        write_ensemble(ensemble)
        about = ensemble.about["test"]
        params = ensemble.costs["params"]
        kept = {"temperature": ensemble.temperature, "members": dict(ensemble.members)}
        answer |= {"test": _vote(about), "params": params, "ensemble": kept}
    images = {"test": data.test.images}
    labels = data.test.labels
    which = {"each" if recipe.votes else "test": recipe.shifts}
    which |= {"unshifted": 0} if recipe.shifts else {}
    for name, shifts in which.items():
        said = probabilities(study, names, images, shifts)["test"]
        right = (said.argmax(axis=-1) == labels).mean(axis=1)
        answer[name] = _mean(finished["seed"], right)
    if recipe.corrupted:
        rows = robustness(study, data.test, names)
        rows = rows[rows["corruption"] != CLEAN]
        means = rows.groupby("seed")["accuracy"].mean()
        answer["corrupted"] = _mean(means.index.to_series(), means.to_numpy())
    return answer


def draw(study: Study, recipe: Recipe) -> Path | None:
    """Writes figures/luck.* of a recipe that shows what luck is worth.

    Returns:
        The path of the picture as PNG; None for other recipes.
    """
    if not recipe.reported:
        return None
    # Drawing takes a second to import.
    from mnistopt.report.charts import luck
    from mnistopt.report.charts.pictures import Picture, keep_picture

    trials = study.trials
    table = luck.luck_frame(trials[trials["status"] == FINISHED])
    chart = luck.luck_chart(table, recipe.what, recipe.reported)
    keep_picture(study.workdir, "luck", Picture.of(table, chart))
    return study.workdir / "figures" / "luck.png"


def _mean(seeds: pd.Series, accuracies: np.ndarray) -> dict[str, Any]:
    found = shown(accuracy_interval(accuracies.tolist()))
    low, high = (None if np.isnan(end) else 100 * float(end) for end in found[2:4])
    each = {str(seed): 100 * float(one) for seed, one in zip(seeds, accuracies)}
    return {
        "mean": 100 * found.mean,
        "low": low,
        "high": high,
        "n": found.n,
        "seeds": each,
    }


def _vote(about: Any) -> dict[str, Any]:
    low, high = proportion_interval(about["correct"], about["count"])
    single = about["single"]
    return {
        "mean": 100 * about["accuracy"],
        "low": 100 * low,
        "high": 100 * high,
        "n": 1,
        "single": 100 * single["accuracy"],
    }
