"""The networks against plain flax.linen ones that take the same parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistopt.models.layers import Dropout
from mnistopt.models.mlp_cnn import CNN, MLP
from mnistopt.models.networks import (
    apply,
    apply_training,
    count_params,
    make_model,
    multiply_adds,
    variable_shapes,
)
from mnistopt.study.grid import make_point

pytestmark = pytest.mark.usefixtures("quick_compile")

IMAGES = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)


class PlainMLP(nn.Module):
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), 784)
        for units in self.hidden:
            x = nn.relu(nn.Dense(units)(x))
        return nn.Dense(10)(x)


class PlainCNN(nn.Module):
    channels: tuple[int, ...]
    dense: int

    @nn.compact
    def __call__(self, x):
        for i, features in enumerate(self.channels):
            x = nn.relu(nn.Conv(features, (3, 3))(x))
            if i < 2:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.relu(nn.Dense(self.dense)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


PAIRS = [
    (MLP((6,)), PlainMLP((6,))),
    (MLP((5, 7, 4)), PlainMLP((5, 7, 4))),
    (CNN((2,), 5), PlainCNN((2,), 5)),
    (CNN((2, 3), 5), PlainCNN((2, 3), 5)),
    (CNN((2, 3, 4, 2), 5), PlainCNN((2, 3, 4, 2), 5)),
]


by_pair = pytest.mark.parametrize(
    ("model", "plain"),
    PAIRS,
    ids=["mlp 6", "mlp 5x7x4", "cnn 2/5", "cnn 2x3/5", "cnn 2x3x4x2/5"],
)


def random_params(model):
    """Parameters of a model, biases too; those of a first state are 0."""
    rng = np.random.default_rng(1)

    def draw(shape):
        return rng.normal(size=shape.shape, scale=0.3).astype(shape.dtype)

    return jax.tree.map(draw, variable_shapes(model)["params"])


@pytest.mark.parametrize(
    ("point", "count"),
    [
        (make_point(model="mlp", hidden=(128, 128)), 118_282),
        (make_point(model="cnn", channels=(32, 64), dense=128), 421_642),
        (make_point(model="cnn", channels=(32, 64, 64), dense=128), 458_570),
        # One hidden layer, by hand: 784 * 7 + 7 + 7 * 10 + 10.
        (make_point(model="mlp", hidden=(7,)), 5575),
    ],
)
def test_networks_have_the_number_of_parameters_of_the_paper(point, count):
    assert count_params(make_model(point)) == count


@by_pair
def test_logits_are_those_of_a_plain_network(model, plain):
    params = random_params(model)
    logits = jax.jit(model.apply)({"params": params}, IMAGES)
    wanted = jax.jit(plain.apply)({"params": params}, IMAGES)
    assert logits.shape == (5, 10) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)


@by_pair
def test_parameters_are_named_and_shaped_as_those_of_a_plain_network(model, plain):
    shapes = jax.eval_shape(plain.init, jax.random.key(3), IMAGES)["params"]
    assert variable_shapes(model)["params"] == shapes


def test_shapes_are_no_arrays():
    leaves = jax.tree.leaves(variable_shapes(CNN((2, 3), 5))["params"])
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
    assert {str(leaf.dtype) for leaf in leaves} == {"float32"}


@pytest.mark.parametrize(
    ("model", "units"), [(MLP((600, 400)), [600, 400]), (CNN((2, 3), 500), [500])]
)
def test_dropout_follows_every_hidden_dense_layer_and_no_other(model, units):
    params = random_params(model)
    _, seen = model.apply(
        {"params": params},
        IMAGES,
        0.5,
        rngs={"dropout": jax.random.key(0)},
        capture_intermediates=lambda module, _: isinstance(module, Dropout),
        mutable="intermediates",
    )
    outputs = [one["__call__"][0] for one in seen["intermediates"].values()]
    assert [y.shape[1] for y in outputs] == units
    for y in outputs:
        # ReLU silences about half of the units, dropout half of the others.
        assert 0.15 < np.mean(np.asarray(y) > 0) < 0.35


@pytest.mark.parametrize("model", [MLP((6,)), CNN((2,), 5)], ids=["mlp", "cnn"])
def test_a_rate_of_zero_is_evaluation(model):
    variables = {"params": random_params(model)}
    key = {"dropout": jax.random.key(0)}
    logits = model.apply(variables, IMAGES)
    np.testing.assert_array_equal(model.apply(variables, IMAGES, 0.0, rngs=key), logits)


def test_points_make_their_models():
    mlp = make_point(model="mlp", hidden=(3, 4))
    cnn = make_point(model="cnn", channels=(3, 4), dense=5)
    assert make_model(mlp) == MLP(hidden=(3, 4))
    assert make_model(cnn) == CNN(channels=(3, 4), dense=5)
    # Equal models are one static argument: what differs is not theirs.
    assert make_model(cnn) == make_model(make_point(channels=(3, 4), dense=5, lr=1.0))


@pytest.mark.parametrize(
    "point",
    [
        make_point(model="mlp", hidden=(128, 128)),
        make_point(model="mlp", hidden=(64,)),
        make_point(channels=(32, 64), dense=128),
        make_point(channels=(8, 16, 16), dense=32),
    ],
    ids=lambda point: str(point.structure),
)
def test_multiplications_are_those_that_xla_counts(point):
    """XLA counts a multiplication and an addition each, and all of the rest too."""
    ours = make_model(point)
    if isinstance(ours, MLP):
        plain = PlainMLP(ours.hidden)
    else:
        plain = PlainCNN(ours.channels, ours.dense)
    images = jnp.zeros((1, 28, 28, 1))
    params = plain.init(jax.random.key(0), images)
    compiled = jax.jit(plain.apply).lower(params, images).compile()
    flops = compiled.cost_analysis()["flops"]
    # XLA leaves out products with the padding of "same" convolutions; the rest adds.
    assert 0.85 < flops / (2 * multiply_adds(ours)) < 1.1
    assert multiply_adds(plain) == multiply_adds(ours)


class ByKeyword(nn.Module):
    """Calls its layer as Python allows."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(inputs=x.reshape(x.shape[0], -1))


