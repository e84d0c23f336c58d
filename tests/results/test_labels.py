"""The names of points: what varies, and nothing else."""

import pytest

from mnistopt.results.columns import point_labels
from mnistopt.results.tables import summary_table, trials_table
from mnistopt.study.grid import grid, make_point

MLP = make_point(model="mlp", hidden=(8,), epochs=4)


def labels_of(make_record, points):
    summary = summary_table(trials_table([make_record(point) for point in points]))
    names = point_labels(summary)
    return [names[point.identity()] for point in points]


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
            grid(lr=[0.01234567, 0.01234571, 0.5]),
            ["lr 0.01234567", "lr 0.01234571", "lr 0.5"],
        ),
        (grid(lr=[10**-3.5, 1e-3]), ["lr 0.000316228", "lr 0.001"]),
        (
            grid(model=["mlp", "cnn"], hidden=(8, 4), channels=(2, 3), dense=5),
            ["mlp", "cnn"],
        ),
        (
            grid(model=["mlp", "cnn"], hidden=[(8,), (4,)], channels=(2, 3), dense=5),
            ["mlp, hidden 8", "mlp, hidden 4", "cnn"],
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
    ids=[
        "lr",
        "lr and dropout",
        "alike",
        "short",
        "models",
        "mlps and a cnn",
        "structures and epochs",
    ],
)
def test_labels_name_what_varies_and_nothing_else(make_record, points, wanted):
    assert labels_of(make_record, points) == wanted


def test_one_point_has_a_label_too(make_record):
    (label,) = labels_of(make_record, [MLP])
    assert label.startswith("mlp")
