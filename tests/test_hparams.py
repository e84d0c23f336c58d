"""Grids of points, their checks, and the identity of a replica."""

import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.errors import InputError
from mnistopt.hparams import (
    AXES,
    OPTIMIZERS,
    Hparams,
    Point,
    grid,
    parse_layers,
    replica_id,
    show,
)

layers = st.lists(st.integers(1, 999), min_size=1, max_size=4).map(tuple)
shares = st.floats(0, 1 - 2**-16)


@st.composite
def points(draw):
    optimizer = draw(st.sampled_from(OPTIMIZERS))
    decay = st.just(0.0) if optimizer == "adam" else st.floats(0, 1e3)
    return Point(
        model=draw(st.sampled_from(["mlp", "cnn"])),
        hidden=draw(layers),
        channels=draw(layers),
        dense=draw(st.integers(1, 9999)),
        optimizer=optimizer,
        batch_size=draw(st.integers(1, 9999)),
        lr=draw(st.floats(2.0**-126, 1e30)),
        dropout=draw(shares),
        weight_decay=draw(decay),
        label_smoothing=draw(shares),
        epochs=draw(st.integers(1, 9999)),
    )


# Another allowed value for every field that a cnn uses.
OTHER = {
    "channels": (32, 65),
    "dense": 129,
    "optimizer": "sgd",
    "batch_size": 65,
    "lr": 1.0000001e-3,
    "dropout": 0.30000001,
    "weight_decay": 1e-4,
    "label_smoothing": 0.1,
}
BASE = Point(optimizer="adamw")


# --- Checks ---

WRONG = {
    "model": ["resnet", "", None, 1],
    "hidden": [(), (0,), (128, -1), (1.5,), (True,), ("128",), 128],
    "channels": [(), (0, 32), (32, 2.0), 32],
    "dense": [0, -5, 1.0, True, "128"],
    "optimizer": ["adagrad", "Adam", None],
    "batch_size": [0, -1, 1.5, True, "32", None],
    "lr": [0, 0.0, -1e-3, math.nan, math.inf, True, "0.1", None],
    "dropout": [1, 1.0, -0.1, math.nan, True, "0", None],
    "weight_decay": [-1e-9, math.nan, math.inf, True, None],
    "label_smoothing": [1, -0.1, math.nan, True, None],
    "epochs": [0, -1, 2.0, True, math.inf, None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in WRONG.items() for v in values]
)
def test_a_wrong_value_is_refused_by_name_and_value(name, value):
    with pytest.raises(InputError) as refusal:
        Point(**{name: value})
    assert str(refusal.value).startswith(f"{name}={show(value)} is not allowed: ")
    with pytest.raises(InputError):
        grid(**{name: [value]})


def test_every_field_is_checked_and_the_table_of_wrong_values_has_them_all():
    assert set(WRONG) == {field.name for field in dataclasses.fields(Point)}


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_fields_that_a_model_does_not_use_are_checked_all_the_same(model):
    with pytest.raises(InputError, match="hidden=0"):
        Point(model=model, hidden=(0,))
    with pytest.raises(InputError, match="dense=0"):
        Point(model=model, dense=0)


def test_weight_decay_that_would_have_no_effect_is_refused():
    with pytest.raises(InputError, match="weight_decay=0.1 .*optimizer=adam.*adamw"):
        Point(optimizer="adam", weight_decay=0.1)
    assert Point(optimizer="sgd", weight_decay=0.1).weight_decay == 0.1
    assert Point(optimizer="adamw", weight_decay=0.1).weight_decay == 0.1


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
        Point(**wrong)


def test_numbers_of_any_python_kind_are_one_value():
    one = Point(lr=1, dropout=0, weight_decay=0)
    assert one == Point(lr=1.0, dropout=0.0) and type(one.lr) is float
    assert one.row() == Point(lr=np.float64(1), dropout=0.0).row()
    assert one.identity() == Point(lr=np.float64(1), dropout=0.0).identity()


# --- Grids ---


