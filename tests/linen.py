"""The networks' layers by flax.linen, and how a module is compared with them."""

import contextlib
import functools

import flax.linen as nn
import jax
import numpy as np

from mnistopt.models.layers import Dropout


def conv(kind, number, features, size, stride=1, groups=1):
    """A convolution without bias that goes by the name of a layer of ours."""
    return nn.Conv(
        features,
        (size, size),
        stride,
        feature_group_count=groups,
        use_bias=False,
        name=f"{kind}_{number}",
    )


class Plain(nn.Module):
    """A network whose layers are flax.linen's; subclasses write `features`."""

    def count(self, kind):
        """Numbers the layers of a kind, from 0."""
        counts = self.__dict__.setdefault("counts", {})
        counts[kind] = counts.get(kind, -1) + 1
        return counts[kind]

    def stem(self, x, features):
        return conv("Stem", self.count("Stem"), features, 3, 2)(x)

    def depthwise(self, x, stride):
        c = x.shape[-1]
        return conv("Depthwise", self.count("Depthwise"), c, 3, stride, c)(x)

    def pointwise(self, x, features, groups=1):
        number = self.count("Pointwise")
        return conv("Pointwise", number, features, 1, groups=groups)(x)

    def norm(self, x):
        return nn.BatchNorm(
            use_running_average=not self.training,
            momentum=0.9,
            epsilon=1e-5,
            name=f"BatchNorm_{self.count('BatchNorm')}",
        )(x)

    @nn.compact
    def __call__(self, images, dropout=None):
        self.__dict__["counts"] = {}
        self.__dict__["training"] = dropout is not None
        x = self.features(images).mean((1, 2))
        return nn.Dense(10, name="Dense_0")(Dropout(name="Dropout_0")(x, dropout))


@contextlib.contextmanager
def float64():
    """Computes in float64, by which rounding is told from mistakes."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def replica(i, tree):
    """The leaves of one replica, or of several, from those of all."""
    return jax.tree.map(lambda leaf: leaf[np.array(i)], tree)


def stacked(trees):
    """The leaves of replicas, side by side."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def assert_same_bits(found, wanted):
    """The trees are equal, NaNs at the same places."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def random_variables(model, *inputs):
    """Variables of a module that are all unlike those that it starts from."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape), shapes["params"])
    stats = jax.tree.map(lambda x: rng.uniform(1, 2, x.shape), shapes["batch_stats"])
    return {"params": params, "batch_stats": stats}


@functools.partial(jax.jit, static_argnums=0)
def evaluated(model, variables, images):
    """The logits of evaluation."""
    return model.apply(variables, images)


@functools.partial(jax.jit, static_argnums=0)
def trained(model, variables, images, rate=0.5):
    """The logits, new statistics, and gradients of a random weighting of the logits."""

    def loss(params, images):
        logits, updated = model.apply(
            variables | {"params": params},
            images,
            rate,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        weights = np.random.default_rng(2).normal(size=logits.shape[1:])
        return (weights * logits).sum(), (logits, updated)

    gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
    return gradient(variables["params"], images)


def assert_close(found, wanted, bound=1e-9):
    """Each array is within the bound of the other, relative to its largest number.

    Beside the largest of all, a thousandth of the bound is nothing: what a
    normalization takes away has a gradient of 0, but for rounding.
    """
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(wanted))
    assert 0 < largest < np.inf
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
        assert one.shape == other.shape and one.dtype == other.dtype
        near = bound * max(np.abs(other).max(), 1e-3 * largest)
        np.testing.assert_allclose(one, other, rtol=0, atol=near)
