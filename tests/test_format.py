"""Studies made by earlier versions: told apart, read, and gone on with."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from comparing import without_times

import mnistopt
from mnistopt.results import config
from mnistopt.results.costs import COSTS, COUNTED
from mnistopt.results.tables import TABLES
from tests.programs import assert_refused
from tests.programs import run as run_program

# Columns that the studies of before have not.
LATER = ("cause", "machine")
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


@pytest.mark.parametrize(
    ("place", "split"), [(0, "train"), (4, "validation"), (5, "test")]
)
def test_format_2_is_evaluated_on_the_examples_it_held_out(old, place, split):
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


# --- Format 3, which is gone on with ---

# A study of two networks, made on two devices at commit a9f578e by these commands:
# `continued` as they are here, `asked` before that with two epochs and two seeds.
#   ./launch.sh grid --model=mlp --hidden=8 --optimizer=sgd --lr=0.01,0.1 \
#       --weight_decay=1e-4 --seeds=2 --train_examples=400 --epochs=4 --workdir=W
#   ./launch.sh grid --model=cnn --channels=2x3 --dense=4 --lr=0.01 \
#       --seeds=3 --train_examples=400 --epochs=4 --workdir=W
# Pictures and predictions, and the checkpoints of `continued`, are left out.
MADE = FIXTURES / "format3.zip"
MLP = {"model": "mlp", "hidden": (8,), "optimizer": "sgd", "lr": [0.01, 0.1],
       "weight_decay": 1e-4}  # fmt: skip
CNN = {"model": "cnn", "channels": (2, 3), "dense": 4, "lr": 0.01}


@pytest.fixture
def made(tmp_path):
    """The folder with `asked` and `continued`."""
    with zipfile.ZipFile(MADE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def run(workdir, epochs, cnn_seeds):
    """Gives the two commands; returns the study and how many trials were there."""
    plans = []
    asked = {"train_examples": 400, "epochs": epochs, "workdir": workdir}
    mnistopt.run(**asked, **MLP, seeds=2, on_plan=plans.append)
    study = mnistopt.run(**asked, **CNN, seeds=cnn_seeds, on_plan=plans.append)
    return study, [plan.there for plan in plans], [len(plan.jobs) for plan in plans]


def same_machine(workdir):
    """Says whether bits can be compared: the same processor and libraries."""
    then, now = config.read_config(workdir), config.describe_machine()
    return all(then[name] == now[name] for name in ("cpu", "versions"))


def without_costs(path):
    """A table's text without the columns that came later."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.drop(columns=[*COSTS, *LATER], errors="ignore").to_csv(index=False)


def test_an_older_study_without_costs_is_reported(made):
    study = mnistopt.open_study(made / "asked")
    assert "costs" not in study.config
    assert {"params", "seconds"} <= set(study.charts())
    assert not {"multiply_adds", "latency_1_ms"} & set(study.charts())
    assert study.report().stat().st_size > 10_000


def test_what_was_asked_before_is_there_to_the_byte(made):
    workdir = made / "asked"
    # What scipy makes of it may differ in a last bit from version to version.
    exact = TABLES if same_machine(workdir) else ("trials", "curves")
    before = [(workdir / f"{name}.csv").read_text() for name in exact]
    assert mnistopt.open_study(workdir).trials[list(COSTS)].isna().all(axis=None)
    lanes = json.loads((workdir / "config.json").read_text())["lanes"]
    study, there, jobs = run(workdir, epochs=2, cnn_seeds=2)
    assert (there, jobs) == ([4, 2], [0, 0])
    assert [without_costs(workdir / f"{name}.csv") for name in exact] == before
    for table in (study.trials, study.summary):  # which it now has, nothing trained
        assert (table[list(COSTS)] > 0).all(axis=None)
    assert study.report().stat().st_size > 10_000
    assert study.config["lanes"] == lanes


def test_it_goes_on_to_the_same_numbers(made):
    exact = same_machine(made / "continued")
    study, there, _ = run(made / "asked", epochs=4, cnn_seeds=3)
    assert there == [0, 0]
    starts = study.trials.groupby("replica")["epochs"].min()
    assert sorted(starts) == [2, 2, 2, 2, 2, 2, 4]
    wanted = mnistopt.open_study(made / "continued")
    for name in TABLES:
        left, right = (
            without_times(getattr(one, name)).drop(
                columns=[*COUNTED, *LATER], errors="ignore"
            )
            for one in (study, wanted)
        )
        assert list(left.columns) == list(right.columns)
        if exact:
            pd.testing.assert_frame_equal(left, right, check_exact=True)
    # Elsewhere products are rounded otherwise, and a few digits tip over.
    left, right = (
        one.trials.drop(columns=[*LATER], errors="ignore") for one in (study, wanted)
    )
    pd.testing.assert_frame_equal(
        left.loc[:, "trial":"params"], right.loc[:, "trial":"params"], check_exact=True
    )
    assert left["test_accuracy"].tolist() == pytest.approx(
        right["test_accuracy"].tolist(), abs=0.02
    )
