"""What a study takes is told before it begins; too little memory costs lanes only."""

import math
import re
import resource
import subprocess
import sys
import threading

import jax
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.engine import memory
from mnistopt.engine.memory import (
    COMPILING,
    Capacity,
    host_memory,
    process_memory,
)
from mnistopt.engine.predict import Predictor
from mnistopt.engine.replicas import Program, compiled
from mnistopt.errors import InputError, starving
from mnistopt.study import plan as planning
from mnistopt.study.request import check_bytes
from tests.programs import ROOT, assert_refused

ASKED = {"model": "mlp", "hidden": (8,), "train_examples": 200, "epochs": 2}
GRID = {**ASKED, "lr": [0.1, 0.01, 0.001], "seeds": 2}


class Accelerator:
    """What a plan asks of a device."""

    platform, on_host, host_copies, idle_bytes = "gpu", False, 0, 0.0


ROOM = Capacity(math.inf, math.inf, math.inf)

# --- The plan ---


def test_a_plan_counts_states_calls_data_and_checkpoints(tmp_path):
    plan = mnistopt.plan(**{**GRID, "epochs": [1, 2]}, workdir=tmp_path)
    (job,) = plan.jobs
    states = 6 * 4 * (4 * (784 * 8 + 8 + 8 * 10 + 10) + 3)  # And Adam's count.
    assert job.state_bytes() == states
    known = {job.program.identity(): 1000}
    # Two numbers of epochs are kept, and the next is there before one is removed.
    assert plan.needs.disk == 3 * states
    before = process_memory() + COMPILING + plan.data_bytes
    cpu = [type("Core", (), {"on_host": True, "host_copies": 1})()] * 2
    host = planning.fitted(plan, cpu, known, ROOM).needs.host
    assert host == pytest.approx(before + 3 * states + 2 * 1000, rel=0.01)
    found = planning.fitted(plan, [Accelerator()] * 2, known, ROOM).needs
    assert found.device == plan.data_bytes + states / 2 + 1000
    assert found.host == pytest.approx(before - plan.data_bytes + 2 * states, rel=0.01)
    assert 0 < plan.needs.host < plan.available.host <= host_memory()


def test_what_xla_says_of_a_call_is_known_to_the_next_plan(tmp_path, monkeypatch):
    study = mnistopt.run(**GRID, workdir=tmp_path)
    (told,) = study.config.working_bytes.values()
    assert told > 0
    seen = []
    original = planning.needs
    monkeypatch.setattr(
        planning, "needs", lambda *a: seen.append(a[-1]) or original(*a)
    )
    mnistopt.plan(**{**GRID, "seeds": 3}, workdir=tmp_path)
    assert set(seen) == {told}


@pytest.mark.parametrize(
    ("hidden", "size"),
    [((999_999_999,), "121,35[0-9]"), ((70_000, 70_000), "75[0-9]")],
)
def test_what_cannot_fit_is_refused_before_it_is_compiled(
    tmp_path, monkeypatch, hidden, size
):
    monkeypatch.setattr(Program, "__init__", lambda *_: pytest.fail("compiled"))
    workdir = tmp_path / "w"
    for call in (mnistopt.plan, mnistopt.run):
        with pytest.raises(InputError, match=f"3 replicas .* take {size}.* GB of mem"):
            call(**{**ASKED, "hidden": hidden}, workdir=workdir)
    assert not workdir.exists()


def test_a_budget_is_kept_to(tmp_path):
    with pytest.raises(InputError, match="and there are 0.1 GB: give smaller"):
        mnistopt.plan(**ASKED, memory_budget="100 MB", workdir=tmp_path)
    plan = mnistopt.plan(**ASKED, memory_budget=20e9, workdir=tmp_path)
    assert plan.available.host <= 20e9


def test_a_disk_that_is_too_small_is_told_before_training(tmp_path, monkeypatch):
    there = Capacity(math.inf, math.inf, 10_000)
    monkeypatch.setattr("mnistopt.study.plan.available", lambda *_: there)
    with pytest.raises(InputError, match="of disk, and .* are free: make room"):
        mnistopt.run(**ASKED, workdir=tmp_path)


def test_lanes_are_chosen_to_fit(tmp_path):
    plan = mnistopt.plan(**GRID, lanes=(2, 3), workdir=tmp_path)
    known = {plan.jobs[0].program.identity(): 1_000_000}
    device = [Accelerator()]
    base = planning.fitted(plan, device, known, ROOM).needs.device - 6e6
    for room, lanes in ((6, (2, 3)), (5, (2, 2)), (2, (2, 1)), (1, (1, 1))):
        there = Capacity(math.inf, base + room * 1e6 + 1, math.inf)
        (job,) = planning.fitted(plan, device, known, there).jobs
        assert job.lanes == lanes
    with pytest.raises(InputError, match="memory of each device"):
        planning.fitted(plan, device, known, Capacity(math.inf, base, math.inf))


@pytest.mark.parametrize(
    ("value", "size"),
    [("4GB", 4e9), ("500 mb", 5e8), (123, 123), ("1.5e9", 1.5e9), (None, math.inf)],
)
def test_sizes_are_read_as_people_write_them(value, size):
    assert check_bytes("memory_budget", value) == size


@pytest.mark.parametrize("value", ["4x", "", "-1", 0, "GB", "1e999", [4], "nan"])
def test_other_sizes_are_refused(value):
    with pytest.raises(InputError, match="expected a size as in 4GB"):
        check_bytes("memory_budget", value)


# --- Limits of the process ---


