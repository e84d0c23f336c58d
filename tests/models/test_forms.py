"""Layers for accelerators: a batch at a time, as each trip of a loop costs launches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistopt.data.splits import Split
from mnistopt.hparams import Hparams
from mnistopt.models import forms
from mnistopt.models.networks import DIGIT_SHAPE, apply, make_network, variable_shapes
from mnistopt.points import stages
from mnistopt.study.grid import make_point
from mnistopt.training.augment import STAGES, augment
from mnistopt.training.cohort import Cohort, init_state
from mnistopt.training.train import train_step

CHANGED = {"rotate": 10, "elastic": 1, "erase": 0.2, "blur": 0.5, "noise": 0.1}
SETTINGS = [
    {"model": "mlp", "hidden": (8, 8), "dropout": 0.3},
    {"model": "cnn", "channels": (4, 4, 4), "dense": 8, "norm": "batch", **CHANGED},
    {"model": "cnn", "channels": (4, 4), "dense": 8, "clip": 1, "average": 0.9},
    *(
        {"model": model, "width": 0.1, "depth": 1}
        for model in ("mobilenet_v1", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2")
    ),
]
BATCH = 16


def loops(function, platform, *arguments, form=None):
    """Loops in the program of a function, as it is given to a platform's compiler."""
    with forms.laid_out(form or forms.form_of(platform)):
        # A function of its own for each platform: `jit` knows what it has traced.
        traced = jax.jit(lambda *all: function(*all)).trace(*arguments)
    names = {"gpu": "cuda"}
    lowered = traced.lower(lowering_platforms=(names.get(platform, platform),))
    return lowered.as_text().count("stablehlo.while")


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: str(one["model"]))
def test_a_step_on_an_accelerator_has_no_loop(settings):
    point = make_point(**settings, batch_size=BATCH)
    used = stages(point.hparams)
    cohort = Cohort(make_network(point), "adam", BATCH, stages=used)
    state = jax.eval_shape(lambda: init_state(cohort, jnp.int32(0)))
    images = jax.ShapeDtypeStruct((BATCH, *DIGIT_SHAPE), jnp.float32)
    batch = Split(images, jax.ShapeDtypeStruct((BATCH,), jnp.int32))
    number = jax.ShapeDtypeStruct((), jnp.float32)
    hparams = Hparams(*[number] * len(Hparams._fields))
    key = jax.eval_shape(lambda: jax.random.key(0))

    def step(state, hparams, batch, key):
        return train_step(cohort, state, hparams, batch, key, jnp.int32(1), 10)

    variables = variable_shapes(cohort.model)
    evaluate = functools.partial(apply, cohort.model)
    for platform in ("gpu", "tpu"):
        assert loops(step, platform, state, hparams, batch, key) == 0
        assert loops(evaluate, platform, variables, images) == 0
    if settings["model"] == "cnn":
        assert loops(evaluate, "cpu", variables, images, form=forms.BLOCKS) > 0


def test_images_are_changed_alike_whatever_changes_them():
    images = np.random.default_rng(0).random((19, 28, 28, 1), np.float32)
    key = jax.random.key(3)
    strengths = Hparams(*[0.0] * len(Hparams._fields))
    strengths = strengths._replace(shift=3, rotate=20, elastic=1, erase=0.4, noise=0.2)

    def change(platform):
        with forms.laid_out(forms.form_of(platform)):
            return augment(STAGES, images, strengths, key)

    np.testing.assert_allclose(change("gpu"), change("cpu"), atol=2e-5)


def test_each_platform_has_a_form_and_an_unknown_one_that_of_a_gpu():
    known = [forms.form_of(platform) for platform in ("cpu", "gpu", "tpu")]
    assert len(set(known)) == 3
    assert forms.form_of("rocm") == forms.form_of("gpu")
    with forms.laid_out(forms.NATIVE):
        assert forms.form() == forms.NATIVE
    assert forms.form() == forms.form_of(jax.default_backend())
