"""docs/tables.md describes each column of each table, and no other."""

import csv
import fnmatch
import re

import pytest

from experiments.reproduction.evidence import Evidence
from mnistopt.models.registry import NETWORKS
from mnistopt.results import sheets
from mnistopt.results.columns import axes_of
from mnistopt.results.tables import curves_table, summary_table, trials_table
from mnistopt.study import evaluation
from tests.programs import ROOT

RESULTS = ROOT / "experiments" / "results"
TRIALS = trials_table([])
STUDY = {
    "trials.csv": list(TRIALS),
    "curves.csv": list(curves_table([])),
    "summary.csv": list(summary_table(TRIALS)),
    "corrupt.csv": evaluation._COLUMNS,
    "predictions/": [
        *sheets._COLUMNS,
        *sheets._SAMPLE_COLUMNS,
        *sheets._WEIGHT_COLUMNS,
    ],
}


def described(heading):
    """Returns the columns, or globs of columns, that a section describes."""
    text = (ROOT / "docs" / "tables.md").read_text()
    parts = re.split(r"^##+ (.*)\n", text, flags=re.MULTILINE)
    section = dict(zip(parts[1::2], parts[2::2]))[heading]
    cells = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def compare(heading, columns):
    names, columns = described(heading), dict.fromkeys(columns)
    assert len(names) == len(set(names))
    for column in columns:
        assert any(fnmatch.fnmatch(column, name) for name in names), column
    for name in names:
        assert fnmatch.filter(columns, name), f"no column {name}"


def header(path):
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


@pytest.mark.parametrize("heading", STUDY)
def test_the_columns_of_a_study(heading):
    fields = {name for network in NETWORKS.values() for name in network.axes}
    axes = {*axes_of(TRIALS), *fields}
    compare(heading, [name for name in STUDY[heading] if name not in axes])


def test_the_columns_of_the_evidence():
    tables = Evidence.empty().tables.values()
    compare("evidence/", [name for table in tables for name in table])


def test_the_columns_of_the_papers_tables():
    paths = sorted(RESULTS.glob("*/tables/*.csv"))
    assert len(paths) > 10
    columns = []
    for path in paths:
        names = header(path)
        # The paper's own come before the setting.
        first = names.index("setting") if "setting" in names else 0
        columns += names[first:]
    compare("tables/", columns)


def test_the_columns_of_the_benchmark():
    paths = (RESULTS / "bench").rglob("*.csv")
    compare("The benchmark", [name for path in paths for name in header(path)])
