"""Every file of a workdir, damaged: the same command mends it, or says why not."""

import itertools
import json
import re
import shutil
import warnings

import numpy as np
import pytest

import mnistopt
from experiments import evaluate
from mnistopt.engine import devices
from mnistopt.engine.checkpoint import CHECKSUM, Damaged
from mnistopt.errors import InputError
from mnistopt.files import text_checksum
from mnistopt.manifest import MANIFEST, OF_FIGURES, Manifest
from mnistopt.report import page
from mnistopt.study import evaluation
from tests import damage
from tests.damage import ASKED, DAMAGES, KINDS, check_right, cut, flip, mend
from tests.programs import ROOT


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with its report; not to be changed."""
    return damage.make(tmp_path_factory.mktemp("damage") / "w")


@pytest.fixture
def workdir(study, tmp_path):
    """A copy of it."""
    return shutil.copytree(study.workdir, tmp_path / "w")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_damaged_the_same_command_mends_it_or_says_why_not(study, kind):
    """One file of a kind, one damage: `python -m tests.damage` does all of them."""
    of_kind = [
        one for one in damage.files_of(study.workdir) if damage.kind_of(one) == kind
    ]
    place = list(KINDS).index(kind)
    name = of_kind[place % len(of_kind)]
    one = list(DAMAGES)[place % len(DAMAGES)]
    said = damage.outcome(study, name, one, 0.5)
    assert said == "mended" or one == "a folder"


@pytest.mark.full
@pytest.mark.parametrize("one", DAMAGES)
def test_every_file_in_every_way(study, one):
    for name in damage.files_of(study.workdir):
        for share in np.linspace(
            0.03, 0.97, 4 if one in ("cut", "a bit flipped") else 1
        ):
            damage.outcome(study, name, one, share)


def test_the_page_knows_every_file_of_a_workdir(study):
    text = (ROOT / "docs" / "faults.md").read_text()
    for name in damage.files_of(study.workdir):
        first = name.partition("/")[0]
        assert re.search(rf"\| `{re.escape(first)}|, `{re.escape(first)}", text), name


# --- Tables ---


def test_a_table_that_is_cut_anywhere_says_nothing_of_checkpoints(workdir, study):
    """Within a row it named trials that have never been."""
    path = workdir / "trials.csv"
    whole = path.read_bytes()
    for end in range(0, len(whole), 170):
        path.write_bytes(whole[:end])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert not mnistopt.plan(**ASKED, workdir=workdir).jobs
            assert mnistopt.open_study(workdir).trials.equals(study.trials)
    assert not mend(workdir, report=False)
    check_right(study, workdir)
    assert len(list((workdir / "damaged").iterdir())) == 1


@pytest.mark.parametrize("garbage", [False, True])
def test_rows_that_only_a_changed_table_has_do_not_vanish(workdir, garbage):
    """The checkpoints are gone, and somebody has saved the table by another program."""
    shutil.rmtree(workdir / "checkpoints")
    path = workdir / "trials.csv"
    text = path.read_text().replace("\n", "\r\n")
    path.write_text("\0" + text[:30] if garbage else text)
    before = {one: one.read_bytes() for one in workdir.glob("*.csv")}
    told = mend(workdir, report=False)
    assert ("no checkpoints to restore it from" if garbage else "are gone") in told
    assert before == {one: one.read_bytes() for one in workdir.glob("*.csv")}
    # As is advised.
    path.rename(workdir / "mine.csv")
    assert not mend(workdir, report=False)
    assert len(mnistopt.open_study(workdir).trials) == 4


def test_a_manifest_that_is_gone_takes_nothing_away(workdir, study):
    """As in a copy without files whose names begin with a dot."""
    (workdir / MANIFEST).unlink()
    assert mnistopt.open_study(workdir).trials.equals(study.trials)
    assert not mend(workdir) and not (workdir / "damaged").exists()
    check_right(study, workdir)
    assert Manifest(workdir).is_fresh("report.html", "") is False


@pytest.mark.parametrize("name", ["summary.csv", "curves.csv", "config.json"])
def test_a_report_of_a_changed_file_is_right_or_refused(workdir, name):
    wanted = (workdir / "figures" / "facts.csv").read_bytes()
    path = workdir / name
    path.write_text(re.sub(r"\b1\b", "-1", path.read_text()))
    if name == "config.json":
        with pytest.raises(InputError, match="config.json is damaged, or was changed"):
            mnistopt.open_study(workdir)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mnistopt.open_study(workdir).report()
    assert (workdir / "figures" / "facts.csv").read_bytes() == wanted


# --- Checkpoints ---


def restored(folder):
    """Returns the weights of each trial that can be restored, as bytes."""
    found = {}
    opened = mnistopt.open_study(folder)
    for trial in opened.trials["trial"]:
        try:
            found[trial] = opened.params(trial)["Dense_0"]["kernel"].tobytes()
        except (Damaged, InputError):
            continue
    return found


@pytest.mark.parametrize("epoch", [1, pytest.param(2, marks=pytest.mark.full)])
def test_what_could_be_restored_before_a_repair_can_be_after_it(workdir, study, epoch):
    """Of a checkpoint of which one replica's arrays are damaged."""
    wanted = restored(study.workdir)
    step = next(iter(workdir.glob(f"checkpoints/*/{epoch}")))
    files = list(step.glob("state/ocdbt.process_0/d/*"))
    files.sort(key=lambda one: one.stat().st_size, reverse=True)
    # Until it is one of the kernels that are looked at: which file has them, Orbax's
    # threads decide.
    for file, share in itertools.product(files, np.linspace(0.05, 0.95, 19)):
        whole = file.read_bytes()
        flip(file, share)
        if 0 < len(restored(workdir)) < len(wanted):
            break
        file.write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = restored(workdir)
        assert 0 < len(before) < len(wanted)
        plan = mnistopt.plan(**ASKED, workdir=workdir)
        assert sum(len(job.records) for job in plan.jobs) == len(wanted) - len(before)
        # Nobody has asked for the others: they stay where they are.
        mnistopt.run(**(ASKED | {"lr": 0.5}), workdir=workdir)
        assert restored(workdir).items() >= before.items()
        assert step.exists()
    assert not mend(workdir)
    check = {name: restored(workdir)[name] for name in wanted}
    # The others are there, and nowhere else.
    assert check == wanted and step.exists()
    shutil.rmtree(step / "state" / "ocdbt.process_0")
    assert not mend(workdir, report=False)
    assert {name: restored(workdir)[name] for name in wanted} == wanted
    assert not step.exists()
    assert [one.name for one in (workdir / "damaged").iterdir()] == [
        f"{step.parent.name}-{epoch}-0"
    ]


