import pytest

from mnistopt.report.charts.sweep import (
    grid_chart,
    grid_frame,
    parallel_chart,
    parallel_frame,
)
from mnistopt.study.grid import grid


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
