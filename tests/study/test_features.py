"""What is promised of replicas holds whatever they use: normalization, augmentation,
schedules, averages, light networks."""

import jax
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.engine.queue import Queue

COMMON = {"train_examples": 150, "batch_size": 30, "seeds": 2, "lanes": 1}
pytestmark = pytest.mark.usefixtures("quick_compile", "short_sums")
AUGMENTED = {
    **{"shift": 2, "rotate": 10, "zoom": 0.1, "shear": 5, "elastic": 0.5},
    **{"erase": 0.3, "blur": 1, "contrast": 0.5, "noise": 0.2},
}
SMALL = {"model": "cnn", "channels": (2, 3), "dense": 5}
FEATURES = {
    "batch norm": {**SMALL, "norm": "batch"},
    "augmented": {"model": "mlp", "hidden": (6,), **AUGMENTED},
    "averaged": {**SMALL, "norm": "batch", "average": 0.3, "clip": 1.0},
    "scheduled": {"model": "mlp", "hidden": (6,), "schedule": "cosine",
                  "horizon": 4, "warmup": 1, "lr_floor": 0.1},
    "mobilenet": {"model": "mobilenet_v1", "width": 0.1, "depth": 1},
}  # fmt: skip


def these(*names):
    """Those features, and the others with -m full."""
    marks = {name: [pytest.mark.full] * (name not in names) for name in FEATURES}
    return [pytest.param(name, marks=marks[name]) for name in FEATURES]


# "averaged" has all that "batch norm" has; a light network takes long to trace.
DISTINCT = these("averaged", "augmented")
RATES = [0.01, 0.003]


def grid(name, **more):
    return {**COMMON, **FEATURES[name], "lr": RATES, **more}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A function that trains a feature's grid for two epochs, once."""
    done = {}

    def train(name):
        if name not in done:
            folder = tmp_path_factory.mktemp("straight")
            done[name] = mnistopt.run(**grid(name, epochs=[1, 2]), workdir=folder)
        return done[name]

    return train


def assert_same(ours, theirs):
    """The same trials have the same numbers and weights, to the bit."""
    left, right = (one.trials.set_index("trial") for one in (ours, theirs))
    shared = left.index.intersection(right.index)
    assert len(shared)
    drop = ["seconds", "latency_1_ms", "latency_256_ms"]
    left, right = (one.loc[shared].drop(columns=drop) for one in (left, right))
    pd.testing.assert_frame_equal(left, right[left.columns])
    for trial in shared:
        for weights in ("last", "best"):
            jax.tree.map(
                np.testing.assert_array_equal,
                ours.variables(trial, weights),
                theirs.variables(trial, weights),
            )


@pytest.mark.parametrize("name", these("averaged", "augmented", "scheduled"))
def test_one_that_is_killed_and_continued_is_the_same(
    name, straight, tmp_path, monkeypatch
):
    original, calls = Queue.states, []

    def dying(self):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(Queue, "states", dying)
    with pytest.raises(KeyboardInterrupt):
        mnistopt.run(**grid(name, epochs=[1, 2]), workdir=tmp_path)
    study = mnistopt.run(**grid(name, epochs=[1, 2]), workdir=tmp_path)
    assert len(calls) > 2
    assert_same(study, straight(name))


@pytest.mark.parametrize("name", DISTINCT)
def test_half_of_a_grid_on_one_device_is_the_same(name, straight, tmp_path):
    half = grid(name, epochs=2, lr=RATES[0], devices=1)
    assert_same(mnistopt.run(**half, workdir=tmp_path), straight(name))


@pytest.mark.parametrize("name", DISTINCT)
def test_one_that_diverges_leaves_its_neighbour_alone(name, straight, tmp_path):
    study = mnistopt.run(**grid(name, epochs=2, lr=[RATES[0], 1e30]), workdir=tmp_path)
    status = study.trials.set_index("lr")["status"]
    assert set(status[RATES[0]]) == {"finished"} and set(status[1e30]) == {"diverged"}
    assert_same(study, straight(name))
    for row in study.trials[study.trials["lr"] == 1e30].itertuples():
        leaves = jax.tree.leaves(study.variables(row.trial))
        assert all(np.isfinite(leaf).all() for leaf in leaves)


@pytest.mark.parametrize("name", these("averaged"))
def test_what_is_restored_is_what_was_evaluated(name, straight):
    study = straight(name)
    test = mnistopt.load("mnist_5k", train_examples=150).test
    for row in study.trials.itertuples():
        logits = study.model(row.trial).apply(
            study.variables(row.trial), test.images / np.float32(255)
        )
        right = (np.argmax(logits, axis=1) == test.labels).mean()
        assert right == pytest.approx(row.test_accuracy, abs=2e-3)


def test_strengths_share_a_compile_and_a_point_without_has_none(tmp_path):
    asked = {**COMMON, "model": "mlp", "hidden": (6,), "epochs": 1}
    plan = mnistopt.plan(**asked, rotate=[0, 10, 20], workdir=tmp_path)
    assert plan.compiles == 2
    plan = mnistopt.plan(**asked, rotate=[5, 10, 20], workdir=tmp_path)
    assert plan.compiles == 1
    plain = mnistopt.plan(**asked, workdir=tmp_path)
    (job,) = plain.jobs
    assert job.cohort.stages == () and job.cohort.schedule == "constant"


def test_a_plain_replica_is_the_same_beside_augmented_ones(tmp_path):
    asked = {**COMMON, "model": "mlp", "hidden": (6,), "epochs": 1}
    alone = mnistopt.run(**asked, workdir=tmp_path / "alone")
    beside = mnistopt.run(**asked, rotate=[0, 20], workdir=tmp_path / "beside")
    mine = beside.trials[beside.trials["rotate"] == 0].set_index("trial")
    theirs = alone.trials.set_index("trial")
    assert set(mine.index) == set(theirs.index)
    for column in ("test_accuracy", "validation_loss", "train_loss"):
        assert mine[column].equals(theirs.loc[mine.index, column])
