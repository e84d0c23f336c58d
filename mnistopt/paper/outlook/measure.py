"""Trains the outlook's rows, and measures what its tables are made of.

In the workdir: the study in `outlook/`, what was asked in `config.json`, and in
`tables/` `seeds.csv`, a row per row of a table and seed, `robustness.csv`, a row per
trial, corruption and strength, and `speeds.csv`, a row per network and turn of timing.
All that is told is made of these.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mnistopt.data.splits import Split
from mnistopt.errors import InputError
from mnistopt.files import read_csv, write_text
from mnistopt.paper.evidence import collect_seeds, without_paths
from mnistopt.paper.outlook.rows import PART, Options, make_cells
from mnistopt.paper.times import time_epochs
from mnistopt.results.stats import Interval, accuracy_interval, mean_interval
from mnistopt.results.tables import FINISHED
from mnistopt.study import runner
from mnistopt.study.evaluation import CLEAN, robustness, study_data
from mnistopt.study.jobs import Plan
from mnistopt.study.progress import OnProgress
from mnistopt.study.study import Study

# Test digits that are corrupted: a thousand times 36 conditions for each replica. The
# rows are compared on the same ones.
ROBUST_EXAMPLES = 1000
# The columns of seeds.csv that are means over corruptions, besides that over all.
KINDS = {
    "robust_noise": ("noise",),
    "robust_deformation": ("shift", "rotation", "thickness"),
}
# Seconds after which no further turn of timing begins: at full scale the first turn,
# which warms up, takes nearly as long.
TIMING = 240.0
_TABLES = ("seeds", "robustness", "speeds")
COSTS = ("multiply_adds", "latency_1_ms", "latency_256_ms")


class Measured(NamedTuple):
    """What was measured.

    Attributes:
        options: What was asked.
        command: The command line.
        study: The study's config: data, machine, versions.
        seeds: A row per row of a table and seed, as `evidence.collect_seeds`, and
            `robust`, the columns of `KINDS`, and `COSTS`.
        robustness: From `evaluation.robustness`.
        speeds: From `times.time_epochs`.
    """

    options: Options
    command: str
    study: dict[str, Any]
    seeds: pd.DataFrame
    robustness: pd.DataFrame
    speeds: pd.DataFrame

    def write(self, workdir: Path) -> None:
        """Writes it."""
        config = {
            "command": self.command,
            "options": dataclasses.asdict(self.options),
            PART: self.study,
        }
        write_text(workdir / "config.json", json.dumps(config, indent=2) + "\n")
        for name in _TABLES:
            text = getattr(self, name).to_csv(index=False)
            write_text(workdir / "tables" / f"{name}.csv", text)

    @classmethod
    def read(cls, workdir: Path) -> "Measured":
        """Reads what `write` wrote.

        Raises:
            InputError: If a file is missing or cannot be read.
        """
        try:
            config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
            options = Options(**config["options"])
            paths = (workdir / "tables" / f"{name}.csv" for name in _TABLES)
            frames = map(read_csv, paths)
            return cls(options, config["command"], config[PART], *frames)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{workdir} cannot be read as an outlook ({error}); repeat the command "
                "that made it"
            ) from error


def _settings(options: Options, workdir: Path) -> dict[str, Any]:
    """Returns the arguments of `runner.run`."""
    points = dict.fromkeys(cell.row.point for cell in make_cells(options))
    return {
        "points": tuple(points),
        "seeds": options.seeds,
        "dataset": options.dataset,
        "data_dir": options.data_dir,
        "train_examples": options.train_examples,
        "workdir": workdir / PART,
    }


def interval_of(name: str, values: Any) -> Interval:
    """Returns the 95 % interval over seeds that suits a column of seeds.csv."""
    suits = mean_interval if name == "convergence_epoch" else accuracy_interval
    return suits(values)


def plan(options: Options, workdir: str | Path) -> Plan:
    """Returns what `measure` would train; writes nothing."""
    return runner.plan(**_settings(options, Path(workdir).expanduser()))


def measure(
    options: Options,
    workdir: str | Path,
    command: str = "",
    on_plan: Callable[[Plan], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Measured:
    """Trains and measures what is not in the workdir yet.

    Args:
        options: How large.
        workdir: Where everything goes.
        command: The command line that did it, for the report.
        on_plan: As of `runner.run`.
        on_progress: As of `runner.run`.

    Raises:
        InputError: If an option cannot be used, or does not fit the workdir.
    """
    workdir = Path(workdir).expanduser()
    study = runner.run(
        on_plan=on_plan, on_progress=on_progress, **_settings(options, workdir)
    )
    robust = _robustness(study, options, workdir / "tables" / "robustness.csv")
    speeds = _speeds(study, options, workdir / "tables" / "speeds.csv")
    about = without_paths(study.config.to_json())
    cells, trials = make_cells(options), study.trials
    seeds = collect_seeds(cells, {PART: trials}, {PART: study.curves}, {PART: about})
    seeds = seeds.merge(_means(robust), on="trial", how="left")
    seeds = seeds.merge(
        trials.reindex(columns=["trial", *COSTS]), on="trial", how="left"
    )
    measured = Measured(options, command, about, seeds, robust, speeds)
    measured.write(workdir)
    return measured


def _robustness(study: Study, options: Options, path: Path) -> pd.DataFrame:
    """Returns the robustness of all finished trials, measured where it is not known."""
    trials = study.trials
    names = trials.loc[trials["status"] == FINISHED, "trial"].tolist()
    known = read_csv(path) if path.exists() else pd.DataFrame({"trial": []})
    known = known[known["trial"].isin(names)]
    new = [name for name in names if name not in set(known["trial"])]
    if not new:
        return known
    test = study_data(study.config, options.data_dir).test
    # Canonical order is by content, so the first ones would be alike.
    chosen = np.random.default_rng(0).permutation(len(test.labels))[:ROBUST_EXAMPLES]
    examples = Split(test.images[chosen], test.labels[chosen])
    return pd.concat([known, robustness(study, examples, new)], ignore_index=True)


def _speeds(study: Study, options: Options, path: Path) -> pd.DataFrame:
    """Returns the seconds of each network's epochs, measured if they are not known.

    As of `times.make_speeds`: what training took depends on what else ran then.
    """
    points = {cell.row.point.program: cell.row.point for cell in make_cells(options)}
    if path.exists():
        known = read_csv(path)
        if {one.identity() for one in points} <= set(known["program"]):
            return known
    data = study_data(study.config, options.data_dir)
    wanted = [(point, False) for point in points.values()]
    return time_epochs(PART, wanted, data, study.config.lanes, TIMING)


def _means(robust: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per trial: its mean accuracies over corruptions and strengths."""
    corrupted = robust[robust["corruption"] != CLEAN]
    kinds = {"robust": tuple(corrupted["corruption"].unique()), **KINDS}
    means = {
        name: corrupted[corrupted["corruption"].isin(members)]
        .groupby("trial")["accuracy"]
        .mean()
        for name, members in kinds.items()
    }
    return pd.DataFrame(means).rename_axis("trial").reset_index()
