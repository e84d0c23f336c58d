"""The committed outlook: all that is told of it follows from what was measured."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mnistopt.files import read_csv
from mnistopt.paper.frames import finished_seeds
from mnistopt.paper.outlook.conclude import conclude
from mnistopt.paper.outlook.measure import ROBUST_EXAMPLES, Measured
from mnistopt.paper.outlook.rows import make_cells

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "experiments" / "results" / "outlook"


@pytest.fixture(scope="module")
def measured():
    return Measured.read(RESULTS)


def test_tables_verdicts_and_words_follow_from_the_evidence(tmp_path):
    (tmp_path / "tables").mkdir()
    shutil.copy(RESULTS / "config.json", tmp_path)
    for name in ("seeds", "robustness", "speeds"):
        shutil.copy(RESULTS / "tables" / f"{name}.csv", tmp_path / "tables")
    conclude(tmp_path)
    made = sorted((tmp_path / "tables").iterdir())
    there = sorted((RESULTS / "tables").iterdir())
    assert [path.name for path in made] == [path.name for path in there]
    for one, other in zip(made, there):
        # To the last bits, in which versions of numpy and scipy differ.
        pd.testing.assert_frame_equal(read_csv(one), read_csv(other), rtol=1e-9)
    text = (tmp_path / "outlook.md").read_text()
    assert text == (RESULTS / "outlook.md").read_text()


def test_every_row_has_its_seeds_on_as_many_digits(measured):
    asked = measured.study["asked"]["seeds"]
    for cell in make_cells(measured.options):
        assert len(finished_seeds(measured.seeds, cell)) == asked >= 3
    assert (measured.seeds["train_examples"] >= 10_000).all()
    assert re.fullmatch("[0-9a-f]{40}", measured.study["commit"])


def test_accuracies_are_counts_of_digits(measured):
    counts = measured.seeds["test_accuracy"] * measured.seeds["test_examples"]
    assert (counts - counts.round()).abs().max() < 1e-6
    robust = measured.robustness
    assert (robust["count"] == ROBUST_EXAMPLES).all()
    assert (robust["correct"] == robust["accuracy"] * robust["count"]).all()
    # Seven corruptions in five strengths, and none.
    assert set(robust.groupby("trial").size()) == {36}
    assert set(robust["trial"]) == set(measured.seeds["trial"])


def test_every_figure_of_the_readme_is_in_a_table():
    """In per cent or points, or as it is."""
    readme = (ROOT / "README.md").read_text()
    section = readme.split("\n### The outlook's tables\n")[1].split("\n## ")[0]
    known = set()
    for path in (RESULTS / "tables").iterdir():
        for _, column in read_csv(path).select_dtypes("number").items():
            for value in column.dropna().abs():
                known |= {f"{value:.1f}", f"{100 * value:.1f}", f"{100 * value:.2f}"}
    told = re.findall(r"(?<![\w.])\d+\.\d+", section)
    assert len(told) > 10 and set(told) <= known, set(told) - known
    for claim in read_csv(RESULTS / "tables" / "claims.csv").itertuples():
        assert claim.claim_verdict in section
