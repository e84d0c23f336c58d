import dataclasses
import gzip
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import mnistopt
from experiments import show, show_results
from experiments.program import command
from experiments.show import first_that_fits
from mnistopt.points import ALWAYS
from mnistopt.results.tables import summary_table, trials_table
from mnistopt.study.grid import grid as make_grid
from tests.idx import write_dataset, write_idx
from tests.programs import ROOT, assert_refused, run

SMALL = (
    "--model=mlp",
    "--hidden=8",
    "--train_examples=200",
    "--epochs=2",
    "--seeds=2",
)


COMMAND = (*SMALL[:-1], "--seeds=3", "--lr=1e-3,1e-2")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A finished grid: what it printed, and its workdir."""
    workdir = tmp_path_factory.mktemp("grid")
    return run("grid", *COMMAND, f"--workdir={workdir}"), workdir


def test_a_grid_prints_plan_progress_and_table(grid):
    found, workdir = grid
    assert found.returncode == 0, found.stderr
    assert "6 trials: 6 to train, 0 there already" in found.stdout
    assert "1 compile, 2,400 training images" in found.stdout
    assert re.search(r"epoch 1/2 .* images/s .* left .* best .* lr 0.0", found.stderr)
    row = r"^ (0\S+) +3 +(?:best|tied)? +\S+ \[\S+, \S+\] +\S+ \[\S+, \S+\]"
    rows = re.findall(row, found.stdout, re.M)
    summary = mnistopt.open_study(workdir).summary
    assert [float(row) for row in rows] == summary["lr"].to_list()


def test_the_printed_numbers_are_those_of_the_table(grid):
    found, workdir = grid
    best = mnistopt.open_study(workdir).summary.iloc[0]
    for name in ("validation_accuracy", "test_accuracy", "train_accuracy"):
        mean, low, high = (
            100 * best[f"{name}_{end}"] for end in ("mean", "low", "high")
        )
        assert f"{mean:.2f} [{low:.2f}, {high:.2f}]" in found.stdout


def test_the_same_command_again_trains_nothing_and_shows_the_results(grid):
    first, workdir = grid
    again = run("grid", *COMMAND, f"--workdir={workdir}")
    assert again.returncode == 0
    assert "6 trials: 0 to train, 6 there already" in again.stdout
    assert again.stderr == ""
    tables = [
        one.stdout[one.stdout.index(" lr ") : one.stdout.index("Took")]
        for one in (first, again)
    ]
    assert tables[0] == tables[1]


def test_the_last_line_accounts_for_the_whole_time(grid):
    found, _ = grid
    line = r"^Took (?:(\d+) min )?(\d+) s: (.*) s\.$"
    ((minutes, whole, parts),) = re.findall(line, found.stdout, re.M)
    seconds = dict(part.split() for part in parts.split(", "))
    assert sum(map(float, seconds.values())) == pytest.approx(
        60 * int(minutes or 0) + int(whole), abs=1
    )
    assert {"imports", "compiling", "report"} <= set(seconds)


def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path, grid):
    found = run("grid", *SMALL, "--dry_run", f"--workdir={tmp_path / 'new'}")
    assert found.returncode == 0
    assert "2 trials: 2 to train" in found.stdout
    assert re.search(
        r"about [\d.]+ s: [\d.]+ s of compiling and [\d.]+ s of training, give or "
        r"take\s+a factor of two",
        found.stdout,
    )
    assert not (tmp_path / "new").exists()
    # Where the cohort has run before, the plan knows how long it takes.
    known = run("grid", *SMALL, "--lr=0.1", "--dry_run", f"--workdir={grid[1]}")
    assert re.search(r"about [\d.]+ s of training$", known.stdout, re.M), known.stdout


def test_help_and_a_wrong_value_need_no_jax():
    code = (
        "import sys, experiments.grid as grid; sys.argv += ['--lr=0'];"
        "grid.define_flags()\n"
        "try: grid.run(grid.main, '')\n"
        "except SystemExit as end: print(end.code, 'jax' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "2 False\n"
    assert "error: lr=0 is not allowed" in found.stderr


def test_help_lists_every_flag_with_its_default():
    found = run("grid", "--help")
    assert found.returncode == 0
    for name in (*ALWAYS, "seeds", "workdir", "lanes", "dry_run"):
        assert re.search(rf"^  --{name} +\S", found.stdout, re.M), name
    assert "[32x64]" in found.stdout
    assert "[0.001]" in found.stdout


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--lr=0", ["lr=0 is not allowed", "above 0"]),
        ("--lr=-1e-3", ["lr=-1e-3 is not allowed"]),
        ("--lr=abc", ["lr=abc is not allowed", "number above 0"]),
        ("--lr=", ["lr= is not allowed", "number above 0"]),
        ("--lr=1e-3,,1e-2", ["lr= is not allowed", "number above 0"]),
        ("--lr=nan", ["lr=nan"]),
        ("--dropout=1", ["dropout=1 is not allowed", "below 1"]),
        ("--channels=32x", ["channels=32x is not allowed", "32x64"]),
        ("--hidden=0", ["hidden=0 has no effect", "model=cnn", "model=mlp"]),
        ("--channels=0", ["channels=0 is not allowed", "32x64"]),
        ("--hidden=256", ["hidden=256 has no effect", "model=cnn", "model=mlp"]),
        ("--model=transformer", ["model=transformer", "mlp, cnn"]),
        ("--optimizer=lion", ["optimizer=lion", "adam, adamw, sgd"]),
        ("--weight_decay=0.1", ["optimizer=adamw"]),
        ("--batch_size=1.5", ["batch_size=1.5 is not allowed", "whole number"]),
        ("--epochs=0", ["epochs=0"]),
        ("--seeds=0", ["seeds"]),
        ("--train_examples=0", ["train_examples"]),
        ("--lanes=2x2x2", ["lanes=2x2x2 is not", "auto"]),
        ("--devices=none", ["devices=none is not", "auto"]),
        ("--learning_rate=1", ["learning_rate"]),
        ("lr=1e-3", ["'lr=1e-3' is not a flag"]),
    ],
)
def test_a_wrong_flag_is_refused(flag, words):
    assert_refused(run("grid", flag), *words)


@pytest.fixture
def idx_folder(tmp_path):
    folder = tmp_path / "idx"
    random = np.random.default_rng(0)
    sizes = {"train": 120, "t10k": 40}
    write_dataset(
        folder,
        {
            part: (random.integers(0, 256, (size, 28, 28)), np.arange(size) % 10)
            for part, size in sizes.items()
        },
    )
    return folder


def test_a_grid_reads_idx_files(idx_folder, tmp_path):
    found = run(
        "grid",
        *("--model=mlp", "--hidden=8", "--epochs=1", "--seeds=1", "--batch_size=10"),
        *("--dataset=mnist", f"--data_dir={idx_folder}", f"--workdir={tmp_path / 'w'}"),
    )
    assert found.returncode == 0, found.stderr
    assert mnistopt.open_study(tmp_path / "w").config.data.train == 110


def truncate(folder):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    return path.name


def corrupt(folder):
    path = folder / "train-images-idx3-ubyte"
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    return path.name


def wrong_magic(folder):
    write_idx(folder / "train-labels-idx1-ubyte", np.arange(120) % 10, magic=0x0D01)
    return "train-labels-idx1-ubyte"


def label_over_9(folder):
    write_idx(folder / "t10k-labels-idx1-ubyte", np.arange(40) % 11)
    return "t10k-labels-idx1-ubyte"


def missing_file(folder):
    (folder / "t10k-images-idx3-ubyte").unlink()
    return "t10k-images-idx3-ubyte"


@pytest.mark.parametrize(
    "damage", [truncate, corrupt, wrong_magic, label_over_9, missing_file]
)
def test_damaged_data_is_refused(damage, idx_folder, tmp_path):
    name = damage(idx_folder)
    workdir = tmp_path / "w"
    found = run(
        "grid", "--dataset=mnist", f"--data_dir={idx_folder}", f"--workdir={workdir}"
    )
    assert_refused(found, name)
    assert not workdir.exists()


def test_a_missing_data_folder_is_refused(tmp_path):
    found = run("grid", "--dataset=mnist", f"--data_dir={tmp_path / 'none'}")
    assert_refused(found, str(tmp_path / "none"))


def test_an_unwritable_workdir_is_refused(tmp_path):
    (tmp_path / "file").touch()
    found = run("grid", *SMALL, f"--workdir={tmp_path / 'file'}")
    assert_refused(found, "cannot be written to", "--workdir")


def test_a_workdir_of_another_study_is_refused(grid):
    others = [flag for flag in SMALL if "train_examples" not in flag]
    found = run("grid", *others, "--train_examples=300", f"--workdir={grid[1]}")
    assert_refused(found, "train_examples: 200 in the study, 300 requested")


def test_a_grid_ends_with_a_report(grid):
    found, workdir = grid
    assert found.stdout.splitlines()[-2] == f"Report: {workdir}/report.html"
    assert (workdir / "figures" / "error.png").exists()


def test_tables_stand_whatever_becomes_of_the_pictures(tmp_path):
    (tmp_path / "report.html").mkdir()  # where a file should be
    found = run("grid", *SMALL, f"--workdir={tmp_path}")
    assert found.returncode == 0
    assert found.stderr.count("warning:") == 1 and "Traceback" not in found.stderr
    assert "validation %" in found.stdout
    assert (tmp_path / "summary.csv").exists()


def test_quiet_is_quiet(grid):
    _, workdir = grid
    found = run("grid", *COMMAND, f"--workdir={workdir}", "--quiet")
    assert found.stdout == f"Report: {workdir}/report.html\n"
    assert found.stderr == ""


@pytest.mark.parametrize(
    ("columns", "encoding"), [(60, "utf-8"), (80, "ascii"), (120, "utf-8")]
)
def test_what_is_printed_fits_the_terminal(grid, columns, encoding):
    _, workdir = grid
    arguments = (*COMMAND, f"--workdir={workdir}")
    for program, flags in (("grid", arguments), ("evaluate", [f"--workdir={workdir}"])):
        found = run(program, *flags, columns=columns, encoding=encoding)
        assert found.returncode == 0, found.stderr
        for line in found.stdout.splitlines():
            assert len(line) <= columns or str(workdir) in line, line
        # Nothing is cut, whether by a table or for want of letters.
        assert "…" not in found.stdout and "?" not in found.stdout
        assert "Traceback" not in found.stderr
        if encoding == "ascii":
            assert found.stdout.isascii()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_plan_and_its_points_fit_the_terminal(tmp_path, columns):
    axes = ("--model=mlp,cnn", "--hidden=16x16x16", "--channels=2x3", "--dense=4,8")
    axes += ("--lr=0.01234567,0.01234571", "--dropout=0,0.3", "--label_smoothing=0,0.1")
    found = run("grid", *axes, "--dry_run", columns=columns)
    assert found.returncode == 0, found.stderr
    assert all(len(line) <= columns for line in found.stdout.splitlines())
    assert "…" not in found.stdout and "mlp 16x16x16 " in found.stdout


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_column_per_hyper_parameter_where_there_is_room(make_record, columns):
    points = make_grid(
        model="mlp", lr=[0.01234567, 0.01234571], dropout=[0, 0.3], epochs=2
    )
    summary = summary_table(trials_table([make_record(one) for one in points]))
    console = Console(width=columns, file=io.StringIO(), emoji=False)
    console.print(first_that_fits(console, show_results._tables(summary)))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= columns for line in lines)
    rows = [line.split()[:2] for line in lines if line.startswith(" 0.01")]
    assert sorted(rows) == sorted(
        [lr, dropout] for lr in ("0.01234567", "0.01234571") for dropout in ("0", "0.3")
    )


@pytest.mark.parametrize("name", ["sweep[lr]", "run:100:x", "a[/b]", "a b'c", "ü"])
def test_names_that_people_give_are_printed_as_they_are(grid, name, capsys):
    study = mnistopt.open_study(grid[1])
    there = Path("/nowhere") / name
    shown = SimpleNamespace(
        summary=study.summary.assign(model=name),
        trials=study.trials,
        effects=study.effects,
        workdir=there,
    )
    show_results.results(shown)
    show.tensorboard(there)
    show.draw(lambda: there / "report.html", there)
    hint, curves, report = capsys.readouterr().out.splitlines()[-3:]
    assert shlex.split(hint)[-1] == f"--workdir={there}"
    assert shlex.split(curves)[-1] == str(there)
    assert report == f"Report: {there}/report.html"


def test_hints_are_called_as_the_program_was(monkeypatch):
    monkeypatch.delenv("MNISTOPT_LAUNCHER", raising=False)
    assert command("grid", "--workdir=a b") == (
        "python -m experiments.grid '--workdir=a b'"
    )
    monkeypatch.setenv("MNISTOPT_LAUNCHER", "../here/launch.sh")
    assert command("grid") == "../here/launch.sh grid"


def test_a_report_is_drawn_anew(grid):
    _, workdir = grid
    (workdir / "report.html").unlink()
    found = run("report", f"--workdir={workdir}")
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"{workdir}/report.html\n"
    assert (workdir / "report.html").exists()
    assert_refused(run("report"), "--workdir")
    assert_refused(run("report", f"--workdir={workdir / 'none'}"), "not the workdir")


def test_what_the_library_calls_settings_are_flags_here(tmp_path):
    (tmp_path / "trials.csv").write_text("mine")
    asked = {"model": "mlp", "train_examples": 200, "workdir": tmp_path}
    with pytest.raises(mnistopt.InputError, match="give another `workdir`"):
        mnistopt.plan(**asked)
    flags = [f"--{name}={value}" for name, value in asked.items()]
    assert_refused(run("grid", *flags), "give another --workdir")


def test_a_plan_for_an_accelerator_names_its_precision(tiny, tmp_path, capsys):
    settings = {"model": "mlp", "hidden": (4,), "batch_size": 8}
    plan = mnistopt.plan(data=tiny, **settings, workdir=tmp_path)
    show.plan(plan)
    assert "products in" not in capsys.readouterr().out
    machine = {"device": "NVIDIA H200", "precision": "tf32"}
    show.plan(dataclasses.replace(plan, machine=machine))
    assert "on NVIDIA H200: products in tf32" in capsys.readouterr().out
