"""What a search may choose: ranges and lists, and who takes what."""

import math
import random

import pytest

import mnistopt
from mnistopt.axes import Typed
from mnistopt.errors import InputError
from mnistopt.study.grid import grid
from mnistopt.study.search.ranges import Range, typed_range
from mnistopt.study.search.run import make_space
from mnistopt.study.search.space import Space

PAPER = {
    "model": ["mlp", "cnn"],
    "hidden": [(64,), (128, 128)],
    "channels": [(16, 32), (32, 64)],
    "dense": [64, 128],
    "lr": mnistopt.log(1e-5, 1e-1),
    "dropout": mnistopt.uniform(0, 0.6),
    "batch_size": [32, 64],
    "patience": mnistopt.uniform(2, 5),
}


def chooser(seed):
    """A function that chooses at random, and notes what it was asked for."""
    draw, asked = random.Random(seed), {}

    def choose(name, of, whole):
        asked[name] = whole
        if not isinstance(of, Range):
            return draw.choice(of)
        if whole:
            return draw.randint(int(of.low), int(of.high))
        share = draw.random()
        if of.log:
            return of.low * (of.high / of.low) ** share
        return of.low + (of.high - of.low) * share

    return choose, asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0..0.6", Range(0, 0.6)),
        ("log:1e-5..1e-1", Range(1e-5, 0.1, log=True)),
        (" -1..2 ", Range(-1, 2)),
        ("0.5", None),
        ("128x128", None),
    ],
)
def test_a_range_is_read_as_it_is_written(text, expected):
    assert typed_range(text) == expected
    if expected:
        assert typed_range(str(expected)) == expected


def test_a_network_is_given_what_it_has_and_nothing_else():
    space = Space(PAPER)
    seen = set()
    for seed in range(60):
        choose, asked = chooser(seed)
        params = space.suggest(choose)
        seen.add(params["model"])
        assert ("hidden" in params) == (params["model"] == "mlp")
        assert ("dense" in params) == (params["model"] == "cnn")
        assert asked["patience"] and not asked["lr"]
        point = space.point(params)
        row = point.row()
        for name, value in params.items():
            of = space.axes.get(name)
            close = isinstance(of, Range) and math.isclose(
                row[name], value, rel_tol=1e-3
            )
            assert close or row[name] == value
        # It is a grid's point: the same setting has the same name in both.
        named = {name: row[name] for name in params}
        assert grid(**named, epochs=row["epochs"]) == [point]
    assert seen == {"mlp", "cnn"}


def test_what_means_nothing_beside_another_value_is_not_chosen():
    space = Space(
        {
            "optimizer": ["adam", "adamw"],
            "weight_decay": mnistopt.log(1e-5, 1e-2),
            "schedule": ["constant", "cosine"],
            "lr_floor": mnistopt.uniform(0, 0.1),
        }
    )
    for seed in range(40):
        params = space.suggest(chooser(seed)[0])
        assert ("weight_decay" in params) == (params["optimizer"] == "adamw")
        assert ("lr_floor" in params) == (params["schedule"] == "cosine")
        space.point(params)
    networks = {point.structure.model for point in Space(PAPER).corners}
    assert networks == {"mlp", "cnn"}


def test_what_one_value_allows_is_chosen():
    space = Space({"optimizer": "adamw", "weight_decay": mnistopt.log(1e-5, 1e-2)})
    params = space.suggest(chooser(0)[0])
    assert set(params) == {"weight_decay"}
    assert space.point(params).recipe.optimizer == "adamw"


def test_all_settings_of_a_space_of_lists_are_listed_once():
    axes = {"model": ["mlp", "cnn"], "hidden": [(4,), (8,)], "lr": [0.1, 0.01]}
    space = Space({**axes, "optimizer": ["adam", "adamw"], "weight_decay": [0.1, 0.2]})
    settings = list(space.settings())
    points = {space.point(params) for params in settings}
    assert len(settings) == len(points) == space.size == 2 * 3 * (1 + 2)
    many = Space(
        {"lr": [0.1 / i for i in range(1, 300)], "dropout": [i / 99 for i in range(60)]}
    )
    assert many.size == math.inf


def test_a_space_of_lists_has_a_size():
    axes = {"model": ["mlp", "cnn"], "hidden": [(4,), (8,)], "lr": [0.1, 0.01, 0.001]}
    space = Space({**axes, "optimizer": ["adam", "adamw"], "weight_decay": [0.1, 0.2]})
    # An MLP has two structures, a CNN one; Adam has no decay, AdamW two.
    assert space.size == 3 * 3 * (1 + 2)
    assert Space(PAPER).size == math.inf


def test_numbers_within_a_hundredth_of_their_ranges_are_near():
    space = Space(PAPER)
    params = space.params({"model": "mlp", "lr": 1e-3, "dropout": 0.3})
    assert space.near(params, {**params, "dropout": 0.3059})
    assert not space.near(params, {**params, "dropout": 0.3061})
    assert space.near(params, {**params, "lr": 1e-3 * 10 ** (0.0399)})
    assert not space.near(params, {**params, "lr": 1e-3 * 10 ** (0.0401)})
    assert not space.near(params, {**params, "hidden": "128x128"})


def test_a_setting_that_is_given_is_completed_with_the_middle():
    params = Space(PAPER).params({"model": "cnn", "dense": Typed("128")})
    assert params["dense"] == 128 and params["batch_size"] == 32
    assert params["lr"] == pytest.approx(1e-3)
    assert params["dropout"] == pytest.approx(0.3)
    assert params["patience"] == 4 and "hidden" not in params


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"lr": Typed("0.1..0.01")}, "empty range: .* as in lr=0.01..0.1"),
        ({"lr": Typed("0.1..0.1")}, "is one value: give lr=0.1"),
        ({"dropout": Typed("log:0..0.5")}, "goes through 0"),
        ({"lr": Typed("log:0..0.5")}, "lr=0 is not allowed"),
        ({"dropout": Typed("0..1")}, "dropout=1 is not allowed"),
        ({"lr": Typed("a..b")}, "not a range: expected LOW..HIGH"),
        ({"hidden": Typed("16..64"), "model": "mlp"}, "list its values"),
        ({"batch_size": mnistopt.uniform(16, 64)}, "list its values"),
        ({"optimizer": Typed("adam..sgd")}, "not a range"),
        ({"nonsense": Typed("1..2")}, "list its values"),
        ({"lr": [Typed("0.1"), Typed("0.1..0.2")]}, "one range, or a list"),
        ({"hidden": [(8,)], "model": "cnn"}, "no effect with model=cnn"),
        ({"weight_decay": Typed("0..0.1")}, "no effect with optimizer=adam"),
        ({"epochs": [3, 9]}, "one number of epochs"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_message(axes, words):
    with pytest.raises(InputError, match=words) as refused:
        make_space(axes)
    assert "\n" not in str(refused.value)


def test_a_setting_outside_of_the_space_is_refused():
    space = Space(PAPER)
    for setting in ({"lr": 1.0}, {"model": "vgg"}, {"rotate": 3}, {"dense": 7}):
        with pytest.raises(InputError, match="is not in the space"):
            space.params(setting)


def test_without_a_choice_the_usual_space_is_searched():
    assert set(make_space({}).axes) == {"epochs", "lr", "dropout"}
    assert set(make_space({"batch_size": [32, 64]}).axes) == {"epochs", "batch_size"}
