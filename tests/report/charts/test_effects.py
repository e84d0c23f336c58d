import pytest

from mnistopt.report.charts.effects import (
    importance_chart,
    importance_frame,
    values_chart,
    values_frame,
)
from mnistopt.results.effects import find_effects
from mnistopt.study.grid import grid

COMMON = {"model": "mlp", "hidden": (8,), "epochs": 2}


def test_axes_come_by_their_share_and_values_in_their_order(make_tables):
    points = grid(**COMMON, lr=[1e-3, 1e-4, 1e-2], dropout=[0, 0.5])
    trials, _, _ = make_tables(points)
    effects = find_effects(trials)
    frame = values_frame(effects)
    assert frame["axis"].drop_duplicates().tolist() == [
        term for term in effects.terms["term"] if term in ("lr", "dropout")
    ]
    lr = frame[frame["axis"] == "lr"]
    assert lr["value"].tolist() == ["0.0001", "0.001", "0.01"]
    assert lr["label"].tolist() == ["lr 0.0001", "lr 0.001", "lr 0.01"]
    for row in lr.itertuples():
        of_value = trials.loc[trials["lr"] == row.number, "validation_accuracy"]
        assert row.error == pytest.approx(100 * (1 - of_value.mean()))
        assert row.low <= row.error <= row.high
    spec = values_chart(frame).to_dict()
    # As rows on one scale, so that effects can be compared.
    assert spec["layer"][0]["encoding"]["y"]["sort"] == {"field": "order"}


def test_one_axis_of_numbers_is_drawn_against_its_values(make_tables):
    trials, _, _ = make_tables(grid(**COMMON, lr=[1e-4, 1e-3, 1e-2]))
    frame = values_frame(find_effects(trials))
    x = values_chart(frame).to_dict()["layer"][0]["encoding"]["x"]
    assert x["field"] == "number" and x["scale"]["type"] == "log"
    trials, _, _ = make_tables(grid(**COMMON, dropout=[0, 0.25, 0.5]))
    frame = values_frame(find_effects(trials))
    x = values_chart(frame).to_dict()["layer"][0]["encoding"]["x"]
    assert x["field"] == "number" and "type" not in x["scale"]


def test_importance_is_of_several_axes_and_adds_up(make_tables):
    trials, _, _ = make_tables(grid(**COMMON, lr=[1e-4, 1e-3], dropout=[0, 0.5]))
    frame = importance_frame(find_effects(trials))
    assert frame["share"].sum() == pytest.approx(100)
    assert frame["share"].is_monotonic_decreasing
    kinds = dict(zip(frame["label"], frame["kind"]))
    assert kinds["lr"] == kinds["dropout"] == "axis" and kinds["seeds"] == "chance"
    importance_chart(frame).to_dict()
    trials, _, _ = make_tables(grid(**COMMON, lr=[1e-4, 1e-3]))
    assert importance_frame(find_effects(trials)).empty


def test_without_effects_there_is_nothing_to_draw():
    assert values_frame(None).empty and importance_frame(None).empty
