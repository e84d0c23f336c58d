import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from comparing import without_times

import mnistopt
from mnistopt.data.load import load
from mnistopt.engine import replicas
from mnistopt.errors import InputError
from mnistopt.study import loading, request
from mnistopt.study.grid import grid

TINY = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lanes": (1, 2)}
RATES = [1e-3, 1e-2]


def run(workdir, **settings):
    return mnistopt.run(**TINY | {"lr": RATES, "seeds": 2, "epochs": 3} | settings,
                        workdir=workdir)  # fmt: skip


def assert_same_results(ours, theirs):
    """Asserts that two studies agree to the bit, in tables and parameters."""
    for name in ("trials", "curves", "summary"):
        left, right = (without_times(getattr(one, name)) for one in (ours, theirs))
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    for trial in ours.trials["trial"]:
        for weights in ("last", "best"):
            left, right = (one.params(trial, weights) for one in (ours, theirs))
            jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def epochs_trained(monkeypatch):
    """Counts the replicas of each epoch that is trained from here on."""
    trained = []
    original = replicas.Program.train

    def train(program, one, device, epochs, in_full):
        trained.extend([*epochs] * len(one.places))
        return original(program, one, device, epochs, in_full)

    monkeypatch.setattr(replicas.Program, "train", train)
    return trained


def test_each_epoch_is_told_with_the_rows_that_the_curves_get(tmp_path):
    told = []
    settings = {"hidden": [(8,), (4,)]}
    run(tmp_path, **settings, epochs=2, on_epoch=told.append)
    study = run(tmp_path, **settings, epochs=3, on_epoch=told.append)
    for frame in told:
        assert frame["epoch"].nunique() == frame["hidden"].nunique() == 1
        assert frame["replica"].is_unique
    order = ["replica", "epoch"]
    found, wanted = (
        table.sort_values(order, ignore_index=True)
        for table in (pd.concat(told), study.curves)
    )
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


@pytest.mark.parametrize("callback", ["on_progress", "on_epoch"])
def test_an_error_in_a_callback_ends_the_run(tmp_path, callback):
    def fail(_):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(tmp_path, **{callback: fail})
    assert set(mnistopt.open_study(tmp_path).trials["status"]) == {"unfinished"}


def test_a_grid_gives_tables_charts_and_checkpoints(finished):
    assert len(finished.trials) == 4
    assert len(finished.curves) == 12
    assert len(finished.summary) == 2
    assert set(finished.trials["status"]) == {"finished"}
    assert {"seeds", "error", "loss", "mistakes"} <= set(finished.charts())
    assert finished.config.data.dataset == "mnist_5k"
    assert finished.config.asked["lr"] == RATES


def test_restored_accuracy_is_the_recorded_one_for_every_trial(finished):
    data = load("mnist_5k", train_examples=200)
    for _, row in finished.trials.iterrows():
        model = finished.model(row["trial"])
        for weights, column in (("last", ""), ("best", "best_")):
            params = finished.params(row["trial"], weights)
            for split in ("validation", "test"):
                examples = getattr(data, split)
                logits = model.apply({"params": params}, examples.images / 255.0)
                accuracy = np.mean(
                    np.argmax(np.asarray(logits), axis=-1) == examples.labels
                )
                assert accuracy == row[f"{column}{split}_accuracy"]


def test_the_same_again_trains_nothing(finished, epochs_trained):
    before = {path: path.read_bytes() for path in finished.workdir.glob("*.csv")} | {
        path: path.stat() for path in finished.workdir.glob("checkpoints/*/*")
    }
    again = run(finished.workdir)
    assert epochs_trained == []
    assert_same_results(again, finished)
    for path, content in before.items():
        assert content == (path.stat() if path.is_dir() else path.read_bytes())


@pytest.mark.parametrize(
    ("change", "trained"),
    [
        ({"lr": [*RATES, 3e-3]}, [0, 0, 1, 1, 2, 2]),
        ({"seeds": 3}, [0, 0, 1, 1, 2, 2]),
        ({"seeds": [7]}, [0, 0, 1, 1, 2, 2]),
        ({"lr": [3e-3, 1e-2], "seeds": 1}, [0, 1, 2]),
        ({"epochs": 5}, [3, 3, 3, 3, 4, 4, 4, 4]),
        ({"epochs": [3, 4]}, [3, 3, 3, 3]),
    ],
    ids=[
        "one more lr",
        "one more seed",
        "a seed by name",
        "overlap",
        "more epochs",
        "both epochs",
    ],
)
def test_a_study_grows_by_its_new_replicas_only(
    tmp_path, epochs_trained, change, trained
):
    first = run(tmp_path)
    before = first.trials
    del epochs_trained[:]
    grown = run(tmp_path, **change)
    assert epochs_trained == trained
    kept = grown.trials[grown.trials["trial"].isin(before["trial"])]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), before, check_exact=True)


