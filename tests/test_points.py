"""Points as rows, their programs, and the identity of a replica."""

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from points import changed

from mnistopt.axes import show, single
from mnistopt.hparams import OPTIMIZERS, Hparams
from mnistopt.points import ALWAYS as AXES
from mnistopt.points import Point, replica_id, stages
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
    "lr": 1.000001e-3,
    "dropout": 0.3000001,
    "weight_decay": 1e-4,
    "label_smoothing": 0.1,
}
BASE = make_point(optimizer="adamw")


def test_numbers_of_any_python_kind_are_one_value():
    one = make_point(lr=1, dropout=0, weight_decay=0)
    assert one == make_point(lr=1.0, dropout=0.0) and type(one.hparams.lr) is float
    assert one.row() == make_point(lr=np.float64(1), dropout=0.0).row()
    assert one.identity() == make_point(lr=np.float64(1), dropout=0.0).identity()


def test_points_share_a_program_if_they_differ_in_numbers_and_epochs_only():
    always = ("lr", "dropout", "weight_decay", "label_smoothing")
    for name, value in {**OTHER, "epochs": 99}.items():
        same = changed(BASE, **{name: value}).program == BASE.program
        assert same == (name in always or name == "epochs"), name
    assert Hparams._fields[: len(always)] == always
    assert BASE.program.program == BASE.program


def test_what_a_point_does_without_is_not_in_its_program():
    turned = [changed(BASE, rotate=angle).program for angle in (5, 10)]
    moved = changed(BASE, shift=2).program
    assert turned[0] == turned[1] == moved != BASE.program
    assert moved.program == moved
    assert changed(BASE, patience=3).program == BASE.program
    assert stages(changed(BASE, rotate=5, shift=2, noise=0.1).hparams) == (
        "affine",
        "noise",
    )
    assert stages(moved.hparams) == ("affine",) and stages(BASE.hparams) == ()


def test_hparams_are_the_traced_numbers_in_order():
    point = make_point(
        optimizer="sgd", lr=1, dropout=0.5, weight_decay=2, label_smoothing=0.25
    )
    assert point.hparams == Hparams(
        lr=1.0, dropout=0.5, weight_decay=2.0, label_smoothing=0.25
    )
    assert all(type(number) is float for number in point.hparams[:4])


@given(st.floats(2.0**-126, 1e38))
def test_a_number_is_the_shortest_that_is_its_float32(number):
    found = single(number)
    assert np.float32(found) == np.float32(number)
    # NumPy finds as few digits by another algorithm; of two that are as near, either.
    digits = [len(f"{one:e}".rstrip("0")) for one in (found, np.float32(number))]
    assert digits[0] <= digits[1]
    assert single(float(np.float32(number))) == found
    assert single(found) == found and float(show(found)) == found


def test_what_is_equal_in_float32_is_one_point():
    assert len(grid(dropout=[0.3, 0.30000000000000004, np.float32(0.3)])) == 1
    rates = np.arange(0.1, 0.8, 0.1)
    assert [point.hparams.lr for point in grid(lr=rates)] == [
        *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    ]
    assert type(make_point(patience=3).hparams.patience) is int


def test_structure_in_words():
    assert str(make_point(model="mlp", hidden=(128, 64)).structure) == "mlp 128x64"
    assert str(make_point(channels=(32, 64, 64), dense=9).structure) == "cnn 32x64x64/9"


@given(points())
def test_a_row_reads_back_as_its_point(point):
    row = json.loads(json.dumps(point.row()))
    again = Point.from_row(row)
    assert again == point and again.identity() == point.identity()
    assert list(row) == list(AXES)
    unused = ("channels", "dense") if point.structure.model == "mlp" else ("hidden",)
    assert [name for name in AXES if row[name] is None] == list(unused)


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


def test_identities_are_a_letter_and_hexadecimal():
    """The letter keeps pandas and spreadsheets from reading 33656715 or 8255e79."""
    assert re.fullmatch("p[0-9a-f]{8}", BASE.identity())
    assert re.fullmatch("r[0-9a-f]{10}", replica_id(BASE, 0, "data"))


def test_identities_never_change():
    """Every workdir goes by them: a change here would orphan all that is there."""
    point = make_point(
        **{"model": "cnn", "channels": (32, 64), "dense": 128, "optimizer": "adam"},
        **{"batch_size": 64, "lr": 1e-3, "dropout": 0.3, "weight_decay": 0.0},
        **{"label_smoothing": 0.0, "epochs": 8},
    )
    assert replica_id(point, 0, "c456ef275087d383") == "rec285d8315"
    assert point.identity() == "pf382e0ae"


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
