"""What the networks of a study cost: counted exactly, measured once."""

import dataclasses
import shutil
import sys

import flax.linen as nn
import jax
import pytest

import mnistopt
from mnistopt.results.columns import COSTS, TIMED, network_name
from mnistopt.results.config import write_config
from mnistopt.study import training
from mnistopt.study.grid import make_point

pytestmark = pytest.mark.usefixtures("quick_compile")
TINY = {"hidden": (8,), "channels": (2, 3), "dense": 4, "train_examples": 200}
TINY |= {"epochs": 1, "seeds": 2}


class Net(nn.Module):
    width: int = 3

    @nn.compact
    def __call__(self, images):
        x = nn.Dense(self.width)(images.reshape(len(images), -1))
        return nn.Dense(10)(nn.BatchNorm(use_running_average=True)(x))


@pytest.fixture
def measured(monkeypatch):
    """The networks that are measured from here on, in milliseconds 1, 2, ..."""
    models = []

    def measure(model, images, device):
        assert images.shape[1:] == (28, 28, 1)
        models.append(type(model).__name__)
        return {1: len(models) / 1e3, 256: len(models) / 1e2}

    monkeypatch.setattr(training, "measure_latency", measure)
    return models


def test_each_network_is_measured_once_in_a_workdir(tmp_path, measured):
    asked = {**TINY, "model": ["mlp", "cnn"], "workdir": tmp_path}
    study = mnistopt.run(**asked, lr=[1e-3, 1e-2])
    assert measured == ["MLP", "CNN"]
    for model, ms in (("mlp", 1), ("cnn", 2)):
        mine = study.trials[study.trials["model"] == model]
        assert len(mine) == 4
        assert set(mine["latency_1_ms"]) == {ms}
        assert set(mine["latency_256_ms"]) == {10 * ms}
    before = [path.read_bytes() for path in sorted(tmp_path.glob("*.csv"))]
    again = mnistopt.run(**asked, lr=[1e-3, 1e-2])
    assert measured == ["MLP", "CNN"]  # and no more
    assert before == [path.read_bytes() for path in sorted(tmp_path.glob("*.csv"))]
    assert again.config.costs == study.config.costs
    more = mnistopt.run(**asked | {"hidden": [(8,), (9,)], "seeds": 3})
    assert measured == ["MLP", "CNN", "MLP"]
    assert (more.trials[list(TIMED)] > 0).all(axis=None)
    by_point = more.summary.set_index("point")[list(COSTS)]
    for _, row in more.trials.iterrows():
        assert row[list(COSTS)].tolist() == by_point.loc[row["point"]].tolist()


def test_counts_are_those_of_a_hand_and_of_the_checkpoints(tmp_path, measured):
    study = mnistopt.run(model=["mlp", "cnn", Net()], workdir=tmp_path, **TINY)
    rows = study.trials.drop_duplicates("model").set_index("model")
    by_hand = {
        "mlp": 28 * 28 * 8 + 8 * 10,
        # Two 3x3 convolutions, each before its pool, and two dense layers.
        "cnn": 28**2 * 9 * 2 + 14**2 * 9 * 2 * 3 + 7 * 7 * 3 * 4 + 4 * 10,
    }
    assert {model: rows.loc[model, "multiply_adds"] for model in by_hand} == by_hand
    for model, row in rows.iterrows():
        kept = study.variables(row["trial"])
        assert sum(leaf.nbytes for leaf in jax.tree.leaves(kept)) == row["bytes"]
        sizes = [leaf.size for leaf in jax.tree.leaves(kept["params"])]
        assert sum(sizes) == row["params"]
        # Means and variances are none of the parameters.
        statistics = 4 * 2 * 3 if model == "Net" else 0
        assert row["bytes"] == 4 * row["params"] + statistics


def test_a_study_that_lacks_them_gets_them_and_trains_nothing(tmp_path, measured):
    asked = {"model": "mlp", "hidden": (8,), "epochs": 1, "workdir": tmp_path}
    asked |= {"seeds": 2, "train_examples": 200}
    known = mnistopt.run(**asked).config
    write_config(tmp_path, dataclasses.replace(known, costs={}))
    plans = []
    study = mnistopt.run(**asked, on_plan=plans.append)
    assert not plans[0].jobs and measured == ["MLP", "MLP"]
    assert set(study.summary["latency_1_ms"]) == {2.0}


def test_a_module_that_is_gone_has_none(tmp_path, measured, monkeypatch):
    data = {"workdir": tmp_path, "train_examples": 200, "epochs": 1, "seeds": 1}
    config = mnistopt.run(model=Net(), **data).config
    ((name, found),) = config.costs.items()
    assert name.startswith("Net width=3 ") and found["multiply_adds"] == 784 * 3 + 30
    write_config(tmp_path, dataclasses.replace(config, costs={}))
    # Nobody can predict with it either, nor has to.
    shutil.rmtree(tmp_path / "predictions")
    monkeypatch.delattr(sys.modules[__name__], "Net")
    study = mnistopt.run(model="mlp", hidden=(8,), **data)
    known = study.trials.set_index("model")[list(COSTS)].notna().all(axis=1)
    assert known.to_dict() == {"Net": False, "mlp": True}
    assert not {"multiply_adds", "latency_1_ms"} & set(study.charts())


def test_networks_are_told_apart_by_what_their_values_are_called():
    points = [make_point(model="mobilenet_v1", width=w) for w in (0.25, 0.5)]
    points += [make_point(model="mlp", hidden=h) for h in ((8,), (8, 8))]
    names = [network_name(point.structure) for point in points]
    assert names[2:] == ["mlp hidden=8", "mlp hidden=8x8"]
    assert len(set(names)) == 4
    # Files have a structure's values in another order.
    for point, name in zip(points, names):
        again = type(point).from_row(point.row())
        assert network_name(again.structure) == name
