"""Networks of a study that vote, with calibrated probabilities."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.axes import limit
from mnistopt.data.splits import Split
from mnistopt.engine.predict import Predictor, shifted
from mnistopt.errors import InputError
from mnistopt.files import writing_to
from mnistopt.manifest import OF_FIGURES, Manifest
from mnistopt.results import calibration
from mnistopt.results.stats import share_right
from mnistopt.results.tables import FINISHED
from mnistopt.study.examples import own_data

FILE = "ensemble.json"
HOW = "greedy", "all"
# Pixels of the widest shift: it asks for 81 views of each image.
WIDEST = 4
_SHIFTS = dataclasses.replace(
    limit(""), rule=f"expected a whole number from 0 to {WIDEST}"
)


def check_shifts(value: Any) -> int:
    """Returns a number of pixels to shift by; raises InputError if it is none."""
    shifts: int = _SHIFTS.check("shifts", value)
    if shifts > WIDEST:
        raise InputError(f"shifts={shifts} is not allowed: {_SHIFTS.rule}")
    return shifts


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
        shifts: Each trial is asked about an image shifted by up to so many pixels in
            all directions, and the mean of its answers counts.
        weights: See `Study.variables`.

    Returns:
        By the name of images, float32 [M, N, K].
    """
    networks = [
        (study.network(name), study.variables(name, weights)) for name in trials
    ]
    views = {name: shifted(some, check_shifts(shifts)) for name, some in images.items()}
    count = (2 * shifts + 1) ** 2
    sums: dict[str, Any] = dict.fromkeys(images, 0.0)
    # A view at a time: all of them may not fit into a device.
    for i in range(count):
        view = {name: some[i] for name, some in views.items()}
        answers = [*Predictor(view, study.config.precision)(networks)]
        for name in images:
            answered = np.stack([answer[name].probabilities for answer in answers])
            sums[name] = sums[name] + answered
    return {name: total / np.float32(count) for name, total in sums.items()}


