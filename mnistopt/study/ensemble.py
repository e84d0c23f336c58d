"""Networks of a study that vote, and how sure they may be."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split
from mnistopt.engine.predict import Predictor, shifted
from mnistopt.errors import InputError
from mnistopt.files import writing_to
from mnistopt.manifest import Manifest
from mnistopt.results import calibration
from mnistopt.results.stats import proportion_interval
from mnistopt.results.tables import FINISHED
from mnistopt.study.examples import study_data

FILE = "ensemble.json"
HOW = "greedy", "all"


def probabilities(
    study: Any,
    trials: Iterable[str],
    images: Mapping[str, np.ndarray],
    shifts: int = 0,
    weights: str = "last",
) -> dict[str, np.ndarray]:
    """Returns what trials say of images.

    Args:
        study: The study.
        trials: Their names, M of them.
        images: Arrays by name, uint8 or float32 [N, H, W, C].
        shifts: Each is asked about an image moved by up to so many pixels, all ways,
            and the mean counts.
        weights: See `Study.variables`.

    Returns:
        By the name of images, float32 [M, N, K].
    """
    views = {name: shifted(some, shifts) for name, some in images.items()}
    moved = {
        f"{name} {i}": view
        for name, some in views.items()
        for i, view in enumerate(some)
    }
    predictor = Predictor(moved, study.config.precision)
    networks = (
        (study.network(name), study.variables(name, weights)) for name in trials
    )
    said: dict[str, list[np.ndarray]] = {name: [] for name in images}
    for answer in predictor(networks):
        for name, rows in said.items():
            each = (answer[f"{name} {i}"] for i in range(len(views[name])))
            rows.append(np.stack([of.probabilities for of in each]).mean(axis=0))
    return {name: np.stack(rows) for name, rows in said.items()}


def weighted_mean(said: np.ndarray, counts: Iterable[int]) -> np.ndarray:
    """Returns the mean of [M, N, K], each counted so often, float32 [N, K]."""
    return np.average(said, axis=0, weights=np.array([*counts], float)).astype("f4")


def mean_probabilities(
    study: Any, members: Mapping[str, int], images: np.ndarray, shifts: int = 0
) -> np.ndarray:
    """Returns the vote of some trials, float32 [N, K].

    Args:
        study: The study.
        members: How often each trial counts.
        images: uint8 or float32 [N, H, W, C].
        shifts: See `probabilities`.
    """
    said = probabilities(study, members, {"images": images}, shifts)
    return weighted_mean(said["images"], members.values())


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Networks that vote: the mean of their probabilities, made to hold.

    Attributes:
        study: The study.
        how: How they were chosen: "greedy" or "all".
        members: How often each trial counts.
        shifts: See `probabilities`.
        temperature: What the logits of their vote are divided by.
        single: The trial that is best by validation.
        about: What was measured, by split: `accuracy`, with the ends `low` and `high`
            of its 95 % interval, over `count` images; `loss` and `error` (the expected
            calibration error) of the vote, of the `_raw` one at temperature 1, and
            the same of the single one with its own temperature; and `mcnemar`.
        reliability: A row per split, "vote" or "single", and bin of confidence, as
            `calibration.reliability`, `raw` or at its temperature.
    """

    study: Any = dataclasses.field(repr=False)
    how: str
    members: Mapping[str, int]
    shifts: int
    temperature: float
    single: str
    about: Mapping[str, Any]
    reliability: pd.DataFrame = dataclasses.field(repr=False)

    @property
    def costs(self) -> dict[str, Any]:
        """What a vote takes: `networks`, `params`, and `ms` on one image, if known."""
        trials = self.study.trials.set_index("trial").loc[list(self.members)]
        views = (2 * self.shifts + 1) ** 2
        ms = float(trials["latency_1_ms"].sum(skipna=False)) * views
        return {
            "networks": len(trials),
            "params": int(trials["params"].sum()),
            "ms": None if np.isnan(ms) else ms,
        }

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns the probability of each class, float [N, K].

        Args:
            images: As the study's own, uint8 or float32 [N, H, W, C].
        """
        mean = mean_probabilities(self.study, self.members, images, self.shifts)
        return calibration.heated(mean, self.temperature)

    def to_json(self) -> dict[str, Any]:
        """Returns what is kept of it, in ensemble.json."""
        return {
            "how": self.how,
            "members": dict(self.members),
            "shifts": self.shifts,
            "temperature": self.temperature,
            "single": self.single,
            "costs": self.costs,
            "about": dict(self.about),
            "reliability": self.reliability.to_dict("records"),
        }


def make_ensemble(
    study: Any,
    how: str = "greedy",
    shifts: int = 0,
    data_dir: Any = None,
) -> Ensemble:
    """Does what `Study.ensemble` says."""
    if how not in HOW:
        raise InputError(f"ensemble={how!r} is not known; choose {' or '.join(HOW)}")
    if study.config.data.train_on == "all":
        raise InputError(
            f"{study.workdir} was trained on its validation images, too: they can "
            "choose no networks and say nothing of their confidence. Take a study "
            "that held them out"
        )
    given = isinstance(data_dir, Dataset)
    data = data_dir if given else study_data(study.config, data_dir)
    if data.fingerprint != study.config.data.fingerprint:
        raise InputError(
            f"the data are not those that {study.workdir} was trained on: give their "
            "folder as `data_dir`, or the Dataset itself"
        )
    trials = study.trials
    finished = trials[trials["status"] == FINISHED]["trial"].tolist()
    single = study.trial("best")["trial"]
    names = finished if how == "greedy" else study.siblings()
    splits = {"validation": data.validation, "test": data.test}
    images = {name: split.images for name, split in splits.items()}
    said = probabilities(study, names, images, shifts)
    labels = data.validation.labels
    counts = np.ones(len(names), int)
    if how == "greedy":
        counts = calibration.choose_greedily(said["validation"], labels)
    votes = {name: weighted_mean(rows, counts) for name, rows in said.items()}
    alone = {name: rows[names.index(single)] for name, rows in said.items()}
    measured = [_measured(by_split, splits) for by_split in (votes, alone)]
    about: dict[str, Any] = {}
    for name, split in splits.items():
        right = [by[name].argmax(-1) == split.labels for by in (votes, alone)]
        about[name] = {
            **measured[0][0][name],
            "single": measured[1][0][name],
            "mcnemar": calibration.mcnemar(*right)._asdict(),
        }
    tables = [
        table.assign(which=which)
        for which, (_, table, _) in zip(("vote", "single"), measured)
    ]
    return Ensemble(
        study,
        how,
        {name: int(n) for name, n in zip(names, counts) if n},
        shifts,
        measured[0][2],
        single,
        about,
        pd.concat(tables, ignore_index=True),
    )


def _measured(
    said: Mapping[str, np.ndarray], splits: Mapping[str, Split]
) -> tuple[dict[str, Any], pd.DataFrame, float]:
    """Returns what is measured by split, the table of reliability, the temperature."""
    labels = splits["validation"].labels
    logits = calibration.logits(said["validation"])
    temperature = calibration.fit_temperature(logits, labels)
    about: dict[str, Any] = {}
    tables = []
    for name, split in splits.items():
        right = said[name].argmax(-1) == split.labels
        hits, count = int(right.sum()), len(right)
        low, high = proportion_interval(hits, count)
        about[name] = {
            "correct": hits,
            "count": count,
            "accuracy": hits / count,
            "low": low,
            "high": high,
            "temperature": temperature,
        }
        for raw, at in ((True, 1.0), (False, temperature)):
            chances = calibration.heated(said[name], at)
            bins = calibration.reliability(chances.max(-1), right)
            end = "_raw" if raw else ""
            about[name] |= {
                f"loss{end}": calibration.log_loss(chances, split.labels),
                f"error{end}": calibration.calibration_error(bins),
            }
            tables.append(bins.assign(split=name, raw=raw))
    return about, pd.concat(tables), temperature


def write_ensemble(ensemble: Ensemble) -> Path:
    """Writes ensemble.json and figures/votes.* into the study's workdir.

    Returns:
        The path of the picture as PNG.
    """
    # Drawing takes a second to import.
    from mnistopt.report.charts import votes
    from mnistopt.report.charts.pictures import Picture, keep_picture

    text = json.dumps(ensemble.to_json(), indent=2) + "\n"
    workdir = ensemble.study.workdir
    frame = votes.votes_frame(ensemble.reliability)
    with writing_to(workdir):
        Manifest(workdir).write({FILE: text.encode()})
        keep_picture(workdir, "votes", Picture.of(frame, votes.votes_chart(frame)))
    return workdir / "figures" / "votes.png"


def read_members(study: Any) -> dict[str, int]:
    """Returns who votes in a study: as ensemble.json says, or its best point's seeds.

    Raises:
        InputError: If ensemble.json cannot be read, or names trials that are gone.
    """
    path = study.workdir / FILE
    if not path.exists():
        return dict.fromkeys(study.siblings(), 1)
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["members"]
        found = {
            study.trial(name)["trial"]: int(count) for name, count in members.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove it, or make it again by "
            "evaluate --ensemble=greedy"
        ) from error
    return found
