"""What has computed a study is written down, and another machine is told of."""

import json
import re
import shutil
import warnings

import numpy as np
import pytest

import mnistopt
from experiments import show
from mnistopt.engine import devices
from mnistopt.errors import InputError
from mnistopt.manifest import MANIFEST
from mnistopt.models import forms
from mnistopt.results.table_files import read_table, write_tables
from mnistopt.study.grid import grid
from mnistopt.study.rerun import compare
from mnistopt.study.rerun import points as rerun_points
from tests.configs import make_config
from tests.programs import assert_refused, run

ASKED = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lr": [0.1, 0.01]}


def test_each_run_that_trains_has_an_entry(tmp_path):
    asked = {**ASKED, "workdir": tmp_path, "seeds": 1}
    mnistopt.run(**asked, epochs=1)
    mnistopt.run(**asked, epochs=1)  # Nothing to train.
    study = mnistopt.run(**asked, epochs=2)
    first, second = study.config.runs
    assert (first["trials"], second["trials"]) == (2, 2)
    assert (first["asked"]["epochs"], second["asked"]["epochs"]) == ([1], [2])
    assert first["versions"]["jax"] and first["cpu"] and first["devices"]
    assert first["started"] <= second["started"]
    (name,) = study.config.machines
    assert first["machines"] == second["machines"] == [name]
    assert study.config.machines[name]["lanes"] == [1, 1]
    assert set(study.trials["machine"]) == {name}


def test_the_machine_is_described_per_job_and_not_per_epoch(tmp_path, monkeypatch):
    calls = []
    original = devices.processor
    monkeypatch.setattr(devices, "processor", lambda: calls.append(1) or original())

    def count(epochs):
        calls.clear()
        mnistopt.run(**ASKED, epochs=epochs, seeds=2, workdir=tmp_path / str(epochs))
        return len(calls)

    assert count(1) == count(5) > 0


@pytest.mark.parametrize("what", ["lanes", "cores", "jaxlib", "form"])
def test_going_on_elsewhere_is_told_once_and_marked(tmp_path, monkeypatch, what):
    asked = {**ASKED, "workdir": tmp_path, "seeds": 1}
    mnistopt.run(**asked, epochs=1)
    more = {"lanes": 2} if what == "lanes" else {}
    if what == "cores":
        monkeypatch.setattr(devices, "cores", lambda: 64)
    if what == "form":
        monkeypatch.setitem(forms.OF_PLATFORM, "cpu", forms.PATCHES)
    if what == "jaxlib":
        monkeypatch.setattr(devices.importlib.metadata, "version", lambda _: "9.9")
    with pytest.warns(
        UserWarning, match="2 replicas .* numbers agree to round"
    ) as told:
        study = mnistopt.run(**asked, **more, epochs=2)
    assert len(told) == 1
    marks = study.trials.groupby("epochs")["machine"].unique()
    (before,), (after,) = marks[1], marks[2]
    assert after.split("+")[0] == before and len(after.split("+")) == 2
    assert set(after.split("+")) == set(study.config.machines)


