"""A scheduler decides what trains; what a replica computes does not depend on it."""

import re
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.engine.checkpoint import Store
from mnistopt.errors import InputError
from mnistopt.study.waves import Wave, best_first

GUIDE = Path(__file__).parents[2] / "docs" / "engine.md"
# Two networks and two batch sizes: four cohorts, which train together.
GRID = {"model": "mlp", "hidden": [(8,), (4,)], "batch_size": [32, 50], "seeds": 2,
        "lr": [0.001, 0.01], "epochs": 4, "train_examples": 200}  # fmt: skip


def curves(study):
    table = study.curves.drop(columns="seconds")
    return table.sort_values(["replica", "epoch"], ignore_index=True)


def weights(study, replica, epoch):
    (there, *_) = [
        one
        for one in Store(study.workdir / "checkpoints").saved()
        if one.epoch == epoch and replica in one.about["replicas"]
    ]
    store = Store(study.workdir / "checkpoints")
    return store.load_part(there, [replica], "weights/last")[replica]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The whole grid."""
    return mnistopt.run(**GRID, workdir=tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def halving():
    """The guide's scheduler."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "def halving" in block]
    known = {}
    exec(block.partition("study = ")[0], known)  # noqa: S102 - our own guide
    return known["halving"]


def test_the_guide_s_halving_trains_the_better_half_on(halving, whole, tmp_path):
    study = mnistopt.run(**GRID, scheduler=halving, workdir=tmp_path)
    found, wanted = curves(study), curves(whole)
    done = found.groupby("replica")["epoch"].max()
    # Of eight points four go on, and then two; a point's seeds stay together.
    assert sorted(done) == [1] * 8 + [2] * 4 + [4] * 4
    # Whatever trains beside it, a replica's bits are the grid's.
    both = found.merge(wanted, on=["replica", "epoch"], suffixes=("", "_grid"))
    assert len(both) == len(found)
    for name in ("train_loss", "validation_loss", "validation_accuracy"):
        pd.testing.assert_series_equal(
            both[name], both[f"{name}_grid"], check_names=False, check_exact=True
        )
    for replica, epoch in done.items():
        if epoch == 4:
            jax.tree.map(
                np.testing.assert_array_equal,
                weights(study, replica, 4),
                weights(whole, replica, 4),
            )
    # Those that go on were the better ones, by the mean of their seeds.
    axes = ["hidden", "batch_size", "lr"]
    means = found.groupby([*axes, "epoch"])["validation_accuracy"].mean().unstack()
    last = found.groupby(axes)["epoch"].max()
    for epoch in (1, 2):
        there = means.index[means[epoch].notna()]
        on = last[there] > epoch
        assert means[epoch][there][on].min() >= means[epoch][there][~on].max()


def test_the_same_command_trains_nothing_again_and_a_kill_loses_little(
    halving, tmp_path, monkeypatch
):
    wanted = curves(mnistopt.run(**GRID, scheduler=halving, workdir=tmp_path / "a"))

    def stopping(points):
        waves = halving(points)
        found = yield next(waves)
        yield waves.send(found)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mnistopt.run(**GRID, scheduler=stopping, workdir=tmp_path / "b")
    epochs = []
    for _ in range(2):
        study = mnistopt.run(
            **GRID,
            scheduler=halving,
            workdir=tmp_path / "b",
            on_epoch=lambda rows: epochs.append(len(rows)),
        )
        # Of the last wave four replicas had two epochs left.
        assert sum(epochs) == 8
    pd.testing.assert_frame_equal(curves(study), wanted, check_exact=True)


def test_a_search_measures_on_validation_only_and_names_what_it_dropped(tmp_path):
    def search(points):
        found = yield Wave([point.until(1) for point in points], [0], in_full=False)
        best = best_first(found)[:2]
        found = yield Wave([point.until(2) for point in best], [0, 1], in_full=False)
        yield Wave([best_first(found)[0]], [5])

    study = mnistopt.run(**GRID, scheduler=search, workdir=tmp_path)
    trials = study.trials
    states = trials["status"].value_counts()
    assert dict(states) == {"pruned": 6, "searched": 4, "finished": 1}
    tested = trials["test_accuracy"].notna()
    assert list(trials["status"][tested]) == ["finished"]
    assert list(trials["seed"][tested]) == [5]
    assert trials["validation_accuracy"].notna().all()
    assert len(study.summary) == 1
    assert study.trial("best")["seed"] == 5
    assert study.curves["test_accuracy"].notna().sum() == 1
    trained = []
    mnistopt.run(**GRID, scheduler=search, workdir=tmp_path, on_epoch=trained.append)
    assert not trained


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (lambda points: points, "expected a generator function"),
        (lambda points: (["lr=1"] for _ in range(1)), "asked for 'lr=1'"),
        (lambda points: ([] for _ in range(1)), "asked for no points"),
    ],
)
def test_other_schedulers_are_refused(scheduler, words, tmp_path):
    with pytest.raises(InputError, match=words):
        mnistopt.run(**GRID, scheduler=scheduler, workdir=tmp_path)
