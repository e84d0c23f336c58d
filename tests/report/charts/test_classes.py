import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from mnistopt.data.classes import default_names
from mnistopt.report.charts.classes import (
    accuracy_chart,
    accuracy_frame,
    confusion_chart,
    confusion_frame,
    reliability_chart,
    reliability_frame,
)
from mnistopt.report.charts.images import mistakes_chart
from mnistopt.results.predictions import Predictions
from mnistopt.study.grid import grid

POINTS = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2], epochs=2)


def make_predictions(k):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, k, 200).astype(np.uint8)
    wrong = rng.random((3, 200)) < 0.3
    classes = np.where(wrong, rng.integers(0, k, (3, 200)), labels).astype(np.uint8)
    probabilities = rng.dirichlet(np.full(k, 0.2), 200).astype(np.float16)
    vote = probabilities.argmax(axis=1).astype(np.uint8)
    names = default_names(k)
    return Predictions(np.arange(3), labels, classes, probabilities, vote, names)


@pytest.fixture
def predictions():
    return make_predictions(10)


@pytest.mark.parametrize("k", [2, 10, 12, 40])
def test_confusion_is_the_mean_over_seeds(make_tables, k):
    predictions = make_predictions(k)
    _, _, summary = make_tables(POINTS)
    frame = confusion_frame(summary, {summary["point"][1]: predictions})
    table = np.zeros((k, k))
    true, predicted = frame["true"].astype(int), frame["predicted"].astype(int)
    table[true, predicted] = frame["count"]
    wanted = [
        confusion_matrix(predictions.labels, classes) for classes in predictions.classes
    ]
    np.testing.assert_allclose(table, np.mean(wanted, axis=0))
    shares = frame.groupby("true")["share"].sum()
    np.testing.assert_allclose(shares, 100)
    assert set(frame["rank"]) == {1}
    confusion_chart(frame).to_dict()


def test_reliability_counts_every_digit_once(make_tables, predictions):
    _, _, summary = make_tables(POINTS)
    frame = reliability_frame(summary, {summary["point"][0]: predictions})
    assert frame["count"].sum() == 200
    weights = frame["count"] / 200
    right = 100 * np.mean(predictions.vote == predictions.labels)
    assert (frame["accuracy"] * weights).sum() == pytest.approx(right)
    sure = 100 * predictions.probabilities.max(axis=1).astype(float).mean()
    assert (frame["confidence"] * weights).sum() == pytest.approx(sure)
    assert (frame["low"] <= frame["accuracy"] + 1e-9).all()
    assert (frame["high"] >= frame["accuracy"] - 1e-9).all()
    reliability_chart(frame).to_dict()


def test_the_accuracy_of_each_class_is_its_recall(make_tables, predictions):
    _, _, summary = make_tables(POINTS)
    frame = accuracy_frame(summary, dict.fromkeys(summary["point"], predictions))
    assert len(frame) == 2 * 10
    right = predictions.classes == predictions.labels
    for _, row in frame.iterrows():
        mine = right[:, predictions.labels == row["order"]]
        assert row["accuracy"] == pytest.approx(100 * mine.mean())
        assert row["count"] == mine.shape[1]
    accuracy_chart(frame).to_dict()


def test_a_class_without_test_images_and_a_best_point_without_predictions(make_tables):
    _, _, summary = make_tables(POINTS)
    lacking = make_predictions(10)
    labels = np.where(lacking.labels == 3, 4, lacking.labels)
    frame = accuracy_frame(
        summary, {summary["point"][1]: lacking._replace(labels=labels)}
    )
    assert "3" not in set(frame["class"]) and set(frame["rank"]) == {1}
    accuracy_chart(frame).to_dict()


def test_the_digits_of_the_chosen_point_are_shown_or_else_the_best(make_tables):
    trials, _, summary = make_tables(POINTS)
    import pandas as pd

    row = {"place": 0, "index": 7, "true": "4", "vote": "9", "confidence": 99.0}
    frame = pd.DataFrame([row | {"votes": "9 | 9 | 4", "image": "data:,", "label": "a",
                                 "rank": 0}])  # fmt: skip
    spec = mistakes_chart(frame).to_dict()
    kept = spec["layer"][0]["transform"][0]["filter"]["or"]
    assert {"param": "picked", "empty": False} in kept
    values = next(iter(spec["datasets"].values()))
    assert "9 ×2, 4 ×1" in values and "4 read as 9" in values