def test_more_devices_of_the_same_machine_are_no_other_machine(tmp_path):
    asked = {**ASKED, "workdir": tmp_path, "seeds": 1}
    mnistopt.run(**asked, epochs=1, devices=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = mnistopt.run(**asked, epochs=2)
    assert study.trials["machine"].nunique() == 1


# --- Once more ---


def test_the_points_of_a_table_are_those_that_made_it(tmp_path, make_record):
    """Where some networks have an axis and others do not, and some numbers are none."""
    asked = grid(
        model=["mlp", "cnn", "mobilenet_v1"], norm=["none", "batch"], width=0.5,
        hidden=[(8,), (8, 8)], schedule=["constant", "cosine"], average=[0, 0.5],
        patience=[0, 2], epochs=3,
    )  # fmt: skip
    write_tables(tmp_path, [make_record(point) for point in asked])
    trials = read_table(tmp_path, "trials")
    (found,) = rerun_points(trials, make_config()).values()
    assert sorted(map(repr, found)) == sorted(map(repr, asked))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One of two networks, several axes, other seeds of some points than of others."""
    workdir = tmp_path_factory.mktemp("first") / "w"
    common = {"train_examples": 200, "workdir": workdir}
    mnistopt.run(**common, model="mlp", hidden=[(8,), (4, 4)], epochs=[1, 2], seeds=2)
    return mnistopt.run(
        **common, model="cnn", channels=(2, 2), dense=4, dropout=[0, 0.3],
        weight_decay=0.01, optimizer="adamw", lr=0.003, epochs=1, seeds=[3],
    )  # fmt: skip


def test_a_study_is_run_again_from_its_tables_to_the_same_bits(study, tmp_path):
    for name in ("config.json", "trials.csv", "curves.csv"):
        shutil.copy(study.workdir / name, tmp_path / name)
    found = mnistopt.rerun(tmp_path / "config.json", tmp_path / "again")
    assert found.exact and found.holds
    assert found.agreement.apart.empty
    assert (found.agreement.replicas, found.agreement.epochs) == (6, 10)
    assert "same to the bit: 6 replicas, 10 epochs" in show.agreement(found)
    left, right = (
        one.trials.drop(columns=["seconds", "latency_1_ms", "latency_256_ms"])
        for one in (study, found.study)
    )
    assert left.astype(str).equals(right.astype(str))


@pytest.mark.parametrize(
    ("change", "same", "holds", "words"),
    [
        (1e-6, True, False, "though the machine is the same: replica .* in epoch 2"),
        (1e-6, False, True, "same to rounding, .* differ by 0.00 points at most"),
        (0.1, False, False, "by more than rounding: replica .* in epoch 2"),
        (np.nan, False, False, "by more than rounding"),
    ],
)
def test_other_numbers_are_told(study, tmp_path, change, same, holds, words):
    copy = shutil.copytree(study.workdir, tmp_path / "w")
    curves = study.curves
    row = curves.index[curves["epoch"] == 2][0]
    curves.loc[row, "validation_accuracy"] += change
    curves.to_csv(copy / "curves.csv", index=False)
    (copy / MANIFEST).unlink()
    if not same:
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "machines": {}}))
    # What it would give again is there.
    shutil.copytree(study.workdir, tmp_path / "w-rerun")
    found = mnistopt.rerun(copy)
    assert (found.exact, found.holds) == (same, holds)
    told = show.agreement(found)
    assert re.search(words, told), told
    assert curves.loc[row, "replica"] == found.agreement.apart["replica"][0]


def test_curves_without_common_epochs_do_not_agree(study):
    found = compare(study.curves, study.curves.iloc[:0])
    assert (found.replicas, found.epochs) == (0, 0)


def test_the_program_runs_again_and_its_exit_code_tells(study, tmp_path):
    target = f"--workdir={tmp_path / 'again'}"
    again = run("grid", f"--rerun={study.workdir}/config.json", target, "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("The numbers are the same to the bit: 6 replicas")
    other = shutil.copytree(study.workdir, tmp_path / "other")
    curves = study.curves
    curves["test_accuracy"] = 0.5
    curves.to_csv(other / "curves.csv", index=False)
    (other / MANIFEST).unlink()
    again = run("grid", f"--rerun={other}/config.json", target, "--quiet")
    assert again.returncode == 1
    assert "The numbers are not the same, though the machine is" in again.stdout


def test_a_study_of_arrays_needs_them_again(tiny, tmp_path):
    asked = {"model": "mlp", "hidden": (4,), "batch_size": 10, "epochs": 1, "seeds": 1}
    study = mnistopt.run(**asked, data=tiny, workdir=tmp_path / "w")
    with pytest.raises(InputError, match="Unknown dataset 'tiny'"):
        mnistopt.rerun(study.workdir)
    assert mnistopt.rerun(study.workdir, data=tiny).holds


def test_what_cannot_be_run_again_is_refused(study, tmp_path):
    source = f"--rerun={study.workdir}/config.json"
    found = run("grid", source, "--lr=0.1", "--seeds=2", "--dry_run")
    assert_refused(found, "leave out --lr, --seeds, --dry_run")
    with pytest.raises(InputError, match="not the workdir of a grid"):
        mnistopt.rerun(tmp_path / "config.json")
    with pytest.raises(InputError, match="into itself: give `workdir`"):
        mnistopt.rerun(study.workdir, study.workdir)
    copy = shutil.copytree(study.workdir, tmp_path / "w")
    trials = study.trials
    trials["lr"] *= 2
    trials.to_csv(copy / "trials.csv", index=False)
    (copy / MANIFEST).unlink()
    with pytest.raises(InputError, match="do not match its name"):
        mnistopt.rerun(copy)
