"""One reproduction of the paper: trains its parts, and writes tables and report."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mnistopt.files import write_text
from mnistopt.paper import report
from mnistopt.paper.claims import CONTRADICTED, SUPPORTED, UNDECIDED
from mnistopt.paper.differences import make_differences
from mnistopt.paper.frames import collect_seeds, make_table
from mnistopt.paper.judge import judge
from mnistopt.paper.plan import Cell, Options, Part, make_cells, make_parts
from mnistopt.paper.times import make_speeds, make_times
from mnistopt.results.predictions import read_predictions
from mnistopt.results.stats import proportion_interval
from mnistopt.study import runner
from mnistopt.study.planning import Plan
from mnistopt.study.progress import OnProgress, Progress
from mnistopt.study.study import Study


class Reproduction(NamedTuple):
    """What a reproduction found.

    Attributes:
        seeds: A row per row of a table and seed.
        tables: The paper's tables by number, a row per row.
        differences: A row per row that is not its table's best.
        claims: A row per hypothesis, with verdicts.
        times: A row per part and model.
        report: All of it in words and tables, Markdown.
    """

    seeds: pd.DataFrame
    tables: dict[int, pd.DataFrame]
    differences: pd.DataFrame
    claims: pd.DataFrame
    times: pd.DataFrame
    report: str


def _settings(part: Part, options: Options, workdir: Path) -> dict[str, Any]:
    """Returns the arguments of `runner.run` that train a part."""
    return {
        "points": part.points,
        "seeds": part.seeds,
        "dataset": options.dataset,
        "data_dir": options.data_dir,
        "train_examples": part.train_examples,
        "workdir": workdir / part.name,
    }


def plan(options: Options, workdir: str | Path) -> dict[str, Plan]:
    """Returns by part what `reproduce` would train; writes nothing."""
    parts = make_parts(make_cells(options), options)
    return {
        part.name: runner.plan(**_settings(part, options, Path(workdir)))
        for part in parts
    }


def reproduce(
    options: Options,
    workdir: str | Path,
    command: str = "",
    on_plan: Callable[[dict[str, Plan]], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Reproduction:
    """Trains what of the paper's tables is not in the workdir yet, and judges it.

    Args:
        options: How large.
        workdir: Where everything goes: a study per part in folders of their names,
            `tables/*.csv`, `paper.md` and `config.json`.
        command: The command line that did it, for the report.
        on_plan: Called with the plans before they are carried out.
        on_progress: Called as that of `runner.run`, with the work of all parts.

    Returns:
        The tables and the report.

    Raises:
        InputError: If an option cannot be used, or does not fit the workdir.
    """
    workdir = Path(workdir)
    plans = plan(options, workdir)
    if on_plan:
        on_plan(plans)
    whole = WholeProgress(sum(one.work for one in plans.values()), on_progress)
    studies = {}
    for part in make_parts(make_cells(options), options):
        settings = _settings(part, options, workdir)
        studies[part.name] = runner.run(on_progress=whole, **settings)
        whole.next_part()
    return _conclude(options, workdir, command, studies)


def _conclude(
    options: Options, workdir: Path, command: str, studies: Mapping[str, Study]
) -> Reproduction:
    """Makes and writes the tables and the report of what has been trained."""
    cells = make_cells(options)
    seeds = collect_seeds(
        cells,
        {name: one.trials for name, one in studies.items()},
        {name: one.curves for name, one in studies.items()},
        {name: one.config for name, one in studies.items()},
    )
    parts = make_parts(cells, options)
    speeds = make_speeds(parts, options, workdir, studies)
    tables = {
        number: make_table(number, cells, seeds, speeds) for number in options.tables
    }
    differences = make_differences(
        tables, cells, seeds, lambda cell: _vote_is_right(workdir / cell.part, cell)
    )
    claims = judge(seeds, speeds, options.epochs_scale)
    times = make_times(parts, studies, speeds)
    summary = make_summary(tables, claims, seeds)
    config = {
        "command": command,
        "options": dataclasses.asdict(options),
        "parts": {name: _without_paths(one.config) for name, one in studies.items()},
    }
    text = report.write_report(tables, differences, claims, times, summary, config)
    frames = {f"table{number}": table for number, table in tables.items()}
    frames |= {"seeds": seeds, "differences": differences}
    frames |= {"claims": claims, "times": times, "speeds": speeds}
    frames["summary"] = summary.rename_axis("name").reset_index(name="value")
    for name, frame in frames.items():
        write_text(workdir / "tables" / f"{name}.csv", frame.to_csv(index=False))
    write_text(workdir / "config.json", json.dumps(config, indent=2) + "\n")
    write_text(workdir / "paper.md", text)
    return Reproduction(seeds, tables, differences, claims, times, text)


def _vote_is_right(folder: Path, cell: Cell) -> np.ndarray:
    found = read_predictions(folder, cell.row.point.identity(), "test")
    return found.vote == found.labels


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Returns what of a part's config.json says the same on any machine."""
    return {name: value for name, value in config.items() if name != "data_dir"}


class WholeProgress:
    """Tells of the parts' progress as of one study: a callback of `runner.run`."""

    def __init__(self, total_work: int, on_progress: OnProgress | None):
        """Knows the work of all parts, and whom to tell."""
        self._total_work, self._on_progress = total_work, on_progress
        self._work, self._seconds = 0, 0.0  # of the parts before
        self._last: Progress | None = None

    def next_part(self) -> None:
        """Counts the part that has ended among those before."""
        if self._last is not None:
            self._work, self._seconds = self._last.work, self._last.seconds

    def __call__(self, progress: Progress) -> None:
        """Adds the parts before to the progress of this one."""
        self._last = progress._replace(
            work=self._work + progress.work,
            total_work=self._total_work,
            seconds=self._seconds + progress.seconds,
        )
        if self._on_progress:
            self._on_progress(self._last)


def make_summary(
    tables: Mapping[int, pd.DataFrame], claims: pd.DataFrame, seeds: pd.DataFrame
) -> pd.Series:
    """Returns the figures of the report's text by name (summary.csv)."""
    verdicts = claims.drop_duplicates("claim")["claim_verdict"]
    most = max(table["train_examples"].max() for table in tables.values())
    differences = pd.concat(
        table.loc[table["train_examples"] == most, "test_accuracy_difference"].dropna()
        for table in tables.values()
    )
    count = int(seeds["test_examples"].max())
    halves = [
        (high - low) / 2
        for mean in seeds["test_accuracy"].dropna()
        for low, high in [proportion_interval(mean * count, count)]
    ]
    return pd.Series(
        {
            "claims": len(verdicts),
            **{name: (verdicts == name).sum() for name in _VERDICTS},
            "most_examples": most,
            "rows_with_figure": len(differences),
            "rows_above": (differences > 0).sum(),
            "median_difference": differences.median(),
            "test_examples": count,
            "test_half_width": max(halves, default=math.nan),
        },
        dtype=float,
    )


_VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED)
