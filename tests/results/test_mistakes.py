import base64
import io

import jax
import numpy as np
import pytest
from PIL import Image

from mnistopt.models.networks import make_network, variable_shapes
from mnistopt.results.predictions import Predictions
from mnistopt.results.sheets import (
    MOST,
    UNITS,
    Hardest,
    find_mistakes,
    first_weights,
    make_weights,
)
from mnistopt.study.grid import make_point


def test_the_most_confident_mistakes_come_first_with_their_images():
    rng = np.random.default_rng(0)
    n = 60
    labels = rng.integers(0, 10, n).astype(np.uint8)
    vote = ((labels + (np.arange(n) % 2)) % 10).astype(np.uint8)  # every second wrong
    probabilities = np.zeros((n, 10), np.float16)
    sure = rng.random(n)
    probabilities[np.arange(n), vote] = sure
    classes = np.stack([vote, labels])
    images = rng.integers(0, 256, (n, 28, 28, 1)).astype(np.uint8)
    names = tuple("abcdefghij")
    predictions = Predictions(np.arange(2), labels, classes, probabilities, vote, names)
    found = find_mistakes(predictions, images)
    wrong = [i for i in range(n) if i % 2]
    wanted = sorted(wrong, key=lambda i: -np.float16(sure[i]))[:MOST]
    assert list(found["index"]) == wanted
    assert list(found["place"]) == list(range(MOST))
    for _, row in found.iterrows():
        i = row["index"]
        assert (row["true"], row["vote"]) == (names[labels[i]], names[vote[i]])
        assert row["votes"] == f"{names[vote[i]]} | {names[labels[i]]}"
        png = base64.b64decode(row["image"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        np.testing.assert_array_equal(255 - pixels, images[i, :, :, 0])
    assert find_mistakes(predictions._replace(vote=labels), images).empty


def test_the_hardest_are_misread_by_every_point():
    rng = np.random.default_rng(1)
    n, names = 80, tuple("0123456789")
    labels = rng.integers(0, 10, n).astype(np.uint8)
    points = []
    for _ in range(3):
        chances = rng.dirichlet(np.full(10, 0.3), n).astype(np.float16)
        vote = chances.argmax(axis=1).astype(np.uint8)
        points.append(
            Predictions(np.arange(1), labels, vote[None], chances, vote, names)
        )
    hardest, images = Hardest(), np.zeros((n, 28, 28, 1), np.uint8)
    assert hardest.find(images).empty
    hardest.add(points[0])
    assert hardest.find(images).empty  # one point is not all
    for said in points[1:]:
        hardest.add(said)
    found = hardest.find(images)
    missed = [i for i in range(n) if all(p.vote[i] != labels[i] for p in points)]
    assert set(found["index"]) <= set(missed) and len(found) == min(MOST, len(missed))
    assert found["confidence"].is_monotonic_decreasing
    for _, row in found.iterrows():
        assert row["votes"].split(" | ") == [
            names[p.vote[row["index"]]] for p in points
        ]


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_the_first_layer_s_weights_are_blue_where_positive_and_orange_where_not():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(12, 30)).astype(np.float32)  # of images of 3 x 4
    kernel[0, 7] = 9
    later = {"kernel": rng.normal(size=(30, 10)), "bias": np.zeros(10)}
    variables = {"params": {"a": {"bias": np.zeros(30), "kernel": kernel}, "b": later}}
    weights = first_weights(variables, (3, 4, 1))
    np.testing.assert_array_equal(weights[7], kernel[:, 7].reshape(3, 4))
    table = make_weights(variables, (3, 4, 1))
    assert len(table) == UNITS and set(table["kind"]) == {"dense"}
    order = np.argsort(-np.abs(kernel).sum(axis=0), kind="stable")
    pixels = decoded(table["image"][list(order).index(7)]).astype(int)
    assert tuple(pixels[0, 0]) == (0, 114, 178)  # the largest is full blue
    red, blue = pixels[..., 0], pixels[..., 2]
    clear = np.abs(weights[7]) > 0.3
    assert ((blue > red) == (weights[7] > 0))[clear].all()


def test_filters_are_those_of_the_first_convolution_and_others_have_no_picture():
    filters = np.random.default_rng(0).normal(size=(3, 3, 1, 5))
    variables = {"params": {"Conv_0": {"kernel": filters}, "Dense": np.zeros((9, 2))}}
    weights = first_weights(variables, (28, 28, 1))
    np.testing.assert_array_equal(weights[4], filters[:, :, 0, 4])
    assert set(make_weights(variables, (28, 28, 1))["kind"]) == {"convolution"}
    assert make_weights({"params": {"w": np.zeros((5, 5))}}, (28, 28, 1)).empty
    two = {"params": {"a": {"kernel": filters}, "b": {"kernel": filters}}}
    assert make_weights(two, (28, 28, 1)).empty  # which comes first is not known


@pytest.mark.parametrize(
    "model", ["mobilenet_v1", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2"]
)
def test_light_networks_first_layer_is_their_stem(model):
    shapes = variable_shapes(make_network(make_point(model=model), 10), (28, 28, 1))
    (stem,) = (
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes["params"])
        if "Stem" in jax.tree_util.keystr(path) and leaf.ndim == 4
    )
    variables = {
        "params": jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes["params"])
    }
    assert first_weights(variables, (28, 28, 1)).shape == (
        stem.shape[3],
        *stem.shape[:2],
    )
