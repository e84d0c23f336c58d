"""The figure: what is drawn, and that it can be drawn of anything."""

import dataclasses
import math
import os

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from mnistopt.hparams import Point, grid
from mnistopt.report import PALETTE, draw_curves, point_labels, save_figures
from mnistopt.results import curves_table, summary_table, trials_table, write_tables

MLP = Point(model="mlp", hidden=(8,), epochs=4)


def labels_of(make_record, points):
    summary = summary_table(trials_table([make_record(point) for point in points]))
    names = point_labels(summary)
    return [names[point.identity()] for point in points]


@pytest.fixture
def make_records(make_record):
    """A function that makes the records of points, the first ones the best."""

    def make(points, seeds=2):
        rng = np.random.default_rng(0)
        records = []
        for rank, point in enumerate(points):
            for seed in range(seeds):
                correct = (45 - rank - rng.integers(0, 1, 4)).tolist()
                losses = (50 * (1 + rank + rng.random(4))).tolist()
                columns = {"validation_correct": correct, "validation_loss_sum": losses}
                records.append(make_record(point, seed, **columns))
        return records

    return make


def draw(records):
    figure = draw_curves(curves_table(records), trials_table(records))
    figure.draw_without_rendering()
    return figure


def named_lines(panel):
    """Lines by their label, those without one left out."""
    return {
        line.get_label(): line
        for line in panel.lines
        if not line.get_label().startswith("_")
    }


# --- Labels ---


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (grid(lr=[1e-3, 1e-4]), ["lr 0.001", "lr 0.0001"]),
        (
            grid(lr=[0.1, 1.0], dropout=[0.0, 0.5], model="mlp"),
            [
                "lr 0.1, dropout 0",
                "lr 0.1, dropout 0.5",
                "lr 1, dropout 0",
                "lr 1, dropout 0.5",
            ],
        ),
        (
            grid(model=["mlp", "cnn"], hidden=(8, 4), channels=(2, 3), dense=5),
            ["mlp, hidden 8x4", "cnn, channels 2x3, dense 5"],
        ),
        (
            grid(channels=[(2,), (2, 3)], epochs=[4, 9]),
            [
                "channels 2, epochs 4",
                "channels 2, epochs 9",
                "channels 2x3, epochs 4",
                "channels 2x3, epochs 9",
            ],
        ),
    ],
    ids=["lr", "lr and dropout", "models", "structures and epochs"],
)
def test_labels_name_what_varies_and_nothing_else(make_record, points, wanted):
    assert labels_of(make_record, points) == wanted


def test_one_point_has_a_label_too(make_record):
    (label,) = labels_of(make_record, [MLP])
    assert label.startswith("mlp")


# --- Curves ---


def test_each_point_has_a_line_and_a_band_of_the_right_numbers(make_records):
    points = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2, 0.3], epochs=4)
    records = make_records(points, seeds=3)
    loss_panel, error_panel = draw(records).axes
    curves = curves_table(records)
    for panel, values in (
        (loss_panel, curves["validation_loss"]),
        (error_panel, 100 * (1 - curves["validation_accuracy"])),
    ):
        assert len(panel.lines) == len(panel.collections) == 3
        # The worst are drawn first, to lie below.
        drawn = zip(points[::-1], panel.lines, panel.collections)
        for point, line, band in drawn:
            one = values[curves["lr"] == point.lr].groupby(curves["epoch"])
            assert line.get_label() == f"lr {point.lr}"
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            np.testing.assert_allclose(line.get_ydata(), one.mean())
            corners = band.get_paths()[0].vertices
            for epoch in (1, 2, 3, 4):
                ys = corners[corners[:, 0] == epoch, 1]
                np.testing.assert_allclose(ys.min(), one.min()[epoch])
                np.testing.assert_allclose(ys.max(), one.max()[epoch])
            assert to_hex(line.get_color()) == to_hex(band.get_facecolor())
        assert panel.get_yscale() == "log"


