"""Learning rates over time, against optax's schedules."""

import jax
import numpy as np
import optax
import pytest

from mnistopt.hparams import SCHEDULES, Hparams
from mnistopt.training.optimizers import learning_rate

# Of 20 steps each; horizon and warm-up are whole numbers of steps.
STEPS, HORIZON, WARMUP, LR = 20, 10, 3, 0.02


def rates(name, floor=0.0, warmup=WARMUP, horizon=HORIZON):
    hparams = Hparams(LR, 0, 0, 0)._replace(
        lr_floor=floor, warmup=warmup, horizon=horizon
    )
    done = np.arange(15 * STEPS, dtype=np.float32) / STEPS
    return jax.vmap(lambda epochs: learning_rate(name, hparams, epochs))(done)


@pytest.mark.parametrize(
    ("name", "floor", "wanted"),
    [
        (
            "constant",
            0.0,
            optax.warmup_constant_schedule(0, LR, WARMUP * STEPS),
        ),
        (
            "cosine",
            0.1,
            optax.warmup_cosine_decay_schedule(
                0, LR, WARMUP * STEPS, HORIZON * STEPS, 0.1 * LR
            ),
        ),
        (
            "exponential",
            0.01,
            optax.warmup_exponential_decay_schedule(
                0, LR, WARMUP * STEPS, 7 * STEPS, 0.01, end_value=0.01 * LR
            ),
        ),
        (
            "onecycle",
            0.001,
            optax.cosine_onecycle_schedule(
                HORIZON * STEPS, LR, WARMUP / HORIZON, 25, 1000 / 25
            ),
        ),
    ],
)
def test_a_schedule_is_optax_s(name, floor, wanted):
    steps = np.arange(15 * STEPS)
    np.testing.assert_allclose(
        rates(name, floor), [wanted(step) for step in steps], rtol=2e-4, atol=1e-8
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_warm_up_it_begins_at_its_peak(name):
    found = rates(name, floor=0.05, warmup=0)
    assert found[0] == pytest.approx(LR)
    last = LR if name == "constant" else 0.05 * LR
    np.testing.assert_allclose(found[HORIZON * STEPS :], last, rtol=1e-5)
