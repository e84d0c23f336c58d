"""Optax transformations whose hyper-parameters may be traced."""

import optax

from mnistopt.errors import InputError
from mnistopt.hparams import OPTIMIZERS, Hparams

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
