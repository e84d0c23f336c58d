"""The checks of hyper-parameters, and how their values are read and shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.axes import choice, show
from mnistopt.axes import layers as layers_axis
from mnistopt.errors import InputError
from mnistopt.points import ALWAYS
from mnistopt.study.grid import grid, make_point

layers = st.lists(st.integers(1, 999), min_size=1, max_size=4).map(tuple)
WRONG = {
    "model": ["resnet", "", None, 1],
    "hidden": [(), (0,), (128, -1), (1.5,), (True,), ("128",)],
    "channels": [(), (0, 32), (32, 2.5), -32],
    "dense": [0, -5, 1.25, True, "128"],
    "optimizer": ["adagrad", "Adam", None],
    "batch_size": [0, -1, 1.5, True, "32", None],
    "lr": [0, 0.0, -1e-3, math.nan, math.inf, True, "0.1", None],
    "dropout": [1, 1.0, -0.1, math.nan, True, "0", None],
    "weight_decay": [-1e-9, math.nan, math.inf, True, None],
    "label_smoothing": [1, -0.1, math.nan, True, None],
    "epochs": [0, -1, 2.5, True, math.inf, None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in WRONG.items() for v in values]
)
def test_a_wrong_value_is_refused_by_name_and_value(name, value):
    model = {"model": "mlp"} if name == "hidden" else {}
    with pytest.raises(InputError) as refusal:
        make_point(**model, **{name: value})
    assert str(refusal.value).startswith(f"{name}={show(value)} is not allowed: ")
    with pytest.raises(InputError):
        grid(**model, **{name: [value]})


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("lr", 1e39, "3.40282e[+]38, the largest float32"),
        ("lr", 10**39, "3.40282e[+]38, the largest float32"),
        ("lr", 10**400, "too large"),
        ("noise", 1e39, "3.40282e[+]38, the largest float32"),
        ("epochs", 3_000_000_000, "2,147,483,647, the largest int32"),
        ("batch_size", 10**30, "2,147,483,647, the largest int32"),
        ("channels", (70_000_000_000,), "2,147,483,647, the largest int32"),
    ],
)
def test_what_no_device_can_count_is_refused_with_the_limit(name, value, limit):
    with pytest.raises(InputError, match=f"{name}=.* is not allowed: .*{limit}"):
        make_point(**{name: value})


def test_every_field_is_checked_and_the_table_of_wrong_values_has_them_all():
    assert set(WRONG) == set(ALWAYS)


@pytest.mark.parametrize("wrong", [{"dropout": 0.9999999999}, {"lr": 1e-50}])
def test_numbers_that_float32_makes_other_ones_are_refused(wrong):
    with pytest.raises(InputError, match="not allowed"):
        make_point(**wrong)


@given(layers)
def test_layers_are_read_as_they_are_shown(sizes):
    axis = layers_axis(None, "")
    assert axis.check("hidden", show(sizes)) == sizes
    assert axis.check("hidden", f" {show(sizes)}\n") == sizes


@pytest.mark.parametrize(
    "text", ["", "x", "32x", "x32", "32x0", "0", "32X64", "32,64", "-1", "1.5", "²"]
)
def test_text_that_is_no_structure_is_refused(text):
    with pytest.raises(InputError, match="joined by x") as refusal:
        layers_axis(None, "").check("hidden", text)
    assert str(refusal.value).startswith(f"hidden={text} is not allowed: ")


def test_values_are_shown_as_a_person_types_them():
    shown = {0.001: "0.001", 1e-4: "0.0001", 1e-6: "1e-06", 3.0: "3", 7: "7", "a": "a"}
    assert {value: show(value) for value in shown} == shown


def test_a_choice_of_numbers_is_one_of_them():
    axis = choice(3, "groups", (1, 2, 3))
    assert axis.check("groups", 2.0) == 2
    for wrong in (4, 1.5, True, "2", None):
        with pytest.raises(InputError, match="groups=.*: choose one of 1, 2, 3"):
            axis.check("groups", wrong)
