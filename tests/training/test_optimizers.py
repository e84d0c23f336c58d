"""The optimizers, with traced numbers, against plain ones with Python numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnistopt.errors import InputError
from mnistopt.hparams import OPTIMIZERS, Hparams
from mnistopt.training.optimizers import MOMENTUM, make_optimizer

pytestmark = pytest.mark.usefixtures("quick_compile")

STEPS = 5
LRS = [0.1, 0.01, 0.003]
DECAYS = [0.0, 0.3, 1.0]
PARAMS = {"kernel": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), "bias": 0.25}


def gradients(params):
    """Of a bowl with a different slope per parameter."""
    return jax.tree.map(
        lambda p: p * jnp.arange(1.0, 1.0 + p.size).reshape(p.shape), params
    )


def descend(optimizer, params):
    params = jax.tree.map(jnp.float32, params)
    state = optimizer.init(params)
    for _ in range(STEPS):
        updates, state = optimizer.update(gradients(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def plain(name, lr, decay):
    if name == "adam":
        return optax.adam(lr)
    if name == "adamw":
        return optax.adamw(lr, weight_decay=decay)
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(lr, momentum=0.9))


def by_name(name, lr, decay):
    return make_optimizer(name, Hparams(lr, 0.3, decay, 0.1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_traced_numbers_give_what_python_numbers_give(name):
    def one(lr, decay):
        return descend(by_name(name, lr, decay), PARAMS)

    lrs, decays = np.float32(LRS), np.float32(DECAYS)
    together = jax.jit(jax.vmap(one))(lrs, decays)
    for i, (lr, decay) in enumerate(zip(LRS, DECAYS)):
        wanted = descend(plain(name, lr, decay), PARAMS)
        for found, value in zip(jax.tree.leaves(together), jax.tree.leaves(wanted)):
            np.testing.assert_allclose(found[i], value, rtol=2e-5)


def test_sgd_has_momentum_and_decays_through_the_gradient():
    """As Sutskever et al. write it, without any library."""
    weight, speed, lr, decay = 2.0, 0.0, 0.01, 0.5
    for _ in range(STEPS):
        speed = 0.9 * speed + (weight + decay * weight)
        weight -= lr * speed
    found = descend(by_name("sgd", lr, decay), {"weight": 2.0})
    np.testing.assert_allclose(found["weight"], weight, rtol=1e-5)
    assert MOMENTUM == 0.9


@pytest.mark.parametrize(
    ("name", "factor"),
    [("adam", 1.0), ("adamw", 1 - 0.1 * 0.5), ("sgd", 1 - 0.1 * 0.5)],
)
def test_weights_without_gradients_shrink_only_where_they_decay(name, factor):
    optimizer = by_name(name, 0.1, 0.5)
    params = {"weight": jnp.float32(2)}
    zero = {"weight": jnp.float32(0)}
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    found = optax.apply_updates(params, updates)["weight"]
    np.testing.assert_allclose(found, 2 * factor, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_first_state_does_not_depend_on_the_numbers(name):
    params = jax.tree.map(jnp.float32, PARAMS)
    one = by_name(name, 0.0, 0.0).init(params)
    other = by_name(name, jnp.float32(0.1), jnp.float32(0.2)).init(params)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="optimizer='lion' .*choose adam, adamw, sgd"):
        by_name("lion", 0.1, 0.0)
