import math

import numpy as np
import pytest
from points import changed

from mnistopt.report.charts.curves import (
    FITTED,
    curves_frame,
    error_chart,
    fit_chart,
    fit_frame,
    loss_chart,
)
from mnistopt.report.charts.pictures import Picture, to_svg
from mnistopt.report.charts.theme import PALETTE, TOP
from mnistopt.results.columns import labelled
from mnistopt.results.tables import curves_table, summary_table, trials_table
from mnistopt.study.grid import grid, make_point

MLP = make_point(model="mlp", hidden=(8,), epochs=4)


def frame_of(records):
    trials = trials_table(records)
    return curves_frame(curves_table(records), trials, labelled(summary_table(trials)))


def test_each_point_has_means_and_ranges_of_its_own_seeds(make_tables):
    points = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2, 0.3], epochs=4)
    trials, curves, summary = make_tables(points, seeds=[3, 3, 2])
    frame = curves_frame(curves, trials, summary)
    assert list(frame["label"].unique()) == ["lr 0.1", "lr 0.2", "lr 0.3"]
    for _, row in frame.iterrows():
        mine = curves[(curves["lr"] == float(row["label"][3:]))
                      & (curves["epoch"] == row["epoch"])]  # fmt: skip
        errors = 100 - 100 * mine["validation_accuracy"].to_numpy()
        assert row["n"] == len(mine) == (2 if row["label"] == "lr 0.3" else 3)
        for name, values in (("loss", mine["validation_loss"]), ("error", errors)):
            np.testing.assert_allclose(
                row[[name, f"{name}_low", f"{name}_high"]].astype(float),
                [np.mean(values), np.min(values), np.max(values)],
            )


def test_points_that_differ_in_epochs_only_are_one_line(make_record):
    records = [make_record(MLP, seed, measured=(2, 4)) for seed in range(2)]
    frame = frame_of(records)
    assert frame["label"].nunique() == 1
    assert list(frame["epoch"]) == [1, 2, 3, 4]


def test_the_best_have_colours_and_no_more_are_drawn_than_can_be_seen(make_tables):
    lrs = [float(i) for i in range(1, TOP + 5)]
    points = grid(model="mlp", hidden=(8,), lr=lrs, epochs=2)
    trials, curves, summary = make_tables(points)
    frame = curves_frame(curves, trials, summary)
    assert frame["label"].nunique() == TOP
    spec = error_chart(frame).to_dict()
    domains = {
        tuple(layer["encoding"]["color"]["scale"]["domain"])
        for layer in spec["layer"]
        if "color" in layer["encoding"]
    }
    best = frame[frame["rank"] < len(PALETTE)]["label"].unique()
    assert domains == {tuple(best)}


BROKEN = {
    "validation_loss_sum": [50.0, math.inf, math.nan, math.nan],
    "diverged_at": [-1, 3, 3, 3],
}
NOTHING = {"validation_correct": [50] * 4, "validation_loss_sum": [0.0] * 4}


def test_numbers_that_are_none_are_left_out_of_means(make_record):
    both = frame_of([make_record(MLP, 0), make_record(MLP, 1, **BROKEN)])
    assert list(both["loss"]) == [1.0] * 4
    alone = frame_of([make_record(MLP, 1, **BROKEN)])
    np.testing.assert_array_equal(alone["loss"], [1.0, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    "columns",
    [{}, BROKEN, {**BROKEN, "validation_loss_sum": [math.nan] * 4}, NOTHING],
    ids=["plain", "some broken", "all broken", "no error at all"],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_curves_are_drawn_whatever_the_numbers(make_record, columns, seeds):
    frame = frame_of([make_record(MLP, seed, **columns) for seed in range(seeds)])
    for chart in (loss_chart(frame), error_chart(frame)):
        assert "<svg" in to_svg(Picture.of(frame, chart))


def test_a_study_in_which_some_points_have_not_begun_has_curves_of_the_others(
    make_record,
):
    records = [make_record(MLP), make_record(changed(MLP, lr=1.0), done=0)]
    assert frame_of(records)["label"].nunique() == 1


def test_training_stands_beside_validation_up_to_each_point_s_epochs(make_tables):
    points = grid(
        model="mlp", hidden=(8,), lr=[i / 9 for i in range(1, 9)], epochs=[2, 4]
    )
    trials, curves, summary = make_tables(points, seeds=3)
    frame = fit_frame(curves, trials, summary)
    assert frame["label"].nunique() == FITTED
    for (label, part), group in frame.groupby(["label", "part"]):
        (point,) = (row for _, row in summary.iterrows() if row["label"] == label)
        assert group["epoch"].tolist() == list(range(1, point["epochs"] + 1))
        name = "train" if part.startswith("train") else "validation"
        own = curves[curves["lr"] == point["lr"]]
        wanted = 100 * (1 - own.groupby("epoch")[f"{name}_accuracy"].mean())
        np.testing.assert_allclose(group["error"], wanted[: point["epochs"]])
        assert (group["low"] <= group["error"] + 1e-9).all()
        assert (group["high"] >= group["error"] - 1e-9).all()
    fit_chart(frame).to_dict()
