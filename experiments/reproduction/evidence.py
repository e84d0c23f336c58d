"""What was measured: files that grow by rows, of which all else is made.

In a workdir's `evidence/`:

- `trials.csv`: a row per replica and number of epochs that it was measured after;
- `curves.csv`: a row per replica and epoch;
- `speeds.csv`: a row per timed network and repeat, of one sitting for each data set;
- `robustness.csv`: a row per trial, corruption and strength, where that is measured;
- `about.json`: the data sets by fingerprint, and the `sources` of the rows: machine,
  versions and commit.

Trials and replicas have the names that the library gives them: hashes of settings, seed
and data. So rows of any machine and time fit together, and no row is there twice.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.reproduction.paper import Paper, Setting
from mnistopt.data.corrupt import CORRUPTIONS
from mnistopt.errors import InputError
from mnistopt.files import read_csv, write_text
from mnistopt.points import Point, replica_id
from mnistopt.results.tables import DIVERGED, FINISHED, UNFINISHED, trial_id
from mnistopt.study.study import Study

COSTS = ("params", "multiply_adds", "latency_1_ms", "latency_256_ms")
# What names a row, and what else it has.
_KEYS = {
    "trials": ("trial",),
    "curves": ("replica", "epoch"),
    "speeds": ("data", "program", "repeat"),
    "robustness": ("trial", "corruption", "strength"),
}
_COLUMNS: dict[str, tuple[str, ...]] = {
    "trials": (
        *("trial", "replica", "data", "setting", "seed", "epochs", "status"),
        *("train_accuracy", "validation_accuracy", "test_accuracy"),
        *("best_test_accuracy", "convergence_epoch", "seconds", "source", *COSTS),
    ),
    "curves": ("replica", "epoch", "validation_accuracy", "validation_loss"),
    "speeds": ("data", "program", "network", "repeat", "seconds", "source"),
    "robustness": ("trial", "corruption", "strength", "correct", "count"),
}
# Means over strengths of these corruptions.
KINDS = {
    "robust": tuple(CORRUPTIONS),
    "robust_noise": ("noise",),
    "robust_deformation": ("shift", "rotation", "thickness"),
}


@dataclasses.dataclass
class Evidence:
    """Rows that were measured.

    Attributes:
        tables: The files above by name.
        data: For each fingerprint, `dataset` and the sizes `train`, `validation`,
            `test`.
        sources: Where rows come from: `cpu`, `python`, `versions`, `commit`.
    """

    tables: dict[str, pd.DataFrame]
    data: dict[str, dict[str, Any]]
    sources: list[dict[str, Any]]

    @classmethod
    def empty(cls) -> "Evidence":
        """Returns evidence without rows."""
        tables = {k: pd.DataFrame(columns=list(v)) for k, v in _COLUMNS.items()}
        return cls(tables, {}, [])

    @classmethod
    def read(cls, workdir: Path) -> "Evidence":
        """Reads what `write` wrote; where nothing was, there is none.

        Raises:
            InputError: If a file cannot be read, or has a row twice.
        """
        folder, evidence = workdir / "evidence", cls.empty()
        try:
            if (folder / "about.json").exists():
                about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
                evidence.data, evidence.sources = about["data"], about["sources"]
            for name, columns in _COLUMNS.items():
                if (path := folder / f"{name}.csv").exists():
                    evidence.tables[name] = read_csv(path)[list(columns)]
            return evidence._checked()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder} cannot be read as evidence ({error}); restore its files, "
                "or give another workdir"
            ) from error

    def write(self, workdir: Path) -> None:
        """Writes all files; trials last, as their rows show what is complete."""
        self._checked()
        folder = workdir / "evidence"
        about = {"data": self.data, "sources": self.sources}
        text = json.dumps(about, indent=1, ensure_ascii=False)
        write_text(folder / "about.json", text + "\n")
        for name, keys in reversed(_KEYS.items()):
            table = self.tables[name]
            if len(table):
                table = table.sort_values(list(keys), kind="stable")
                # So many digits distinguish counts on 60,000 images.
                text = table.to_csv(index=False, float_format="%.8g")
                write_text(folder / f"{name}.csv", text)

    def _checked(self) -> "Evidence":
        for name, keys in _KEYS.items():
            twice = self.tables[name][self.tables[name].duplicated(list(keys))]
            if len(twice):
                row = twice.iloc[0][list(keys)].tolist()
                raise ValueError(f"{name}.csv has {row} twice")
        return self

    def source(self, about: Mapping[str, Any]) -> int:
        """Returns the number of a source, which becomes known."""
        names = ("cpu", "python", "versions", "commit")
        entry = {name: about[name] for name in names}
        if entry not in self.sources:
            self.sources.append(entry)
        return self.sources.index(entry)

    def put(self, name: str, rows: pd.DataFrame, replaced: pd.Series) -> None:
        """Puts rows into a table in place of those that are marked, bool per row."""
        kept = self.tables[name][~replaced]
        frames = [frame for frame in (kept, rows[list(_COLUMNS[name])]) if len(frame)]
        self.tables[name] = pd.concat(frames or [kept], ignore_index=True)

    def add(self, study: Study, paper: Paper) -> None:
        """Adds what a study has measured and the evidence lacks.

        A replica that lacks anything is replaced as a whole, so that what is compared
        along its epochs, or beside its robustness, comes from one run.
        """
        config, trials, curves = study.config, study.trials, study.curves
        about = {name: getattr(config.data, name) for name in _SIZES}
        self.data[config.data.fingerprint] = about
        stored = self.tables["trials"]
        # An unfinished replica is added when it has as many epochs as are stored.
        shorter = trials["replica"].map(stored.groupby("replica")["epochs"].max())
        shorter = trials["epochs_done"] < shorter
        waits = trials[shorter & (trials["status"] == UNFINISHED)]["replica"]
        trials = trials[
            trials["test_accuracy"].notna() & ~trials["replica"].isin(waits)
        ]
        complete = trials["trial"].isin(stored["trial"])
        complete &= trials["replica"].isin(self.tables["curves"]["replica"])
        if paper.robustness:
            robust = trials["trial"].isin(self.tables["robustness"]["trial"])
            complete &= robust | (trials["status"] == DIVERGED)
        new = trials[trials["replica"].isin(trials[~complete]["replica"])]
        if new.empty:
            return
        words = {
            setting.point.identity(): paper.describe(setting)
            for setting in reversed(list(paper.settings.values()))
        }
        new = new.assign(
            data=config.data.fingerprint,
            setting=new["point"].map(words).fillna(""),
            source=self.source(dataclasses.asdict(config)),
        )
        for name, rows in (("trials", new), ("robustness", new.iloc[:0])):
            gone = self.tables[name]["trial"].isin(new["trial"])
            self.put(name, rows.reindex(columns=list(_COLUMNS[name])), gone)
        stored = self.tables["curves"]
        before = stored.groupby("replica").size()
        most = new.groupby("replica")["epochs"].max()
        longer = most[most >= before.reindex(most.index).fillna(0)]
        rows = curves[curves["epoch"] <= curves["replica"].map(longer)]
        self.put("curves", rows, stored["replica"].isin(longer.index))

    def has(self, setting: Setting, seed: int, data: str, robust: bool) -> bool:
        """Says whether a setting was measured with a seed, on corrupted digits too."""
        trial, trials = _trial(setting.point, seed, data), self.tables["trials"]
        status = trials[trials["trial"] == trial]["status"]
        if status.empty or not robust or status.iloc[0] == DIVERGED:
            return len(status) > 0
        return bool((self.tables["robustness"]["trial"] == trial).any())

    def measured(
        self, setting: Setting, data: str, status: str = FINISHED
    ) -> pd.DataFrame:
        """Returns what was measured of a setting, a row per finished seed.

        Returns:
            By seed: the trial's columns; `gap`, of training and test accuracy; of the
            curve of validation accuracy `first_accuracy`, after the first epoch,
            `oscillation`, the standard deviation over the last quarter of the epochs,
            `largest_fall` within one epoch of the last half, `best_epoch` and
            `best_validation_accuracy`; of that of validation loss `lowest_epoch`,
            `lowest_loss` and `last_loss` (nats); and the columns of `KINDS`. Of a
            setting that is stopped early, accuracies are those at the best epoch.
        """
        trials = self.tables["trials"]
        finished = trials[(trials["data"] == data) & (trials["status"] == status)]
        seeds = map(int, finished["seed"].unique())
        names = {_trial(setting.point, seed, data) for seed in seeds}
        rows = finished[finished["trial"].isin(names)].sort_values("seed")
        curves = [self._of_curve(replica, setting) for replica in rows["replica"]]
        rows = rows.assign(gap=rows["train_accuracy"] - rows["test_accuracy"])
        more = pd.DataFrame(curves, index=rows.index, columns=list(_OF_CURVES))
        rows = pd.concat([rows, more, self._robust(rows)], axis=1)
        if setting.stopped:
            rows["test_accuracy"] = rows["best_test_accuracy"]
            rows["validation_accuracy"] = rows["best_validation_accuracy"]
        return rows.set_index("seed")

    def _of_curve(self, replica: str, setting: Setting) -> tuple[float, ...]:
        curves = self.tables["curves"]
        epochs = curves[curves["replica"] == replica].sort_values("epoch")
        epochs = epochs.head(setting.point.epochs)
        curve, loss = (epochs[f"validation_{name}"].to_numpy() for name in _CURVES)
        if not len(curve):
            return (np.nan,) * len(_OF_CURVES)
        last, late = curve[-max(2, len(curve) // 4) :], curve[len(curve) // 2 :]
        spread = float(np.std(last, ddof=1)) if len(last) > 1 else np.nan
        fall = float(max(0, -np.diff(late).min())) if len(late) > 1 else np.nan
        best, lowest = (
            int(curve.argmax()),
            int(np.nan_to_num(loss, nan=np.inf).argmin()),
        )
        of_loss = (lowest + 1, loss[lowest], loss[-1])
        return curve[0], spread, fall, best + 1, curve[best], *of_loss

    def _robust(self, trials: pd.DataFrame) -> pd.DataFrame:
        robust = self.tables["robustness"]
        share = robust["correct"] / robust["count"]
        means = {
            name: share[robust["corruption"].isin(kinds)]
            .groupby(robust["trial"])
            .mean()
            .reindex(trials["trial"])
            .to_numpy()
            for name, kinds in KINDS.items()
        }
        return pd.DataFrame(means, index=trials.index)


class Measured:
    """What was measured of a paper on one data set, by the ids of its settings.

    Attributes:
        paper: The paper.
        evidence: Where all of it is.
        data: The fingerprint of the data set.
    """

    def __init__(self, paper: Paper, evidence: Evidence, data: str):
        """Reads nothing yet."""
        self.paper, self.evidence, self.data = paper, evidence, data
        self._known: dict[str, pd.DataFrame] = {}

    def __call__(self, id: str) -> pd.DataFrame:
        """Returns `Evidence.measured` of a setting, a row per finished seed."""
        if id not in self._known:
            setting = self.paper.settings[id]
            self._known[id] = self.evidence.measured(setting, self.data)
        return self._known[id]

    def diverged(self, id: str) -> int:
        """Returns how many seeds of a setting diverged."""
        setting = self.paper.settings[id]
        return len(self.evidence.measured(setting, self.data, DIVERGED))

    def seconds(self, id: str) -> pd.Series:
        """Returns a replica's share of the seconds of an epoch, by repeat."""
        speeds = self.evidence.tables["speeds"]
        name = self.paper.settings[id].point.program.identity()
        rows = speeds[(speeds["data"] == self.data) & (speeds["program"] == name)]
        return rows.set_index("repeat")["seconds"]


_SIZES = ("dataset", "train", "validation", "test")
_CURVES = ("accuracy", "loss")
_OF_CURVES = (
    *("first_accuracy", "oscillation", "largest_fall"),
    *("best_epoch", "best_validation_accuracy"),
    *("lowest_epoch", "lowest_loss", "last_loss"),
)


def _trial(point: Point, seed: int, data: str) -> str:
    return trial_id(replica_id(point, seed, data), point.epochs)
