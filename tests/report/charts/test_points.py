import numpy as np
import pytest

from mnistopt.report.charts.points import (
    differences_chart,
    differences_frame,
    seeds_chart,
    seeds_frame,
)
from mnistopt.results.tables import interval_of
from mnistopt.study.grid import grid

POINTS = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2, 0.3, 0.4], epochs=3)


def test_every_finished_replica_is_a_dot_with_its_points_own_interval(make_tables):
    trials, _, summary = make_tables(POINTS, seeds=[4, 4, 2, 1])
    frame = seeds_frame(trials, summary)
    assert len(frame) == len(trials)
    for label, group in frame.groupby("label"):
        mine = trials[trials["lr"] == float(label[3:])]
        errors = 100 * (1 - mine["test_accuracy"])
        np.testing.assert_allclose(sorted(group["error"]), sorted(errors))
        wanted = interval_of("test_accuracy", mine["test_accuracy"].tolist())
        first = group.iloc[0]
        assert first["n"] == len(mine)
        np.testing.assert_allclose(
            [first["mean"], first["low"], first["high"]],
            [100 * (1 - v) for v in (wanted.mean, wanted.high, wanted.low)],
        )
        # The mean is that of the dots, and lies in its interval.
        assert first["mean"] == pytest.approx(group["error"].mean())
    seeds_chart(frame).to_dict()


def test_differences_are_paired_and_their_intervals_say_what_is_tied(make_tables):
    trials, _, summary = make_tables(POINTS, seeds=5)
    frame = differences_frame(trials, summary)
    by_seed = trials.pivot(index="seed", columns="lr", values="validation_accuracy")
    best = summary["lr"].iloc[0]
    assert f"lr {best}" not in set(frame["label"])
    assert len(frame) == 3
    for _, row in frame.iterrows():
        apart = 100 * (by_seed[float(row["label"][3:])] - by_seed[best])
        assert row["difference"] == pytest.approx(apart.mean())
        assert row["low"] < row["difference"] < row["high"]
        assert (row["choice"] == "tied") == (row["high"] >= 0)
        assert row["n"] == 5
    differences_chart(frame, "lr 0.1").to_dict()


@pytest.mark.parametrize("seeds", [[1] * 4, [3, 1, 1, 1]])
def test_what_cannot_be_compared_has_no_difference(make_tables, seeds):
    trials, _, summary = make_tables(POINTS, seeds=seeds)
    assert differences_frame(trials, summary).empty
