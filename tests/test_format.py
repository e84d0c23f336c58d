"""A study made by an earlier version goes on as if nothing had happened."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import mnistopt
from mnistopt.results import config
from mnistopt.results.tables import TABLES

# A study of two networks, made on two devices at commit 1a1f3b2 by these commands:
# `continued` as they are here, `asked` before that with two epochs and two seeds.
#   ./launch.sh grid --model=mlp --hidden=8 --optimizer=sgd --lr=0.01,0.1 \
#       --weight_decay=1e-4 --seeds=2 --train_examples=400 --epochs=4 --workdir=W
#   ./launch.sh grid --model=cnn --channels=2x3 --dense=4 --lr=0.01 \
#       --seeds=3 --train_examples=400 --epochs=4 --workdir=W
# Pictures and predictions, and the checkpoints of `continued`, are left out.
MADE = Path(__file__).parent / "fixtures" / "format2.zip"
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


def test_what_was_asked_before_is_there_to_the_byte(made):
    workdir = made / "asked"
    before = [(workdir / f"{name}.csv").read_text() for name in TABLES]
    lanes = json.loads((workdir / "config.json").read_text())["lanes"]
    study, there, jobs = run(workdir, epochs=2, cnn_seeds=2)
    assert (there, jobs) == ([4, 2], [0, 0])
    assert [(workdir / f"{name}.csv").read_text() for name in TABLES] == before
    assert study.config["lanes"] == lanes
    assert len(study.predictions("best").seeds) == 2


def test_it_goes_on_to_the_same_numbers(made):
    exact = same_machine(made / "continued")
    study, there, _ = run(made / "asked", epochs=4, cnn_seeds=3)
    assert there == [0, 0]
    starts = study.trials.groupby("replica")["epochs"].min()
    assert sorted(starts) == [2, 2, 2, 2, 2, 2, 4]
    wanted = mnistopt.open_study(made / "continued")
    for name in TABLES:
        left, right = (
            getattr(one, name).drop(columns="seconds") for one in (study, wanted)
        )
        assert list(left.columns) == list(right.columns)
        if exact:
            pd.testing.assert_frame_equal(left, right, check_exact=True)
    # Elsewhere products are rounded otherwise, and a few digits tip over.
    left, right = study.trials, wanted.trials
    pd.testing.assert_frame_equal(
        left.loc[:, "trial":"params"], right.loc[:, "trial":"params"], check_exact=True
    )
    assert left["test_accuracy"].tolist() == pytest.approx(
        right["test_accuracy"].tolist(), abs=0.02
    )
