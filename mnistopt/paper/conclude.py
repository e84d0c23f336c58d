"""What follows from what was measured: tables, verdicts and words.

All of it is made of the files of `evidence` alone, so that anyone can make it again.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mnistopt.files import write_text
from mnistopt.paper import report
from mnistopt.paper.differences import make_differences
from mnistopt.paper.evidence import Evidence
from mnistopt.paper.frames import make_table
from mnistopt.paper.hypotheses import VERDICTS
from mnistopt.paper.judge import judge
from mnistopt.paper.learning import collect_learning, find_runs
from mnistopt.paper.plan import make_cells, make_parts
from mnistopt.paper.times import make_times
from mnistopt.results.stats import proportion_interval

# What whoever looked at the tables wants to say of them; shown where it is there.
NOTES = "notes.md"


class Reproduction(NamedTuple):
    """What a reproduction found.

    Attributes:
        seeds: A row per row of a table and seed.
        tables: The paper's tables by number, a row per row.
        differences: A row per row that is not its table's best.
        claims: A row per hypothesis, with verdicts.
        times: A row per part and model.
        learning: A row per run, of its curves.
        report: All of it in words and tables, Markdown.
    """

    seeds: pd.DataFrame
    tables: dict[int, pd.DataFrame]
    differences: pd.DataFrame
    claims: pd.DataFrame
    times: pd.DataFrame
    learning: pd.DataFrame
    report: str


def conclude(workdir: str | Path) -> Reproduction:
    """Makes and writes all that follows from what was measured.

    Args:
        workdir: Has the files of `evidence`, and maybe `NOTES`; `tables/*.csv` and
            `paper.md` are written beside them.

    Raises:
        InputError: If one of those files is missing or cannot be read.
    """
    workdir = Path(workdir)
    found = Evidence.read(workdir)
    options, seeds = found.options, found.seeds
    cells = make_cells(options)
    tables = {
        number: make_table(number, cells, seeds, found.speeds)
        for number in options.tables
    }
    differences = make_differences(tables, cells, seeds, found.vote_is_right)
    claims = judge(seeds, found.speeds, options.epochs_scale)
    compiled = {
        name: math.fsum(part["compile_seconds"].values())
        for name, part in found.parts.items()
    }
    parts = make_parts(cells, options)
    times = make_times(parts, seeds, compiled, found.speeds)
    learning = collect_learning(find_runs(cells, seeds), seeds, found.curves)
    summary = make_summary(tables, claims, seeds)
    notes = workdir / NOTES
    text = report.write_report(
        report.Findings(
            *(tables, cells, differences, claims, times, learning, summary),
            notes.read_text() if notes.exists() else "",
        ),
        found,
    )
    frames = {f"table{number}": table for number, table in tables.items()}
    frames |= {"differences": differences, "claims": claims, "times": times}
    frames |= {"learning": learning}
    frames["summary"] = summary.rename_axis("name").reset_index(name="value")
    for name, frame in frames.items():
        write_text(workdir / "tables" / f"{name}.csv", frame.to_csv(index=False))
    write_text(workdir / "paper.md", text)
    return Reproduction(seeds, tables, differences, claims, times, learning, text)


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
            **{name: (verdicts == name).sum() for name in VERDICTS},
            "most_examples": most,
            "rows_with_figure": len(differences),
            "rows_above": (differences > 0).sum(),
            "median_difference": differences.median(),
            "test_examples": count,
            "test_half_width": max(halves, default=math.nan),
        },
        dtype=float,
    )