def weighted_mean(answers: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Returns the mean of [M, N, K], each counted so often, float32 [N, K]."""
    weights = np.array([*counts], np.float32) / sum(counts)
    return np.tensordot(weights, answers, axes=1)


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
    answers = probabilities(study, members, {"images": images}, shifts)["images"]
    return weighted_mean(answers, [*members.values()])


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Networks of a study that vote: the mean of their probabilities, calibrated.

    Attributes:
        study: The study.
        how: How they were chosen: "greedy" or "all".
        members: How often each trial counts.
        shifts: See `probabilities`.
        temperature: What the logits of their vote are divided by.
        single: The trial that is best by validation.
        about: What was measured, by split: images `correct` of `count`, `accuracy`,
            the ends `low` and `high` of its 95 % interval over images, `loss` and the
            expected calibration `error` at the `temperature`, and without it
            (`loss_raw`, `error_raw`); the same of the `single` trial, at its own
            temperature; and `mcnemar`.
        reliability: A row per `split`, `which` ("vote" or "single"), `raw` or not, and
            bin of confidence, as `calibration.reliability` returns it.
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
            images: As the study's own, uint8 or float32 [N, H, W, C], at least one.

        Raises:
            InputError: If they have another shape.
        """
        shape = tuple(self.study.config.data.image_shape)
        given = np.shape(images)
        if given[1:] != shape or not given[0]:
            raise InputError(
                f"images of shape {given} are not allowed: expected (N, "
                f"{', '.join(map(str, shape))}), as the study's. `Study.predict` takes "
                "others"
            )
        mean = mean_probabilities(self.study, self.members, images, self.shifts)
        return calibration.heated(mean, self.temperature)

    def to_json(self) -> dict[str, Any]:
        """Returns what ensemble.json keeps of it."""
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

    def write(self) -> Path:
        """Writes ensemble.json and figures/votes.* into the study's workdir.

        Networks that learn from the study then learn from this vote.

        Returns:
            The path of the picture as PNG.
        """
        # Drawing takes a second to import.
        from mnistopt.report.charts import votes
        from mnistopt.report.charts.pictures import Picture, keep_picture

        text = json.dumps(self.to_json(), indent=2) + "\n"
        workdir = self.study.workdir
        frame = votes.votes_frame(self.reliability)
        with writing_to(workdir):
            Manifest(workdir, OF_FIGURES).write({FILE: text.encode()})
            keep_picture(workdir, "votes", Picture.of(frame, votes.votes_chart(frame)))
        return workdir / "figures" / "votes.png"


def make_ensemble(
    study: Any,
    how: str = "greedy",
    shifts: int = 0,
    data: Any = None,
    trials: Sequence[str] | None = None,
) -> Ensemble:
    """Does what `Study.ensemble` says.

    Args:
        study: The study.
        how: See there.
        shifts: See there.
        data: See `examples.own_data`.
        trials: Those that greedy chooses from; None for all that have finished.
    """
    if how not in HOW:
        raise InputError(f"ensemble={how!r} is not known; choose {' or '.join(HOW)}")
    if study.config.data.train_on == "all":
        raise InputError(
            f"{study.workdir} was trained on its validation images, too: they can "
            "choose no networks and say nothing of their confidence. Take a study "
            "that held them out"
        )
    if not isinstance(data, (str, Path)):
        own = own_data(study.config, data)
    else:
        own = own_data(study.config, data, data_dir=data)
    if trials is None:
        table = study.trials
        trials = table[table["status"] == FINISHED]["trial"].tolist()
    single = study.trial("best")["trial"]
    names = study.siblings() if how == "all" else list(dict.fromkeys([*trials, single]))
    validation, test = own.validation, own.test
    answers = probabilities(study, names, {"": validation.images}, shifts)[""]
    counts = np.ones(len(names), int)
    if how == "greedy":
        counts = calibration.choose_greedily(answers, validation.labels)
    members = {name: int(n) for name, n in zip(names, counts) if n}
    # Only those that are chosen are asked about the test images.
    chosen = list(dict.fromkeys([*members, single]))
    on_test = probabilities(study, chosen, {"": test.images}, shifts)[""]
    votes = {
        "validation": weighted_mean(answers, counts.tolist()),
        "test": weighted_mean(on_test[: len(members)], [*members.values()]),
    }
    alone = {
        "validation": answers[names.index(single)],
        "test": on_test[chosen.index(single)],
    }
    splits = {"validation": validation, "test": test}
    vote, of_vote, temperature = _measured(votes, splits)
    best, of_best, _ = _measured(alone, splits)
    about: dict[str, Any] = {}
    for name, split in splits.items():
        right = [by[name].argmax(-1) == split.labels for by in (votes, alone)]
        compared = calibration.mcnemar(*right)._asdict()
        about[name] = {**vote[name], "single": best[name], "mcnemar": compared}
    tables = of_vote.assign(which="vote"), of_best.assign(which="single")
    reliability = pd.concat(tables, ignore_index=True)
    more = temperature, single, about, reliability
    return Ensemble(study, how, members, shifts, *more)


def _measured(
    answers: Mapping[str, np.ndarray], splits: Mapping[str, Split]
) -> tuple[dict[str, Any], pd.DataFrame, float]:
    """Returns what is measured by split, the table of reliability, the temperature."""
    labels = splits["validation"].labels
    logits = calibration.logits(answers["validation"])
    temperature = calibration.fit_temperature(logits, labels)
    about: dict[str, Any] = {}
    tables = []
    for name, split in splits.items():
        right = answers[name].argmax(-1) == split.labels
        about[name] = {**share_right(right), "temperature": temperature}
        for raw, at in ((True, 1.0), (False, temperature)):
            chances = calibration.heated(answers[name], at)
            bins = calibration.reliability(chances.max(-1), right)
            end = "_raw" if raw else ""
            about[name] |= {
                f"loss{end}": calibration.log_loss(chances, split.labels),
                f"error{end}": calibration.calibration_error(bins),
            }
            tables.append(bins.assign(split=name, raw=raw))
    return about, pd.concat(tables), temperature


def read_members(study: Any) -> dict[str, int]:
    """Returns who votes in a study: as ensemble.json says, or its best point's seeds.

    Raises:
        InputError: If ensemble.json is damaged or was changed, or names trials that are
            gone.
    """
    path = study.workdir / FILE
    if not path.exists():
        return dict.fromkeys(study.siblings(), 1)
    try:
        if Manifest(study.workdir, OF_FIGURES).is_altered(FILE):
            raise ValueError("its checksum has changed")
        members = json.loads(path.read_text(encoding="utf-8"))["members"]
        if not members or not all(
            isinstance(count, int) and count > 0 for count in members.values()
        ):
            raise ValueError("members are not counted")
        return {study.trial(name)["trial"]: count for name, count in members.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove it, or make it again by "
            "evaluate --ensemble=greedy"
        ) from error
