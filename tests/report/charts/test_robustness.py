"""The chart of what a network bears, and the table that it shows."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mnistopt.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from mnistopt.report.charts.pictures import Picture, to_svg
from mnistopt.report.charts.robustness import robustness_chart, robustness_frame
from mnistopt.results.stats import accuracy_interval, proportion_interval
from mnistopt.study.evaluation import summarise

EXAMPLE = np.zeros((28, 28, 1), np.uint8)
EXAMPLE[5:23, 10:14] = 255


def measured(seeds):
    """Accuracies that fall by strength, of 1,000 images."""
    conditions = [("clean", 0)] + [(c, s) for c in CORRUPTIONS for s in STRENGTHS]
    rows = [
        (f"t{seed}", name, strength, (990 - 90 * strength - 10 * seed) / 1000, 1000)
        for name, strength in conditions
        for seed in range(seeds)
    ]
    columns = ["trial", "corruption", "strength", "accuracy", "count"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("seeds", [1, 3])
def test_means_have_the_interval_of_seeds_or_of_images(seeds):
    table = summarise(measured(seeds)).set_index(["corruption", "strength"])
    assert len(table) == 1 + 7 * 5 + 5 + 7 + 1
    for key, strength in ((("blur", "4"), 4), (("blur", "mean"), 3), (("all", "5"), 5)):
        accuracies = [(990 - 90 * strength - 10 * seed) / 1000 for seed in range(seeds)]
        row = table.loc[key]
        assert row["accuracy"] == pytest.approx(np.mean(accuracies))
        if seeds == 1:
            ends = proportion_interval(1000 * accuracies[0], 1000)
        else:
            ends = accuracy_interval(accuracies)[2:4]
        assert (row["low"], row["high"]) == pytest.approx(ends)
        assert row["n"] == seeds
    assert table.loc[("all", "mean"), "accuracy"] == pytest.approx(
        table.loc[("noise", "3"), "accuracy"]
    )


def test_a_panel_per_corruption_begins_clean_and_shows_the_example():
    frame = robustness_frame(summarise(measured(2)), EXAMPLE)
    assert len(frame) == 8 * 6
    first = frame[frame["strength"] == 0]
    assert first["accuracy"].to_numpy() == pytest.approx(98.5)
    assert (frame["low"] < frame["accuracy"]).all()
    blurred = frame[frame["panel"].str.startswith("blur")]["image"].iloc[5]
    shown = Image.open(io.BytesIO(base64.b64decode(blurred.partition(",")[2])))
    wanted = 255 - corrupt(EXAMPLE[None], "blur", 5)[0, ..., 0]
    np.testing.assert_array_equal(np.asarray(shown), wanted)
    assert (frame[frame["panel"].str.startswith("mean")]["image"] == "").all()


@pytest.mark.parametrize(("seeds", "words"), [(1, "one network"), (3, "3 seeds")])
def test_it_is_drawn_with_all_panels(seeds, words):
    frame = robustness_frame(summarise(measured(seeds)), EXAMPLE)
    picture = Picture.of(frame, robustness_chart(frame))
    assert words in picture.subtitle
    svg = to_svg(picture)
    assert svg.count("<image") == 7 * 6
    for name in CORRUPTIONS:
        assert f">{name} (" in svg
