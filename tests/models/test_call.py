"""How a module is called: what it takes besides the images."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from mnistopt.errors import InputError
from mnistopt.models.networks import apply, apply_training, init
from mnistopt.models.own import Call, read_call

IMAGES = np.ones((3, 4, 4, 1), np.float32)


def module_of(call):
    """Returns a module of one layer whose `__call__` is made by a given function."""

    class Net(nn.Module):
        __call__ = nn.compact(call)

    return Net


def dense(x):
    return nn.Dense(4)(x.reshape(len(x), -1))


seen = []


def note(module, images, dropout, switch):
    """Keeps what a module was called with."""
    seen.append((dropout, switch, module.has_rng("dropout")))
    return dense(images)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda self, images: dense(images), Call(False, "")),
        (lambda self, x, dropout=None: dense(x), Call(True, "")),
        (lambda self, x, *, train=False: dense(x), Call(False, "train")),
        (lambda self, x, training: dense(x), Call(False, "training")),
        (lambda self, x, dropout, deterministic: dense(x), Call(True, "deterministic")),
        (lambda self, x, mask=None, **others: dense(x), Call(False, "")),
    ],
)
def test_a_signature_is_read_and_the_module_called_by_it(call, wanted):
    kind = module_of(call)
    assert read_call(kind) == wanted
    variables = init(kind(), jax.random.key(0), IMAGES)
    assert apply(kind(), variables, IMAGES).shape == (3, 4)
    key = jax.random.key(1)
    logits, statistics = apply_training(kind(), variables, IMAGES, 0.5, key)
    assert logits.shape == (3, 4) and not statistics


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda self, images, mask: images, "needs mask"),
        (lambda self, images, mask, train, other: images, "needs mask, other"),
        (lambda self: None, "needs images"),
    ],
)
def test_what_cannot_be_given_is_refused_by_name(call, words):
    with pytest.raises(InputError, match=words):
        read_call(module_of(call))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("train", lambda self, x, dropout, train: note(self, x, dropout, train)),
        (
            "training",
            lambda self, x, dropout, training: note(self, x, dropout, training),
        ),
        (
            "deterministic",
            lambda self, x, dropout, deterministic: note(
                self, x, dropout, deterministic
            ),
        ),
    ],
)
def test_random_bits_and_the_switch_are_for_training_only(name, call):
    seen.clear()
    model = module_of(call)()
    variables = init(model, jax.random.key(0), IMAGES)
    apply(model, variables, IMAGES)
    apply_training(model, variables, IMAGES, 0.25, jax.random.key(1))
    on = name != "deterministic"
    assert seen == [(None, not on, False)] * 2 + [(0.25, on, True)]