def test_layers_that_are_called_by_keyword_are_counted():
    assert multiply_adds(ByKeyword()) == 28 * 28 * 10


# --- Batch normalization ---


def _normalized(variables, x, training):
    layer = nn.BatchNorm(not training, momentum=0.9, epsilon=1e-5)
    if not training:
        return layer.apply(variables, x), variables["batch_stats"]
    y, updated = layer.apply(variables, x, mutable=["batch_stats"])
    return y, updated["batch_stats"]


def plain_normalized(model, variables, x, training):
    """The same network of flax's own layers, and its statistics, layer by layer."""
    params, old = variables["params"], variables["batch_stats"]
    new = {}
    for i in range(len(getattr(model, "channels", ()))):
        mine = params[f"Conv_{i}"]
        kernel = {"params": {"kernel": mine["kernel"]}}
        x = nn.Conv(mine["kernel"].shape[-1], (3, 3), use_bias=False).apply(kernel, x)
        x = nn.max_pool(x, (2, 2), strides=(2, 2)) if i < 2 else x
        statistics = old[f"Conv_{i}"]["BatchNorm_0"]
        both = {"params": mine["BatchNorm_0"], "batch_stats": statistics}
        x, statistics = _normalized(both, x, training)
        x, new[f"Conv_{i}"] = nn.relu(x), {"BatchNorm_0": statistics}
    x = x.reshape(len(x), -1)
    norms = sum(name.startswith("BatchNorm") for name in params)
    for i in range(norms):
        dense = params[f"Dense_{i}"]
        x = x @ dense["kernel"]  # The normalization would undo a bias.
        name = f"BatchNorm_{i}"
        both = {"params": params[name], "batch_stats": old[name]}
        x, new[name] = _normalized(both, x, training)
        x = nn.relu(x)
    dense = params[f"Dense_{norms}"]
    return x @ dense["kernel"] + dense["bias"], new


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(MLP((6, 4), norm="batch"), id="mlp"),
        # With a pool and without.
        pytest.param(CNN((2, 3, 4), 5, norm="batch"), id="cnn 2x3x4"),
        pytest.param(
            CNN((2, 3), 5, norm="batch"), id="cnn 2x3", marks=pytest.mark.full
        ),
    ],
)
def test_batch_normalization_is_that_of_plain_layers(model):
    images = np.random.default_rng(2).random((9, 28, 28, 1), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda leaf: rng.uniform(0.2, 0.8, leaf.shape).astype(np.float32), shapes
    )
    # Weights of both signs, factors of the normalization too.
    variables["params"] = jax.tree.map(
        lambda leaf: leaf - np.float32(0.5), variables["params"]
    )
    np.testing.assert_allclose(
        apply(model, variables, images),
        plain_normalized(model, variables, images, False)[0],
        rtol=1e-3,
        atol=1e-4,
    )
    weights = rng.normal(size=(9, 10)).astype(np.float32)

    def ours(params):
        now = {**variables, "params": params}
        logits, new = apply_training(model, now, images, 0.0, jax.random.key(0))
        return (weights * logits).sum(), new["batch_stats"]

    def plain(params):
        now = {**variables, "params": params}
        logits, new = plain_normalized(model, now, images, True)
        return (weights * logits).sum(), new

    both = [
        jax.value_and_grad(one, has_aux=True)(variables["params"])
        for one in (ours, plain)
    ]
    (found, wanted) = ((total, new, grads) for (total, new), grads in both)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=2e-3, atol=1e-3 * np.abs(b).max() + 1e-5
        ),
        found,
        wanted,
    )


def test_what_is_not_normalized_is_as_before():
    for values in ({"model": "mlp"}, {"model": "cnn"}):
        plain, told = make_point(**values), make_point(**values, norm="none")
        assert plain == told and "norm" not in plain.row()
        assert make_point(**values, norm="batch").row()["norm"] == "batch"
