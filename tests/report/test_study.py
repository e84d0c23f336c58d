"""The report of a study, from its workdir."""

import dataclasses
import html
import os
import shlex

import pandas as pd
import pytest

import mnistopt
from mnistopt.errors import InputError
from mnistopt.points import ALWAYS as AXES
from mnistopt.report import study as reporting
from mnistopt.report.charts import pictures
from mnistopt.report.fresh import write_report
from mnistopt.report.study import glimpse, rerun_command
from mnistopt.results import config
from mnistopt.results.table_files import write_tables
from mnistopt.study.grid import grid
from tests.configs import make_config

TINY = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lanes": (1, 2)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("study")
    return mnistopt.run(
        **TINY, lr=[1e-3, 1e-2, 1e6], dropout=[0, 0.3], seeds=2, epochs=2,
        workdir=workdir,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(study):
    return study.report().read_text()


def fake(workdir, records):
    """Writes a workdir as if records had been trained."""
    rows = [record.point.row() for record in records]
    asked = {name: list(dict.fromkeys(row[name] for row in rows)) for name in AXES}
    config.write_config(workdir, make_config(asked=asked | {"seeds": 2}))
    write_tables(workdir, records)


def test_a_report_has_pictures_with_their_numbers_and_a_summary(study, page):
    figures = study.workdir / "figures"
    names = set(study.charts())
    assert {"seeds", "error", "loss", "sweep", "differences", "gap"} <= names
    assert {"mistakes", "confusion", "reliability"} <= names
    for name in names:
        for form in ("png", "svg", "pdf", "csv"):
            assert (figures / f"{name}.{form}").stat().st_size > 20
        assert f'data-chart="{name}"' in page
    facts = pd.read_csv(figures / "facts.csv").set_index("name")["value"]
    assert f"{100 * facts['best_test_accuracy_mean']:.2f} %" in page
    assert facts["diverged"] == 4 and "4 replicas diverged" in page
    assert len(page) < 3e6


@pytest.mark.parametrize("compiling", [True, False])
@pytest.mark.parametrize("epochs", [2, [1, 2]])
def test_a_study_that_was_stopped_in_its_first_cohort_has_a_report(
    tmp_path, compiling, epochs
):
    def stop(progress):
        if progress.compiling == compiling and progress.epoch == int(not compiling):
            raise KeyboardInterrupt

    asked = TINY | {"batch_size": [64, 32], "lr": [1e-3, 1e-2], "epochs": epochs}
    with pytest.raises(KeyboardInterrupt):
        mnistopt.run(**asked, seeds=1, workdir=tmp_path, on_progress=stop)
    stopped = mnistopt.open_study(tmp_path)
    assert set(stopped.trials["status"]) <= {"unfinished", "finished"}
    text = stopped.report().read_text()
    assert "not finished" in text and stopped.trials["trial"][0] in text
    assert stopped._repr_html_() and not stopped.summary.empty


def test_a_limit_of_addresses_that_no_picture_fits_into_is_told(tmp_path, monkeypatch):
    """Else the process would be killed while it draws."""
    study = mnistopt.run(**TINY, lr=[1e-3, 1e-2], seeds=1, epochs=1, workdir=tmp_path)
    monkeypatch.setattr(pictures, "address_space", lambda: 4e9)
    with pytest.raises(InputError, match="limited to 4 GB .* drawing reserves 68 GB"):
        study.report()
    assert not (tmp_path / "report.html").exists()


def test_every_trial_and_point_is_in_its_tables(study, page):
    for trial in study.trials["trial"]:
        assert trial in page
    for label in ("lr 0.001, dropout 0.3", "lr 0.01, dropout 0"):
        assert f'data-label="{label}"' in page


def test_a_report_is_drawn_again_only_when_its_study_has_changed(
    study, page, monkeypatch
):
    turns = []
    write = reporting.write_page
    monkeypatch.setattr(
        reporting, "write_page", lambda *a: turns.append(a) or write(*a)
    )

    def drawn():
        study.report()
        return len(turns)

    os.utime(study.workdir / "trials.csv")
    assert drawn() == 0
    # Nor does the same run again, which takes other seconds.
    again = {"lr": [1e-3, 1e-2, 1e6], "dropout": [0, 0.3], "seeds": 2, "epochs": 2}
    mnistopt.run(**TINY, **again, workdir=study.workdir)
    assert drawn() == 0
    # What of the study is taken for granted.
    path = study.workdir / "predictions" / "samples.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("row,setting,draw,place,image\n")
    try:
        assert drawn() == drawn() == 1
    finally:
        path.unlink()
    whole = write_report(study.workdir, anew=True).read_bytes()
    (study.workdir / "report.html").write_text("mine")
    with pytest.warns(UserWarning, match="it is kept as .*damaged/report.html-0"):
        assert study.report().read_bytes() == whole


def test_the_command_asks_for_the_same(study):
    command = " ".join(shlex.split(rerun_command(study.config, study.workdir)))
    assert command.startswith("./launch.sh grid --model=mlp --hidden=8 ")
    for flag in (
        "--lr=0.001,0.01,1000000",
        "--dropout=0,0.3",
        "--seeds=2",
        "--epochs=2",
    ):
        assert f" {flag} " in command
    assert "--train_examples=200" in command


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"modules": {"mlp": {"path": "nets:Net", "command": True}}},
            "--model=nets:Net",
        ),
        ({"data_file": "/toys.npz"}, "--data=/toys.npz"),
        ({"modules": {"mlp": {"path": "nets:Net", "command": False}}}, ""),
        ({"data": make_config({"dataset": "arrays"}).data}, ""),
    ],
)
def test_what_only_python_can_give_is_in_no_command(study, changes, words):
    command = rerun_command(dataclasses.replace(study.config, **changes), study.workdir)
    assert words in command and bool(words) == bool(command)


