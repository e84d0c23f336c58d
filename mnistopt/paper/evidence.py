"""What a reproduction measured: a few CSV files, of which all else is made.

In the workdir's `tables/`:

- `seeds.csv`: a row per row of a table and seed;
- `curves.csv`: a row per replica and epoch;
- `mistakes.csv`: a row per test image that the vote of a point's seeds misreads;
- `speeds.csv`: a row per timed network and repeat (see `times`).

With `config.json`, which has what was asked and where it was trained, they are enough
to make every table, verdict and sentence again, without training and without images.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mnistopt.errors import InputError
from mnistopt.files import read_csv, write_text
from mnistopt.paper.frames import row_name
from mnistopt.paper.plan import Cell, Options
from mnistopt.results.predictions import read_predictions
from mnistopt.results.tables import FINISHED
from mnistopt.study.study import Study

_TABLES = ("seeds", "curves", "mistakes", "speeds")
# The columns of seeds.csv that are measured, as trials.csv has them and of the curves;
# those before name the row and the replica.
_OF_TRIALS = (
    *("train_accuracy", "validation_accuracy", "test_accuracy", "overfitting"),
    *("convergence_epoch", "best_epoch", "best_test_accuracy"),
)
_MEASURED = (*_OF_TRIALS, "first_accuracy", "oscillation")
_NAMES = (
    *("table", "row", "part", "train_examples", "test_examples", "epochs"),
    *("point", "trial", "replica", "seed", "status", "params", "seconds"),
)
_CURVES = ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss")


class Evidence(NamedTuple):
    """What was measured.

    Attributes:
        options: What was asked.
        command: The command line.
        parts: By part, its study's config: data, machine, versions, compile times.
        seeds: From `collect_seeds`.
        curves: From `collect_curves`.
        mistakes: From `collect_mistakes`.
        speeds: From `times.make_speeds`.
    """

    options: Options
    command: str
    parts: Mapping[str, Mapping[str, Any]]
    seeds: pd.DataFrame
    curves: pd.DataFrame
    mistakes: pd.DataFrame
    speeds: pd.DataFrame

    @property
    def machine(self) -> str:
        """What trained."""
        return "; ".join(dict.fromkeys(part["cpu"] for part in self.parts.values()))

    def write(self, workdir: Path) -> None:
        """Writes config.json and the four tables."""
        config = {
            "command": self.command,
            "options": dataclasses.asdict(self.options),
            "parts": self.parts,
        }
        write_text(workdir / "config.json", json.dumps(config, indent=2) + "\n")
        for name in _TABLES:
            text = getattr(self, name).to_csv(index=False)
            write_text(workdir / "tables" / f"{name}.csv", text)

    @classmethod
    def read(cls, workdir: Path) -> "Evidence":
        """Reads what `write` wrote.

        Raises:
            InputError: If a file is missing or cannot be read.
        """
        try:
            config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
            asked = config["options"] | {"tables": tuple(config["options"]["tables"])}
            frames = [read_csv(workdir / "tables" / f"{name}.csv") for name in _TABLES]
            frames[-1] = frames[-1].astype({"alone": bool})
            return cls(Options(**asked), config["command"], config["parts"], *frames)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{workdir} cannot be read as a reproduction ({error}); repeat the "
                "command that made it"
            ) from error

    def vote_is_right(self, cell: Cell) -> np.ndarray:
        """Says which test images the vote of a row's seeds has right, bool [N]."""
        right = np.ones(int(self.seeds["test_examples"].max()), bool)
        mine = (self.mistakes["part"] == cell.part) & (
            self.mistakes["point"] == cell.row.point.identity()
        )
        # Without any mistake the column has no type.
        right[self.mistakes.loc[mine, "image"].astype(int)] = False
        return right


def collect(
    options: Options,
    command: str,
    cells: Sequence[Cell],
    studies: Mapping[str, Study],
    speeds: pd.DataFrame,
) -> Evidence:
    """Returns what of the parts' studies the tables are made of.

    Args:
        options: What was asked.
        command: The command line.
        cells: The rows of the paper's tables.
        studies: By part.
        speeds: From `times.make_speeds`.
    """
    parts = {name: without_paths(one.config.to_json()) for name, one in studies.items()}
    trials = {name: one.trials for name, one in studies.items()}
    curves = {name: one.curves for name, one in studies.items()}
    return Evidence(
        options,
        command,
        parts,
        collect_seeds(cells, trials, curves, parts),
        collect_curves(curves),
        collect_mistakes(cells, {name: one.workdir for name, one in studies.items()}),
        speeds,
    )


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what of a part's config.json says the same on any machine."""
    return {name: value for name, value in config.items() if name != "data_dir"}