def test_a_grid_is_the_product_with_the_first_field_varying_slowest():
    lrs, rates, sizes = [0.1, 0.01, 0.001], [0.5, 0.0], [64, 32]
    found = grid(dropout=rates, lr=lrs, batch_size=sizes)
    wanted = [
        Point(batch_size=size, lr=lr, dropout=rate)
        for size in sizes
        for lr in lrs
        for rate in rates
    ]
    assert found == wanted
    assert grid(lr=lrs, batch_size=sizes, dropout=rates) == wanted


def test_one_value_stands_for_a_list_of_one():
    assert grid() == [Point()]
    assert grid(lr=0.1, model="mlp", hidden=(8, 4)) == [
        Point(lr=0.1, model="mlp", hidden=(8, 4))
    ]
    assert [p.hidden for p in grid(model="mlp", hidden=[(8,), (4, 4)])] == [
        (8,),
        (4, 4),
    ]


def test_points_that_differ_only_in_what_their_model_ignores_are_one():
    found = grid(
        model=["mlp", "cnn"], hidden=[(8,), (9,)], channels=[(2,), (3,), (4,)], lr=0.1
    )
    assert [p.structure for p in found] == [
        "mlp 8",
        "mlp 9",
        "cnn 2/128",
        "cnn 3/128",
        "cnn 4/128",
    ]
    assert grid(lr=[1e-3, 0.001, 1e-3]) == [Point(lr=1e-3)]


def test_unknown_and_empty_axes_are_refused():
    with pytest.raises(InputError, match="unknown hyper-parameter droput, momentum; "):
        grid(lr=[0.1], momentum=[0.9], droput=0.1)
    with pytest.raises(InputError, match=f"there are {', '.join(AXES)}$"):
        grid(seed=1)
    with pytest.raises(InputError, match="dropout has no values"):
        grid(lr=[0.1], dropout=[])


# --- Programs and traced numbers ---


def test_points_share_a_program_if_they_differ_in_numbers_and_epochs_only():
    numbers = ("lr", "dropout", "weight_decay", "label_smoothing")
    for name, value in {**OTHER, "epochs": 99}.items():
        same = dataclasses.replace(BASE, **{name: value}).program == BASE.program
        assert same == (name in numbers or name == "epochs"), name
    assert Hparams._fields == numbers
    assert BASE.program.program == BASE.program


def test_hparams_are_the_traced_numbers_in_order():
    point = Point(
        optimizer="sgd", lr=1, dropout=0.5, weight_decay=2, label_smoothing=0.25
    )
    assert point.hparams == Hparams(
        lr=1.0, dropout=0.5, weight_decay=2.0, label_smoothing=0.25
    )
    assert all(type(number) is float for number in point.hparams)


def test_structure_in_words():
    assert Point(model="mlp", hidden=(128, 64)).structure == "mlp 128x64"
    assert Point(channels=(32, 64, 64), dense=9).structure == "cnn 32x64x64/9"


# --- Writing and reading ---


@given(points())
def test_a_row_reads_back_as_its_point(point):
    row = json.loads(json.dumps(point.row()))
    again = Point.from_row(row)
    assert again == point and again.identity() == point.identity()
    assert list(row) == list(AXES)
    unused = ("channels", "dense") if point.model == "mlp" else ("hidden",)
    assert [name for name in AXES if row[name] is None] == list(unused)


@given(layers)
def test_layers_are_read_as_they_are_shown(sizes):
    assert parse_layers(show(sizes)) == sizes
    assert parse_layers(f" {show(sizes)}\n") == sizes


@pytest.mark.parametrize(
    "text", ["", "x", "32x", "x32", "32x0", "0", "32X64", "32,64", "-1", "1.5", "²"]
)
def test_text_that_is_no_structure_is_refused(text):
    with pytest.raises(InputError) as refusal:
        parse_layers(text)
    assert repr(text) in str(refusal.value)