def test_a_study_shows_itself_in_a_notebook(study):
    shown = study._repr_html_()
    assert "lr 0.001, dropout 0" in shown and "data:image/png" in shown
    assert "8 finished" in repr(study)


def test_a_running_study_has_a_report_that_says_so(tmp_path, make_record):
    points = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2], epochs=4)
    fake(tmp_path, [make_record(point, done=2, measured=()) for point in points])
    text = write_report(tmp_path).read_text()
    assert "This study is not finished" in text
    assert 'data-chart="error"' in text and 'data-chart="seeds"' not in text


@pytest.mark.parametrize("done", [0, 4], ids=["not begun", "one replica"])
def test_a_study_of_one_replica_has_a_report(tmp_path, make_record, done):
    point = dataclasses.replace(grid(model="mlp", hidden=(8,), epochs=4)[0])
    fake(tmp_path, [make_record(point, done=done)] if done else
         [make_record(point, done=0, measured=())])  # fmt: skip
    assert "MLPs on mnist_5k" in write_report(tmp_path).read_text()
    assert "MLPs on mnist_5k" in glimpse(tmp_path)


def test_a_glimpse_is_escaped_and_needs_no_script(tmp_path, make_record):
    hostile = "<script>alert('x')</script>\"&" + "y" * 200
    point = grid(model="mlp", hidden=(8,), epochs=4)[0]
    structure = dataclasses.replace(point.structure, model=hostile)
    fake(tmp_path, [make_record(dataclasses.replace(point, structure=structure))])
    shown = glimpse(tmp_path)
    assert hostile in html.unescape(shown) and "<script" not in shown


def test_a_study_in_which_all_diverged_has_a_report(tmp_path, make_record):
    point = grid(model="mlp", hidden=(8,), epochs=2)[0]
    nan = float("nan")
    broken = {"diverged_at": [0, 0], "validation_loss_sum": [nan, nan]}
    fake(tmp_path, [make_record(point, seed, **broken) for seed in range(2)])
    assert "No setting has finished yet" in write_report(tmp_path).read_text()


def test_no_workdir_has_no_report(tmp_path):
    with pytest.raises(InputError, match="not the workdir of a grid"):
        write_report(tmp_path)


def test_a_hostile_path_stays_text(tmp_path, make_record):
    workdir = tmp_path / "<script>alert(1)<!-- \"'&"
    workdir.mkdir()
    point = grid(model="mlp", hidden=(8,), epochs=2)[0]
    fake(workdir, [make_record(point, seed) for seed in range(2)])
    page = write_report(workdir).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;!--" in page
