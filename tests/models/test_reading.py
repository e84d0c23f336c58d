"""Networks read as layers: the same numbers, and what cannot be read is named."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistopt.errors import InputError
from mnistopt.models.graph import Add, Conv, Select
from mnistopt.models.networks import apply, make_network
from mnistopt.models.reading import read_graph
from mnistopt.study.grid import make_point
from tests.exporting import SETTINGS, SHAPE, variables


def images(shape=SHAPE, count=3):
    return np.random.default_rng(1).random((count, *shape), dtype=np.float32)


def read(model, shape=SHAPE):
    drawn = variables(model, shape)
    return read_graph(model, drawn, shape), drawn


def assert_equal(model, shape=SHAPE):
    """Asserts that a network's layers make its logits; returns them."""
    graph, drawn = read(model, shape)
    wanted = np.asarray(jax.jit(lambda x: apply(model, drawn, x))(images(shape)))
    np.testing.assert_allclose(graph(images(shape)), wanted, rtol=1e-4, atol=2e-5)
    return graph.layers


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: str(one["model"]))
def test_the_layers_of_a_network_make_its_logits(settings):
    layers = assert_equal(make_network(make_point(**settings)))
    # Normalization and limits are part of what they follow.
    names = [layer.name for layer in layers if isinstance(layer, Conv)]
    assert not any("BatchNorm" in name for name in names)


def test_channels_that_normalization_turns_round_are_turned_after_the_pool():
    layers = assert_equal(make_network(make_point(**SETTINGS[3])))
    assert [bool((layer.sign < 0).any()) for layer in layers[:3]] == [True, True, False]


class Own(nn.Module):
    """Flax's layers, as one writes them."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (5, 3), (2, 1), padding="VALID")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding="SAME")
        y = nn.Conv(4, (3, 3), kernel_dilation=2)(x)
        x = nn.relu(x + y) - 0.5
        x = jnp.concatenate([x, nn.avg_pool(y, (3, 3), (1, 1), "SAME")], -1)
        x = nn.Conv(8, (1, 1), feature_group_count=2, use_bias=False)(x)
        x = nn.relu6(3 * nn.BatchNorm(use_running_average=not train)(x)) / 2
        x = nn.Dense(6)(x)[..., ::-1]
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # as PyTorch flattens
        return nn.Dense(10)(nn.relu(x))


class Sizes(nn.Module):
    """Colours of another size, a maximum over all pixels, and a normalized image."""

    @nn.compact
    def __call__(self, x):
        mean = jnp.arange(12 * 9 * 3, dtype=jnp.float32).reshape(12, 9, 3) / 300
        x = nn.relu(nn.Conv(5, (3, 3))((x - mean) / jnp.array([0.2, 0.3, 0.4])))
        return nn.Dense(7)(x.max((1, 2)))


@pytest.mark.parametrize("model", [Own(), Sizes()], ids=["layers", "sizes"])
def test_modules_of_flax_layers_are_read_too(model):
    shape = SHAPE if isinstance(model, Own) else (12, 9, 3)
    layers = assert_equal(model, shape)
    assert {type(layer) for layer in layers} <= {Conv, Add, Select}


def test_a_dense_layer_takes_pixels_in_any_order_without_moving_them():
    assert not any(isinstance(layer, Select) for layer in assert_equal(Own())[-2:])


class Odd(nn.Module):
    """Something that no layer of a graph does, after a dense layer."""

    what: str

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="first")(x.reshape(len(x), -1))
        x = {
            "tanh": jnp.tanh,
            "attention": lambda x: x * x,
            "batches": lambda x: x + x[::-1],
            "sorted": lambda x: jnp.sort(x, axis=-1),
            "joined": lambda x: jnp.concatenate([x, jnp.ones_like(x)], -1),
            "softmax": nn.softmax,
        }[self.what](x)
        return nn.Dense(3, name="last")(x)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("tanh", "`tanh`"),
        ("attention", "multiplies"),
        ("batches", "mixes images"),
        ("sorted", "`sort`"),
        ("joined", "fixed numbers"),
        ("softmax", "Odd"),
    ],
)
def test_what_cannot_be_read_is_named(what, words):
    with pytest.raises(InputError, match="cannot be exported") as refused:
        read(Odd(what))
    assert words in str(refused.value) and "stablehlo" in str(refused.value)


class Deep(nn.Module):
    """A module within a module, of which one is odd."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(Inside(name="block")(x.reshape(len(x), -1)))


class Inside(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.sin(nn.Dense(4)(x))


def test_the_module_that_does_it_is_named():
    with pytest.raises(InputError, match="cannot be exported in block: it computes"):
        read(Deep())


def test_a_network_that_ignores_its_images_is_refused():
    class Still(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.zeros((len(x), 10)) + self.param("b", nn.initializers.ones, 10)

    with pytest.raises(InputError, match="ignores its images"):
        read(Still())