def test_more_epochs_equal_a_run_to_them_at_once(tmp_path):
    run(tmp_path / "grown", epochs=2)
    grown = run(tmp_path / "grown", epochs=5)
    at_once = run(tmp_path / "at_once", epochs=[2, 5])
    assert_same_results(grown, at_once)


def test_fewer_epochs_are_trained_anew_where_they_were_not_kept(
    tmp_path, epochs_trained
):
    run(tmp_path, epochs=3)
    del epochs_trained[:]
    both = run(tmp_path, epochs=[2, 3])
    assert epochs_trained == [0, 0, 0, 0, 1, 1, 1, 1]
    at_once = run(tmp_path / "at_once", epochs=[2, 3])
    assert_same_results(both, at_once)


# JAX had been used before, and has two devices: a core each, with memory of its own.
KILLED = """
import os, signal, sys
import jax
import mnistopt
from mnistopt.engine import writer

jax.config.update("jax_num_cpu_devices", 2)
jax.local_devices()
writer.FIRST_SAVE = 0  # seconds: this study is over before

def on_progress(state):
    if state.epoch == {epoch} and not state.compiling:
        os.kill(os.getpid(), signal.SIGKILL)

mnistopt.run(model="mlp", hidden=(8,), train_examples=200, lanes=(1, 2), seeds=2,
             lr=[1e-3, 1e-2], epochs=3, workdir=sys.argv[1], devices=2,
             on_progress=on_progress)
"""


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_run_goes_on_to_the_same_results(
    tmp_path, finished, epochs_trained, epoch
):
    command = [sys.executable, "-c", KILLED.format(epoch=epoch), tmp_path]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert set(mnistopt.open_study(tmp_path).trials["status"]) == {"unfinished"}
    continued = run(tmp_path)
    # Killed in its first round of epoch 1 a run has nothing to go on from.
    assert epochs_trained.count(0) == (4 if epoch == 1 else 0)
    assert epochs_trained.count(2) == 4
    assert_same_results(continued, finished)


def test_an_interrupted_run_leaves_readable_tables_and_goes_on(tmp_path, finished):
    def interrupt(state):
        if state.epoch == 3:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        run(tmp_path, on_progress=interrupt)
    part = mnistopt.open_study(tmp_path)
    assert set(part.trials["epochs_done"]) <= {0, 1, 2}
    with pytest.raises(InputError, match="no trial has finished"):
        part.trial("best")
    with pytest.raises(InputError, match="run the grid's command again"):
        part.params(part.trials["trial"][0])
    assert_same_results(run(tmp_path), finished)


def test_permuted_test_labels_change_no_selection_and_no_parameter(
    tmp_path, monkeypatch, finished
):
    data = load("mnist_5k", train_examples=200)
    labels = np.random.default_rng(0).permutation(data.test.labels)
    changed = dataclasses.replace(data, test=data.test._replace(labels=labels))
    monkeypatch.setattr(loading, "load", lambda *args, **kwargs: changed)
    permuted = run(tmp_path)
    assert permuted.trial()["trial"] == finished.trial()["trial"]
    assert list(permuted.summary["point"]) == list(finished.summary["point"])
    assert permuted.trial()["test_accuracy"] < 0.2 < finished.trial()["test_accuracy"]
    for trial in finished.trials["trial"]:
        for weights in ("last", "best"):
            jax.tree.map(
                np.testing.assert_array_equal,
                permuted.params(trial, weights),
                finished.params(trial, weights),
            )


def test_a_diverged_replica_is_marked_and_never_best(tmp_path):
    found = run(tmp_path, lr=[1e6, 1e-3])
    status = found.trials.groupby("lr")["status"].unique().map(list)
    assert status[1e6] == ["diverged"]
    assert status[1e-3] == ["finished"]
    assert found.trial()["lr"] == 1e-3
    last = found.summary.iloc[-1]
    assert (last["lr"], last["n"], last["diverged"]) == (1e6, 0, 2)
    assert np.isnan(last["test_accuracy_mean"])


