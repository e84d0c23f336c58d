import numpy as np
import pytest

from mnistopt.report.charts.costs import (
    cost_frame,
    gap_chart,
    gap_frame,
    params_chart,
    seconds_chart,
)
from mnistopt.study.grid import grid


def test_the_gap_is_that_of_each_dropout(make_tables):
    points = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2], dropout=[0, 0.3], epochs=2)
    _, _, summary = make_tables(points)
    frame = gap_frame(summary)
    assert sorted(frame["others"].unique()) == ["lr 0.1", "lr 0.2"]
    for (_, row), (_, point) in zip(frame.iterrows(), summary.iterrows()):
        assert row["dropout"] == point["dropout"]
        assert row["gap"] == pytest.approx(100 * point["overfitting_mean"])
    gap_chart(frame).to_dict()


def test_the_front_is_what_nothing_cheaper_beats(make_tables):
    points = grid(model="mlp", hidden=(8,), lr=[i / 50 for i in range(1, 31)], epochs=2)
    trials, _, summary = make_tables(points)
    rng = np.random.default_rng(1)
    summary["params"] = rng.integers(1, 9, len(summary))
    summary["validation_accuracy_mean"] = rng.integers(1, 9, len(summary)) / 10
    trials["seconds"] = rng.integers(1, 9, len(trials)).astype(float)
    frame = cost_frame(trials, summary)
    for cost in ("params", "seconds"):
        pairs = list(zip(frame[cost], frame["error"]))
        for own, on_front in zip(pairs, frame[f"{cost}_front"]):
            beaten = any(
                other != own and other[0] <= own[0] and other[1] <= own[1]
                for other in pairs
            )
            assert on_front == (not beaten)
        assert frame[f"{cost}_front"].any()
    params_chart(frame).to_dict()
    seconds_chart(frame).to_dict()
