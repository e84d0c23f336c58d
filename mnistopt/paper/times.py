"""How long a reproduction took, and would take one model at a time."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mnistopt.data import load
from mnistopt.devices import use_devices
from mnistopt.hparams import Point
from mnistopt.models import make_model
from mnistopt.paper.plan import Options, Part, scaled
from mnistopt.paper.tables import TABLES
from mnistopt.replicas import time_alone
from mnistopt.study import Study
from mnistopt.train import Replica


def make_times(
    parts: Sequence[Part],
    options: Options,
    workdir: Path,
    studies: Mapping[str, Study],
) -> pd.DataFrame:
    """Returns how long it took, and would take one model at a time (times.csv).

    For each part and model a network that stands for it (of Table 1, or the part's
    only one) is trained alone for an epoch or more, and the time of one of its replicas
    in the study compared. What has been measured for a workdir is not measured again.

    Returns:
        A row per part and model: `replicas`; `seconds`, their training; the part's
        `compile_seconds` (in its first row); `structure`, the network measured, with
        `epoch_seconds`, a replica's share of an epoch's time, and
        `alone_epoch_seconds`; and `alone_seconds`, `seconds` times their ratio.
    """
    path = workdir / "tables" / "times.csv"
    before = pd.read_csv(path) if path.exists() else pd.DataFrame()
    rows: list[dict[str, Any]] = []
    for part in parts:
        trials, config = studies[part.name].trials, studies[part.name].config
        compile_seconds = math.fsum(config["compile_seconds"].values())
        for model in dict.fromkeys(point.model for point in part.points):
            of_model = trials[trials["model"] == model].sort_values("epochs")
            whole = of_model.drop_duplicates("replica", keep="last")
            point = _stands_for(model, part, options)
            one = whole[whole["point"] == point.identity()]
            share = (one["seconds"] / one["epochs_done"]).median()
            row = {"part": part.name, "model": model, "structure": point.structure}
            alone = _known(before, row)
            if alone is None:
                alone = _measure_alone(part, options, point)
            rows.append(
                {
                    **row,
                    "replicas": len(whole),
                    "seconds": whole["seconds"].sum(),
                    "compile_seconds": compile_seconds,
                    "epoch_seconds": share,
                    "alone_epoch_seconds": alone,
                    "alone_seconds": whole["seconds"].sum() * alone / share,
                }
            )
            compile_seconds = 0.0
    return pd.DataFrame(rows)


def _stands_for(model: str, part: Part, options: Options) -> Point:
    base = [scaled(row.point, options.epochs_scale) for row in TABLES[1].rows]
    of_model = [point for point in part.points if point.model == model]
    return next((point for point in base if point in of_model), of_model[-1])


def _known(before: pd.DataFrame, row: Mapping[str, str]) -> float | None:
    if before.empty:
        return None
    same = (before[list(row)] == pd.Series(row)).all(axis=1)
    found = before.loc[same, "alone_epoch_seconds"]
    return None if found.empty else float(found.iloc[0])


def _measure_alone(part: Part, options: Options, point: Point) -> float:
    data = load(
        options.dataset,
        data_dir=options.data_dir,
        train_examples=part.train_examples,
    )
    replica = Replica(make_model(point), point.optimizer, point.batch_size)
    return time_alone(replica, point.hparams, data, use_devices())
