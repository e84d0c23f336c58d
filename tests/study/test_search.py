"""A search from its proposals to its confirmed best, stopped and gone on with."""

import json
import math
import random
import shutil
import subprocess
import sys

import optuna
import pandas as pd
import pytest

import mnistopt
from mnistopt.errors import InputError
from mnistopt.report.study import make_pictures, rerun_command
from mnistopt.results.journal import STORAGE
from mnistopt.results.ledger import SEARCH, read_ledger
from mnistopt.study.search.storage import NAME
from mnistopt.study.waves import best_first

SPACE = {
    "model": "mlp",
    "hidden": [(8,), (4,)],
    "batch_size": [32, 50],
    "lr": mnistopt.log(1e-4, 1.0),
    "dropout": mnistopt.uniform(0.0, 0.6),
    "train_examples": 200,
}
ASKED = {**SPACE, "trials": 20, "seeds": 2, "confirm": 3}


def read(study):
    """What must be the same whatever happened on the way."""
    tables = [study.search, study.curves.drop(columns="seconds")]
    tables.append(study.trials.drop(columns=["seconds", "latency_1_ms"]))
    tables[-1] = tables[-1].drop(columns="latency_256_ms")
    return tables


def assert_same(one, other):
    for a, b in zip(read(one), read(other), strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A search that nobody has disturbed."""
    return mnistopt.search(**ASKED, workdir=tmp_path_factory.mktemp("done"))


def stopping_at(batch):
    """Raises, as Ctrl-C does, when a batch begins."""

    def on_batch(begun):
        if begun.number == batch:
            raise KeyboardInterrupt

    return on_batch


def storage(workdir):
    backend = optuna.storages.journal.JournalFileBackend(str(workdir / STORAGE))
    return optuna.storages.JournalStorage(backend)


def test_it_trains_what_hyperband_s_table_says(done):
    found = done.search
    # 9 epochs: 9, 3 and 3 trials begin, and then 5 of the next 9.
    assert found.groupby("batch").size().tolist() == [9, 3, 3, 5]
    counts = found.groupby(["batch", "epochs"]).size().to_dict()
    assert counts == {
        **{(1, 1): 6, (1, 3): 2, (1, 9): 1},
        **{(2, 3): 2, (2, 9): 1},
        **{(3, 9): 3},
        **{(4, 1): 4, (4, 9): 1},
    }
    # A rung below the last takes a seed less.
    assert dict(zip(found["epochs"], found["seeds"])) == {1: 1, 3: 1, 9: 2}
    by_epochs = found.groupby("batch")
    for _, batch in by_epochs:
        went_on = batch[batch["epochs"] > batch["epochs"].min()]
        assert len(went_on) < len(batch) or batch["epochs"].nunique() == 1


def test_only_the_best_is_tested_and_with_fresh_seeds(done):
    found, trials = done.search, done.trials
    complete = found[found["state"] == "complete"]
    best = complete.sort_values("accuracy").iloc[-1]
    tested = trials[trials["test_accuracy"].notna()]
    assert set(tested["seed"]) == {2, 3, 4}
    assert set(tested["lr"]) == {float(f"{best['lr']:.4g}")}
    assert tested["status"].tolist() == ["finished"] * 3
    assert done.summary["n"].tolist() == [3]
    assert done.trial("best")["point"] == tested["point"].iloc[0]
    # What was searched is what a grid of the same setting trains.
    row = trials[(trials["status"] == "searched") & (trials["seed"] == 1)].iloc[0]
    axes = ["lr", "dropout", "batch_size", "hidden", "epochs"]
    again = {name: row[name] for name in axes} | {"model": "mlp", "seeds": [1]}
    study = mnistopt.run(
        **again, train_examples=200, workdir=done.workdir.with_name("alone")
    )
    alone = study.trials.iloc[0]
    assert alone["validation_loss"] == row["validation_loss"]
    assert alone["replica"] == row["replica"]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_search_that_was_stopped_goes_on_as_if_nothing_had_been(
    done, tmp_path, batch
):
    with pytest.raises(KeyboardInterrupt):
        mnistopt.search(**ASKED, workdir=tmp_path, on_batch=stopping_at(batch))
    assert_same(mnistopt.search(**ASKED, workdir=tmp_path), done)


def test_the_same_command_trains_nothing_and_one_with_more_trials_extends(
    done, tmp_path
):
    few = {**ASKED, "trials": 12}
    mnistopt.search(**few, workdir=tmp_path)
    epochs = []
    mnistopt.search(**few, workdir=tmp_path, on_epoch=epochs.append)
    assert not epochs
    more = mnistopt.search(**ASKED, workdir=tmp_path)
    pd.testing.assert_frame_equal(more.search, done.search, check_exact=True)


def test_more_epochs_train_the_same_trials_longer(tmp_path):
    few = {**ASKED, "trials": 9, "epochs": 3, "pruner": "halving"}
    short = mnistopt.search(**few, workdir=tmp_path).search
    long = mnistopt.search(**{**few, "epochs": 9}, workdir=tmp_path).search
    study = optuna.load_study(study_name=NAME, storage=storage(tmp_path))
    assert study.best_value == long["accuracy"].max()
    axes = ["lr", "dropout", "hidden", "batch_size"]
    pd.testing.assert_frame_equal(short[axes], long[axes])
    assert (short["epochs"].max(), long["epochs"].max()) == (3, 9)


def test_budgets_end_a_search_and_a_larger_one_goes_on(done, tmp_path):
    # Of the first batch, all for one epoch, and three for three.
    budget = {"images": 200 * (9 + 3 * 2)}
    found = mnistopt.search(**ASKED, **budget, workdir=tmp_path).search
    assert found["epochs"].max() == 3
    assert len(found) == 9
    more = mnistopt.search(**ASKED, workdir=tmp_path).search
    pd.testing.assert_frame_equal(more, done.search, check_exact=True)
    # What trains when the time is up is finished.
    short = mnistopt.search(**ASKED, timeout=1e-6, workdir=tmp_path / "short").search
    assert short["epochs"].tolist() == [1] * 9
    with pytest.raises(InputError, match="not suffice for a single batch"):
        mnistopt.search(**ASKED, images=100, workdir=tmp_path / "none")


def test_settings_that_are_given_come_first(tmp_path):
    given = [{"lr": 0.01, "dropout": 0.1}, {"hidden": (4,), "lr": 0.02}]
    study = mnistopt.search(**{**ASKED, "trials": 3}, enqueue=given, workdir=tmp_path)
    found = study.search
    assert found["by"].tolist() == ["given", "given", "random"]
    assert found["lr"].tolist()[:2] == [0.01, 0.02]
    assert found["hidden"].tolist()[:2] == ["8", "4"]
    assert found["dropout"].tolist()[:2] == [0.1, 0.3]


def test_anybody_s_scheduler_decides_who_goes_on(tmp_path):
    def two_rungs(points):
        found = yield [point.until(1) for point in points]
        yield [point.until(2) for point in best_first(found)[:2]]

    study = mnistopt.search(
        **{**ASKED, "trials": 10, "epochs": 4},
        scheduler=two_rungs,
        at_a_time=5,
        workdir=tmp_path,
    )
    assert study.search.groupby(["batch", "epochs"]).size().tolist() == [3, 2, 3, 2]


def test_a_diverged_trial_is_the_worst_and_is_named(tmp_path):
    space = {**SPACE, "lr": mnistopt.log(1e-3, 1e30), "optimizer": "sgd"}
    study = mnistopt.search(
        **space, trials=9, seeds=1, confirm=1, pruner="halving", workdir=tmp_path
    )
    found = study.search
    diverged = found[found["state"] == "diverged"]
    assert len(diverged) and set(diverged["accuracy"]) == {0.0}
    assert len(study.summary) == 1
    again = mnistopt.rerun(tmp_path, tmp_path.with_name("again"))
    assert again.exact and again.holds
    assert set(diverged["epochs"]) == {1}
    assert (study.trials["status"] == "diverged").sum() == len(diverged)


def test_its_config_runs_it_again_to_the_bit(done, tmp_path):
    again = mnistopt.rerun(done.workdir, tmp_path)
    assert again.exact and again.holds
    assert again.agreement.replicas == done.trials["replica"].nunique()


# --- What is shown ---


def test_its_pictures_show_what_was_searched(done):
    charts, found = done.charts(), done.search
    names = {"search", "rungs", "decides", "slices", "parallel"}
    assert names <= set(charts) and "schedule" not in charts
    frames = {name: make_pictures(done.workdir)[name].frame for name in names}
    complete = found[found["state"] == "complete"]
    way = frames["search"]
    assert sorted(way["trial"]) == sorted(complete["trial"])
    assert way["best"].is_monotonic_decreasing
    assert math.isclose(way["best"].iloc[-1], 100 * (1 - complete["accuracy"].max()))
    # Whatever was trained, with the seeds that it had.
    trained = done.trials[done.trials["status"] != "finished"]
    epochs = trained.groupby("replica")["epochs_done"].max().sum()
    assert math.isclose(way["images"].iloc[-1] * 1e6, 200 * epochs, rel_tol=0.2)
    ends = frames["rungs"].groupby("trial")["epoch"].max()
    assert ends.tolist() == found["epochs"].tolist()
    assert frames["slices"]["trial"].nunique() == len(found)
    assert frames["parallel"]["position"].between(0, 1).all()
    sentences = " ".join(done.findings)
    assert "Of 20 trials (14 pruned, 6 complete)" in sentences
    chosen = 100 * complete["accuracy"].max()
    assert f"In the search it had {chosen:.2f} % of the validation images" in sentences


def test_its_page_is_new_only_where_something_is(done):
    path = done.report()
    text = path.read_text()
    assert "A search of 20 trials on mnist_5k" in text
    command = "./launch.sh search --model=mlp --epochs=9 --hidden=8,4"
    assert command in " ".join(text.replace("\\\n", " ").split())
    written = path.stat().st_mtime_ns
    assert done.report().stat().st_mtime_ns == written


def test_with_patience_and_lanes_it_is_the_same_again(tmp_path):
    asked = {**ASKED, "trials": 9, "patience": 1, "lanes": 3}
    study = mnistopt.search(**asked, workdir=tmp_path)
    rows = []
    again = mnistopt.search(**asked, workdir=tmp_path, on_epoch=rows.append)
    assert not rows
    pd.testing.assert_frame_equal(again.search, study.search)


def test_what_a_scheduler_leaves_out_waits(tmp_path):
    def some(points):
        yield [point.until(1) for point in points[::2]]

    asked = {**ASKED, "trials": 10, "at_a_time": 5}
    found = mnistopt.search(**asked, scheduler=some, workdir=tmp_path).search
    assert found["state"].tolist() == (["pruned", "waiting"] * 3)[:5] * 2
    assert (found["epochs"] > 0).equals(found["state"] == "pruned")


def test_networks_that_were_never_tried_are_in_its_command(tmp_path):
    asked = {**ASKED, "model": ["mlp", "cnn"], "trials": 1, "confirm": 1}
    asked |= {"channels": [(2,)], "dense": [4]}
    study = mnistopt.search(**asked, enqueue=[{"model": "mlp"}], workdir=tmp_path)
    command = rerun_command(study.config, tmp_path, read_ledger(tmp_path))
    assert "--model=mlp,cnn" in command and "--trials=1" in command


# --- Optuna's file ---


def test_optuna_reads_the_storage(done):
    study = optuna.load_study(study_name=NAME, storage=storage(done.workdir))
    found = done.search
    assert len(study.trials) == len(found)
    for trial, (_, row) in zip(study.trials, found.iterrows()):
        assert trial.value == row["accuracy"]
        assert trial.params["lr"] == row["lr"]
        assert (trial.state.name == "PRUNED") == (row["state"] == "pruned")
        assert max(trial.intermediate_values) == row["epochs"]
    assert (
        study.best_trial.number
        == found["accuracy"].where(found["state"] == "complete").idxmax()
    )
    importance = optuna.importance.get_param_importances(study)
    assert set(importance) <= {"lr", "dropout", "hidden", "batch_size"}


def test_a_study_that_was_made_by_hand_is_taken_in(tmp_path):
    study = optuna.create_study(
        study_name="mine", storage=storage(tmp_path), direction="maximize"
    )
    lr = optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    for i in range(12):
        value = optuna.trial.create_trial(
            params={"lr": 0.01 * (1 + i / 100)}, distributions={"lr": lr}, value=0.9
        )
        study.add_trial(value)
    study.enqueue_trial({"lr": 0.25, "hidden": "4"})
    found = mnistopt.search(**{**ASKED, "trials": 9}, workdir=tmp_path).search
    assert found["lr"].iloc[0] == 0.25 and found["by"].iloc[0] == "given"
    # It knows enough to propose.
    assert set(found["by"][1:]) == {"tpe"}
    again = mnistopt.search(**{**ASKED, "trials": 9}, workdir=tmp_path).search
    pd.testing.assert_frame_equal(found, again)
    assert len(study.get_trials()) == 12 + 1 + 9


def test_a_file_of_optuna_s_that_was_lost_is_made_again(done, tmp_path):
    few = {**ASKED, "trials": 9}
    mnistopt.search(**few, workdir=tmp_path)
    (tmp_path / STORAGE).unlink()
    mnistopt.search(**few, workdir=tmp_path)
    study = optuna.load_study(study_name=NAME, storage=storage(tmp_path))
    assert len(study.trials) == 9


# --- What cannot be ---


def test_a_workdir_holds_a_search_of_one_space(done):
    other = {**ASKED, "lr": mnistopt.log(1e-3, 1.0)}
    with pytest.raises(InputError, match="another space:\n  lr: log:0.0001..1 in"):
        mnistopt.search(**other, workdir=done.workdir)


def test_a_ledger_that_was_changed_is_refused(tmp_path):
    few = {**ASKED, "trials": 3}
    wanted = mnistopt.search(**few, workdir=tmp_path).search
    path = tmp_path / SEARCH
    content = json.loads(path.read_text())
    content["proposals"][0]["params"]["lr"] = 0.5
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged or was changed"):
        mnistopt.search(**few, workdir=tmp_path)
    path.unlink()
    found = mnistopt.search(**few, workdir=tmp_path).search
    pd.testing.assert_frame_equal(found, wanted)


def test_without_optuna_it_says_how_to_install_it(monkeypatch, tmp_path):
    for name in list(sys.modules):
        if name.startswith(("optuna", "mnistopt.study.search.s")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'mnistopt\[search\]'"):
        mnistopt.search(**ASKED, workdir=tmp_path)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"sampler": "gp"}, "sampler=gp is not known"),
        ({"pruner": "asha"}, "pruner=asha is not known"),
        ({"trials": 0}, "trials=0 is not allowed"),
        ({"images": -1}, "images=-1 is not allowed"),
        ({"confirm": 0}, "confirm=0 is not allowed"),
        ({"enqueue": [{"lr": 7.0}]}, "lr=7 is not in the space"),
        ({"points": []}, "proposes its points"),
        ({"search_seed": -1}, "search_seed=-1 is not allowed"),
        ({"pbt": 2, "scheduler": best_first}, "either pbt or a scheduler"),
    ],
)
def test_other_arguments_are_refused(asked, words, tmp_path):
    with pytest.raises(InputError, match=words):
        mnistopt.search(**{**ASKED, **asked}, workdir=tmp_path)
    assert not list(tmp_path.iterdir())


# --- Kills ---

PROGRAM = """
import sys, mnistopt
from tests.study.test_search import ASKED
mnistopt.search(**ASKED, workdir=sys.argv[1])
"""


@pytest.mark.full
def test_killed_at_twenty_moments_it_proposes_and_finds_the_same(done, tmp_path):
    draw = random.Random(0)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    kills = 0
    while True:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            # The first seconds are imports.
            limit = draw.uniform(1.0, 8.0) if kills < 20 else None
            try:
                _, error = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
                continue
        assert process.returncode == 0, error
        assert_same(mnistopt.open_study(tmp_path), done)
        if kills == 20:
            break
        # It was done before the next kill: the rest begins anew.
        shutil.rmtree(tmp_path)
