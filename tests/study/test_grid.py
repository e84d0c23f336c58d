"""Grids of points: what axes may be, and what does nothing."""

import numpy as np
import pytest

import mnistopt
from mnistopt.axes import Typed
from mnistopt.errors import InputError
from mnistopt.points import replica_id
from mnistopt.study.grid import grid, make_point


def test_a_grid_is_the_product_with_the_first_field_varying_slowest():
    lrs, rates, sizes = [0.1, 0.01, 0.001], [0.5, 0.0], [64, 32]
    found = grid(dropout=rates, lr=lrs, batch_size=sizes)
    wanted = [
        make_point(batch_size=size, lr=lr, dropout=rate)
        for size in sizes
        for lr in lrs
        for rate in rates
    ]
    assert found == wanted
    assert grid(lr=lrs, batch_size=sizes, dropout=rates) == wanted


def test_one_value_stands_for_a_list_of_one():
    assert grid() == [make_point()]
    assert grid(lr=0.1, model="mlp", hidden=(8, 4)) == [
        make_point(lr=0.1, model="mlp", hidden=(8, 4))
    ]
    found = grid(model="mlp", hidden=[(8,), (4, 4)])
    assert [p.row()["hidden"] for p in found] == ["8", "4x4"]


def test_a_network_takes_of_the_axes_what_it_can_be_told():
    found = grid(
        model=["mlp", "cnn"], hidden=[(8,), (9,)], channels=[(2,), (3,), (4,)], lr=0.1
    )
    assert [str(p.structure) for p in found] == [
        "mlp 8",
        "mlp 9",
        "cnn 2/128",
        "cnn 3/128",
        "cnn 4/128",
    ]
    assert grid(lr=[1e-3, 0.001, 1e-3]) == [make_point(lr=1e-3)]


MANY = [i / 2000 for i in range(1, 1001)]


@pytest.mark.parametrize("asked, trials", [
    ({"lr": MANY, "dropout": MANY[:999]}, "2,997,000"),
    ({"lr": MANY, "dropout": MANY[:99], "seeds": 1000}, "99,000,000"),
    ({"model": ["mlp", "cnn"], "lr": MANY, "clip": MANY[:50], "seeds": 1}, "100,000"),
    ({"lr": [0.1, 0.2], "seeds": 1_000_000}, "2,000,000"),
    ({"points": grid(lr=[0.1, 0.2, 0.3]), "seeds": 40_000}, "120,000"),
], ids=range(5))  # fmt: skip
def test_trials_are_counted_before_points_are_made(monkeypatch, asked, trials):
    monkeypatch.setattr("mnistopt.study.grid._make", None)
    with pytest.raises(InputError, match=f"that is {trials} trials; give fewer than"):
        mnistopt.plan(**asked)


@pytest.mark.parametrize("written", [
    {"lr": "0,001"}, {"dropout": "0,25"}, {"dropout": "0,05"}, {"clip": "1,-05"},
    {"weight_decay": "0,01"}, {"lr": "0,1,0,01"}, {"lr": "1,05e-3"},
    {"epochs": "1,000"}, {"batch_size": "1,024"}, {"model": "mlp", "hidden": "64,032"},
], ids=str)  # fmt: skip
def test_a_comma_within_a_number_is_not_taken_for_two_values(written):
    with pytest.raises(InputError, match=r"not allowed.* write a point, as in 0\.01"):
        grid(**{k: list(map(Typed, v.split(","))) for k, v in written.items()})


@pytest.mark.parametrize("written", ["01", "-05", "+00.5", "00"])
def test_one_number_has_no_0_before_its_digits_either(written):
    with pytest.raises(InputError, match="without a 0 before its digits$"):
        grid(lr=Typed(written))


@pytest.mark.parametrize("written", ["0.01", "10,100,1e-03", "5e01,0.05", "1,5e-3"])
def test_zeros_within_numbers_are_digits_as_others(written):
    values = written.split(",")
    found = [point.hparams.lr for point in grid(lr=list(map(Typed, values)))]
    assert found == list(map(float, values))


def test_unknown_and_empty_axes_are_refused():
    with pytest.raises(InputError, match=r"droput, momentum \(did you mean dro"):
        grid(lr=[0.1], momentum=[0.9], droput=0.1)
    with pytest.raises(InputError, match="there are model, hidden, .*, epochs$"):
        grid(seed=1)
    with pytest.raises(InputError, match="dropout has no values"):
        grid(lr=[0.1], dropout=[])


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"model": "cnn", "hidden": 256}, "hidden=256 .*model=cnn.*model=mlp"),
        ({"hidden": [(8, 4), (2,)]}, "hidden=8x4,2 .*model=cnn"),
        ({"model": "mlp", "dense": [64, 128]}, "dense=64,128 .*model=mlp.*model=cnn"),
        ({"model": ["mlp"], "channels": (2,)}, "channels=2 .*has no effect"),
    ],
)
def test_what_does_nothing_for_the_chosen_networks_is_refused(axes, words):
    with pytest.raises(InputError, match=words):
        grid(**axes)


