"""Early stopping: who stops when, what is kept of them, and what it saves."""

import jax
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.data.load import load
from mnistopt.engine import writer
from mnistopt.engine.queue import Queue
from mnistopt.engine.replicas import Program
from mnistopt.training.metrics import stop_epoch

GRID = {"model": "mlp", "hidden": (8,), "lr": [0.003, 0.1], "train_examples": 200,
        "seeds": 2, "lanes": (1, 2), "batch_size": 20}  # fmt: skip


def oracle(curve, patience):
    """The first epoch whose last `patience` ones hold nothing above all before."""
    for epoch in range(patience + 1, len(curve) + 1):
        before, last = curve[: epoch - patience], curve[epoch - patience : epoch]
        if np.max(last) <= np.max(before):
            return epoch
    return None


def test_the_epoch_is_that_of_an_oracle():
    rng = np.random.default_rng(0)
    for _ in range(300):
        curve = rng.integers(0, 8, rng.integers(1, 15)).tolist()
        for patience in (1, 2, 3, 5):
            assert stop_epoch(curve, patience) == oracle(curve, patience)
        assert stop_epoch(curve, 0) is None
    assert stop_epoch([], 3) is None


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same grid trained to the end, and stopped early."""
    folder = tmp_path_factory.mktemp("early")
    whole = mnistopt.run(**GRID, epochs=16, workdir=folder / "whole")
    early = mnistopt.run(**GRID, epochs=16, patience=3, workdir=folder / "early")
    return whole, early


def matched(whole, early):
    keys = ["lr", "seed"]
    curves = whole.curves.merge(early.curves, on=[*keys, "epoch"])
    return curves, dict(iter(whole.curves.groupby(keys)))


def test_who_stops_has_trained_as_it_would_have_and_no_further(runs):
    whole, early = runs
    curves, by_replica = matched(whole, early)
    assert len(curves) == len(early.curves) < len(whole.curves)
    np.testing.assert_array_equal(
        curves["validation_accuracy_x"], curves["validation_accuracy_y"]
    )
    stops = []
    for row in early.trials.itertuples():
        curve = by_replica[row.lr, row.seed]["validation_accuracy"].tolist()
        wanted = oracle(curve, 3) or 16
        stops.append(wanted)
        assert (row.epochs_done, row.epochs, row.status) == (wanted, 16, "finished")
        assert row.best_validation_accuracy == max(curve[:wanted])
    assert min(stops) < 16
    assert (early.curves["test_accuracy"].notna().sum()) == len(early.trials)


def test_who_stopped_is_restored_and_evaluated_as_it_was(runs):
    _, early = runs
    for row in early.trials.itertuples():
        logits = early.model(row.trial).apply(
            early.variables(row.trial), data().test.images / np.float32(255)
        )
        right = (np.argmax(logits, axis=1) == data().test.labels).mean()
        assert right == pytest.approx(row.test_accuracy, abs=1e-6)
    assert early.predictions().seeds.tolist() == [0, 1]


def data():
    return load("mnist_5k", train_examples=200)


def test_every_asked_count_has_all_replicas(runs, tmp_path):
    _, early = runs
    study = mnistopt.run(**GRID, epochs=[3, 7, 16], patience=3, workdir=tmp_path / "w")
    rows = study.trials.groupby(["lr", "epochs"])
    assert rows.ngroups == 6 and set(rows.size()) == {2}
    assert set(study.summary["n"]) == {2}
    # Who has stopped is what it then was; the means are of all.
    curves = early.curves.set_index(["lr", "seed", "epoch"])["validation_accuracy"]
    for row in study.trials.to_dict("records"):
        at = (row["lr"], row["seed"], row["epochs_done"])
        assert row["epochs_done"] <= row["epochs"]
        assert row["validation_accuracy"] == curves[at]
    assert (study.trials["epochs_done"] < study.trials["epochs"]).any()


def test_nothing_is_trained_again_and_more_epochs_train_only_who_goes_on(
    runs, tmp_path
):
    _, early = runs
    plan = mnistopt.plan(**GRID, epochs=16, patience=3, workdir=early.workdir)
    assert not plan.jobs and plan.there == plan.asked == 4
    going_on = sum(row.epochs_done == 16 for row in early.trials.itertuples())
    more = mnistopt.plan(**GRID, epochs=30, patience=3, workdir=early.workdir)
    assert sum(len(job.records) for job in more.jobs) == going_on
    with pytest.warns(UserWarning, match="ends nothing"):
        fewer = mnistopt.plan(**GRID, epochs=2, patience=3, workdir=early.workdir)
    assert sum(len(job.records) for job in fewer.jobs) == 4


def test_killed_and_continued_it_is_the_same(runs, tmp_path, monkeypatch):
    _, early = runs
    monkeypatch.setattr(writer, "FIRST_SAVE", 0.0)
    monkeypatch.setattr(writer, "SAVE_SHARE", 1e9)
    original, calls = Queue.train, []

    def dying(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(Queue, "train", dying)
    asked = {**GRID, "epochs": 16, "patience": 3, "workdir": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        mnistopt.run(**asked)
    study = mnistopt.run(**asked)
    assert len(calls) > 5
    for name in ("trials", "curves"):
        ours, theirs = (getattr(one, name) for one in (study, early))
        drop = [c for c in ours if c == "seconds" or c.startswith("latency")]
        pd.testing.assert_frame_equal(
            ours.drop(columns=drop), theirs.drop(columns=drop)
        )
    for trial in early.trials["trial"]:
        jax.tree.map(
            np.testing.assert_array_equal,
            study.variables(trial),
            early.variables(trial),
        )


def test_a_stopped_replica_takes_no_more_calls(monkeypatch, tmp_path):
    """One row of one lane: the calls are the epochs that were trained."""
    calls, original = [], Program.train
    monkeypatch.setattr(
        Program,
        "train",
        lambda self, *a: calls.append(1) or original(self, *a),
    )
    asked = {**GRID, "lanes": (1, 1), "epochs": 16, "patience": 2}
    study = mnistopt.run(**asked, workdir=tmp_path)
    assert len(calls) == study.trials["epochs_done"].sum() < 16 * 4
