"""Signals: what is done is saved, the exit code tells which, and nothing is lost."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import mnistopt
from mnistopt.study import stopping
from mnistopt.study.stopping import SIGNALS, Stop, Stopped

GRID = {
    "model": "mlp", "hidden": (8,), "train_examples": 200, "seeds": 2,
    "lr": [1e-3, 1e-2], "epochs": 6,
}  # fmt: skip


@pytest.fixture(autouse=True)
def default_handlers():
    """Signals as in a terminal: in the background some are ignored."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, one) for number, one in usual.items()}
    yield
    for number, one in before.items():
        signal.signal(number, one)


def tables(study):
    return study.trials.drop(columns="seconds"), study.curves.drop(columns="seconds")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The grid, trained without a stop."""
    return mnistopt.run(**GRID, workdir=tmp_path_factory.mktemp("finished"))


def same(study, finished):
    costs = ["latency_1_ms", "latency_256_ms"]
    for one, other in zip(tables(study), tables(finished)):
        pd.testing.assert_frame_equal(
            one.drop(columns=costs, errors="ignore"),
            other.drop(columns=costs, errors="ignore"),
            check_exact=True,
        )
    return True


def sending(number):
    """A callback that sends a signal in epoch 3, once: a second would end the tests."""
    sent = []

    def tell(progress):
        if not sent and progress.epoch == 3 and not progress.compiling:
            sent.append(number)
            os.kill(os.getpid(), number)

    return tell


@pytest.mark.parametrize("name", SIGNALS)
def test_what_is_done_is_saved_and_the_same_call_goes_on(tmp_path, finished, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)

    with pytest.raises(Stopped) as stopped:
        mnistopt.run(**GRID, workdir=tmp_path, on_progress=sending(number))
    assert stopped.value.number == number
    assert signal.getsignal(number) == before
    done = mnistopt.open_study(tmp_path).trials["epochs_done"]
    assert done.nunique() == 1 and 3 <= done[0] <= 5
    assert same(mnistopt.run(**GRID, workdir=tmp_path), finished)


def test_an_epoch_that_does_not_end_is_given_up(tmp_path, finished, monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE", 0.0)
    with pytest.raises(Stopped):
        mnistopt.run(**GRID, workdir=tmp_path, on_progress=sending(signal.SIGTERM))
    assert set(mnistopt.open_study(tmp_path).trials["epochs_done"]) == {0}
    assert same(mnistopt.run(**GRID, workdir=tmp_path), finished)


@pytest.mark.parametrize(
    "doing",
    [
        "mnistopt.study.training.plan_run",
        "mnistopt.engine.replicas.compiled",
        "mnistopt.study.loop.write_tables",
        "mnistopt.results.predictions._predict_all",
        "mnistopt.study.training.write_mistakes",
        "mnistopt.study.training._costs",
    ],
)
def test_whatever_a_run_does_it_stops_in_time(tmp_path, finished, monkeypatch, doing):
    """Something takes for ever, in the main thread or another, and a signal comes."""
    monkeypatch.setattr(stopping, "PATIENCE", 0.1)
    release, (module, _, name) = threading.Event(), doing.rpartition(".")
    original = getattr(importlib.import_module(module), name)

    def stuck(*args, **more):
        os.kill(os.getpid(), signal.SIGTERM)
        release.wait(60)
        return original(*args, **more)

    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped:
        patch.setattr(doing, stuck)
        mnistopt.run(**GRID, workdir=tmp_path)
    assert stopped.value.number == signal.SIGTERM and not release.is_set()
    release.set()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert same(mnistopt.run(**GRID, workdir=tmp_path), finished)


def test_what_is_lost_in_a_callback_is_said_again(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE", 0.1)
    lost = []
    with pytest.raises(Stopped), Stop():
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            try:
                time.sleep(10)
            except Stopped:
                lost.append(1)
                if len(lost) == 2:
                    raise


def test_a_second_signal_is_not_held_up():
    with pytest.raises(KeyboardInterrupt) as stopped, Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    assert not isinstance(stopped.value, Stopped)


def test_ignored_signals_stay_so_and_other_threads_listen_to_none():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    found = []

    def listen():
        with Stop() as stop:
            found.append(stop.asked)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [False]


# As by launch.sh, which tells programs how it was called.
LAUNCHED = {**os.environ, "MNISTOPT_LAUNCHER": "./launch.sh"}


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_program_s_exit_code_tells_of_the_signal(tmp_path, name, code):
    command = [sys.executable, "-m", "experiments.grid", "--model=mlp", "--hidden=8"]
    command += ["--train_examples=200", "--epochs=100000", f"--workdir={tmp_path}"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, env=LAUNCHED, stderr=subprocess.PIPE
    ) as program:
        # Written first of all by a run that listens.
        while not (tmp_path / "curves.csv").exists() and program.poll() is None:
            time.sleep(0.1)
        program.send_signal(getattr(signal, name))
        _, told = program.communicate(timeout=60)
    assert program.returncode == code
    wanted = f"the same command resumes: ./launch.sh {' '.join(command[2:])}"
    assert wanted.replace("experiments.", "").encode() in told
    assert b"Traceback" not in told


BUSY = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
from experiments import program
from mnistopt.study import stopping

def main():
    with stopping.Stop() as stop:
        print("in", flush=True)
        ThreadPoolExecutor(1).submit(time.sleep, 600)
        time.sleep(600)

stopping.PATIENCE = 0.1
program.run(main, "")
"""


def test_a_program_waits_for_no_thread_that_computes():
    command = [sys.executable, "-c", BUSY]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, env=LAUNCHED, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as busy:
        assert busy.stdout.readline() == b"in\n"
        busy.send_signal(signal.SIGTERM)
        _, told = busy.communicate(timeout=60)
    assert busy.returncode == 143 and b"command resumes" in told


SWALLOWED = """
import gc, sys, time
from experiments import program

def callback(phase, info):
    gc.callbacks.remove(callback)
    raise KeyboardInterrupt

def main():
    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(20)
    print("went on")

sys.argv = ["grid.py"]
program.run(main, "")
"""


def test_ctrl_c_is_not_lost_in_a_callback_of_the_garbage_collector():
    """As JAX has one: what is raised there, Python only prints."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SWALLOWED]
    found = subprocess.run(
        command, cwd=root, env=LAUNCHED, capture_output=True, text=True, check=False
    )
    assert found.returncode == 130 and found.stdout == ""
    assert found.stderr == ("stopped; the same command resumes: ./launch.sh grid\n")
