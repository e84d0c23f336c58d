"""Labels that hide nothing, and axes whose pixels are known."""

import numpy as np
import pandas as pd
import pytest

from mnistopt.report.charts.placing import Scale, place_labels

SIZE = (560, 320)


def box(point, place, label):
    """Where a label is, as Vega draws it, written down a second time."""
    start = point[0] + place.dx
    long = 6.6 * len(label)
    left = start if place.align == "left" else start - long
    middle = point[1] + place.dy
    return left, middle - 8, left + long, middle + 8


def apart(one, other):
    return (
        one[2] <= other[0]
        or other[2] <= one[0]
        or one[3] <= other[1]
        or other[3] <= one[1]
    )


@pytest.mark.parametrize("seed", range(20))
def test_labels_of_a_front_keep_apart_and_inside(seed):
    rng = np.random.default_rng(seed)
    left = np.sort(rng.uniform(20, 540, 6))
    points = list(zip(left, np.sort(rng.uniform(20, 300, 6))))
    labels = ["mlp, hidden 32", "cnn, channels 32x64"] * 3
    dots = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    places = place_labels(points, labels, dots, SIZE)
    boxes = [box(*one) for one in zip(points, places, labels)]
    for i, one in enumerate(boxes):
        assert one[0] >= 0 and one[1] >= 0 and one[2] <= 560 and one[3] <= 320
        assert all(apart(one, other) for other in boxes[:i])
        assert apart(one, dots[i])


def test_a_label_goes_around_what_is_beside_its_point():
    free, hidden = (
        place_labels([(200, 100)], ["mlp"], obstacles, SIZE)[0]
        for obstacles in ([], [(205, 80, 240, 96)])
    )
    assert (free.align, free.dy) == ("left", -10)
    assert apart(box((200, 100), hidden, "mlp"), (205, 80, 240, 96))


@pytest.mark.parametrize("values", [[1.0, 10.0, 1000.0], [0.0, 5.0, 10.0], [3.0]])
def test_pixels_are_those_of_the_scale(values):
    values = pd.Series(values)
    scale = Scale.of(values, (), 300)
    kind = scale.scale().to_dict()
    assert (kind.get("type") == "log") == (values > 0).all()
    low, high = kind["domain"]
    assert low < values.min() and values.max() < high
    ends = pd.Series([low, high])
    np.testing.assert_allclose(scale.pixels(ends), [0, 300], atol=1e-9)
    np.testing.assert_allclose(scale._replace(up=True).pixels(ends), [300, 0])
    assert (np.diff(scale.pixels(values)) > 0).all()


def test_an_interval_of_everything_squeezes_nobody():
    errors = pd.Series([2.0, 3.0, 4.0])
    high = pd.Series([2.1, 4.5, 99.0])
    scale = Scale.of(errors, (high,), 300)
    assert 4.5 < scale.high < 10
