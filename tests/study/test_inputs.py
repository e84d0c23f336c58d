"""What a run is given besides its axes."""

import numpy as np
import pytest

import mnistopt
from mnistopt.errors import InputError
from mnistopt.study.inputs import check_lanes, study_data


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


def test_lanes_are_points_or_seeds_and_points():
    wanted = {4: (1, 4), (2, 3): (2, 3), np.int64(2): (1, 2), None: None}
    assert {value: check_lanes(value) for value in wanted} == wanted


def test_numbers_of_numpy_are_numbers(tmp_path):
    plan = mnistopt.plan(
        **{"model": "mlp", "workdir": tmp_path, "seeds": np.int64(2)},
        train_examples=np.int64(300),
        devices=np.int32(1),
    )
    assert plan.asked == 2 and plan.examples[0] == 300


def test_a_folder_for_data_that_are_a_file_is_refused(tmp_path):
    config = {"format": 3, "data": {"dataset": "toys"}, "data_file": "toys.npz"}
    with pytest.raises(InputError, match="has no effect: the data are toys.npz"):
        study_data(config, tmp_path)


def test_own_data_and_named_data_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="either data, or dataset"):
        mnistopt.plan(data="x.npz", dataset="mnist", workdir=tmp_path)
