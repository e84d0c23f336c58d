"""The committed results: all that is told of them follows from the evidence."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.reproduction.findings import Findings
from experiments.reproduction.measure import ROBUST_EXAMPLES
from experiments.reproduction.write import write

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
NAMES = ("paper", "outlook")


@pytest.fixture(scope="module", params=NAMES)
def again(request, tmp_path_factory):
    """What follows from committed evidence: its folder, and where it was written."""
    there, workdir = RESULTS / request.param, tmp_path_factory.mktemp("again")
    shutil.copytree(there / "evidence", workdir / "evidence")
    shutil.copy(there / "config.json", workdir)
    write(Findings.read(workdir), workdir)
    return there, workdir


def test_every_table_and_word_follows_from_the_evidence(again):
    there, workdir = again
    made = {path.name for path in (workdir / "tables").iterdir()}
    assert made == {path.name for path in (there / "tables").iterdir()}
    for name in made:
        # To the last bits, in which versions of numpy and scipy differ.
        left, right = (pd.read_csv(at / "tables" / name) for at in (workdir, there))
        pd.testing.assert_frame_equal(left, right, rtol=1e-9)
    for path in workdir.glob("*.md"):
        assert path.read_text() == (there / path.name).read_text()
        # An interval that is not known is left out.
        assert not re.search(r"\bnan\b", path.read_text())


def test_the_page_is_of_these_tables(again):
    there, _ = again
    page = (there / "report.html").read_text()
    assert len(page) < 3e6
    for table in Findings.read(there).paper.tables:
        assert f"Table {table.number}: {table.title}" in page


def test_the_readme_says_what_the_evidence_says():
    readme = (ROOT / "README.md").read_text()
    assert (RESULTS / "paper" / "headline.md").read_text().strip() in readme
    command = Findings.read(RESULTS / "paper").asked.command.split(" --workdir")[0]
    # Where the digits come from changes nothing.
    assert re.sub(r" --data_dir=\S+", "", command) in readme


@pytest.mark.parametrize("name", NAMES)
def test_the_evidence_is_whole(name):
    found = Findings.read(RESULTS / name)
    tables, evidence = found.evidence.tables, found.evidence
    trials, curves = tables["trials"], tables["curves"].groupby("replica")
    assert set(trials["data"]) <= set(evidence.data)
    assert set(trials["source"]) <= set(range(len(evidence.sources)))
    for source in evidence.sources:
        assert re.fullmatch("[0-9a-f]{40}", source["commit"])
    # Accuracies are counts of digits.
    for column, size in (("test_accuracy", "test"), ("train_accuracy", "train")):
        sizes = trials["data"].map({k: one[size] for k, one in evidence.data.items()})
        counts = trials[column] * sizes
        np.testing.assert_allclose(counts, counts.round(), atol=2e-3)
    if name == "outlook":
        robust = tables["robustness"]
        assert (robust["count"] == ROBUST_EXAMPLES).all()
        # Seven corruptions in five strengths, and none.
        assert set(robust.groupby("trial").size()) == {36}
        assert set(robust["trial"]) == set(trials["trial"])
        return
    for _, row in trials.iterrows():
        curve = curves.get_group(row["replica"])
        assert curve["epoch"].tolist() == list(range(1, len(curve) + 1))
        last = curve["validation_accuracy"].iloc[row["epochs"] - 1]
        assert last == row["validation_accuracy"], row["trial"]


def test_every_figure_told_of_the_outlook_is_in_a_table():
    """In per cent or points, or as it is."""
    page = (ROOT / "docs" / "results.md").read_text()
    section = page.split("\n## The outlook's tables\n")[1].split("\n## ")[0]
    known = set()
    for path in (RESULTS / "outlook" / "tables").iterdir():
        for _, column in pd.read_csv(path).select_dtypes("number").items():
            for value in column.dropna().abs():
                known |= {f"{value:.1f}", f"{100 * value:.1f}", f"{100 * value:.2f}"}
    told = re.findall(r"(?<![\w.])\d+\.\d+", section)
    assert len(told) > 10 and set(told) <= known, set(told) - known
    claims = Findings.read(RESULTS / "outlook").claims
    assert all(verdict in section for verdict in claims["claim_verdict"])
