"""Replicas that diverge: why, how many, and that nobody else changes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.errors import InputError
from mnistopt.study.stopping import Diverged

SMALL = {
    "model": "mlp", "hidden": (4,), "train_examples": 100, "batch_size": 50,
    "optimizer": "sgd", "epochs": 2,
}  # fmt: skip
TIMES = ["seconds", "latency_1_ms", "latency_256_ms"]


@pytest.mark.parametrize("tenth", [1, pytest.param(10, marks=pytest.mark.full)])
def test_among_a_thousand_replicas_the_fifty_bad_ones_change_no_bit(tmp_path, tenth):
    """10 points that cannot but diverge among 190 others, of 5 seeds; or a tenth."""
    good = [float(lr) for lr in np.geomspace(1e-4, 1e-1, 19 * tenth)]
    bad = [float(f"1e{k}") for k in range(20, 20 + tenth)]
    mixed = [*good[: 6 * tenth], *bad[:4], *good[6 * tenth :], *bad[4:]]
    # Of 50 lanes XLA computes the last two otherwise than those that fill its vectors.
    asked = {**SMALL, "seeds": 5, "lanes": (1, 16 if tenth == 1 else 48)}
    study = mnistopt.run(**asked, lr=mixed, workdir=tmp_path / "mixed")
    trials = study.trials
    diverged = trials[trials["status"] == "diverged"]
    assert (len(trials), len(diverged)) == (100 * tenth, 5 * tenth)
    assert set(diverged["lr"]) == set(bad)
    assert set(diverged["cause"]) == {"loss"}
    healthy = trials[trials["status"] == "finished"]
    assert len(healthy) == 95 * tenth and (healthy["cause"] == "").all()
    alone = mnistopt.run(**asked, lr=good, workdir=tmp_path / "good")
    pd.testing.assert_frame_equal(
        healthy.drop(columns=TIMES).reset_index(drop=True),
        alone.trials.drop(columns=TIMES),
        check_exact=True,
    )
    for trial in alone.trials["trial"][:: 19 * tenth]:
        jax.tree.map(
            np.testing.assert_array_equal, study.params(trial), alone.params(trial)
        )
    # Never best, in no mean, and counted.
    summary = study.summary
    assert summary["diverged"].sum() == 5 * tenth
    assert summary["n"].sum() == 95 * tenth
    assert set(summary["lr"].tail(tenth)) == set(bad)
    assert study.trial()["status"] == "finished"
    assert f"{5 * tenth} replicas diverged" in study.report().read_text()


class Rooted(nn.Module):
    """Has a finite loss, and gradients that are not a number."""

    @nn.compact
    def __call__(self, x, train=False):
        gate = self.param("gate", nn.initializers.zeros, ())
        logits = nn.Dense(10)(x.reshape(len(x), -1))
        return logits * (1 + jnp.sqrt(jnp.abs(gate)))


@pytest.mark.parametrize(
    ("model", "lr", "cause"),
    [("mlp", 1e6, "loss"), ("mlp", 1e30, "loss"), ("mlp", 0.1, ""),
     (Rooted(), 0.1, "gradients")],
)  # fmt: skip
def test_the_cause_is_in_the_table(tmp_path, model, lr, cause):
    asked = {**SMALL, "model": model, "seeds": 1, "workdir": tmp_path}
    if model != "mlp":
        del asked["hidden"]
    study = mnistopt.run(**asked, lr=lr)
    (trial,) = study.trials.to_dict("records")
    assert trial["cause"] == cause
    assert (trial["status"] == "diverged") == bool(cause)
    # Frozen as they were.
    leaves = jax.tree.leaves(study.params(trial["trial"]))
    finite = all(np.isfinite(leaf).all() for leaf in leaves)
    assert finite == (cause != "gradients")


def test_fail_fast_ends_the_run_and_the_same_command_without_it_goes_on(tmp_path):
    asked = {**SMALL, "lr": [0.1, 1e20], "seeds": 2, "workdir": tmp_path / "w"}
    asked["epochs"] = 5
    with pytest.raises(Diverged, match=r"lr 1e\+20, seed \d, has diverged by epoch \d"):
        mnistopt.run(**asked, fail_fast=True)
    done = mnistopt.open_study(tmp_path / "w").trials["epochs_done"]
    assert done.nunique() == 1 and 1 <= done[0] <= 3
    study = mnistopt.run(**asked)
    other = mnistopt.run(**{**asked, "workdir": tmp_path / "other"})
    pd.testing.assert_frame_equal(
        study.trials.drop(columns=TIMES), other.trials.drop(columns=TIMES)
    )
    assert list(study.trials["status"].value_counts()) == [2, 2]


def test_fail_fast_minds_nothing_healthy(tmp_path):
    study = mnistopt.run(**SMALL, lr=0.1, seeds=1, fail_fast=True, workdir=tmp_path)
    assert set(study.trials["status"]) == {"finished"}
    assert issubclass(Diverged, InputError)
