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
from points import changed

from mnistopt.errors import InputError
from mnistopt.hparams import OPTIMIZERS, Hparams, parse_layers, show
from mnistopt.points import ALWAYS as AXES
from mnistopt.points import Point, replica_id
from mnistopt.study.grid import grid, make_point

layers = st.lists(st.integers(1, 999), min_size=1, max_size=4).map(tuple)
shares = st.floats(0, 1 - 2**-16)


@st.composite
def points(draw):
    optimizer = draw(st.sampled_from(OPTIMIZERS))
    decay = st.just(0.0) if optimizer == "adam" else st.floats(0, 1e3)
    mlp = {"model": "mlp", "hidden": draw(layers)}
    cnn = {"channels": draw(layers), "dense": draw(st.integers(1, 9999))}
    return make_point(
        **draw(st.sampled_from([mlp, cnn])),
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
BASE = make_point(optimizer="adamw")


# --- Checks ---

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


def test_every_field_is_checked_and_the_table_of_wrong_values_has_them_all():
    assert set(WRONG) == set(AXES)


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


def test_numbers_of_any_python_kind_are_one_value():
    one = make_point(lr=1, dropout=0, weight_decay=0)
    assert one == make_point(lr=1.0, dropout=0.0) and type(one.hparams.lr) is float
    assert one.row() == make_point(lr=np.float64(1), dropout=0.0).row()
    assert one.identity() == make_point(lr=np.float64(1), dropout=0.0).identity()


# --- Grids ---


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
        same = changed(BASE, **{name: value}).program == BASE.program
        assert same == (name in numbers or name == "epochs"), name
    assert Hparams._fields == numbers
    assert BASE.program.program == BASE.program


def test_hparams_are_the_traced_numbers_in_order():
    point = make_point(
        optimizer="sgd", lr=1, dropout=0.5, weight_decay=2, label_smoothing=0.25
    )
    assert point.hparams == Hparams(
        lr=1.0, dropout=0.5, weight_decay=2.0, label_smoothing=0.25
    )
    assert all(type(number) is float for number in point.hparams)


def test_structure_in_words():
    assert str(make_point(model="mlp", hidden=(128, 64)).structure) == "mlp 128x64"
    assert str(make_point(channels=(32, 64, 64), dense=9).structure) == "cnn 32x64x64/9"


# --- Writing and reading ---


@given(points())
def test_a_row_reads_back_as_its_point(point):
    row = json.loads(json.dumps(point.row()))
    again = Point.from_row(row)
    assert again == point and again.identity() == point.identity()
    assert list(row) == list(AXES)
    unused = ("channels", "dense") if point.structure.model == "mlp" else ("hidden",)
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
        names.add(replica_id(changed(BASE, **{name: value}), 0, "data"))
    for hidden in ((128, 128), (128,)):
        mlp = make_point(model="mlp", hidden=hidden, optimizer="adamw")
        names.add(replica_id(mlp, 0, "data"))
    assert len(names) == 3 + len(OTHER) + 2
    used = {*OTHER, "model", "hidden", "epochs"}
    assert used == set(AXES), "a new field is missing here"

    longer = dataclasses.replace(BASE, epochs=99)
    assert replica_id(longer, 0, "data") == replica_id(BASE, 0, "data")
    assert longer.identity() != BASE.identity()


@given(points(), points())
def test_equal_points_have_equal_identities(one, other):
    assert (one == other) == (one.identity() == other.identity())
    again = changed(one)
    assert again.identity() == one.identity()


def test_minus_zero_is_zero():
    minus, plus = make_point(dropout=-0.0), make_point(dropout=0.0)
    assert minus == plus and minus.identity() == plus.identity()


def test_identities_are_hexadecimal_and_of_their_length():
    assert len(BASE.identity()) == 8 and int(BASE.identity(), 16) >= 0
    name = replica_id(BASE, 0, "data")
    assert len(name) == 10 and int(name, 16) >= 0


def test_identities_never_change():
    """Every workdir goes by them: a change here would orphan all that is there."""
    point = make_point(
        **{"model": "cnn", "channels": (32, 64), "dense": 128, "optimizer": "adam"},
        **{"batch_size": 64, "lr": 1e-3, "dropout": 0.3, "weight_decay": 0.0},
        **{"label_smoothing": 0.0, "epochs": 8},
    )
    assert replica_id(point, 0, "c456ef275087d383") == "ec285d8315"
    assert point.identity() == "f382e0ae"


def test_identities_are_equal_in_another_process():
    program = (
        "from mnistopt.points import *; from mnistopt.study.grid import *;"
        "one = make_point(lr=0.001); print(replica_id(one, 3, 'data'), one.identity())"
    )
    one = make_point(lr=1e-3)
    wanted = f"{replica_id(one, 3, 'data')} {one.identity()}"
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
    assert [p.hparams.lr for p in points[:3]] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert {p.row()["hidden"] for p in points} == {"8x4", "16"}
    assert grid(dense=np.int64(8), lr=np.float64(0.1)) == grid(dense=8, lr=0.1)


@pytest.mark.parametrize("wrong", [{"dropout": 0.9999999999}, {"lr": 1e-50}])
def test_numbers_that_float32_makes_other_ones_are_refused(wrong):
    with pytest.raises(InputError, match="not allowed"):
        make_point(**wrong)


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
