"""What is expected of the best of some networks: against all subsets, one by one."""

import itertools

import numpy as np
import pandas as pd
import pytest

from mnistopt.report.charts import luck


def table(n=9, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "seed": range(n),
            "validation_accuracy": rng.integers(480, 484, n) / 500,
            "test_accuracy": rng.integers(960, 980, n) / 1000,
        }
    )


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_the_best_of_some_is_the_mean_over_all_ways_to_draw_them(count):
    frame = luck.luck_frame(table())
    test = frame["test_accuracy"].to_numpy()
    validation = frame["validation_accuracy"].to_numpy()
    subsets = list(itertools.combinations(range(9), count))
    wanted = np.mean([test[list(some)].max() for some in subsets])
    assert luck.best_of(test, test, [count])[0] == pytest.approx(wanted)
    # Where several are best by validation, one of them at random is reported.
    chosen = []
    for order in itertools.permutations(range(9), count):
        first = max(order, key=lambda i: validation[i])
        chosen.append(test[first])
    if count < 9:
        found = luck.best_of(validation, test, [count])[0]
        assert found == pytest.approx(np.mean(chosen))
    # Test labels choose the highest, and any other choice is below.
    assert luck.best_of(validation, test, [count])[0] <= wanted + 1e-9


def test_of_all_the_best_are_the_marks_of_the_picture():
    frame = luck.luck_frame(table())
    marks = luck.marks(frame)
    curves = luck.curve_frame(frame)
    last = curves[curves["networks"] == 9].set_index("who")["test"]
    assert last.to_dict() == pytest.approx(marks)
    assert marks[luck.MEAN] < marks[luck.CHOSEN] <= marks[luck.LUCKY]
    first = curves[curves["networks"] == 1]["test"]
    np.testing.assert_allclose(first, marks[luck.MEAN])


def test_the_picture_says_who_is_reported():
    frame = luck.luck_frame(table(40))
    chart = luck.luck_chart(frame, "697 parameters", {"published": 98.3})
    spec = chart.to_dict()
    assert spec["title"]["subtitle"][0].startswith("40 networks of 697 parameters")
    for who, value in {**luck.marks(frame), "published": 98.3}.items():
        assert f"{who}: {value:.2f} %" in spec["description"]