def test_values_are_shown_as_a_person_types_them():
    shown = {0.001: "0.001", 1e-4: "0.0001", 1e-6: "1e-06", 3.0: "3", 7: "7", "a": "a"}
    assert {value: show(value) for value in shown} == shown


# --- Identity ---


def test_an_identity_depends_on_everything_but_the_epochs():
    names = {replica_id(BASE, 0, "data"), replica_id(BASE, 1, "data")}
    names.add(replica_id(BASE, 0, "other"))
    for name, value in OTHER.items():
        names.add(replica_id(dataclasses.replace(BASE, **{name: value}), 0, "data"))
    for hidden in ((128, 128), (128,)):
        mlp = Point(model="mlp", hidden=hidden, optimizer="adamw")
        names.add(replica_id(mlp, 0, "data"))
    assert len(names) == 3 + len(OTHER) + 2
    used = {*OTHER, "model", "hidden", "epochs"}
    assert used == set(AXES), "a new field is missing here"

    longer = dataclasses.replace(BASE, epochs=99)
    assert replica_id(longer, 0, "data") == replica_id(BASE, 0, "data")
    assert longer.identity() != BASE.identity()


def test_an_identity_does_not_depend_on_what_the_model_ignores():
    one = Point(model="mlp", channels=(1,), dense=1)
    assert replica_id(one, 0, "data") == replica_id(Point(model="mlp"), 0, "data")


@given(points(), points())
def test_equal_points_have_equal_identities(one, other):
    assert (one == other) == (one.identity() == other.identity())
    again = Point(**{f.name: getattr(one, f.name) for f in dataclasses.fields(one)})
    assert again.identity() == one.identity()


def test_minus_zero_is_zero():
    minus, plus = Point(dropout=-0.0), Point(dropout=0.0)
    assert minus == plus and minus.identity() == plus.identity()


def test_identities_are_hexadecimal_and_of_their_length():
    assert len(BASE.identity()) == 8 and int(BASE.identity(), 16) >= 0
    name = replica_id(BASE, 0, "data")
    assert len(name) == 10 and int(name, 16) >= 0


def test_identities_never_change():
    """Every workdir goes by them: a change here would orphan all that is there."""
    point = Point(
        **{"model": "cnn", "channels": (32, 64), "dense": 128, "optimizer": "adam"},
        **{"batch_size": 64, "lr": 1e-3, "dropout": 0.3, "weight_decay": 0.0},
        **{"label_smoothing": 0.0, "epochs": 8},
    )
    assert replica_id(point, 0, "c456ef275087d383") == "ec285d8315"
    assert point.identity() == "f382e0ae"


def test_identities_are_equal_in_another_process():
    program = (
        "from mnistopt.hparams import *;"
        "print(replica_id(Point(lr=1e-3), 3, 'data'), Point(lr=0.001).identity())"
    )
    wanted = f"{replica_id(Point(lr=0.001), 3, 'data')} {Point(lr=1e-3).identity()}"
    for salt in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == wanted


def test_all_points_of_a_grid_and_their_seeds_have_their_own_identity():
    found = grid(lr=[0.1, 0.2], dropout=[0.1, 0.2], batch_size=[1, 2], epochs=[1, 2])
    names = {
        replica_id(point, seed, "data")
        for point, seed in itertools.product(found, range(3))
    }
    assert len(found) == 16 and len(names) == 8 * 3


def test_axes_may_be_arrays_and_structures_may_be_written():
    points = grid(lr=np.logspace(-4, -2, 3), hidden=["8x4", (16,)], model="mlp")
    assert [p.lr for p in points[:3]] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert {p.hidden for p in points} == {(8, 4), (16,)}
    assert grid(dense=np.int64(8), lr=np.float64(0.1)) == grid(dense=8, lr=0.1)


@pytest.mark.parametrize("wrong", [{"dropout": 0.9999999999}, {"lr": 1e-50}])
def test_numbers_that_float32_makes_other_ones_are_refused(wrong):
    with pytest.raises(InputError, match="not allowed"):
        Point(**wrong)