@pytest.fixture
def limited(monkeypatch):
    """A function that limits this process, as it knows itself."""

    def limit(name, size):
        sizes = {getattr(resource, name): size}
        monkeypatch.setattr(
            memory.resource,
            "getrlimit",
            lambda kind: (sizes.get(kind, resource.RLIM_INFINITY),) * 2,
        )

    return limit


KINDS = {"RLIMIT_AS": "ulimit -v", "RLIMIT_DATA": "ulimit -d"}


@pytest.mark.parametrize("name", KINDS)
def test_a_limit_of_the_process_is_what_there_is(limited, name):
    most = host_memory()
    limited(name, 3_000_000_000_000)
    assert host_memory() == most
    limited(name, 10_000_000_000)
    # Of which libraries and threads have their part.
    assert host_memory() < min(most, 9_000_000_000)
    limited("RLIMIT_NOFILE", 10)
    assert host_memory() == most


@pytest.mark.parametrize("name", KINDS)
def test_too_low_a_limit_is_refused_with_one_that_suffices(tmp_path, limited, name):
    limited(name, 1_000_000_000)
    for call in (mnistopt.plan, mnistopt.run):
        with pytest.raises(InputError, match=f"1.00 GB .{KINDS[name]}.") as told:
            call(**ASKED, workdir=tmp_path / "w")
    enough = re.search("takes (.+?) GB", str(told.value))[1]
    limited(name, (float(enough) + 0.01) * 1e9)
    memory.check_process_limits()
    limited(name, (float(enough) - 0.01) * 1e9)
    with pytest.raises(InputError, match=KINDS[name]):
        Predictor({})
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("limit", ["-v 1000000", "-v 3000000", "-d 1000000"])
def test_a_program_that_is_limited_ends_in_one_sentence(tmp_path, limit):
    command = f"ulimit {limit}; exec {sys.executable} -m experiments.grid --model=mlp"
    found = subprocess.run(
        ["bash", "-c", f"{command} --workdir={tmp_path / 'w'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(found, f"ulimit {limit[:2]}", "raise the limit")


@pytest.mark.parametrize("started", [0, 2, 4])
def test_a_thread_that_cannot_be_had_ends_in_one_sentence(
    tmp_path, monkeypatch, started
):
    """A run's first threads, wherever it wants them."""
    left = iter(range(started))
    original = threading.Thread.start

    def start(self):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        original(self)

    compiled.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(InputError, match="no more threads: raise its limits"):
        mnistopt.run(**ASKED, workdir=tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "no more memory"),
        (RuntimeError("can't start new thread"), "no more threads"),
    ],
)
def test_what_the_system_refuses_is_told_of(error, words):
    with pytest.raises(InputError, match=words), starving():
        raise error


def test_other_errors_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="something else"), starving():
        raise RuntimeError("something else")


# --- Less memory than was thought ---


def exhausted(monkeypatch, most, epoch=0):
    """Lets calls of more lanes than `most` fail from an epoch on, as XLA does."""
    original, failed = Program._train, []

    def train(self, one, device, epochs, in_full):
        if math.prod(self.lanes) > most and epochs.start >= epoch:
            failed.append(self.lanes)
            raise jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte"
            )
        return original(self, one, device, epochs, in_full)

    monkeypatch.setattr(Program, "_train", train)
    return failed


def numbers(study):
    return study.trials.drop(columns=["seconds", "latency_1_ms", "latency_256_ms"])


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_device_out_of_memory_goes_on_with_half_of_the_lanes(
    tmp_path, monkeypatch, epoch
):
    failed = exhausted(monkeypatch, most=2, epoch=epoch)
    with pytest.warns(UserWarning, match="continuing with lanes=1x2 instead of 1x3"):
        study = mnistopt.run(**GRID, lanes=3, workdir=tmp_path / "less")
    assert set(failed) == {(1, 3)}
    assert set(study.config.lanes.values()) == {"1x2"}
    # Those of two lanes, to the bit: nothing was saved with three.
    other = mnistopt.run(**GRID, lanes=2, workdir=tmp_path / "two")
    pd.testing.assert_frame_equal(numbers(study), numbers(other), check_exact=True)
    for trial in other.trials["trial"]:
        for one, two in zip(
            jax.tree.leaves(study.params(trial)), jax.tree.leaves(other.params(trial))
        ):
            np.testing.assert_array_equal(one, two)


def test_one_replica_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    exhausted(monkeypatch, most=0)
    with pytest.raises(InputError, match="one replica of mlp 8 at a time takes too"):
        mnistopt.run(**GRID, workdir=tmp_path)


def test_another_error_of_the_device_is_not_taken_for_it(tmp_path, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(Program, "_train", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        mnistopt.run(**GRID, workdir=tmp_path)


# --- Measured ---

PEAK = """
import resource, sys, mnistopt
told = []
mnistopt.run(
    model=sys.argv[1], epochs=1, seeds=int(sys.argv[2]), train_examples=1000,
    workdir=sys.argv[3] + "/w", cache_dir=sys.argv[3] + "/c",
    on_plan=lambda plan: told.append(plan.needs.host),
)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(told[0], peak * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.full
@pytest.mark.parametrize("seeds", [1, 8, 64])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_planned_memory_is_what_a_run_takes(tmp_path, model, seeds):
    """Within a quarter of the process' peak, with an empty compile cache."""
    command = [sys.executable, "-c", PEAK, model, str(seeds), str(tmp_path)]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    )
    planned, peak = map(float, found.stdout.split())
    print(f"{model}, {seeds}: {planned / 1e6:.0f} MB planned, {peak / 1e6:.0f} taken")
    assert 0.75 < planned / peak < 1.25
