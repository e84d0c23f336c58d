"""What a run is given besides its axes."""

import dataclasses
import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import numpy as np
import pytest

import mnistopt
from mnistopt.data.check import doubts
from mnistopt.data.splits import Split
from mnistopt.data.strangers import read_strangers
from mnistopt.errors import InputError
from mnistopt.files import check_path
from mnistopt.hparams import EPOCHS, NUMBERS, RECIPE
from mnistopt.study import request
from mnistopt.study.examples import study_data
from tests.configs import make_config

REAL_MNIST = Path(__file__).parents[3] / "shared" / "mnist"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("workdir", 3, "workdir=3 is not allowed"),
        ("data", 3, "data=3 is not allowed"),
        ("data_dir", [1], "data_dir=.* is not allowed"),
        ("devices", 0, "devices=0 is not allowed"),
        ("seeds", True, "seeds=True is not allowed"),
        ("seeds", 1.5, "seeds=1.5 is not allowed"),
        ("train_examples", np.int64(0), "train_examples=0 is not allowed"),
        ("lanes", (1, 2, 3), "lanes=.* is not allowed"),
        ("lanes", "many", "lanes=many is not allowed"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, name, value, words):
    settings = {"workdir": tmp_path / "w", name: value}
    with pytest.raises(InputError, match=words):
        mnistopt.plan(model="mlp", **settings)
    assert not (tmp_path / "w").exists()


class Net(nn.Module):
    """Has a head only."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(10)(images.reshape(len(images), -1))


LONG = ("n" * 300, "n/" + 300 * "n" + "/n", "n/" * 1900, "é" * 200, b"n" * 300)


@pytest.mark.parametrize("path", LONG, ids=range(len(LONG)))
@pytest.mark.parametrize("call", [
    *(functools.partial(lambda name, path: mnistopt.plan(**{name: path}), name)
      for name in ("workdir", "data", "data_dir", "cache_dir")),
    mnistopt.rerun, mnistopt.open_study, mnistopt.Dataset.from_file,
    lambda path: read_strangers(path, ("0", "1")),
], ids=range(8))  # fmt: skip
def test_a_path_longer_than_systems_take_is_refused(call, path):
    with pytest.raises(InputError, match="at most 255 and 3,584: give a shorter `"):
        call(path)


def test_names_of_systems_length_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = check_path("workdir", "n" * 255)
    path.mkdir()
    assert path == Path("n" * 255) and check_path("workdir", "~nobody/x/" * 5)


def test_a_default_workdir_of_long_names_is_refused_and_no_other(tiny, tmp_path):
    words = "give a shorter `workdir`"
    named = type("Net" * 100, (Net,), {})
    many = [type(f"Net{n}of{'m' * 20}", (Net,), {}) for n in range(12)]
    data = dataclasses.replace(tiny, name="d" * 300)
    small = {"batch_size": 2, "epochs": 1}
    for asked in ({"model": named}, {"model": many}, {"data": data, "model": "mlp"}):
        with pytest.raises(InputError, match=words):
            mnistopt.plan(**{"data": tiny, **small, **asked})
    asked = {"data": data, "model": named, **small}
    assert mnistopt.plan(**asked, workdir=tmp_path).asked == 3


@pytest.mark.parametrize("call", [mnistopt.run, mnistopt.plan])
def test_help_shows_every_setting_and_hyper_parameter(call):
    known = inspect.signature(call).parameters
    assert {"data", "dataset", "workdir", "seeds", "lanes", "fail_fast"} <= set(known)
    declared = {**RECIPE, **NUMBERS, "epochs": EPOCHS}
    assert {name: known[name].default for name in declared} == {
        name: axis.default for name, axis in declared.items()
    }
    assert "rerun" not in known and ("on_plan" in known) == (call is mnistopt.run)


def test_help_describes_every_setting():
    text = inspect.getdoc(mnistopt.run)
    for name in inspect.signature(mnistopt.run).parameters:
        line = rf"^ +(- `{name}` \(.+\)|{name}): \S"
        assert name == "axes" or re.search(line, text, re.MULTILINE), name


def test_help_of_the_package_is_a_table_of_its_names():
    listed = re.findall(r"^``(\w+)``  ", inspect.getdoc(mnistopt), re.MULTILINE)
    assert sorted(listed) == sorted(mnistopt.__all__)


def test_completion_and_python_m_show_the_public_names():
    assert {name for name in dir(mnistopt) if name[0] != "_"} == set(mnistopt.__all__)
    command = [sys.executable, "-m", "mnistopt"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in mnistopt.__all__:
        assert f"``{name}``" in shown


def test_lanes_are_points_or_seeds_and_points():
    wanted = {4: (1, 4), (2, 3): (2, 3), np.int64(2): (1, 2), None: None}
    assert {value: request._lanes(value) for value in wanted} == wanted


def test_numbers_of_numpy_are_numbers(tmp_path):
    plan = mnistopt.plan(
        **{"model": "mlp", "workdir": tmp_path, "seeds": np.int64(2)},
        train_examples=np.int64(300),
        devices=np.int32(1),
    )
    assert plan.asked == 2 and plan.examples[0] == 300


def test_a_folder_for_data_that_are_a_file_is_refused(tmp_path):
    config = make_config({"dataset": "toys"}, data_file="toys.npz")
    with pytest.raises(InputError, match="has no effect: the data are toys.npz"):
        study_data(config, tmp_path)


def test_own_data_and_named_data_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="either data, or dataset"):
        mnistopt.plan(data="x.npz", dataset="mnist", workdir=tmp_path)


def split(images, labels):
    return Split(np.asarray(images, np.uint8), np.asarray(labels, np.int32))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (200 * np.eye(4).reshape(4, 2, 2, 1), [0, 1, 0, 1], []),
        (
            200 * np.eye(4).reshape(4, 2, 2, 1),
            [0, 0, 0, 0],
            ["4 .* show 1 of 2 classes"],
        ),
        (np.zeros((4, 2, 2, 1)), [0, 1, 0, 1], ["4 of 4 training images are blank"]),
        (np.full((4, 2, 2, 1), 70), [1] * 4, ["show 1 of 2", "4 of 4 .* are blank"]),
    ],
)
def test_doubtful_examples_are_told_of(images, labels, words):
    found = doubts("own", split(images, labels), 2)
    assert len(found) == len(words)
    assert all(re.search(word, text) for word, text in zip(words, found))


def test_too_few_examples_for_all_classes_are_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="mnist_5k: the 3 .* show 3 of 10 classes"):
        mnistopt.plan(model="mlp", batch_size=2, train_examples=3, workdir=tmp_path)


@pytest.mark.skipif(not REAL_MNIST.exists(), reason="needs all of MNIST")
@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_mnist_is_not_taken_for_others_whose_files_have_its_names(tmp_path, name):
    with pytest.raises(InputError, match=f"hold mnist, not {name}.*`dataset=mnist"):
        mnistopt.plan(model="mlp", dataset=name, data_dir=REAL_MNIST, workdir=tmp_path)
