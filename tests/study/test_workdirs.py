"""Folders of studies: any name, one writer, one data set, and nothing vanishes."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import mnistopt
from mnistopt.engine.checkpoint import CHECKSUM
from mnistopt.engine.memory import Capacity
from mnistopt.errors import InputError
from mnistopt.files import plain_path, read_csv, text_checksum
from mnistopt.manifest import MANIFEST
from mnistopt.study import workdir as lock
from mnistopt.study.workdir import locked
from tests.programs import ROOT

ASKED = {"model": "mlp", "hidden": (8,), "train_examples": 200, "epochs": 1}

# Patterns, a scheme and a separator to Orbax or TensorStore; the last is to nobody.
NAMES = ["[2026] thesis/sweep[lr]*", "gs:", "a\\b", "50%20 #1 日本"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir with two trials; not to be changed."""
    workdir = tmp_path_factory.mktemp("finished") / "w"
    mnistopt.run(**ASKED, seeds=2, workdir=workdir)
    return workdir


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_folder_works(tmp_path, finished, name):
    study = mnistopt.run(**ASKED, seeds=1, workdir=tmp_path / name)
    (trial,) = study.trials["trial"]
    for layer, values in mnistopt.open_study(finished).params(trial).items():
        for kind, value in values.items():
            np.testing.assert_array_equal(study.params()[layer][kind], value)
    # It goes on from what is there.
    plan = mnistopt.plan(**ASKED, seeds=2, workdir=tmp_path / name)
    assert (plan.asked, plan.there) == (2, 1)


def test_home_is_where_bash_says(tmp_path, monkeypatch):
    """Who types --workdir=~/w means the home folder, though bash leaves the ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    study = mnistopt.run(**ASKED, seeds=1, workdir="~/w")
    assert study.workdir == tmp_path / "w"
    assert len(mnistopt.open_study("~/w").trials) == 1


def test_only_odd_names_need_a_link(tmp_path):
    assert plain_path(tmp_path) == tmp_path
    odd = tmp_path / "a[b]"
    odd.mkdir()
    link = plain_path(odd)
    assert Path(link).resolve() == odd and "[" not in str(link)


@pytest.fixture
def workdir(finished, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "w"))


def assert_same_numbers(table, before):
    """A table is as it was, but for times."""
    before = read_csv(io.BytesIO(before), dtype={"trial": str, "replica": str})
    for name in ("trial", "status", "test_loss", "validation_accuracy", "train_loss"):
        assert list(table[name]) == list(before[name])


def contents(folder):
    return {path: path.read_bytes() for path in folder.glob("*.csv")}


def test_a_second_run_is_refused_and_told_of_the_first(workdir):
    before = contents(workdir)
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from mnistopt.study.workdir import locked\n"
        "with locked(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(workdir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(InputError, match=f"written to by process {other.pid} on "):
            mnistopt.run(**ASKED, seeds=3, workdir=workdir)
        # Who reads is not kept out.
        assert mnistopt.plan(**ASKED, seeds=3, workdir=workdir).there == 2
        assert len(mnistopt.open_study(workdir).trials) == 2
        other.kill()
    assert contents(workdir) == before
    # A dead process holds nothing.
    assert len(mnistopt.run(**ASKED, seeds=3, workdir=workdir).trials) == 3


@pytest.mark.parametrize("locks", [True, False])
def test_another_host_is_known_by_its_heartbeat(workdir, monkeypatch, locks):
    """On network file systems, where the system's lock reaches no other host."""
    if not locks:
        monkeypatch.setattr(lock, "_lock", lambda *_: False)
    file = workdir / lock.LOCK
    file.write_text("process 7 on elsewhere, since 2026-01-01 00:00:00")
    with pytest.raises(InputError, match="by process 7 on elsewhere.* seen 0 s ago"):
        mnistopt.run(**ASKED, seeds=3, workdir=workdir)
    # Long silent, it is dead.
    os.utime(file, (time.time() - 2 * lock.DEAD,) * 2)
    assert len(mnistopt.run(**ASKED, seeds=3, workdir=workdir).trials) == 3
    assert file.read_text() == ""


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize(
    ("content", "dated"),
    [
        (bytes(range(256)), 0.0),
        (b"process 7", 0.0),
        ("process 7 löst".encode("utf-16"), 0.0),
        (b"process 7 on elsewhere, since 2026-01-01 00:00:00", 10 * lock.DEAD),
    ],
    ids=["random bytes", "cut", "another encoding", "dated in the future"],
)
def test_a_lock_of_nobody_locks_nobody_out(
    tmp_path, monkeypatch, content, dated, locks
):
    if not locks:
        monkeypatch.setattr(lock, "_lock", lambda *_: False)
    file = tmp_path / lock.LOCK
    file.write_bytes(content)
    os.utime(file, (time.time() + dated,) * 2)
    with locked(tmp_path):
        assert file.read_text().startswith(f"process {os.getpid()} on ")
    assert file.read_text() == ""


