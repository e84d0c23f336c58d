"""Fields of one's own modules: tables and reruns read back what was written."""

import importlib
import inspect
import json
import sys

import flax.linen as nn
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.data.dataset import Dataset
from mnistopt.engine.identity import identify
from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.models.own import declare
from mnistopt.points import replica_id
from mnistopt.results.columns import point_labels
from mnistopt.results.config import write_config
from mnistopt.results.table_files import read_table, write_tables
from mnistopt.results.tables import curves_table, summary_table, trials_table
from mnistopt.study.grid import grid
from mnistopt.study.request import Request
from mnistopt.study.rerun import points as rerun_points
from mnistopt.study.runner import run as call
from mnistopt.training.metrics import Metrics
from mnistopt.training.train import EpochMetrics
from tests.configs import make_config
from tests.programs import assert_refused, run

FILE = '''
from collections.abc import Sequence
from typing import Any

import flax.linen as nn


class Net(nn.Module):
    """Computes the same whatever its fields are, so that one program serves all."""

    kind: str = "a"
    flag: bool = True
    sizes: tuple[int, ...] = (3,)
    hidden: int = 2
    scale: float = 1
    count: int = 1
    extra: Any = None

    @nn.compact
    def __call__(self, images):
        return nn.Dense(3)(images.reshape(len(images), -1))


class Lists(nn.Module):
    sizes: Sequence[int] = (4,)
    options: Any = None

    @nn.compact
    def __call__(self, images):
        x = images.reshape(len(images), -1)
        for size in self.sizes:
            x = nn.relu(nn.Dense(size)(x))
        return nn.Dense(3)(x)
'''


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    (folder / "field_nets.py").write_text(FILE)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("field_nets")
    sys.path.remove(str(folder))
    del sys.modules["field_nets"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4), np.uint8)
    return Dataset.from_arrays(images, np.arange(60) % 3, name="toys")


SETTINGS = {"epochs": 1, "seeds": 2, "lanes": 1, "batch_size": 8}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (
            "kind",
            ["NA", "null", "None", "N/A", "nan", "007", "1e3", "a,b", 'q"', "x\ny"],
        ),
        ("flag", [True, False]),
        ("sizes", [(3,), (12,), (3, 12)]),
        ("hidden", [1, 16777217]),
        ("scale", [1.0, 2.0, 0.1, 16777217.0]),
        ("count", [1, 2**31 - 1]),
    ],
)
def test_tables_and_a_rerun_read_back_what_was_written(
    nets, data, tmp_path, field, values
):
    points, modules = identify(
        grid(model=nets.Net, epochs=1, **{field: values}), data, {}, measured=False
    )
    records = [
        trained(Record(replica_id(point, seed, data.fingerprint), point, seed, 3))
        for point in points
        for seed in range(2)
    ]
    records = [Record.from_json(json.loads(json.dumps(r.to_json()))) for r in records]
    about = {"fingerprint": data.fingerprint}
    config = make_config(about, modules=modules)
    write_config(tmp_path, config)
    write_tables(tmp_path, records)
    shown = ["x".join(map(str, v)) if isinstance(v, tuple) else v for v in values]
    for name, written in (
        ("trials", trials_table(records)),
        ("curves", curves_table(records)),
        ("summary", summary_table(trials_table(records))),
    ):
        table = read_table(tmp_path, name)
        assert set(table[field]) == set(shown)
        assert {type(one) for one in table[field].tolist()} == {type(shown[0])}
        pd.testing.assert_series_equal(table[field], written[field])
    labels = point_labels(read_table(tmp_path, "summary"))
    assert len(set(labels.values())) == len(values)
    # By config.json and trials.csv alone, the points that are to run again are these.
    (again,) = rerun_points(read_table(tmp_path, "trials"), config).values()
    assert set(again) == set(points)


def trained(record):
    """A record of one epoch, measured in full."""
    counts = Metrics(np.int32(10), np.int32(4), np.float32(9.0))
    record.append(EpochMetrics(*[counts] * 5), -1, 0.5, "", "here")
    return record


