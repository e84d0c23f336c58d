"""What accuracy costs: the gap by dropout, and the Pareto fronts."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.report.charts.costs import (
    COSTS,
    NAMED,
    cost_chart,
    cost_frame,
    gap_chart,
    gap_frame,
    pareto_front,
)
from mnistopt.report.charts.pictures import Picture, Results, study_pictures, to_svg
from mnistopt.results.columns import COUNTED, TIMED
from mnistopt.results.tables import curves_table
from mnistopt.study.grid import grid
from tests.configs import make_config


def test_the_gap_is_that_of_each_dropout(make_tables):
    points = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2], dropout=[0, 0.3], epochs=2)
    _, _, summary = make_tables(points)
    frame = gap_frame(summary)
    assert sorted(frame["others"].unique()) == ["lr 0.1", "lr 0.2"]
    for (_, row), (_, point) in zip(frame.iterrows(), summary.iterrows()):
        assert row["dropout"] == point["dropout"]
        assert row["gap"] == pytest.approx(100 * point["overfitting_mean"])
    gap_chart(frame).to_dict()


@pytest.fixture
def rivals(make_tables):
    """Trials and summary of 30 networks of 3 seeds whose costs and errors have ties."""
    points = grid(model="mlp", hidden=[(i,) for i in range(1, 31)], epochs=2)
    trials, _, summary = make_tables(points, seeds=3)
    rng = np.random.default_rng(1)
    for cost in (*COUNTED, *TIMED, "params"):
        summary[cost] = rng.integers(1, 9, len(summary))
    summary.loc[:4, "latency_1_ms"] = np.nan
    summary["validation_accuracy_mean"] = rng.integers(1, 9, len(summary)) / 10
    summary.loc[[10, 11], ["params", "validation_accuracy_mean"]] = 3, 0.9
    trials["seconds"] = rng.integers(1, 9, len(trials)).astype(float)
    return trials, summary


def members(pairs):
    """What is on the front, by its definition, one by one."""
    return [
        own[0] == own[0]
        and not any(
            other != own and other[0] <= own[0] and other[1] <= own[1]
            for other in pairs
        )
        for own in pairs
    ]


def test_the_front_is_what_nothing_cheaper_beats(rivals):
    frame = cost_frame(*rivals)
    for cost in COSTS:
        pairs = list(zip(frame[cost], frame["error"]))
        found = frame[f"{cost}_front"].tolist()
        assert found == members(pairs) and any(found)
    # Equal points are on it together, as some here are.
    assert frame[frame["params_front"]].duplicated(["params", "error"]).any()


@given(
    st.lists(
        st.tuples(st.sampled_from([1.0, 2.0, 3.0, math.nan]), st.integers(0, 3)),
        min_size=1,
    )
)
def test_the_front_of_anything(pairs):
    costs, errors = (np.array(column, float) for column in zip(*pairs))
    assert pareto_front(costs, errors).tolist() == members(pairs)


def test_the_test_split_has_no_say(rivals):
    trials, summary = rivals
    columns = [name for name in summary if name.startswith(("test_", "best_test_"))]
    other = summary.assign(**{name: summary[name].to_numpy()[::-1] for name in columns})
    assert not other[columns].equals(summary[columns])
    pd.testing.assert_frame_equal(
        cost_frame(trials, other), cost_frame(trials, summary)
    )


@pytest.mark.parametrize("cost", COSTS)
def test_the_front_is_joined_and_named(rivals, cost):
    frame = cost_frame(*rivals)
    spec = cost_chart(frame, cost).to_dict()
    (line,) = [one for one in spec["layer"] if one["mark"]["type"] == "line"]
    assert line["mark"]["interpolate"] == "step-after"
    assert line["transform"] == [{"filter": f"datum.{cost}_front"}]
    texts = [one for one in spec["layer"] if one["mark"]["type"] == "text"]
    for one in texts:
        text = spec["datasets"][one["data"]["name"]]
        named = pd.read_csv(io.StringIO(text))
        assert sorted(named["label"]) == sorted(frame[frame[f"{cost}_front"]]["label"])
        assert named[cost].is_monotonic_increasing
        assert named["number"].tolist() == list(range(1, len(named) + 1))
    names = [f"{i}: {label}" for i, label in zip(named["number"], named["label"])]
    shown = [line.rstrip(";.") for line in spec["title"]["subtitle"][2:]]
    assert shown == names[:NAMED]
    rules = [one for one in spec["layer"] if one["mark"]["type"] == "rule"]
    assert len(texts) == len(rules) == 2
    assert to_svg(Picture.of(frame, cost_chart(frame, cost))).count("<text") > 9


def test_one_seed_has_no_interval(make_tables):
    points = grid(model="mlp", hidden=[(8,), (9,)], epochs=2)
    trials, _, summary = make_tables(points, seeds=1)
    summary["params"] = [7, 8]
    marks = cost_chart(cost_frame(trials, summary), "params").to_dict()["layer"]
    assert not [one for one in marks if one["mark"]["type"] == "rule"]


def test_costs_are_drawn_where_they_differ(rivals):
    trials, summary = rivals
    empty = pd.DataFrame(columns=["point", "place"])

    def drawn(summary):
        read = make_config(), trials, curves_table([]), summary, {}, empty, empty
        pictures = study_pictures(Results(*read))
        return [name for name in pictures if name in COSTS]

    assert drawn(summary) == list(COSTS)
    assert drawn(summary.assign(latency_256_ms=np.nan)) == [
        *("params", "multiply_adds", "latency_1_ms", "seconds")
    ]
    same = dict.fromkeys(("params", "multiply_adds"), 7)
    assert drawn(summary.assign(**same)) == [
        *("latency_1_ms", "latency_256_ms", "seconds")
    ]
    # By a few per cent they differ in nothing that a reader would pay for.
    near = 1 + 0.04 * (summary["params"] > 4)
    assert drawn(summary.assign(**dict.fromkeys(list(COSTS)[:-1], near))) == ["seconds"]


def test_of_each_network_the_best_point_is_drawn(make_tables):
    points = grid(model="mlp", hidden=[(8,), (9,)], lr=[0.1, 0.2, 0.3], epochs=2)
    trials, _, summary = make_tables(points)
    frame = cost_frame(trials, summary)
    assert frame["label"].tolist() == [
        summary[summary["hidden"] == hidden]["label"].iloc[0] for hidden in ("8", "9")
    ]
