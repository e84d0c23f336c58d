"""How long a reproduction takes, measured in one sitting, and one model at a time."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mnistopt.data.dataset import Dataset
from mnistopt.data.load import load
from mnistopt.engine.devices import Lanes, LocalDevice, use_devices
from mnistopt.engine.queue import make_timer
from mnistopt.engine.replicas import Program, put_splits
from mnistopt.files import read_csv
from mnistopt.paper.claims import CLAIMS
from mnistopt.paper.plan import Options, Part
from mnistopt.paper.tables import TABLES
from mnistopt.points import Point
from mnistopt.study.study import Study
from mnistopt.training.cohort import Cohort

# Interleaved repeats, as many as fit into the time, and one at least.
REPEATS, SECONDS = 5, 30.0


def make_speeds(
    parts: Sequence[Part],
    options: Options,
    workdir: Path,
    studies: Mapping[str, Study],
) -> pd.DataFrame:
    """Returns the seconds of an epoch, measured after training (speeds.csv).

    Times of training are taken hours apart, with whatever else the machine does then.
    So the networks of Table 1, and those of the claims about time, are trained once
    more, for an epoch at a time and taking turns: all devices busy, as in the study,
    and, for the network that stands for its model, alone on one of them. What has been
    measured for a workdir is not measured again.

    Returns:
        A row per part, network and repeat: `program`, the identity of its cohort;
        whether it was `alone`; and `seconds`, a replica's share.
    """
    path = workdir / "tables" / "speeds.csv"
    before = pd.DataFrame(columns=_COLUMNS)
    if path.exists():
        before = read_csv(path)
    tables = []
    for part in parts:
        wanted = _networks(part)
        there = before[before["part"] == part.name]
        known = set(zip(there["program"], there["alone"]))
        needed = {(point.program.identity(), alone) for point, alone in wanted}
        if not needed <= known:
            lanes = studies[part.name].config.lanes
            data = load(
                options.dataset,
                data_dir=options.data_dir,
                train_examples=part.train_examples,
            )
            there = time_epochs(part.name, wanted, data, lanes)
        tables.append(there)
    return pd.concat(tables, ignore_index=True).astype({"alone": bool})


_COLUMNS = ("part", "program", "structure", "batch_size", "alone", "repeat", "seconds")


def stands_for(model: str, part: Part) -> Point:
    """Returns the network of Table 1 of a model, or else another one of the part."""
    programs = {row.point.program for row in TABLES[1].rows}
    of_model = [point for point in part.points if point.structure.model == model]
    return next((p for p in of_model if p.program in programs), of_model[-1])


def _networks(part: Part) -> list[tuple[Point, bool]]:
    """Returns what of a part is measured, and whether alone."""
    timed = {
        term.point.program
        for claim in CLAIMS
        for hypothesis in claim.hypotheses
        for term in hypothesis.terms
        if hypothesis.ratio
    }
    models = dict.fromkeys(point.structure.model for point in part.points)
    standing = [stands_for(model, part) for model in models]
    busy = {point.program: point for point in standing}
    if part.name != "best":
        busy |= {p.program: p for p in part.points if p.program in timed}
    return [(point, False) for point in busy.values()] + [(p, True) for p in standing]


def time_epochs(
    part: str,
    wanted: Sequence[tuple[Point, bool]],
    data: Dataset,
    lanes: Mapping[str, str],
    limit: float = SECONDS,
) -> pd.DataFrame:
    """Trains networks for an epoch at a time, taking turns.

    Args:
        part: What its rows are to say.
        wanted: Points, and whether each is alone on one device.
        data: What they are trained on.
        lanes: Of those that are not, by the identities of their cohorts.
        limit: Seconds after which no turn begins.

    Returns:
        As `make_speeds`.
    """
    devices = use_devices()
    timers = [_timer(point, alone, data, devices, lanes) for point, alone in wanted]
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    for repeat in range(REPEATS + 1):
        for (point, alone), time_epoch in zip(wanted, timers):
            rows.append(
                {
                    "part": part,
                    "program": point.program.identity(),
                    "structure": str(point.structure),
                    "batch_size": point.recipe.batch_size,
                    "alone": alone,
                    "repeat": repeat,
                    "seconds": time_epoch(),
                }
            )
        if time.perf_counter() - start > limit:
            break
    table = pd.DataFrame(rows)
    # The first turn warms up, unless there was time for no other.
    return table[(table["repeat"] > 0) | (table["repeat"].max() == 0)]


def _timer(
    point: Point,
    alone: bool,
    data: Dataset,
    devices: Sequence[LocalDevice],
    lanes: Mapping[str, str],
) -> Callable[[], float]:
    """Returns a function that trains an epoch, and returns a replica's share of it."""
    cohort = Cohort.of(point, data)
    if alone:
        devices, side_by_side = devices[:1], Lanes(1, 1)
    else:
        text = lanes[point.program.identity()]
        side_by_side = Lanes(*map(int, text.split("x")))
    program = Program(cohort, side_by_side, put_splits(data, devices))
    replicas = math.prod(side_by_side) * len(devices)
    time_epoch = make_timer(program, point.hparams, replicas)
    return lambda: time_epoch() / replicas


def make_times(
    parts: Sequence[Part],
    seeds: pd.DataFrame,
    compile_seconds: Mapping[str, float],
    speeds: pd.DataFrame,
) -> pd.DataFrame:
    """Returns how long it took, and would take one model at a time (times.csv).

    Args:
        parts: The parts.
        seeds: From `evidence.collect_seeds`.
        compile_seconds: By part.
        speeds: From `make_speeds`.

    Returns:
        A row per part and model: `replicas`; `seconds`, their training; the part's
        `compile_seconds` (in its first row); `structure`, the network that stands for
        the model; its `epoch_seconds`, a replica's share, and `alone_epoch_seconds`;
        and `alone_seconds`, `seconds` times their ratio.
    """
    rows: list[dict[str, Any]] = []
    for part in parts:
        of_part = seeds[seeds["part"] == part.name]
        models = {point.identity(): point.structure.model for point in part.points}
        for i, model in enumerate(dict.fromkeys(models.values())):
            of_model = of_part[of_part["point"].map(models) == model]
            # Points that differ in epochs only are stages of one replica.
            seconds = of_model.groupby("replica")["seconds"].max()
            point = stands_for(model, part)
            mine = (speeds["part"] == part.name) & (
                speeds["program"] == point.program.identity()
            )
            medians = speeds[mine].groupby("alone")["seconds"].median()
            rows.append(
                {
                    "part": part.name,
                    "model": model,
                    "replicas": len(seconds),
                    "seconds": seconds.sum(),
                    "compile_seconds": 0.0 if i else compile_seconds[part.name],
                    "structure": str(point.structure),
                    "epoch_seconds": medians[False],
                    "alone_epoch_seconds": medians[True],
                    "alone_seconds": seconds.sum() * medians[True] / medians[False],
                }
            )
    return pd.DataFrame(rows)
