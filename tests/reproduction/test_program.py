"""The program, end to end on a handful of images, and what it promises."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from experiments.reproduction.evidence import Evidence
from experiments.reproduction.findings import Findings
from tests.programs import ROOT, assert_refused, run

# Two programs to compile; three seeds, which are two steps on two cores.
SMALLEST = ("--tables=1", "--epochs_scale=0.04", "--seeds=3", "--train_examples=200")


def command(workdir, *flags):
    return [
        *two_cores(),
        *(sys.executable, "-m", "experiments.paper", *SMALLEST),
        *(f"--workdir={workdir}", *flags),
    ]


def two_cores():
    """What comes before a command, so that it has two cores: two seeds at a time."""
    if not shutil.which("taskset"):
        return []
    cores = sorted(os.sched_getaffinity(0))[:2]
    return ["taskset", "-c", ",".join(map(str, cores))]


def settings(**more):
    quick = {"COLUMNS": "200", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    return {"cwd": ROOT, "env": {**os.environ, **quick}, "text": True, **more}


def paper(workdir, *flags):
    """Runs the program, compiling quickly."""
    return subprocess.run(
        command(workdir, *flags), **settings(capture_output=True, check=False)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One table: what was printed, and the workdir."""
    workdir = tmp_path_factory.mktemp("made")
    found = paper(workdir)
    assert found.returncode == 0, found.stderr
    return found, workdir


def tables_of(workdir):
    """Returns the CSV files by name, times left out: they differ from run to run."""
    frames = {}
    for path in sorted((workdir / "tables").glob("*.csv")):
        frame = pd.read_csv(path)
        frames[path.stem] = frame.drop(columns=frame.filter(regex="minutes").columns)
    return frames


def test_one_command_makes_a_table_the_verdicts_and_the_page(made):
    found, workdir = made
    assert set(tables_of(workdir)) == {"claims", "learning", "table1"}
    trials = Evidence.read(workdir).tables["trials"]
    assert len(trials) == 2 * 3 and (trials["status"] == "finished").all()
    text = (workdir / "paper.md").read_text()
    assert "### Table 1" in text and "### Table 2" not in text
    assert f"Report: {workdir / 'report.html'}" in found.stdout
    assert "Which model?" in found.stdout and "step 1 of 2" in found.stdout
    page = (workdir / "report.html").read_text()
    for name in ("headline", "claims", "table1"):
        assert f'data-chart="{name}"' in page


def test_the_same_command_again_trains_nothing(made):
    _, workdir = made
    names = ("evidence/trials.csv", "evidence/speeds.csv", "paper.md", "config.json")
    before = {name: (workdir / name).read_text() for name in names}
    again = paper(workdir)
    assert again.returncode == 0 and again.stderr == ""
    assert "Nothing to train" in again.stdout
    assert before == {name: (workdir / name).read_text() for name in names}


def test_killed_it_goes_on_from_its_evidence_alone_to_the_same_tables(made, tmp_path):
    _, whole = made
    first, second = tmp_path / "first", tmp_path / "second"
    process = subprocess.Popen(
        command(first), **settings(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    )
    while process.poll() is None and not (first / "evidence" / "trials.csv").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = len(Evidence.read(first).tables["trials"])
    assert 0 < there < 6
    shutil.copytree(first / "evidence", second / "evidence")
    found = paper(second)
    assert found.returncode == 0, found.stderr
    assert f"{6 - there} trials: {6 - there} to train" in found.stdout
    one, other = tables_of(whole), tables_of(second)
    assert one.keys() == other.keys()
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name])


def test_all_that_is_told_follows_from_the_evidence(made, tmp_path):
    """Without studies, images or training: every table, and paper.md, to the byte."""
    _, workdir = made
    shutil.copytree(workdir / "evidence", tmp_path / "evidence")
    shutil.copy(workdir / "config.json", tmp_path)
    found = run("report", f"--workdir={tmp_path}")
    assert found.returncode == 0, found.stderr
    for name in ("paper.md", "headline.md", "tables/claims.csv", "tables/table1.csv"):
        assert (tmp_path / name).read_text() == (workdir / name).read_text()


def test_what_a_killed_study_had_finished_is_evidence(made, tmp_path):
    """A study whose rows nobody has taken in: they are at the next start."""
    _, workdir = made
    shutil.copytree(workdir / "studies", tmp_path / "studies")
    shown = paper(tmp_path, "--dry_run")
    assert "Nothing to train" in shown.stdout, shown.stderr
    assert not (tmp_path / "evidence").exists()


def test_another_s_folder_is_refused_and_nothing_in_it_changes(made, tmp_path):
    _, workdir = made
    for name in ("config.json", "trials.csv"):
        (tmp_path / name).write_text("{}")
    assert_refused(paper(tmp_path), "cannot be read as a reproduction")
    assert (tmp_path / "config.json").read_text() == "{}"
    before = (workdir / "config.json").read_text()
    refused = run("paper", "--tables=outlook", f"--workdir={workdir}")
    assert_refused(refused, "holds a reproduction of something else (paper)")
    assert (workdir / "config.json").read_text() == before


@pytest.mark.full
def test_the_outlook_is_made_by_the_same_pipeline(tmp_path):
    flags = ("--tables=outlook", "--seeds=1", "--epochs_scale=0.05")
    found = paper(tmp_path, *flags)
    assert found.returncode == 0, found.stderr
    findings = Findings.read(tmp_path)
    assert set(findings.tables) == {6, 7, 8}
    for table in findings.tables.values():
        assert (table["n"] == 1).all() and table["robust"].between(0, 1).all()
        assert (table["seconds"] > 0).all() and (table["multiply_adds"] > 0).all()
    assert 'data-chart="robustness"' in (tmp_path / "report.html").read_text()
    again = paper(tmp_path, *flags)
    assert "Nothing to train" in again.stdout and again.stderr == ""


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--tables=6", ["tables=6", "1, 2, 3, 4, 5"]),
        ("--tables=one", ["--tables=one", "1 to 5"]),
        ("--tables=", ["--tables"]),
        ("--epochs_scale=0", ["epochs_scale=0", "above 0"]),
        ("--epochs_scale=nan", ["epochs_scale=nan"]),
        ("--scale=huge", ["scale", "quick", "paper"]),
        ("--seeds=0", ["seeds"]),
        ("--train_examples=9999999", ["train_examples is 9999999"]),
        ("--data_dir=/nowhere", ["mnist_5k", "/nowhere"]),
    ],
)
def test_bad_flags_are_refused(flag, words, tmp_path):
    workdir = tmp_path / "new"
    assert_refused(run("paper", flag, f"--workdir={workdir}"), *words)
    assert not workdir.exists()