def test_what_is_trained_again_elsewhere_is_what_the_tables_show(workdir, monkeypatch):
    """Another machine has other last bits, and weights and rows are of one training."""
    (step,) = workdir.glob("checkpoints/*/2")
    cut(step / "state" / "manifest.ocdbt", 0.5)
    describe = devices.describe_device
    monkeypatch.setattr(
        devices, "describe_device", lambda *of: describe(*of) | {"xla": {"other": "1"}}
    )
    before = mnistopt.open_study(workdir).trials["machine"].unique()
    assert not mend(workdir, report=False)
    trials = mnistopt.open_study(workdir).trials
    (new,) = trials.query("epochs == 2")["machine"].str.split("+").str[-1].unique()
    assert new not in before
    # Those of one epoch go on elsewhere.
    assert set(trials["machine"]) == {*before, f"{before[0]}+{new}"}
    assert not (workdir / "checkpoints" / step.parent.name / "2").exists()


def test_a_checkpoint_in_passing_that_is_damaged_is_told_of_once(workdir):
    """As of a run that was killed, and has gone further since."""
    (last,) = workdir.glob("checkpoints/*/2")
    passing = workdir / "checkpoints" / "0123456789" / "1"
    shutil.copytree(last.with_name("1"), passing)
    about = json.loads((passing / "about" / "metadata").read_text())
    for record in about["records"]:
        for split in ("train", "test", "best_test"):
            record["history"][f"{split}_total"] = [0]
    del about[CHECKSUM]
    about[CHECKSUM] = text_checksum(about)
    (passing / "about" / "metadata").write_text(json.dumps(about))
    cut(passing / "state" / "manifest.ocdbt", 0.5)
    shutil.rmtree(last.with_name("1"))
    shutil.copytree(passing, last.with_name("1"))
    shutil.rmtree(passing)
    assert not mend(workdir, report=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mnistopt.run(**ASKED, workdir=workdir)


def test_a_checkpoint_that_somebody_has_removed_is_trained_again(workdir, study):
    """As far as another one knows what it was: nothing vanishes from the tables."""
    (first,) = workdir.glob("checkpoints/*/1")
    shutil.rmtree(first)
    opened = mnistopt.open_study(workdir)
    for trial in opened.trials.query("epochs == 1")["trial"]:
        with pytest.raises(
            InputError, match="no checkpoint; run the grid's command again"
        ):
            opened.params(trial)
    assert not mend(workdir, report=False)
    check_right(study, workdir)


def test_damage_and_one_more_epoch_are_one_command(workdir, study):
    """Arrays, and records."""
    (last,) = workdir.glob("checkpoints/*/2")
    cut(next(last.glob("state/manifest.ocdbt")), 0.5)
    (first,) = workdir.glob("checkpoints/*/1")
    cut(first / "about" / "metadata", 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more = mnistopt.run(**(ASKED | {"epochs": 3}), workdir=workdir)
    assert sorted(set(more.trials["epochs"])) == [1, 2, 3]
    wanted, found = restored(study.workdir), restored(workdir)
    assert found.items() >= wanted.items() and len(found) == 6


def test_the_checkpoints_of_others_are_left_alone(workdir, study):
    """Folders in the store, files in a group, and names that are taken."""
    store = workdir / "checkpoints"
    group = next(store.glob("*/1")).parent
    for mine in (
        store / "mine",
        store / "2024" / "7",
        group / "notes",
        workdir / "damaged",
    ):
        mine.mkdir(parents=True)
    (store / "mine" / "thesis.txt").write_text("mine")
    (group / "read.me").write_text("mine")
    (workdir / "damaged" / f"{group.name}-1-0").write_text("mine")
    before = sorted(path for path in workdir.rglob("*") if "mine" in str(path))
    cut(next((group / "1").glob("state/manifest.ocdbt")), 0.5)
    assert not mend(workdir)
    check_right(study, workdir)
    assert before == sorted(path for path in workdir.rglob("*") if "mine" in str(path))
    assert (store / "2024" / "7").is_dir() and (group / "notes").is_dir()
    assert (group / "read.me").read_text() == "mine"
    assert (workdir / "damaged" / f"{group.name}-1-1").is_dir()


# --- What is made of others ---


def test_predictions_are_made_anew(workdir, study):
    for name in ("labels.npz", "mistakes.csv", "p*.npz"):
        path, *_ = sorted((workdir / "predictions").glob(name))
        whole = path.read_bytes()
        for content in (b"", b"PK\3\4 junk", None):
            if content is None:
                flip(path, 0.9)
            else:
                path.write_bytes(content)
            assert not mend(workdir, report=False)
            assert path.read_bytes() == whole or path.suffix == ".npz"
            check_right(study, workdir)


def test_the_charts_javascript_is_believed_only_if_it_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "CACHE_DIR", str(tmp_path))
    wanted = page._vega.__wrapped__()
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    for damaged in (
        b"",
        whole[:1000],
        whole[:-1],
        whole[:-9] + b"\0" * 9,
        b"var vega;",
    ):
        kept.write_bytes(damaged)
        assert page._vega.__wrapped__() == wanted
        assert kept.read_bytes() == whole or len(kept.read_bytes()) == len(whole)


@pytest.mark.parametrize("folder", ["", "figures", "predictions"])
def test_a_folder_that_is_read_only_is_told_in_words(workdir, folder):
    for path in (workdir / folder).glob("*.*"):
        if path.is_file() and path.suffix in (".npz", ".html", ".png"):
            path.unlink()
    with damage.read_only(workdir / folder):
        with pytest.raises(
            InputError, match="cannot be written to .*Permission denied"
        ):
            mnistopt.run(**ASKED, workdir=workdir).report()
        if folder != "predictions":
            with pytest.raises(InputError, match="cannot be written to .*Permission"):
                mnistopt.open_study(workdir).report()
        # Who reads is not kept out.
        assert mnistopt.open_study(workdir).params()


def test_robustness_is_not_measured_for_nothing(workdir, monkeypatch):
    opened = mnistopt.open_study(workdir)
    monkeypatch.setattr(evaluation, "robustness", lambda *_: pytest.fail("measured"))
    images = np.zeros((2, 28, 28, 1), np.uint8)
    about = {"dataset": "mnist_5k", "split": "test"}
    with (
        damage.read_only(workdir),
        pytest.raises(InputError, match="cannot be written to .*Permission denied"),
    ):
        evaluate._corrupt(opened, evaluate.Examples(about, images, np.array([1, 2])))


def test_what_cannot_be_predicted_keeps_nobody_else_from_it(workdir):
    """Its weights are damaged, it is not asked for, and its predictions are gone."""
    for one in workdir.glob("checkpoints/*/2/state/manifest.ocdbt"):
        cut(one, 0.5)
    shutil.rmtree(workdir / "predictions")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = mnistopt.run(**(ASKED | {"lr": 0.5}), workdir=workdir)
    lost = study.trials.query("lr == 0.001 and epochs == 2")["trial"]
    for trial in study.trials["trial"]:
        if trial not in set(lost):
            assert len(study.predictions(trial).seeds) == 2
            continue
        with pytest.raises(InputError, match="run the grid to its end"):
            study.predictions(trial)
    # What is advised.
    assert not mend(workdir, report=False)
    assert all(len(study.predictions(trial).seeds) == 2 for trial in lost)


def test_a_report_knows_what_it_is_made_of(workdir):
    """By content: clocks and copies say nothing."""
    report = workdir / "report.html"
    stamp = report.stat().st_mtime_ns
    mnistopt.open_study(workdir).report()
    assert report.stat().st_mtime_ns == stamp
    content = json.loads((workdir / OF_FIGURES).read_text())
    older = workdir / "predictions" / "mistakes.csv"
    older.write_text(older.read_text().partition("\n")[0] + "\n")
    mnistopt.open_study(workdir).report()
    fresh = json.loads((workdir / OF_FIGURES).read_text())
    assert fresh["files"]["report.html"] != content["files"]["report.html"]
