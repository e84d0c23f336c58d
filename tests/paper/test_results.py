"""The committed results: all that is told of them follows from what was measured.

Tables, verdicts, prose and the README's figures are made again from the per-replica
CSV files (`mnistopt.paper.evidence`), and compared with what is committed.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnistopt.files import read_csv
from mnistopt.paper.answer import headline
from mnistopt.paper.conclude import conclude
from mnistopt.paper.evidence import Evidence
from mnistopt.paper.findings import Findings
from mnistopt.paper.plan import make_cells, make_parts

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results" / "paper"
EVIDENCE = ("seeds", "curves", "mistakes", "speeds")


@pytest.fixture(scope="module")
def again(tmp_path_factory) -> tuple[Path, Findings]:
    """What follows from the committed evidence: the folder, and what was returned."""
    workdir = tmp_path_factory.mktemp("again")
    (workdir / "tables").mkdir()
    for name in ("config.json", "notes.md"):
        shutil.copy(RESULTS / name, workdir)
    for name in EVIDENCE:
        shutil.copy(RESULTS / "tables" / f"{name}.csv", workdir / "tables")
    return workdir, conclude(workdir)


def test_every_table_and_verdict_follows_from_the_evidence(again):
    workdir, _ = again
    made = {path.name for path in (workdir / "tables").iterdir()}
    there = sorted((RESULTS / "tables").iterdir())
    assert made == {path.name for path in there}
    for path in there:
        # To the last bits, in which versions of numpy and scipy differ.
        pd.testing.assert_frame_equal(
            read_csv(workdir / "tables" / path.name), read_csv(path), rtol=1e-9
        )


def test_every_word_follows_from_the_evidence(again):
    workdir, _ = again
    assert (workdir / "paper.md").read_text() == (RESULTS / "paper.md").read_text()


def squeezed(text: str) -> str:
    """A text without its line breaks, those within a command too."""
    return " ".join(text.replace("\\\n", " ").split())


def test_the_readme_says_what_the_tables_say(again):
    workdir, found = again
    evidence = Evidence.read(workdir)
    readme = squeezed((ROOT / "README.md").read_text())
    table, told = headline(found, evidence.machine).split("\n\n")
    assert squeezed(table) in readme
    assert squeezed(told) in readme
    assert evidence.command in readme


def test_follow_ups_say_what_their_replicas_say():
    """A summary beside the replicas that it is of."""
    for path in (RESULTS / "followups").glob("*-trials.csv"):
        trials = read_csv(path).groupby("point")["test_accuracy"]
        name = path.name.replace("-trials", "")
        summary = read_csv(path.with_name(name)).set_index("point")
        assert set(summary.index) == set(trials.groups)
        for point, row in summary.iterrows():
            assert row["test_accuracy_mean"] == pytest.approx(trials.mean()[point])
            assert row["test_accuracy_std"] == pytest.approx(trials.std()[point])


def test_all_was_trained_at_one_commit_with_one_set_of_versions():
    parts = Evidence.read(RESULTS).parts.values()
    for name in ("commit", "versions", "python", "cpu", "devices"):
        values = [part[name] for part in parts]
        assert all(value == values[0] for value in values), name
    assert all(re.fullmatch("[0-9a-f]{40}", part["commit"]) for part in parts)


def test_every_seed_of_every_row_is_there_and_has_its_whole_curve():
    evidence = Evidence.read(RESULTS)
    cells = make_cells(evidence.options)
    sizes = {part.name: part.seeds for part in make_parts(cells, evidence.options)}
    counts = evidence.seeds.groupby(["table", "row", "part"]).size()
    assert len(counts) == len(cells)
    for (_, _, part), count in counts.items():
        assert count == sizes[part]
    assert (evidence.seeds["status"] == "finished").all()
    curves = evidence.curves.groupby(["part", "replica"])
    for _, row in evidence.seeds.iterrows():
        curve = curves.get_group((row["part"], row["replica"]))
        assert curve["epoch"].tolist() == list(range(1, len(curve) + 1))
        accuracies = curve["validation_accuracy"].to_numpy()[: row["epochs"]]
        assert len(accuracies) == row["epochs"]
        assert accuracies[-1] == row["validation_accuracy"]
        assert accuracies[0] == row["first_accuracy"]
        spread = np.std(accuracies[-(row["epochs"] // 4) :], ddof=1)
        assert row["oscillation"] == pytest.approx(spread)


def test_accuracies_are_counts_of_digits():
    """A count over 10,000 test digits, and the gap to training accuracy."""
    seeds = Evidence.read(RESULTS).seeds
    for name, total in (
        ("test_accuracy", seeds["test_examples"]),
        ("train_accuracy", seeds["train_examples"]),
    ):
        counts = seeds[name] * total
        np.testing.assert_allclose(counts, counts.round(), atol=1e-6)
    gaps = seeds["train_accuracy"] - seeds["test_accuracy"]
    np.testing.assert_allclose(seeds["overfitting"], gaps, atol=1e-12)


def numbers_in(text: str) -> list[str]:
    """Numbers with a point in them: those that were measured."""
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", text)


def test_every_figure_of_the_notes_is_in_a_table():
    """In per cent, points or as it is; of these tables, or of a follow-up's."""
    known = set()
    paths = [*(RESULTS / "tables").iterdir(), *(RESULTS / "followups").glob("*.csv")]
    for path in paths:
        for _, column in read_csv(path).select_dtypes("number").items():
            for value in column.dropna().abs():
                known |= {f"{100 * value:.{d}f}" for d in (1, 2)}
                known |= {f"{value:.{d}f}" for d in (1, 2, 3)} | {f"{value:g}"}
    notes = (RESULTS / "notes.md").read_text()
    missing = [number for number in numbers_in(notes) if number not in known]
    assert not missing
