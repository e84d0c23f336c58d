"""What a recipe comes to: each seed on the test images, after its last epoch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.data.classes import default_names
from mnistopt.data.doubtful import Doubtful, find_doubtful
from mnistopt.data.official import NUM_CLASSES
from mnistopt.data.splits import Split
from mnistopt.data.uci import read_uci
from mnistopt.errors import InputError
from mnistopt.files import writing_to
from mnistopt.points import Point
from mnistopt.recipes import Recipe
from mnistopt.results.sheets import data_url
from mnistopt.results.stats import accuracy_interval, share_right, shown
from mnistopt.results.tables import FINISHED
from mnistopt.study.ensemble import make_ensemble, probabilities
from mnistopt.study.evaluation import CLEAN, robustness
from mnistopt.study.examples import study_data
from mnistopt.study.grid import grid
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
        each one as `seeds`, in per cent; of a vote `each`, the same of all
        networks, by their trials; `unshifted`, the same without shifts; unless it
        votes or has figures `reported`, `corrupted` and `uci` of corrupted images and
        other writers' digits, without shifts; `settled`, the mean without the
        `doubtful` digits, of which a vote has a row each; `params` and `minutes` of
        training, of one seed or of all that vote; what it was trained on; the machine.

    Raises:
        InputError: If nothing has finished.
    """
    finished = _finished(study, recipe)
    config, names = study.config, finished["trial"].tolist()
    # Networks that vote may share a seed.
    seeds = finished["trial" if recipe.votes else "seed"]
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
    test = study_data(config, data_dir).test

    def right(shifts: int) -> np.ndarray:
        said = probabilities(study, names, {"test": test.images}, shifts)["test"]
        return said.argmax(axis=-1) == test.labels

    if recipe.shifts:
        answer["unshifted"] = _mean(seeds, right(0))
    each = right(recipe.shifts)
    answer["test"] = _mean(seeds, each)
    about = config.data
    official = about.dataset == "mnist" and not config.data_file
    is_mnist = official and about.class_names == default_names(NUM_CLASSES)
    doubtful = find_doubtful(test.images) if is_mnist else {}
    if recipe.votes:
        asked = "greedy", recipe.shifts, data_dir, names
        ensemble = make_ensemble(study, *asked)
        ensemble.write()
        said = ensemble.probabilities(test.images)
        each = said.argmax(axis=-1)[None] == test.labels
        members = finished[finished["trial"].isin(ensemble.members)]
        answer |= {
            "params": ensemble.costs["params"],
            "minutes": float(members["seconds"].sum() / 60),
            "each": answer["test"],
            "test": _vote(each[0], ensemble.about["test"]["single"]["accuracy"]),
            "ensemble": {**ensemble.to_json(), "reliability": None},
            "doubtful": doubtful_rows(doubtful, said, test),
        }
    if doubtful:
        answer["settled"] = 100 * float(np.delete(each, [*doubtful], axis=1).mean())
    if recipe.votes or recipe.reported:
        return answer
    if test.images.dtype == np.uint8:
        rows = robustness(study, test, names)
        rows = rows[rows["corruption"] != CLEAN]
        means = rows.groupby("seed")["accuracy"].mean()
        answer["corrupted"] = _mean(means.index, means.to_numpy()[:, None])
    if is_mnist:
        other = read_uci()
        said = probabilities(study, names, {"uci": other.images})["uci"]
        answer["uci"] = _mean(seeds, said.argmax(axis=-1) == other.labels)
    return answer


def points_of(recipe: Recipe) -> list[Point]:
    """Returns the points of a recipe's networks."""
    points: list[Point] = []
    for settings, _ in recipe.runs:
        of_data = "train_on", "train_examples"
        points += grid(**{k: v for k, v in settings.items() if k not in of_data})
    return points


def _finished(study: Study, recipe: Recipe) -> pd.DataFrame:
    """Returns the finished trials of a recipe, by seed; others may be beside them.

    Raises:
        InputError: If there is none.
    """
    trials = study.trials
    points = [point.identity() for point in points_of(recipe)]
    mine = (trials["status"] == FINISHED) & trials["point"].isin(points)
    if not mine.any():
        raise InputError(f"{study.workdir} has no finished seed of this recipe")
    return trials[mine].sort_values("seed")


def doubtful_rows(
    doubtful: Mapping[int, Doubtful], said: np.ndarray, test: Split
) -> list[dict[str, Any]]:
    """Returns a row per doubtful digit: what people see, and what a vote says.

    Args:
        doubtful: The digits by their place.
        said: What the vote says of all, [N, K].
        test: All test images.
    """
    return [
        {
            **digit._asdict(),
            "vote": int(said[place].argmax()),
            "confidence": 100 * float(said[place].max()),
            "image": data_url(test.images[place]),
        }
        for place, digit in doubtful.items()
    ]


def draw(study: Study, recipe: Recipe, answer: Mapping[str, Any]) -> list[Path]:
    """Writes what a recipe has to show into figures/ of its study.

    Args:
        study: The study.
        recipe: The recipe.
        answer: What it has come to, from `measure`.

    Returns:
        The paths of the pictures as PNG.
    """
    # Drawing takes a second to import.
    from mnistopt.report.charts import images, luck
    from mnistopt.report.charts.pictures import Picture, keep_picture

    drawn = {}
    if recipe.reported:
        table = luck.luck_frame(_finished(study, recipe))
        chart = luck.luck_chart(table, recipe.what, recipe.reported)
        drawn["luck"] = Picture.of(table, chart)
    if rows := answer.get("doubtful"):
        table = pd.DataFrame(rows).sort_values("number")
        drawn["doubtful"] = Picture.of(table, images.doubtful_chart(table))
    with writing_to(study.workdir):
        for name, picture in drawn.items():
            keep_picture(study.workdir, name, picture)
    return [study.workdir / "figures" / f"{name}.png" for name in drawn]


def _mean(seeds: Iterable[Any], right: np.ndarray) -> dict[str, Any]:
    """Returns the mean of [n, N], a row per seed, in per cent, with its interval."""
    accuracies = right.mean(axis=1)
    found = shown(accuracy_interval(accuracies.tolist()))
    low, high = (None if np.isnan(end) else 100 * float(end) for end in found[2:4])
    each = {str(seed): 100 * float(one) for seed, one in zip(seeds, accuracies)}
    ends = {"mean": 100 * found.mean, "low": low, "high": high}
    return {**ends, "n": found.n, "seeds": each}


def _vote(right: np.ndarray, single: float) -> dict[str, Any]:
    """Returns the accuracy of [N], with its interval over images."""
    found = share_right(right)
    ends = {"mean": found["accuracy"], "low": found["low"], "high": found["high"]}
    shares = {**ends, "single": single}
    return {name: 100 * float(share) for name, share in shares.items()} | {"n": 1}
