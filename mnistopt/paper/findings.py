"""What follows from what was measured: tables, comparisons and verdicts."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from mnistopt.paper.differences import make_differences
from mnistopt.paper.evidence import Evidence
from mnistopt.paper.frames import make_table
from mnistopt.paper.hypotheses import VERDICTS
from mnistopt.paper.judge import TOO_LARGE, TOO_SMALL, judge
from mnistopt.paper.learning import collect_learning, find_runs
from mnistopt.paper.plan import Cell, make_cells, make_parts, scaled
from mnistopt.paper.times import make_times
from mnistopt.results.stats import proportion_interval


class Findings(NamedTuple):
    """What a reproduction found.

    Attributes:
        cells: The rows of the paper's tables.
        tables: The tables by number, from `frames.make_table`.
        differences: From `differences.make_differences`.
        claims: From `judge.judge`.
        times: From `times.make_times`.
        learning: From `learning.collect_learning`.
        summary: From `make_summary`.
    """

    cells: Sequence[Cell]
    tables: Mapping[int, pd.DataFrame]
    differences: pd.DataFrame
    claims: pd.DataFrame
    times: pd.DataFrame
    learning: pd.DataFrame
    summary: pd.Series

    def frames(self) -> dict[str, pd.DataFrame]:
        """Returns all of it as tables, by the names of their files."""
        summary = self.summary.rename_axis("name").reset_index(name="value")
        return {
            **{f"table{number}": table for number, table in self.tables.items()},
            "differences": self.differences,
            "claims": self.claims,
            "times": self.times,
            "learning": self.learning,
            "summary": summary,
        }


def find(evidence: Evidence) -> Findings:
    """Returns what follows from what was measured."""
    options, seeds, speeds = evidence.options, evidence.seeds, evidence.speeds
    cells = make_cells(options)
    tables = {
        number: make_table(number, cells, seeds, speeds) for number in options.tables
    }
    compiled = {
        name: math.fsum(part["compile_seconds"].values())
        for name, part in evidence.parts.items()
    }
    scale = functools.partial(scaled, scale=options.epochs_scale)
    claims = judge(seeds, speeds, scale)
    return Findings(
        cells=cells,
        tables=tables,
        differences=make_differences(tables, cells, seeds, evidence.vote_is_right),
        claims=claims,
        times=make_times(make_parts(cells, options), seeds, compiled, speeds),
        learning=collect_learning(find_runs(cells, seeds), seeds, evidence.curves),
        summary=make_summary(tables, claims, seeds),
    )


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
            "figures": claims["paper"].notna().sum(),
            "figures_too_large": (claims["paper_is"] == TOO_LARGE).sum(),
            "figures_too_small": (claims["paper_is"] == TOO_SMALL).sum(),
            "most_examples": most,
            "rows_with_figure": len(differences),
            "rows_above": (differences > 0).sum(),
            "median_difference": differences.median(),
            "test_examples": count,
            "test_half_width": max(halves, default=math.nan),
        },
        dtype=float,
    )
