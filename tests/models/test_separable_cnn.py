"""The separable network against flax.linen's layers, and the published one's size."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from linen import assert_close, float64

from mnistopt.errors import InputError
from mnistopt.models.forms import form_of, laid_out
from mnistopt.models.networks import apply_training, count_params, layer_multiply_adds
from mnistopt.models.separable_cnn import Separable

pytestmark = pytest.mark.usefixtures("quick_compile")
CHANNELS = (3, 4, 5)
PUBLISHED = (6, 5, 9, 10, 8)


class Plain(nn.Module):
    """The same of flax.linen's layers, whose parameters are called as ours."""

    slope: float
    norm: str

    @nn.compact
    def __call__(self, x, training):
        first, *rest = CHANNELS
        batch = self.norm == "batch"

        def activated(x, name):
            if batch:
                x = nn.BatchNorm(not training, momentum=0.9, epsilon=1e-5, name=name)(x)
            return nn.leaky_relu(x, self.slope)

        # The pool before or after the activation and the bias is the same.
        conv = nn.Conv(first, (3, 3), use_bias=not batch, name="first")
        x = activated(nn.max_pool(conv(x), (2, 2), (2, 2)), "norm")
        for i, features in enumerate(rest):
            x = nn.Conv(
                x.shape[-1],
                (3, 3),
                padding="VALID",
                use_bias=False,
                feature_group_count=x.shape[-1],
                name=f"Depthwise_{i}",
            )(x)
            x = nn.Conv(features, (1, 1), use_bias=False, name=f"Pointwise_{i}")(x)
            if not batch:
                x = x + self.param(f"Bias_{i}", nn.initializers.zeros, (features,))
            x = activated(x, f"BatchNorm_{i}")
        return nn.Dense(10, name="Dense_0")(x.mean((1, 2)))  # fmt: skip


def renamed(variables, norm):
    """Our variables by the names that the plain network has for them."""
    first = variables["params"]["Conv_0"]
    params = {k: v for k, v in variables["params"].items() if k != "Conv_0"}
    params = {k: v["bias"] if k.startswith("Bias") else v for k, v in params.items()}
    if norm != "batch":
        return {"params": params | {"first": first}}
    statistics = dict(variables["batch_stats"])
    inside = statistics.pop("Conv_0")["BatchNorm_0"]
    params |= {"first": {"kernel": first["kernel"]}, "norm": first["BatchNorm_0"]}
    return {"params": params, "batch_stats": statistics | {"norm": inside}}


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_it_is_that_of_linen(slope, norm):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 12, 14, 2))
    weights = rng.normal(size=(3, 10))
    ours, plain = Separable(CHANNELS, slope=slope, norm=norm), Plain(slope, norm)
    # That of CPUs is C++ in float32.
    with float64(), laid_out(form_of("gpu")):
        variables = ours.init(jax.random.key(0), x)
        drawn = jax.tree.map(
            lambda leaf: abs(rng.normal(size=leaf.shape)) + 0.1, variables
        )

        def loss(params):
            given = {**drawn, "params": params}
            logits, _ = apply_training(ours, given, x, 0.0, jax.random.key(1))
            return (weights * logits).sum()

        def plain_loss(params):
            given = renamed({**drawn, "params": params}, norm)
            logits, _ = plain.apply(given, x, True, mutable=["batch_stats"])
            return (weights * logits).sum()

        found, wanted = (
            jax.jit(jax.value_and_grad(of))(drawn["params"])
            for of in (loss, plain_loss)
        )
        assert_close(found, wanted)
        logits = plain.apply(renamed(drawn, norm), x, False)
        assert_close(ours.apply(drawn, x), logits)


def test_the_published_network_has_697_parameters():
    assert count_params(Separable(PUBLISHED, slope=0.2)) == 697
    # Without padding, each layer has two rows and columns less.
    places = [28 * 28, *(size**2 for size in (12, 10, 8, 6))]
    first, *rest = PUBLISHED
    wanted = [9 * first * places[0]]
    for before, after, size in zip(PUBLISHED, rest, places[1:]):
        wanted += [9 * before * size, before * after * size]
    assert layer_multiply_adds(Separable(PUBLISHED)) == [*wanted, 8 * 10]


def test_images_that_are_too_small_are_refused():
    """Four layers without padding take eight rows and columns, after the pool."""
    with pytest.raises(InputError, match="17 x 16 pixels.* at least 18 a side"):
        count_params(Separable(PUBLISHED), (17, 16, 1))
    assert count_params(Separable(PUBLISHED), (18, 18, 1)) == 697