def test_models_and_batch_sizes_are_cohorts_of_one_study(tmp_path):
    plan = mnistopt.plan(
        **TINY | {"model": ["mlp", "cnn"], "channels": (2, 3), "dense": 4},
        batch_size=[32, 64],
        lr=RATES,
        epochs=4,
        workdir=tmp_path / "none",
    )
    assert plan.compiles == 4
    assert plan.asked == 2 * 2 * 2 * 3
    assert plan.images == plan.asked * 4 * 200
    assert not (tmp_path / "none").exists()


def test_a_workdir_of_other_data_is_refused_with_the_difference(finished):
    before = (finished.workdir / "config.json").read_bytes()
    with pytest.raises(InputError, match="examples: 200 in the study, 300 requested"):
        run(finished.workdir, train_examples=300)
    assert (finished.workdir / "config.json").read_bytes() == before


def test_lanes_are_kept_by_a_study_that_goes_on(finished):
    settings = {k: v for k, v in TINY.items() if k != "lanes"}
    plan = mnistopt.plan(**settings, lr=3e-3, workdir=finished.workdir)
    assert [job.lanes for job in plan.jobs] == [(1, 2)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "seeds=0"),
        ({"lanes": (0, 1)}, "lanes=0"),
        ({"devices": 64}, "devices=64"),
        ({"batch_size": 201}, "batch_size=201 is more than the 200"),
        ({"lr": 0}, "lr=0"),
        ({"learning_rate": 1}, "learning_rate"),
        ({"dataset": "imagenet"}, "imagenet"),
    ],
)
def test_what_cannot_be_used_is_an_input_error(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "new", **settings)
    assert not (tmp_path / "new" / "config.json").exists()


def test_trials_are_named_by_a_beginning_that_fits_one(finished):
    name = finished.trials["trial"][1]
    assert finished.trial(name[:6])["trial"] == name
    for bad in ("", "zzz", "best "):
        with pytest.raises(InputError, match="names"):
            finished.trial(bad)
    with pytest.raises(InputError, match="weights='middle'"):
        finished.params(name, "middle")


def test_default_workdir_names_data_and_models():
    points = grid(model=["mlp", "cnn"])
    assert request.default_workdir("mnist", points) == Path("runs/mnist-mlp-cnn")


def test_no_workdir_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="not the workdir of a grid"):
        mnistopt.open_study(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_workdir_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        run(tmp_path / "new")


def test_a_study_is_found_from_every_folder(tmp_path, monkeypatch):
    """A callback, and a notebook's next cell, may go to another folder."""
    monkeypatch.chdir(tmp_path)

    def go(progress):
        os.chdir("/")

    study = mnistopt.run(
        **TINY | {"lanes": None, "lr": 0.1, "seeds": 1, "epochs": 2},
        workdir="w",
        cache_dir="cache",
        on_progress=go,
    )
    assert study.workdir == tmp_path / "w"
    assert len(study.curves) == 2 and study.params()
    assert mnistopt.open_study(tmp_path / "w").report() == tmp_path / "w/report.html"
    assert {path.name for path in tmp_path.iterdir()} <= {"w", "cache"}


def test_the_logs_of_libraries_are_not_the_study_s(tmp_path, caplog):
    with caplog.at_level("INFO"):
        study = mnistopt.run(**TINY | {"lanes": None}, lr=0.1, workdir=tmp_path)
        mnistopt.open_study(study.workdir).params()
    assert [
        record.pathname for record in caplog.records if "orbax" in record.pathname
    ] == []


def test_warnings_are_kept_in_config_json(tmp_path):
    asked = TINY | {"lanes": None, "optimizer": "adamw", "seeds": 1, "epochs": 1}
    for _ in range(2):  # of the last command, whether or not it has trained
        with pytest.warns(UserWarning, match="plain adam"):
            study = mnistopt.run(**asked, workdir=tmp_path)
        (told,) = study.config.warnings
        assert told.startswith("optimizer=adamw with weight_decay=0")
    assert (
        mnistopt.run(**asked, weight_decay=0.1, workdir=tmp_path).config.warnings == []
    )


def test_a_diverged_trial_has_no_best_weights(tmp_path):
    asked = TINY | {"lanes": None, "lr": [1e20, 1e-3], "seeds": 1, "epochs": 1}
    study = mnistopt.run(**asked, workdir=tmp_path)
    (row,) = study.trials[study.trials["lr"] == 1e20].to_dict("records")
    assert pd.isna(row["best_epoch"]) and study.params(row["trial"])
    with pytest.raises(InputError, match="first epoch, and has no best one"):
        study.params(row["trial"], "best")
