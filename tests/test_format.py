"""Studies made by earlier versions: told apart, read, and gone on with."""

import json
import zipfile
from pathlib import Path

import pytest
from programs import assert_refused
from programs import run as run_program

import mnistopt

FIXTURES = Path(__file__).parent / "fixtures"


# --- Format 2, which is read and not continued ---


@pytest.fixture
def old(tmp_path):
    """A study made on two devices at commit 1a1f3b2: 4 trials of an MLP, 2 of a CNN."""
    with zipfile.ZipFile(FIXTURES / "format2.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "asked"


def content(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_format_2_is_not_trained_further_and_says_why(old):
    before = content(old)
    asked = ("--model=mlp", "--hidden=8", "--train_examples=400", f"--workdir={old}")
    for more in ([], ["--dry_run"]):
        found = run_program("grid", *asked, *more)
        why = ("format 2, this is 3", "split by their content", "give other numbers")
        assert_refused(found, *why, "another --workdir", "commit 1a1f3b24f2c4")
    assert content(old) == before


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("place", [0, 4])
def test_format_2_is_evaluated_on_the_examples_it_held_out(old, split, place):
    study = mnistopt.open_study(old)
    row = study.trials.iloc[place]
    args = (f"--workdir={old}", f"--trial={row['trial']}", f"--split={split}", "--json")
    found = json.loads(run_program("evaluate", *args).stdout)
    assert found["same_data"]
    assert found["accuracy"] == row[f"{split}_accuracy"]


def test_format_2_is_reported(old):
    study = mnistopt.open_study(old)
    assert "format" in study.config
    assert {"seeds", "error", "loss"} <= set(study.charts())
    assert study.report().stat().st_size > 10_000
