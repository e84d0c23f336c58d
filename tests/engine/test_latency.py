"""How long a network takes to classify: what is timed, and what is not."""

import jax
import numpy as np
import pytest

from mnistopt.engine import predict as predicting
from mnistopt.engine.devices import local_devices
from mnistopt.engine.predict import classifier, predict
from mnistopt.models.networks import make_model, variable_shapes
from mnistopt.study.grid import make_point

MODEL = make_model(make_point(model="mlp", hidden=(9,)))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (300, 28, 28, 1), np.uint8)


def test_each_batch_has_a_time(images):
    found = predicting.measure_latency(MODEL, images, local_devices()[-1])
    assert list(found) == [1, 256] and all(one > 0 for one in found.values())


@pytest.mark.parametrize("count", [1, 3, 300])
def test_the_median_of_calls_without_the_first_is_told(images, monkeypatch, count):
    told = {1: iter([9.0, 0.5, 0.3, 0.1, 0.2, 0.4]), 256: iter([9.0, *[2.0] * 5])}
    shapes = []

    def seconds(model, variables, batch, device):
        assert (batch[0] == images[0]).all() and batch.dtype == np.uint8
        shapes.append(batch.shape)
        return next(told[len(batch)])

    monkeypatch.setattr(predicting, "_seconds", seconds)
    device = local_devices()[0]
    found = predicting.measure_latency(MODEL, images[:count], device)
    assert found == {1: 0.3, 256: 2.0}
    assert shapes == [(1, 28, 28, 1)] * 6 + [(256, 28, 28, 1)] * 6


def test_what_has_predicted_compiles_one_program_more(images):
    """That of one image: batches of 256 are what predictions are made of."""
    variables = jax.tree.map(
        lambda leaf: np.ones(leaf.shape, leaf.dtype), variable_shapes(MODEL)
    )
    classifier("cpu").clear_cache()
    predict(MODEL, variables, images)
    assert classifier("cpu")._cache_size() == 1
    for _ in range(2):
        predicting.measure_latency(MODEL, images, local_devices()[0])
        assert classifier("cpu")._cache_size() == 2


@pytest.mark.parametrize("count", [1, 255, 256, 257, 300])
def test_batches_are_filled_up_and_cut_off(images, count):
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype),
        variable_shapes(MODEL),
    )
    whole, found = predict(MODEL, variables, images), None
    found = predict(MODEL, variables, images[:count])
    assert found.classes.dtype == np.uint8 and whole.probabilities.shape == (300, 10)
    for one, wanted in zip(found, whole):
        np.testing.assert_array_equal(one, wanted[:count])
    logits = MODEL.apply(variables, images / np.float32(255))
    np.testing.assert_allclose(whole.probabilities, jax.nn.softmax(logits), atol=1e-5)
