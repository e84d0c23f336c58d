"""The changes of docs/extending.md, made to a copy of the project."""

import re
import shutil
import subprocess
import sys

import pytest

import mnistopt
from tests.programs import ROOT

GUIDE = ROOT / "docs" / "extending.md"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with all changes of the guide made."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("mnistopt", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__", "results.*")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    diffs = re.findall(r"^```diff\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    assert [diff.count("diff --git") for diff in diffs] == [2, 2]
    for diff in diffs:
        command = ["git", "apply", "--unsafe-paths", f"--directory={folder}", "-"]
        subprocess.run(command, input=diff, text=True, check=True, cwd=folder)
    return folder


def python(copy, *arguments):
    found = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_network_and_the_number_are_trained_by_command_and_by_python(copy):
    common = ["--train_examples=200", "--epochs=1", "--seeds=1", "--workdir=w"]
    asked = ["--model=bottleneck,mlp", "--narrow=2", "--hidden=8", "--shade=0,0.5"]
    shown = python(copy, "-m", "experiments.grid", *asked, *common)
    assert "2 compiles" in shown
    assert "bottleneck 0.5 1 " in re.sub(r"\s+", " ", shown)
    code = (
        "import mnistopt; s = mnistopt.run(model='bottleneck', narrow=2, shade=0.5, "
        "train_examples=200, epochs=1, seeds=1, workdir='w', "
        "on_plan=lambda plan: print(plan.there));"
        "print(s.trials['shade'].tolist(), s.trials['narrow'].dropna().tolist(), "
        "s.trials['test_accuracy'].nunique() > 1)"
    )
    assert python(copy, "-c", code).split("\n")[:2] == [
        "1",
        "[0.0, 0.5, 0.0, 0.5] [2, 2] True",
    ]
    assert "--narrow" in python(copy, "-m", "experiments.grid", "--help")


def test_a_workdir_of_before_is_there_all_the_same(copy, tmp_path):
    asked = {"model": "mlp", "hidden": (8,), "lr": 0.01, "epochs": 1, "seeds": 2}
    mnistopt.run(**asked, train_examples=200, workdir=tmp_path)
    shown = python(
        copy, "-m", "experiments.grid", "--dry_run", f"--workdir={tmp_path}",
        "--model=mlp", "--hidden=8", "--lr=0.01", "--seeds=2",
        "--train_examples=200", "--epochs=1",
    )  # fmt: skip
    assert "0 to train, 2 there already" in shown