def test_weight_decay_that_would_have_no_effect_is_refused():
    with pytest.raises(InputError, match="weight_decay=0.1 .*optimizer=adam.*adamw"):
        make_point(optimizer="adam", weight_decay=0.1)
    assert make_point(optimizer="sgd", weight_decay=0.1).hparams.weight_decay == 0.1
    assert make_point(optimizer="adamw", weight_decay=0.1).hparams.weight_decay == 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "cnn", "channels": None},
        {"model": "cnn", "dense": None},
        {"model": "mlp", "hidden": None},
    ],
)
def test_a_model_without_its_structure_is_refused(wrong):
    with pytest.raises(InputError):
        make_point(**wrong)


def test_axes_may_be_arrays_and_structures_may_be_written():
    points = grid(lr=np.logspace(-4, -2, 3), hidden=["8x4", (16,)], model="mlp")
    assert [p.hparams.lr for p in points[:3]] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert {p.row()["hidden"] for p in points} == {"8x4", "16"}
    assert grid(dense=np.int64(8), lr=np.float64(0.1)) == grid(dense=8, lr=0.1)


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("lr", (1e-3, 1e-2), [0.001, 0.01]),
        ("lr", np.float32(1e-3), [0.001]),
        ("lr", [np.float32(1e-3), 1e-2], [0.001, 0.01]),
        ("lr", np.array([1e-3, 1e-2], np.float32), [0.001, 0.01]),
        ("lr", (rate for rate in (0.1, 0.2)), [0.1, 0.2]),
        ("epochs", range(1, 3), [1, 2]),
        ("batch_size", [np.int64(16)], [16]),
        ("batch_size", 64.0, [64]),
        ("dense", np.array([8, 16]), [8, 16]),
        ("channels", 4, ["4"]),
        ("channels", (4, 8), ["4x8"]),
        ("channels", [[4, 8], (2,), "3x3", 7], ["4x8", "2", "3x3", "7"]),
        ("channels", np.array([[4, 8], [2, 2]]), ["4x8", "2x2"]),
        ("optimizer", ("adam", "sgd"), ["adam", "sgd"]),
    ],
)
def test_an_axis_is_whatever_python_has_for_several_values(name, given, wanted):
    found = [point.row()[name] for point in grid(**{name: given})]
    assert found == wanted
    assert [type(value) for value in found] == [type(value) for value in wanted]


def test_a_schedule_takes_the_epochs_that_are_trained_unless_it_is_told():
    short, long, told = (
        one.hparams.horizon
        for one in (
            *grid(schedule="cosine", epochs=[10, 20]),
            make_point(schedule="cosine", epochs=10, horizon=5),
        )
    )
    assert (short, long, told) == (10, 20, 5)
    # Two schedules are two replicas, and constant rates one that goes on.
    ids = [replica_id(one, 0, "") for one in grid(schedule="cosine", epochs=[10, 20])]
    assert len(set(ids)) == 2
    ids = [replica_id(one, 0, "") for one in grid(epochs=[10, 20])]
    assert len(set(ids)) == 1
    assert make_point(schedule="onecycle", epochs=10).hparams.warmup == 3
    assert make_point(schedule="exponential").hparams.lr_floor == 0.01
    # Swept beside the constant one, its numbers do nothing there.
    constant, cosine = grid(schedule=["constant", "cosine"], lr_floor=0.1)
    assert constant == make_point() and cosine.hparams.lr_floor == 0.1


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"lr_floor": 0.1}, "lr_floor=0.1 has no effect with schedule=constant"),
        ({"horizon": [5, 6]}, "horizon=5,6 has no effect"),
        ({"schedule": "cosine", "warmup": 6}, "warmup=6 epochs leave nothing of the 6"),
        ({"schedule": "step"}, "choose one of constant, cosine"),
        ({"rotate": -1}, "rotate=-1 is not allowed: expected a number of at least 0"),
        ({"patience": 1.5}, "patience=1.5 is not allowed: expected a whole number"),
        ({"average": 1}, "average=1 is not allowed"),
    ],
)
def test_schedules_and_strengths_that_do_nothing_are_refused(axes, words):
    with pytest.raises(InputError, match=words):
        grid(**axes)