def test_a_writer_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / lock.LOCK, (0, 0))
        deadline = time.monotonic() + 60
        while (tmp_path / lock.LOCK).stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert {path.name for path in tmp_path.iterdir()} == {lock.LOCK}


def test_a_run_in_a_callback_of_another_is_a_second_run(workdir):
    with locked(workdir), pytest.raises(InputError, match="wait for it to end"):
        mnistopt.run(**ASKED, seeds=3, workdir=workdir)


def test_checkpoints_of_other_data_are_not_added_to(workdir):
    (workdir / "config.json").unlink()
    with pytest.raises(InputError, match="2 of the 2 replicas .* other data"):
        mnistopt.run(**(ASKED | {"train_examples": 300}), workdir=workdir)
    # Of the same data they are, and config.json is made anew.
    study = mnistopt.run(**ASKED, seeds=2, workdir=workdir)
    assert study.config.data.train_examples == 200


@pytest.mark.parametrize("damage", ["cut in half", "other bytes", "empty"])
def test_a_damaged_config_is_made_anew(workdir, damage):
    path = workdir / "config.json"
    if damage == "empty":  # And nobody knows what it was.
        (workdir / MANIFEST).unlink()
    before, whole = contents(workdir), path.read_bytes()
    path.write_bytes(
        {"cut in half": whole[: len(whole) // 2], "other bytes": b"\xff\x00"}.get(
            damage, b""
        )
    )
    damaged = path.read_bytes()
    with pytest.raises(InputError, match="config.json is damaged"):
        mnistopt.open_study(workdir)
    with (
        pytest.warns(UserWarning, match="restore it from the checkpoints"),
        pytest.warns(UserWarning, match="the old one is kept as .*config.json-0"),
    ):
        study = mnistopt.run(**ASKED, seeds=2, workdir=workdir)
    # What somebody may have changed is kept.
    assert (workdir / "damaged" / "config.json-0").read_bytes() == damaged
    assert (
        json.loads(json.dumps(study.config.to_json()["data"]))
        == json.loads(whole)["data"]
    )
    assert_same_numbers(study.trials, before[workdir / "trials.csv"])


def test_a_damaged_config_alone_is_refused(workdir):
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "config.json").write_text("{}")
    before = contents(workdir)
    with pytest.raises(InputError, match="no checkpoints to restore it from: rest"):
        mnistopt.run(**ASKED, seeds=2, workdir=workdir)
    assert contents(workdir) == before


def test_trials_without_checkpoints_do_not_vanish(workdir):
    before = contents(workdir)
    (group,) = (workdir / "checkpoints").iterdir()
    group.rename(workdir / "elsewhere")
    for more in ({"lr": [0.1]}, {}):
        with pytest.raises(InputError, match="2 trained trials whose checkpoints"):
            mnistopt.run(**ASKED, **more, seeds=2, workdir=workdir)
    assert contents(workdir) == before
    (workdir / "trials.csv").unlink()
    assert len(mnistopt.run(**ASKED, seeds=1, workdir=workdir).trials) == 1


@pytest.mark.parametrize("name", ["mine", "r123-", "r123-x"])
def test_a_row_without_a_trial_s_name_is_no_trial(workdir, name):
    """In a copy that nobody knows anything of."""
    (workdir / MANIFEST).unlink()
    path = workdir / "trials.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, ",".join([name, *lines[1].split(",")[1:]])]))
    assert not mnistopt.plan(**ASKED, seeds=2, workdir=workdir).jobs


