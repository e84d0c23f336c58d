"""Numbers that change between epochs: what is trained, and from where it goes on."""

import jax
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.engine.devices import local_devices
from mnistopt.engine.queue import Queue
from mnistopt.engine.replicas import Program, put_splits
from mnistopt.engine.rounds import Member, make_rounds
from mnistopt.errors import InputError
from mnistopt.hparams import read_changes, show_changes
from mnistopt.points import Point, replica_id
from mnistopt.study.grid import grid
from mnistopt.study.waves import Wave

GRID = {"model": "mlp", "hidden": (8,), "batch_size": 32, "seeds": 2,
        "epochs": 4, "train_examples": 200}  # fmt: skip
CHANGES = "1:lr=0.01;3:lr=0.0001+dropout=0.1"


def curves(study):
    return study.curves.drop(columns=["seconds", "test_accuracy", "test_loss"])


def test_changes_are_read_as_they_are_written():
    assert show_changes(read_changes(" 3: lr=5e-4 + dropout=.2; 6:lr=0.0001")) == (
        "3:lr=0.0005+dropout=0.2;6:lr=0.0001"
    )
    (point,) = grid(changes=CHANGES, lr=0.1)
    rates = [point.at(epoch).lr for epoch in range(5)]
    assert rates == [0.1, 0.01, 0.01, 0.0001, 0.0001]
    assert [point.at(epoch).dropout for epoch in (0, 2, 3)] == [0.3, 0.3, 0.1]
    assert point.parts == [1, 3] and point.until(3).parts == [1]
    assert Point.from_row(point.row()) == point
    earlier, epoch = point.before_last_change()
    assert (earlier.changes, epoch) == ("1:lr=0.01", 3)
    assert earlier.changing(3, lr=0.0001, dropout=0.1) == point
    # A point without has the name that it had before there were any.
    swapped = grid(changes="3:dropout=0.1+lr=0.0001", lr=0.1)
    assert swapped == grid(changes="3:lr=0.0001+dropout=0.1", lr=0.1)
    (plain,) = grid(lr=0.1)
    assert "changes" not in plain.row()
    assert replica_id(plain, 0, "f") != replica_id(point, 0, "f")


def test_a_change_is_a_change_of_numbers_by_hand(tmp_path):
    study = mnistopt.run(**GRID, lr=0.001, changes=CHANGES, workdir=tmp_path)
    assert study.trials["status"].tolist() == ["finished"] * 2
    plan = mnistopt.plan(**GRID, lr=0.001, workdir=tmp_path / "none")
    (job,) = plan.jobs
    splits = put_splits(plan.dataset, local_devices()[:1])
    program, state = Program(job.cohort, job.lanes, splits), None
    (point,) = grid(model="mlp", hidden=(8,), lr=0.001, changes=CHANGES, epochs=4)
    for start, stop in ((0, 1), (1, 3), (3, 4)):
        member = Member("by hand", 1, point.at(start), state)
        queue = Queue(program, dict.fromkeys(make_rounds(job.lanes, [member]), start))
        list(queue.train(stop))
        state = queue.states()["by hand"]
    trial = study.trials.set_index("seed")["trial"][1]
    jax.tree.map(np.testing.assert_array_equal, study.variables(trial), state.variables)


def test_what_parts_from_another_goes_on_from_its_checkpoint(tmp_path):
    whole = mnistopt.run(**GRID, lr=0.001, changes=CHANGES, workdir=tmp_path / "whole")

    def parting(points):
        (point,) = points
        yield Wave([point.until(1)], in_full=False)
        point = point.changing(1, lr=0.01)
        yield Wave([point.until(3)], in_full=False)
        both = [point.until(4), point.changing(3, lr=0.0001, dropout=0.1)]
        yield Wave(both)

    rows = []
    study = mnistopt.run(
        **GRID,
        lr=0.001,
        scheduler=parting,
        workdir=tmp_path / "parts",
        on_epoch=lambda some: rows.append(len(some)),
    )
    # Two seeds for 1 + 2 epochs, and both points of both for one more.
    assert sum(rows) == 2 * 3 + 2 * 2
    found, wanted = curves(study), curves(whole)
    found = found[found["replica"].isin(wanted["replica"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    # Epochs that another replica was trained for are counted once.
    table = study.curves
    shared = table[table["replica"].isin(wanted["replica"]) & (table["epoch"] < 4)]
    assert set(shared["seconds"]) == {0.0}


def test_in_a_workdir_with_the_same_run_without_changes_they_are_still_made(tmp_path):
    """Whose checkpoint where the numbers change is not there."""
    asked = {**GRID, "lr": 0.001, "changes": CHANGES}
    wanted = mnistopt.run(**asked, workdir=tmp_path / "alone")
    mnistopt.run(**GRID, lr=0.001, workdir=tmp_path / "both")
    study = mnistopt.run(**asked, workdir=tmp_path / "both")
    # Fewer epochs of it, when the checkpoints between have been tidied away.
    shorter = mnistopt.run(
        **{**asked, "epochs": 2, "changes": "1:lr=0.01"}, workdir=tmp_path / "both"
    )
    assert (shorter.trials["status"] == "finished").all()
    changed = study.trials[study.trials["changes"] == CHANGES]
    both = changed.merge(wanted.trials, on="trial", suffixes=("", "_alone"))
    assert len(both) == 2
    for name in ("train_loss", "validation_loss", "test_loss"):
        assert (both[name] == both[f"{name}_alone"]).all()


def test_with_patience_what_has_stopped_is_measured(tmp_path):
    asked = {**GRID, "lr": 1e-6, "patience": 1, "changes": "3:lr=1e-7"}
    study = mnistopt.run(**asked, workdir=tmp_path)
    assert (study.trials["status"] == "finished").all()
    assert (study.trials["epochs_done"] < 4).any()
    rows = []
    mnistopt.run(**asked, workdir=tmp_path, on_epoch=rows.append)
    assert not rows


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("x", "expected EPOCH:NAME=VALUE"),
        ("2:lr=0.1;1:lr=0.2", "expected EPOCH:NAME=VALUE"),
        ("0:lr=0.1", "expected EPOCH:NAME=VALUE"),
        ("2:patience=3", "expected EPOCH:NAME=VALUE"),
        ("2:lr=0", "expected a number above 0"),
        ("4:lr=0.1", "no effect: training ends after 4"),
        ("2:weight_decay=0.1", "no effect with optimizer=adam"),
    ],
)
def test_other_changes_are_refused(changes, words, tmp_path):
    with pytest.raises(InputError, match=words):
        mnistopt.run(**GRID, changes=changes, workdir=tmp_path)