def collect_seeds(
    cells: Iterable[Cell],
    trials: Mapping[str, pd.DataFrame],
    curves: Mapping[str, pd.DataFrame],
    parts: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Returns a row per cell and seed (seeds.csv).

    Args:
        cells: The rows of the paper's tables.
        trials: By part, its table of trials.
        curves: By part, its table of epochs.
        parts: By part, its config.

    Returns:
        Which row, replica and seed it is, and its `seconds` of training; then
        `train_accuracy`, `validation_accuracy`, `test_accuracy`, `overfitting`,
        `convergence_epoch`, `best_epoch` by validation and `best_test_accuracy` then,
        as trials.csv has them; `first_accuracy` (validation, after the first epoch);
        and `oscillation` (standard deviation of the validation accuracies of the last
        quarter of the epochs).
    """
    rows = []
    for cell in cells:
        data, point = parts[cell.part]["data"], cell.row.point
        found = trials[cell.part]
        by_replica = curves[cell.part].groupby("replica")["validation_accuracy"]
        for _, trial in found[found["point"] == point.identity()].iterrows():
            row = {
                "table": cell.table,
                "row": row_name(cell),
                "part": cell.part,
                "train_examples": data["train"],
                "test_examples": data["test"],
                "epochs": point.epochs,
                **{name: trial[name] for name in _NAMES[6:]},
            }
            if trial["status"] == FINISHED:
                curve = by_replica.get_group(trial["replica"]).tolist()[: point.epochs]
                row |= {name: trial[name] for name in _OF_TRIALS} | {
                    "first_accuracy": curve[0],
                    "oscillation": last_quarter_spread(curve),
                }
            rows.append(row)
    table = pd.DataFrame(rows, columns=[*_NAMES, *_MEASURED])
    return table.astype({name: float for name in _MEASURED})


def last_quarter_spread(curve: Sequence[float]) -> float:
    """Returns the standard deviation of the last quarter of a curve; nan of one."""
    last = curve[-max(2, len(curve) // 4) :]
    return float(np.std(last, ddof=1)) if len(last) > 1 else math.nan


def collect_curves(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Returns a row per part, replica and epoch (curves.csv), losses to six digits.

    `train_` columns are of the batches as they were trained on, dropout on.

    Args:
        curves: By part, its table of epochs.
    """
    frames = []
    for part, frame in curves.items():
        found = frame[["replica", "epoch", *_CURVES]].assign(part=part)
        for name in ("train_loss", "validation_loss"):
            found[name] = found[name].map("{:.6g}".format).astype(float)
        frames.append(found[["part", "replica", "epoch", *_CURVES]])
    return pd.concat(frames, ignore_index=True)


def collect_mistakes(
    cells: Iterable[Cell], workdirs: Mapping[str, Path]
) -> pd.DataFrame:
    """Returns a row per test image that a point's vote misreads (mistakes.csv).

    Args:
        cells: The rows of the paper's tables.
        workdirs: By part, its study's folder.

    Returns:
        The part and point; the image's place in the test split and its `label`; and
        the `vote` of the point's seeds, the likeliest class by the mean of their
        probabilities.
    """
    frames = []
    for part, point in dict.fromkeys((c.part, c.row.point.identity()) for c in cells):
        try:
            found = read_predictions(workdirs[part], point, "test")
        except InputError:  # none of its seeds has finished
            continue
        wrong = np.flatnonzero(found.vote != found.labels)
        frames.append(
            pd.DataFrame(
                {
                    "part": part,
                    "point": point,
                    "image": wrong,
                    "label": found.labels[wrong],
                    "vote": found.vote[wrong],
                }
            )
        )
    nothing = pd.DataFrame(columns=["part", "point", "image", "label", "vote"])
    return pd.concat(frames or [nothing], ignore_index=True)
