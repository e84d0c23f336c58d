"""Optimizers and schedules whose hyper-parameters may be traced."""

import jax
import jax.numpy as jnp
import optax

from mnistopt.errors import InputError
from mnistopt.hparams import OPTIMIZERS, Hparams

# Where a one-cycle's warm-up begins, as in `hparams.ONECYCLE_WARMUP`.
ONECYCLE_START = 1 / 25


def learning_rate(name: str, hparams: Hparams, epochs: jax.Array) -> jax.Array:
    """Returns the learning rate after some part of training.

    It rises from 0 to `lr` in `warmup` epochs, linearly ("onecycle": from a 25th of it,
    by half a cosine), and falls to `lr_floor * lr` at `horizon` epochs: by half a
    cosine ("cosine", Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5 without
    restarts, and "onecycle"), by equal shares ("exponential"), or not at all
    ("constant"). There it stays.

    Args:
        name: The schedule's name.
        hparams: Scalars, may be traced; an exponential one needs a floor above 0.
        epochs: Passes over the training examples so far, float32 [].
    """
    risen = jnp.clip(epochs / jnp.maximum(hparams.warmup, 1e-9), 0, 1)
    length = jnp.maximum(hparams.horizon - hparams.warmup, 1e-9)
    fallen = jnp.clip((epochs - hparams.warmup) / length, 0, 1)
    floor, rise = hparams.lr_floor, risen
    if name == "onecycle":
        rise = ONECYCLE_START + (1 - ONECYCLE_START) * (1 - jnp.cos(jnp.pi * risen)) / 2
    fall = {
        "constant": lambda: 1.0,
        "cosine": lambda: floor + (1 - floor) * (1 + jnp.cos(jnp.pi * fallen)) / 2,
        "exponential": lambda: floor**fallen,
    }["cosine" if name == "onecycle" else name]()
    return hparams.lr * jnp.where(epochs < hparams.warmup, rise, fall)


# The usual momentum of SGD (Sutskever et al. 2013, "On the importance of
# initialization and momentum in deep learning"). Adam keeps optax's defaults, which
# are those of Kingma and Ba 2015: 0.9, 0.999 and 1e-8.
MOMENTUM = 0.9


def make_optimizer(name: str, hparams: Hparams) -> optax.GradientTransformation:
    """Returns an optimizer; built inside a step, it needs no `inject_hyperparams`.

    The state's structure depends on `name` alone.

    Args:
        name: "adam" (the paper's), "adamw", or "sgd" with momentum.
        hparams: `lr` and `weight_decay` are used; scalars, may be traced.

    Raises:
        InputError: If the name is unknown.
    """
    if name == "adam":
        return optax.adam(hparams.lr)
    if name == "adamw":
        return optax.adamw(hparams.lr, weight_decay=hparams.weight_decay)
    if name == "sgd":
        return optax.chain(
            optax.add_decayed_weights(hparams.weight_decay),
            optax.sgd(hparams.lr, momentum=MOMENTUM),
        )
    raise InputError(f"optimizer={name!r} is not known; choose {', '.join(OPTIMIZERS)}")