def test_a_table_of_somebody_else_s_is_not_overwritten(tmp_path):
    (tmp_path / "trials.csv").write_text("mine\n")
    with pytest.raises(InputError, match="trials.csv of another program"):
        mnistopt.run(**ASKED, seeds=1, workdir=tmp_path)
    assert (tmp_path / "trials.csv").read_text() == "mine\n"


def test_an_unreadable_table_is_made_anew(workdir):
    wanted = contents(workdir)
    for table in ("trials", "curves", "summary"):
        (workdir / f"{table}.csv").write_bytes(b"\xff\x00,\n1")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        mnistopt.run(**ASKED, seeds=2, workdir=workdir)
    kept = [str(one.message) for one in told if "it is kept as" in str(one.message)]
    assert len(kept) == len(list((workdir / "damaged").iterdir())) == 3
    assert contents(workdir) == wanted


def replace(old, new):
    """Writes something else, in a way that no checksum tells."""

    def replaced(text):
        content = json.loads(text.replace(old, new, 1))
        del content[CHECKSUM]
        return json.dumps({**content, CHECKSUM: text_checksum(content)})

    return replaced


DAMAGES = {
    "cut in half": lambda text: text[: len(text) // 2],
    "a later version's field": replace('"seed"', '"colour": 1, "seed"'),
    "unequal histories": replace('"seconds": [', '"seconds": [1.0, '),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_locks_nobody_out(workdir, damage):
    """The other group's trials can be read; its own are trained again when asked."""
    mnistopt.run(**ASKED, lr=[0.1], seeds=1, workdir=workdir)
    wanted = contents(workdir)
    first, *_ = sorted(
        workdir.glob("checkpoints/*/*/about/metadata"),
        key=lambda path: len(json.loads(path.read_text())["replicas"]),
    )[::-1]
    first.write_text(damage(first.read_text()))
    study = mnistopt.open_study(workdir)
    (alone,) = study.trials.query("lr == 0.1")["trial"]
    with pytest.warns(UserWarning, match="damaged"):
        assert study.params(alone)
    # What is asked for is trained again; what is not would vanish.
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(InputError, match="2 trained trials whose checkpoints"),
    ):
        mnistopt.run(**ASKED, lr=[0.1], seeds=1, workdir=workdir)
    assert contents(workdir) == wanted
    with pytest.warns(UserWarning, match="damaged"):
        study = mnistopt.run(**ASKED, seeds=2, workdir=workdir)
    assert_same_numbers(study.trials, wanted[workdir / "trials.csv"])
    # Nobody is warned again, what was damaged is still there, and so are all weights.
    assert len(list((workdir / "damaged").iterdir())) == 1
    again = mnistopt.open_study(workdir)
    assert all(again.params(trial) for trial in again.trials["trial"])


def test_what_killed_runs_left_is_removed(workdir):
    """A copy of the group that is one epoch behind, and a partial checkpoint."""
    study = mnistopt.run(**(ASKED | {"epochs": 3}), seeds=2, workdir=workdir)
    store = workdir / "checkpoints"
    # As of a run to epoch 3 that was killed after epoch 2.
    (last,) = store.glob("*/3")
    stale = shutil.copytree(last, store / "0123456789" / "2")
    told = json.loads((stale / "about" / "metadata").read_text())
    del told[CHECKSUM]
    for record in told["records"]:
        record["history"] = {k: v[:2] for k, v in record["history"].items()}
    told[CHECKSUM] = text_checksum(told)
    (stale / "about" / "metadata").write_text(json.dumps(told))
    (store / "fedcba9876" / "4.orbax-checkpoint-tmp-1").mkdir(parents=True)
    before = {trial: study.params(trial) for trial in study.trials["trial"]}
    study = mnistopt.run(**(ASKED | {"epochs": 3}), seeds=2, workdir=workdir)
    # Epoch 1 was asked for before, and stays.
    assert sorted(path.name for path in store.glob("*/*")) == ["1", "3"]
    for trial, params in before.items():
        again = study.params(trial)
        for layer in params:
            np.testing.assert_array_equal(
                again[layer]["kernel"], params[layer]["kernel"]
            )


def flip_arrays(step):
    """Flips a bit in every hundredth byte of a checkpoint's arrays."""
    for path in step.glob("state/ocdbt.process_0/d/*"):
        content = np.fromfile(path, np.uint8)
        content[::100] ^= 1
        content.tofile(path)


@pytest.mark.parametrize("older", [False, True])
def test_damaged_arrays_are_mended_by_the_same_command(workdir, older):
    """From the older checkpoint, if there is one: and to the same bits."""
    asked = ASKED | {"epochs": [1, 3] if older else 1}
    study = mnistopt.run(**asked, seeds=2, workdir=workdir)
    wanted, last = contents(workdir), {t: study.params(t) for t in study.trials.trial}
    flip_arrays(*workdir.glob("checkpoints/*/3" if older else "checkpoints/*/1"))
    # As after a power cut: the mended ones are read again to make them.
    shutil.rmtree(workdir / "predictions")
    with pytest.raises(InputError, match="damaged .* trains again what only"):
        [study.params(trial) for trial in study.trials["trial"]]
    with pytest.warns(UserWarning, match="damaged"):
        plan = mnistopt.plan(**asked, seeds=2, workdir=workdir)
    assert [job.start for job in plan.jobs] == [int(older)]
    with pytest.warns(UserWarning, match="damaged"):
        study = mnistopt.run(**asked, seeds=2, workdir=workdir)
    assert_same_numbers(study.trials, wanted[workdir / "trials.csv"])
    for trial, params in last.items():
        for layer, values in study.params(trial).items():
            np.testing.assert_array_equal(values["kernel"], params[layer]["kernel"])
    assert mnistopt.plan(**asked, seeds=2, workdir=workdir).jobs == ()


def test_a_table_that_is_cut_off_chooses_no_other_trial(workdir):
    mnistopt.run(**ASKED, lr=[0.1, 0.01], seeds=2, workdir=workdir)
    study = mnistopt.open_study(workdir)
    best, params = study.trial()["trial"], study.params()
    lines = (workdir / "trials.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(best)]
    (workdir / "trials.csv").write_text("".join(kept))
    with pytest.warns(UserWarning, match="trials.csv is missing, damaged or changed"):
        assert mnistopt.open_study(workdir).trial()["trial"] == best
    with pytest.warns(UserWarning, match="read from the checkpoints"):
        again = study.params()["Dense_0"]["kernel"]
    np.testing.assert_array_equal(again, params["Dense_0"]["kernel"])


@pytest.mark.parametrize("name", ["checkpoints", "figures", "predictions"])
def test_a_file_in_the_way_of_a_folder_is_told_before_training(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is in the way of a folder"):
        mnistopt.run(**ASKED, workdir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["trials.csv", "curves.csv", "config.json"])
def test_a_folder_in_the_way_of_a_file_is_told_before_training(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name} is in the way of a file"):
        mnistopt.run(**ASKED, workdir=tmp_path)


def test_a_disk_without_room_ends_in_one_message_and_goes_on(workdir, monkeypatch):
    """Told before anything is half written; what was there is as it was."""
    before = contents(workdir)
    usage = shutil.disk_usage(workdir)
    with monkeypatch.context() as patch:
        room = Capacity(math.inf, math.inf, math.inf)
        patch.setattr("mnistopt.study.plan.available", lambda *_: room)
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
        with pytest.raises(InputError, match="0.0 MB are free of 0.1 MB.*resume"):
            mnistopt.run(**ASKED, seeds=3, workdir=workdir)
    study = mnistopt.open_study(workdir)
    trained = study.trials.query("status == 'finished'")
    assert_same_numbers(trained, before[workdir / "trials.csv"])
    assert study.params("best")
    assert set(mnistopt.run(**ASKED, seeds=3, workdir=workdir).trials.status) == {
        "finished"
    }


def test_a_write_that_the_system_refuses_ends_in_one_message(tmp_path):
    """A quota's: files of more than 100 kB are refused while Orbax writes."""
    code = (
        "import resource, signal, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop()),) * 2)\n"
        "from experiments import grid, program\n"
        "grid.define_flags()\nprogram.run(grid.main, '')\n"
    )
    asked = ["--model=mlp", "--hidden=64", "--epochs=1", "--train_examples=500"]
    command = [sys.executable, "-c", code, *asked, f"--workdir={tmp_path}", "100000"]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "error: " in found.stderr and "File too large" in found.stderr
    assert "Traceback" not in found.stderr and len(found.stderr) < 1500
    study = mnistopt.open_study(tmp_path)
    assert set(study.trials["status"]) == {"unfinished"}
