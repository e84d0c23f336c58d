"""Trains what the evidence lacks, seed by seed, and takes in what it measured.

A workdir has the evidence (see `evidence`), and in `studies/` a study for each data
set, whose checkpoints a killed run resumes from. Evidence without studies is as good a
start: what it has is not trained again.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import mnistopt
from experiments.reproduction.evidence import Evidence
from experiments.reproduction.paper import Paper, Setting
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split
from mnistopt.engine.devices import use_devices
from mnistopt.engine.lanes import choose_lanes
from mnistopt.engine.memory import at_hand
from mnistopt.engine.queue import make_timer
from mnistopt.engine.replicas import Program, put_splits
from mnistopt.errors import InputError
from mnistopt.points import Point
from mnistopt.results.config import describe_machine
from mnistopt.results.tables import FINISHED
from mnistopt.study.evaluation import robustness
from mnistopt.study.jobs import Plan
from mnistopt.study.progress import OnProgress
from mnistopt.study.study import Study
from mnistopt.training.cohort import Cohort

# Test digits that are corrupted: a thousand times 36 conditions for each replica. The
# rows are compared on the same ones.
ROBUST_EXAMPLES = 1000
# Interleaved repeats of timing: as many as begin within the seconds.
_REPEATS, _LEAST, _SECONDS = 5, 3, 240.0


class Options(NamedTuple):
    """How large a reproduction is.

    Attributes:
        dataset: One of `official.DATASETS`.
        data_dir: Folder with its files, or None.
        train_examples: Training examples; None for all.
        seeds: The number of seeds of each setting.
        cnn_seeds: The number for settings other than MLPs; None for `seeds`.
    """

    dataset: str = "mnist_5k"
    data_dir: str | None = None
    train_examples: int | None = None
    seeds: int = 3
    cnn_seeds: int | None = None

    @property
    def data(self) -> dict[str, Any]:
        """What says which digits."""
        names = ("dataset", "data_dir", "train_examples")
        return {name: getattr(self, name) for name in names}

    def seeds_of(self, setting: Setting) -> int:
        """Returns how many seeds a setting has."""
        mlp = setting.point.structure.model == "mlp"
        return self.seeds if mlp else self.cnn_seeds or self.seeds


class Step(NamedTuple):
    """Points that are trained together, with some seeds."""

    seeds: tuple[int, ...]
    points: tuple[Point, ...]


def steps(
    paper: Paper, evidence: Evidence, options: Options, data: str, at_once: int
) -> list[Step]:
    """Returns what is lacking, in the order of training.

    All settings of some seeds come before those of the next: whenever it is stopped,
    what is there is complete and paired. A replica whose longest run is lacking is
    trained to all numbers of epochs that are asked of it: its rows are of one run.

    Args:
        paper: The paper, with the tables to measure.
        evidence: The rows measured so far.
        options: How much of it.
        data: The fingerprint of its data.
        at_once: Seeds that are trained together.
    """
    trained = list(paper.trained().values())
    most, planned = max(map(options.seeds_of, trained)), []
    for first in range(0, most, at_once):
        by_points: dict[tuple[Point, ...], list[int]] = {}
        for seed in range(first, min(first + at_once, most)):
            asked = [setting for setting in trained if seed < options.seeds_of(setting)]
            lacking = {
                _replica(setting)
                for setting in asked
                if not evidence.has(setting, seed, data, paper.robustness)
            }
            points = dict.fromkeys(
                setting.point for setting in asked if _replica(setting) in lacking
            )
            by_points.setdefault(tuple(points), []).append(seed)
        planned += [Step(tuple(seeds), pts) for pts, seeds in by_points.items() if pts]
    return planned


def _replica(setting: Setting) -> tuple:
    point = setting.point
    return point.structure, point.recipe, point.hparams


class Measure:
    """One reproduction: its evidence, and how it grows.

    Attributes:
        evidence: The rows measured so far.
        data: The examples.
    """

    def __init__(self, paper: Paper, options: Options, workdir: Path):
        """Reads what the workdir has; writes nothing.

        Args:
            paper: The paper, with the tables to measure.
            options: How much of it.
            workdir: Where the evidence and the studies are.

        Raises:
            InputError: If an option cannot be used, or the evidence cannot be read.
        """
        self._paper, self._options, self._workdir = paper, options, workdir
        self.evidence = Evidence.read(workdir)
        given = {
            name: value for name, value in options.data.items() if value is not None
        }
        self.data: Dataset = mnistopt.load(given.pop("dataset"), **given)
        # What a killed run had measured; a study that cannot be read is left to `run`.
        with contextlib.suppress(InputError):
            self.evidence.add(mnistopt.open_study(self._studies), paper)

    @property
    def _studies(self) -> Path:
        return self._workdir / "studies" / self.data.fingerprint

    def _steps(self) -> list[Step]:
        devices = use_devices()
        # On a CPU each core trains one replica, so a lone network needs several seeds
        # to use all cores; an accelerator takes all seeds at once.
        at_once = len(devices)
        if devices[0].platform != "cpu":
            settings = self._paper.trained().values()
            at_once = max(map(self._options.seeds_of, settings))
        fingerprint = self.data.fingerprint
        return steps(self._paper, self.evidence, self._options, fingerprint, at_once)

    def _asked(self, step: Step) -> dict[str, Any]:
        """Returns the arguments of `mnistopt.run`."""
        asked = {"points": step.points, "seeds": step.seeds, "workdir": self._studies}
        return asked | self._options.data

    def plan(self) -> list[Plan]:
        """Returns what would be trained, a plan for each step; writes nothing."""
        return [mnistopt.plan(**self._asked(step)) for step in self._steps()]

    def train(self, on_progress: OnProgress | None = None) -> None:
        """Trains and measures what is lacking; writes the evidence after each step.

        Args:
            on_progress: See `mnistopt.run`.

        Raises:
            InputError: If it does not fit the machine.
            Stopped: At Ctrl-C or SIGTERM; the same call resumes.
        """
        self.evidence.write(self._workdir)
        for step in self._steps():
            study = mnistopt.run(on_progress=on_progress, **self._asked(step))
            # Days may have passed, and others may have added to it.
            self.evidence = Evidence.read(self._workdir)
            self.evidence.add(study, self._paper)
            if self._paper.robustness:
                trials, measured = study.trials, self.evidence.tables["robustness"]
                trials = trials[trials["status"] == FINISHED]
                new = trials[~trials["trial"].isin(measured["trial"])]["trial"]
                rows = _robustness(study, self.data, list(new))
                self.evidence.put("robustness", rows, measured["trial"].isin(new))
            self.evidence.write(self._workdir)

    def untimed(self) -> dict[str, Point]:
        """Returns the networks to time, by program; {} if their times are known.

        All that are compared by time, and those timed before: times of one sitting are
        compared, as a machine does other things at other times.
        """
        speeds = self.evidence.tables["speeds"]
        speeds = speeds[speeds["data"] == self.data.fingerprint]
        counts = speeds["program"].value_counts()
        timed = set(counts[counts >= _LEAST].index)
        lacking = {setting.point.program for setting in self._paper.timed().values()}
        if {program.identity() for program in lacking} <= timed:
            return {}
        whole = Paper.read(self._paper.name).timed().values()
        points = [
            setting for setting in whole if setting.point.program.identity() in timed
        ]
        points += self._paper.timed().values()
        return {setting.point.program.identity(): setting.point for setting in points}

    def time(self) -> None:
        """Times the networks that are `untimed`, and writes the evidence."""
        if networks := self.untimed():
            rows = list(time_epochs(networks, self.data, self._options.seeds))
            self.evidence = Evidence.read(self._workdir)
            about: dict[str, Any] = {"data": self.data.fingerprint}
            about["source"] = self.evidence.source(describe_machine())
            gone = self.evidence.tables["speeds"]["data"] == about["data"]
            self.evidence.put("speeds", pd.DataFrame(rows).assign(**about), gone)
            self.evidence.write(self._workdir)


def _robustness(study: Study, data: Dataset, trials: list[str]) -> pd.DataFrame:
    """Returns the accuracy of trials on the corrupted digits that all rows share."""
    test = data.test
    # Canonical order is by content, so the first ones would be alike.
    chosen = np.random.default_rng(0).permutation(len(test.labels))[:ROBUST_EXAMPLES]
    examples = Split(test.images[chosen], test.labels[chosen])
    return robustness(study, examples, trials)


def time_epochs(
    networks: Mapping[str, Point], data: Dataset, seeds: int, limit: float = _SECONDS
) -> Iterator[dict[str, Any]]:
    """Trains networks for an epoch at a time, taking turns, all devices busy.

    Args:
        networks: A point each, by the identity of its program.
        data: The data that they are trained on.
        seeds: The seeds of each, where a device takes several side by side.
        limit: Seconds after which no turn begins, but for the first three.

    Yields:
        `program`, `network`, `repeat`, and `seconds`, a replica's share of an epoch.
    """
    devices = use_devices()
    splits = put_splits(data, devices)
    timers, replicas = {}, {}
    for name, point in networks.items():
        cohort = Cohort.of(point, data)
        lanes = choose_lanes(devices, 1, seeds, at_hand(cohort))
        replicas[name] = math.prod(lanes) * len(devices)
        program = Program(cohort, lanes, splits)
        timers[name] = make_timer(program, point.hparams, replicas[name])
    for time_epoch in timers.values():
        time_epoch()  # The first one warms up.
    start = time.perf_counter()
    for repeat in range(1, _REPEATS + 1):
        for name, time_epoch in timers.items():
            seconds = time_epoch() / replicas[name]
            about = {"program": name, "network": str(networks[name].structure)}
            yield about | {"repeat": repeat, "seconds": seconds}
        if repeat >= _LEAST and time.perf_counter() - start > limit:
            break
