"""Runs in threads of one process do not meet."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pandas as pd
import pytest
from comparing import without_times

import mnistopt
from mnistopt.engine import writer
from mnistopt.errors import InputError, noting

ASKED = {
    "model": "mlp", "hidden": (8,), "train_examples": 200, "lanes": (1, 2),
    "lr": [1e-3, 1e-2], "seeds": 2, "epochs": [2, 3],
}  # fmt: skip


def test_three_runs_are_as_if_each_were_alone(tmp_path, monkeypatch):
    """Each saves after every epoch: Orbax knows one operation at a time."""
    monkeypatch.setattr(writer, "FIRST_SAVE", 0.0)
    monkeypatch.setattr(writer, "SAVE_SHARE", 1e9)
    alone = mnistopt.run(**ASKED, workdir=tmp_path / "alone")
    with ThreadPoolExecutor(3) as pool:
        begun = [
            pool.submit(mnistopt.run, **ASKED, workdir=tmp_path / str(i))
            for i in range(3)
        ]
        studies = [one.result(timeout=120) for one in begun]
    for study in studies:
        for name in ("trials", "curves"):
            left, right = (without_times(getattr(one, name)) for one in (study, alone))
            pd.testing.assert_frame_equal(left, right, check_exact=True)
        for trial in alone.trials["trial"]:
            left, right = (one.variables(trial) for one in (study, alone))
            jax.tree.map(np.testing.assert_array_equal, left, right)


def test_of_two_runs_in_one_workdir_one_is_refused(tmp_path):
    both = threading.Barrier(2)

    def run():
        both.wait()
        return mnistopt.run(**ASKED, workdir=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        begun = [pool.submit(run) for _ in range(2)]
        errors = [one.exception(timeout=120) for one in begun]
    refused = [error for error in errors if error]
    assert len(refused) <= 1, refused
    for error in refused:
        assert isinstance(error, InputError) and "is being written to" in str(error)
    assert set(mnistopt.open_study(tmp_path).trials["status"]) == {"finished"}


@pytest.mark.filterwarnings("always")
def test_warnings_of_another_thread_are_not_noted():
    with noting() as noted:
        other = threading.Thread(target=warnings.warn, args=("theirs",))
        other.start()
        other.join()
        warnings.warn("ours", stacklevel=1)
    assert noted == ["ours"]