def test_modules_with_lists_dicts_and_classes_train_and_are_restored(
    nets, data, tmp_path
):
    models = [
        nets.Lists(sizes=[5, 4], options={"a": [1, 2]}),
        nets.Lists(sizes=(3,), options=nn.Dense),
        nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(3)]),
    ]
    asked = {"model": models, "data": data, "workdir": tmp_path / "w", **SETTINGS}
    study = mnistopt.run(**asked)
    assert set(study.trials["status"]) == {"finished"}
    assert len(set(study.trials["point"])) == 3
    for trial in study.trials["trial"]:
        assert study.params(trial)
    assert not mnistopt.plan(**asked).jobs


def test_the_learning_rate_that_was_asked_for_is_in_the_tables(nets, data, tmp_path):
    rates, asked = [1 / 3, 0.1 + 0.2], {"data": data, **SETTINGS}
    asked |= {"model": nets.Net(kind="NA", flag=False), "workdir": tmp_path / "w"}
    study = mnistopt.run(lr=rates, **asked)
    for table in (study.trials, study.curves, study.summary):
        assert set(table["lr"]) == set(rates)
    assert study.config.asked["lr"] == rates
    # It is one point with the nearest float32, and trained once.
    assert not mnistopt.plan(lr=[0.33333334, 0.3], **asked).jobs
    again = mnistopt.rerun(study.workdir, data=data)
    assert again.holds and set(again.study.trials["lr"]) == set(rates)


def test_every_column_and_setting_is_taken(nets):
    points = grid(model="mlp", patience=3, shift=1, schedule="cosine", average=0.9)
    records = [trained(Record("r", point, 0, 3)) for point in points]
    tables = [trials_table(records), curves_table(records)]
    tables.append(summary_table(tables[0]))
    names = {name for table in tables for name in table}
    names |= {
        *call.__kwdefaults__,
        *inspect.signature(Request.of).parameters,
    }
    # What networks are told may be a field of another network, too.
    names -= {"hidden", "channels", "dense", "settings", "axes"}
    for name in sorted(names):
        made = type("Net", (nn.Module,), {"__annotations__": {name: int}, name: 1})
        with pytest.raises(InputError, match=f"Net has a field {name}"):
            declare(made)


def test_texts_are_typed_by_their_declarations(nets, data, tmp_path):
    (tmp_path / "field_nets.py").write_text(FILE)
    splits = [data.train, data.validation, data.test]
    images, labels = (np.concatenate(parts) for parts in zip(*splits))
    np.savez(tmp_path / "toys.npz", images=images, labels=labels)
    flags = ["--model=field_nets:Net", f"--data={tmp_path / 'toys.npz'}", "--epochs=1"]
    flags += ["--batch_size=8", f"--workdir={tmp_path / 'w'}", "--seeds=1", "--quiet"]
    told = run("grid", *flags, "--kind=1e3,NA", "--scale=2", path=tmp_path)
    assert told.returncode == 0, told.stderr
    trials = mnistopt.open_study(tmp_path / "w").trials
    assert set(trials["kind"]) == {"1e3", "NA"}
    assert set(trials["scale"]) == {2.0}
    told = run("grid", *flags, "--kind=1e3", "--flag=maybe", path=tmp_path)
    assert_refused(told, "flag=maybe is not allowed: expected true or false")
    told = run("grid", f"--rerun={tmp_path / 'w'}", "--quiet", path=tmp_path)
    assert "the same to the bit" in told.stdout, told.stderr
    config = json.loads((tmp_path / "w" / "config.json").read_text())
    assert config["asked"]["kind"] == ["1e3", "NA"]


def test_annotations_say_what_a_field_may_be(nets):
    def values(model, **axes):
        return [dict(point.structure.values) for point in grid(model=model, **axes)]

    assert values(nets.Net, sizes=[(3,), (4, 5)], hidden=7)[1]["sizes"] == "4x5"
    assert values(nets.Lists, sizes=[(3,), (4, 5)])[0] == {"sizes": "3"}
    assert values(nets.Net(extra=None))[0].keys() >= {"kind", "flag", "count"}
    assert "extra" not in values(nets.Net(extra=None))[0]
    with pytest.raises(InputError, match="hidden=1.5 is not allowed"):
        grid(model=nets.Net, hidden=1.5)