def test_the_best_points_have_colours_and_names_and_the_others_are_grey(make_records):
    lrs = [float(i) for i in range(1, len(PALETTE) + 4)]
    figure = draw(make_records(grid(model="mlp", hidden=(8,), lr=lrs, epochs=4)))
    best = [f"lr {lr:g}" for lr in lrs[: len(PALETTE)]]
    for panel in figure.axes:
        assert len(panel.lines) == len(lrs)
        lines = named_lines(panel)
        assert [to_hex(lines[name].get_color()).upper() for name in best] == [*PALETTE]
        assert len(lines) == len(PALETTE)
        grey = [line for line in panel.lines if line not in lines.values()]
        assert {to_hex(line.get_color()) for line in grey} == {"#bbbbbb"}
        # The better, the further in front.
        heights = [lines[name].get_zorder() for name in best]
        assert heights == sorted(heights, reverse=True)
        assert max(line.get_zorder() for line in grey) < min(heights)
    legend = figure.axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == best
    shown = [to_hex(line.get_color()).upper() for line in legend.get_lines()]
    assert shown == [*PALETTE]


def test_points_that_differ_in_epochs_only_are_one_line(make_record):
    point = dataclasses.replace(MLP, epochs=4)
    records = [make_record(point, seed, measured=(2, 4)) for seed in range(2)]
    for panel in draw(records).axes:
        assert len(panel.lines) == 1
        assert len(panel.lines[0].get_xdata()) == 4


def test_one_seed_is_said_to_be_one(make_records):
    for seeds, words in ((1, "of 1 seed"), (2, "of 2 seeds")):
        title = draw(make_records([MLP], seeds)).axes[1].get_legend().get_title()
        assert title.get_text().endswith(words)


NOTHING = {"validation_correct": [50] * 4, "validation_loss_sum": [0.0] * 4}
BROKEN = {
    "validation_loss_sum": [50.0, math.inf, math.nan, math.nan],
    "diverged_at": [-1, 3, 3, 3],
}


def test_numbers_that_are_none_are_left_out_of_lines_and_bands(make_record):
    records = [make_record(MLP, 0), make_record(MLP, 1, **BROKEN)]
    line = draw(records).axes[0].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), [1.0, 1.0, 1.0, 1.0])
    alone = draw(records[1:]).axes[0].lines[0]
    np.testing.assert_array_equal(alone.get_ydata(), [1.0, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    "columns",
    [
        {},
        BROKEN,
        {**BROKEN, "validation_loss_sum": [math.nan] * 4},
        NOTHING,
    ],
    ids=["plain", "some broken", "all broken", "no error at all"],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_picture_is_written_whatever_the_numbers(
    make_record, tmp_path, columns, seeds
):
    write_tables(tmp_path, [make_record(MLP, seed, **columns) for seed in range(seeds)])
    path = save_figures(tmp_path)
    assert path == tmp_path / "figures" / "curves.png"
    with Image.open(path) as image:
        assert image.format == "PNG" and image.size == (1500, 630)
        colours = image.convert("RGB").getcolors(1_000_000)
    assert len(colours) > 10
    assert [one.name for one in path.parent.iterdir()] == ["curves.png"]


def test_a_study_in_which_some_points_have_not_begun_is_drawn(make_record):
    records = [make_record(MLP), make_record(dataclasses.replace(MLP, lr=1.0), done=0)]
    for panel in draw(records).axes:
        assert len(panel.lines) == 1


def test_a_study_that_has_just_begun_is_drawn_empty(make_record):
    for panel in draw([make_record(MLP, done=0, measured=())]).axes:
        assert len(panel.lines) == 0


def test_a_picture_is_drawn_again_only_when_its_tables_are_newer(make_record, tmp_path):
    write_tables(tmp_path, [make_record(MLP)])
    tables = [tmp_path / f"{name}.csv" for name in ("trials", "curves")]
    for table in tables:
        os.utime(table, (100, 100))
    path = save_figures(tmp_path)
    drawn = path.read_bytes()
    path.write_bytes(b"kept")
    os.utime(path, (200, 200))
    save_figures(tmp_path)
    assert path.read_bytes() == b"kept"
    for table in tables:
        os.utime(table, (300, 300))
        os.utime(path, (200, 200))
        save_figures(tmp_path)
        assert path.read_bytes() == drawn
        os.utime(table, (100, 100))
        path.write_bytes(b"old")
