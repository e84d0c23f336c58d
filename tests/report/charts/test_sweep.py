import numpy as np
import pandas as pd
import pytest

from mnistopt.report.charts.pictures import Results, study_pictures
from mnistopt.report.charts.sweep import (
    grid_chart,
    grid_frame,
    is_grid,
    pair_chart,
    pair_frame,
    parallel_chart,
    parallel_frame,
)
from mnistopt.results.columns import labelled
from mnistopt.results.effects import find_effects
from mnistopt.results.tables import curves_table, summary_table, trials_table
from mnistopt.study.grid import grid
from tests.configs import make_config


def test_two_hyper_parameters_are_a_grid_of_mean_errors(make_tables):
    points = grid(
        model="mlp", hidden=(8,), lr=[1e-4, 1e-3, 0.01], dropout=[0, 0.5], epochs=2
    )
    _, _, summary = make_tables(points)
    frame = grid_frame(summary)
    assert len(frame) == 6
    for _, row in frame.iterrows():
        mine = summary[
            (summary["lr"] == float(row["x"])) & (summary["dropout"] == float(row["y"]))
        ]
        error = 100 * (1 - mine["validation_accuracy_mean"].item())
        assert row["error"] == pytest.approx(error)
    spec = grid_chart(frame, summary).to_dict()
    encoding = spec["layer"][0]["encoding"]
    # Numbers in their order, not in that of their letters, and upwards.
    assert encoding["x"]["sort"] == ["0.0001", "0.001", "0.01"]
    assert encoding["y"]["sort"] == ["0.5", "0"]


def test_a_third_hyper_parameter_has_a_panel_per_value(make_tables):
    points = grid(
        model="mlp", hidden=[(8,), (9,)], lr=[0.1, 0.2, 0.3], dropout=[0, 0.5], epochs=2
    )
    _, _, summary = make_tables(points)
    assert is_grid(summary)
    frame = grid_frame(summary)
    assert set(frame["x"]) == {"0.1", "0.2", "0.3"}
    assert sorted(frame.groupby("panel").size()) == [6, 6]
    spec = grid_chart(frame, summary).to_dict()
    assert spec["facet"]["field"] == "panel" and spec["spec"]["width"] > 100
    more = grid(
        model="mlp", hidden=[(i,) for i in range(5, 10)], lr=[0.01, 0.1, 0.2, 0.3, 0.4],
        dropout=[0, 0.1, 0.2, 0.3, 0.4], epochs=2,
    )  # fmt: skip
    assert not is_grid(make_tables(more)[2])


def test_axes_that_depend_on_each_other_have_a_heat_map(make_record):
    """Among four axes, the best rate is 0.1 for one optimizer, 0.2 for the other."""
    points = grid(
        model="mlp", hidden=[(8,), (9,)], lr=[0.1, 0.2], optimizer=["adam", "sgd"],
        dropout=[0, 0.5], epochs=2,
    )  # fmt: skip
    records, noise = [], np.random.default_rng(0)
    for point in points:
        fits = (point.hparams.lr < 0.15) == (point.recipe.optimizer == "adam")
        for seed in range(3):
            correct = [0, 40 + 6 * fits + int(noise.integers(0, 2))]
            records.append(make_record(point, seed, validation_correct=correct))
    trials = trials_table(records)
    summary = labelled(summary_table(trials))
    frame = pair_frame(summary, "lr", "optimizer")
    assert len(frame) == 4 and set(frame["n"]) == {4}
    errors = frame.set_index(["x", "y"])["error"] if "sgd" in set(frame["y"]) else (
        frame.set_index(["y", "x"])["error"]
    )  # fmt: skip
    assert errors["0.1", "adam"] < errors["0.1", "sgd"]
    pair_chart(frame, summary, "lr", "optimizer").to_dict()
    empty = pd.DataFrame(columns=["point", "place"])
    read = make_config(), trials, curves_table([]), summary, {}, empty, empty
    pictures = study_pictures(Results(*read, find_effects(trials)))
    assert [name for name in pictures if name.startswith("interaction")] in (
        ["interaction-lr-optimizer"],
        ["interaction-optimizer-lr"],
    )


def test_more_hyper_parameters_are_lines_through_ordered_axes(make_tables):
    points = grid(
        model=["mlp", "cnn"],
        hidden=(8,),
        channels=(2,),
        dense=4,
        lr=[1e-3, 1e-2, 0.1],
        dropout=[0, 0.5],
        epochs=2,
    )
    _, _, summary = make_tables(points)
    frame = parallel_frame(summary)
    assert frame["position"].between(0, 1).all()
    axes = list(frame.drop_duplicates("axis")["axis"])
    assert axes[-1] == "error %"
    assert {"model", "lr", "dropout"} <= set(axes)
    assert (frame.groupby("label").size() == len(axes)).all()
    rates = frame[frame["axis"] == "lr"].drop_duplicates("value")
    assert dict(zip(rates["value"], rates["position"])) == {
        "0.001": 0.0,
        "0.01": 0.5,
        "0.1": 1.0,
    }
    last = frame[frame["axis"] == axes[-1]].sort_values("error")
    assert last["position"].is_monotonic_increasing
    assert last["position"].iloc[[0, -1]].tolist() == [0.0, 1.0]
    parallel_chart(frame).to_dict()
