"""Runs that are killed at any moment, and go on to the same bits."""

import os
import signal
import time

import jax
import numpy as np
import pandas as pd
import pytest

import mnistopt
from tests.killing import start

TIMES = ["seconds", "latency_1_ms", "latency_256_ms"]
PARTIAL = "*.orbax-checkpoint-tmp*"


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The study of a run that nobody has disturbed, and its seconds."""
    workdir = tmp_path_factory.mktemp("reference")
    start(workdir / "first").join()  # Which compiles.
    begun = time.monotonic()
    process = start(workdir / "w")
    process.join()
    assert process.exitcode == 0
    return mnistopt.open_study(workdir / "w"), time.monotonic() - begun


def assert_same(study, reference):
    """Tables, weights and checkpoints are those of the reference, and no more."""
    for table in ("trials", "curves"):
        left, right = (
            getattr(one, table).drop(columns=TIMES, errors="ignore")
            for one in (study, reference)
        )
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    for trial in reference.trials["trial"]:
        for weights in ("last", "best"):
            ours, theirs = (one.variables(trial, weights) for one in (study, reference))
            jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    store = study.workdir / "checkpoints"
    assert not list(store.rglob(PARTIAL))
    steps = sorted(path.name for path in store.glob("*/*/"))
    assert steps == ["3", "8"] and not (study.workdir / "damaged").exists()


def finish(workdir, reference):
    process = start(workdir)
    process.join()
    assert process.exitcode == 0
    assert_same(mnistopt.open_study(workdir), reference)


def disturb(workdir, number, seconds):
    """Sends a signal at a moment; returns how the process ended."""
    process = start(workdir)
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(60)
    return process.exitcode


def chains(count, *marks):
    return [pytest.param(seed, marks=marks) for seed in range(count)]


FULL = pytest.mark.full


@pytest.mark.parametrize("seed", [*chains(1), *chains(20, FULL)[1:]])
def test_killed_five_times_it_ends_with_the_same_bits(tmp_path, reference, seed):
    """At seeded moments of an undisturbed run: 5 kills, and 95 more with -m full."""
    study, seconds = reference
    for moment in np.random.default_rng(seed).uniform(0, seconds, 5):
        assert disturb(tmp_path, signal.SIGKILL, moment) in (0, -signal.SIGKILL)
    finish(tmp_path, study)


@pytest.mark.parametrize("seed", [*chains(1), *chains(12, FULL)[1:]])
def test_told_to_stop_twice_it_ends_with_the_same_bits(tmp_path, reference, seed):
    """Before it listens, SIGTERM ends it as it ends any process.

    24 times with -m full, some while it predicts, measures costs or draws up tables.
    """
    study, seconds = reference
    for moment in np.random.default_rng(100 + seed).uniform(0.2, 1, 2) * seconds:
        code = disturb(tmp_path, signal.SIGTERM, moment)
        assert code in (0, 143, -signal.SIGTERM)
    finish(tmp_path, study)


@pytest.mark.parametrize(
    "rename", [3, *(pytest.param(one, marks=FULL) for one in (1, 2, 5, 9, 17, 26, 33))]
)
def test_killed_before_a_file_takes_its_place(tmp_path, reference, rename):
    """Tables, config.json and checkpoints: each appears by a rename."""
    study, _ = reference
    process = start(tmp_path, rename=rename)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    finish(tmp_path, study)
