"""The program, end to end on a handful of images, and what it promises."""

import dataclasses
import gzip
import json
import os
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mnistopt.data.load import load
from mnistopt.paper.conclude import conclude
from mnistopt.paper.evidence import Evidence
from mnistopt.paper.hypotheses import VERDICTS
from mnistopt.paper.plan import Options, make_cells
from mnistopt.paper.reproduce import WholeProgress, plan, reproduce
from mnistopt.results.predictions import read_predictions
from mnistopt.study import request
from mnistopt.study.progress import Progress
from mnistopt.study.study import Study
from tests.programs import ROOT, assert_refused, run

SMALLEST = ("--scale=paper", "--epochs_scale=0.03", "--seeds=2", "--cnn_seeds=3")


def write_idx(folder, name, array):
    magic = struct.pack(">HBB", 0, 8, array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    folder.mkdir(exist_ok=True)
    content = gzip.compress(magic + sizes + array.tobytes())
    (folder / f"{name}-idx{array.ndim}-ubyte.gz").write_bytes(content)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with 240 + 40 of the shipped digits as MNIST's four files."""
    folder = tmp_path_factory.mktemp("digits")
    data = load("mnist_5k", train_examples=240)
    # The digits are sorted by class: every 25th of 1,000 is some of each.
    for name, split, step in (("train", data.train, 1), ("t10k", data.test, 25)):
        write_idx(folder, f"{name}-images", split.images[::step, :, :, 0])
        write_idx(folder, f"{name}-labels", split.labels[::step].astype(np.uint8))
    return folder


def paper(digits, workdir, *flags):
    """Runs the program, compiling quickly."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "experiments.paper", *SMALLEST),
            *(f"--data_dir={digits}", f"--workdir={workdir}", *flags),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "COLUMNS": "200",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )


FLAGS = ("--train_examples=200", "--cnn_train_examples=100", "--best_seeds=1")
SOME = ("--tables=1",)  # two programs to compile


@pytest.fixture(scope="module")
def some(digits, tmp_path_factory):
    """One table: what was printed, and the workdir."""
    workdir = tmp_path_factory.mktemp("some")
    return paper(digits, workdir, *FLAGS, *SOME), workdir


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """All five tables: what was printed, and the workdir."""
    workdir = tmp_path_factory.mktemp("whole")
    return paper(digits, workdir, *FLAGS), workdir


@pytest.fixture(
    params=["some", pytest.param("whole", marks=pytest.mark.full)], scope="module"
)
def made(request):
    """Either of them: the workdir."""
    found, workdir = request.getfixturevalue(request.param)
    assert found.returncode == 0, found.stderr
    return workdir


def tables_of(workdir):
    """Returns the CSV files by name, times left out: they differ from run to run."""
    frames = {}
    for path in (workdir / "tables").glob("*.csv"):
        if path.stem not in ("times", "speeds"):
            frame = pd.read_csv(path)
            timed = frame.filter(regex="minutes|seconds").columns
            frame = frame.drop(columns=timed)
            if "hypothesis" in frame:
                frame = frame[~frame["ratio"]]  # of times
            if path.stem == "summary":
                frame = frame[~frame["name"].isin(VERDICTS)]
            frames[path.stem] = frame
    return frames


def test_one_command_makes_a_table_and_the_report(some):
    found, workdir = some
    assert found.returncode == 0, found.stderr
    tables = tables_of(workdir)
    assert {"table1", "seeds", "curves", "mistakes", "claims"} <= set(tables)
    assert not {"table2", "table5"} & set(tables)
    assert len(tables["seeds"]) == 2 * 3
    assert (tables["seeds"]["status"] == "finished").all()
    assert "Table 1" in (workdir / "paper.md").read_text()
    assert f"Report: {workdir / 'report.html'}" in found.stdout
    assert 'data-chart="headline"' in (workdir / "report.html").read_text()


@pytest.mark.full
def test_one_command_makes_all_tables_and_the_report(whole):
    found, workdir = whole
    assert found.returncode == 0, found.stderr
    tables = tables_of(workdir)
    names = {f"table{number}" for number in range(1, 6)}
    evidence = {"seeds", "curves", "mistakes"}
    derived = {"differences", "claims", "summary", "learning"}
    assert set(tables) == names | evidence | derived
    # 5 MLP rows of Table 2 and 5 of Table 4 with 2 seeds, the rest with 3, best 1.
    assert len(tables["seeds"]) == 10 * 2 + (2 + 6 + 5 + 6) * 3 + 1
    assert (tables["seeds"]["status"] == "finished").all()
    assert tables["table5"]["n"].tolist() == [3] * 6 + [1]
    assert tables["table2"]["train_examples"].tolist() == [200] * 5
    assert set(tables["table1"]["train_examples"]) == {100}
    report = (workdir / "paper.md").read_text()
    for words in ("Table 1", "Table 5", "MLP 256 - 64", "commit", "./launch.sh paper"):
        assert words in report
    assert "Table 4: Impact of Dropout" in report
    for question in ("Which model?", "Which dropout?", "Was the paper right?"):
        assert question in found.stdout
    assert max(map(len, found.stdout.splitlines())) <= 200  # the tests' terminal
    page = (workdir / "report.html").read_text()
    assert f"Report: {workdir / 'report.html'}" in found.stdout
    for name in ("headline", "claims", "table1", "table5", "rates", "best-mistakes"):
        assert f'data-chart="{name}"' in page
        assert (workdir / "figures" / f"{name}.csv").exists()
    assert len(page) < 3e6
    assert json.loads((workdir / "config.json").read_text())["options"]["seeds"] == 2


def test_the_same_command_again_trains_nothing(digits, some):
    _, workdir = some
    before = {path: path.read_text() for path in (workdir / "tables").iterdir()}
    again = paper(digits, workdir, *FLAGS, *SOME)
    assert again.returncode == 0 and again.stderr == ""
    assert before == {path: path.read_text() for path in (workdir / "tables").iterdir()}


@pytest.mark.full
def test_table_by_table_gives_what_all_at_once_gives(digits, whole, tmp_path):
    _, workdir = whole
    flags = ("--train_examples=200", "--cnn_train_examples=100")
    for tables in ("--tables=1", "--tables=1,2"):
        found = paper(digits, tmp_path, *flags, tables)
        assert found.returncode == 0, found.stderr
    one, all_at_once = tables_of(tmp_path), tables_of(workdir)
    for name in ("table1", "table2"):
        pd.testing.assert_frame_equal(one[name], all_at_once[name])


def numbers_in(text):
    return re.findall(r"(?<![\w.])[+-]?\d(?:[\d,]*\d)?(?:\.\d+)?(?!\w)", text)


def renderings(value):
    """A number in all the ways that the report writes numbers."""
    ways = ("{:.0f}", "{:,.0f}", "{:.1f}", "{:.2f}", "{:.3f}", "{:#.3g}", "{:g}")
    signed = ("{:+.1f}", "{:+.2f}")
    found = {way.format(value) for way in (*ways, *signed)}
    return found | {way.format(100 * value) for way in (*ways, *signed)}


def test_every_number_of_the_report_is_in_a_table(made):
    workdir = made
    # Levels, "p < 0.001", and what 95 % means: 19 of 20.
    known = {"95", "5", "0.001", "19", "20"}
    for path in (workdir / "tables").iterdir():
        frame = pd.read_csv(path)
        if path.stem == "times":
            total = frame.sum(numeric_only=True)
            for value in total:
                known |= renderings(value / 60) | renderings(value)
        for column in frame:
            for value in frame[column].dropna():
                if isinstance(value, str):
                    known |= set(numbers_in(value))
                else:
                    known |= renderings(float(value)) | renderings(-float(value))
    report = (workdir / "paper.md").read_text()
    lines = [
        line for line in report.splitlines() if line.startswith(("| ", "**", "- "))
    ]
    answer = report[: report.index("## Definitions")].splitlines()
    checked = 0
    for line in lines:
        if line not in answer or line.startswith("| claim"):
            continue
        cells = re.sub(r"\(section .*?\)", "", line)
        for number in numbers_in(cells):
            assert number in known, (number, line)
            checked += 1
    assert checked > (300 if (workdir / "tables" / "table5.csv").exists() else 10)


def test_all_that_is_told_follows_from_the_evidence(made, tmp_path):
    """Without studies, images or training: every table, and paper.md, to the byte."""
    workdir = made
    (tmp_path / "tables").mkdir()
    names = [f"tables/{name}.csv" for name in ("seeds", "curves", "mistakes", "speeds")]
    for name in ("config.json", *names):
        shutil.copy(workdir / name, tmp_path / name)
    conclude(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    there = [*(workdir / "tables").iterdir(), *workdir.glob("*.md")]
    there.append(workdir / "config.json")
    assert made == sorted(path.relative_to(workdir) for path in there)
    for path in made:
        assert (tmp_path / path).read_text() == (workdir / path).read_text(), path


def test_the_evidence_says_what_the_studies_say(made):
    workdir = made
    found = Evidence.read(workdir)
    for part in found.parts:
        study = Study(workdir / part)
        seeds = found.seeds[found.seeds["part"] == part].set_index("trial")
        trials = study.trials.set_index("trial")
        assert set(seeds.index) == set(trials.index)
        curves = found.curves[found.curves["part"] == part]
        assert len(curves) == len(study.curves)
        for trial, row in seeds.iterrows():
            assert row["test_accuracy"] == trials.loc[trial, "test_accuracy"]
            curve = curves[curves["replica"] == row["replica"]].sort_values("epoch")
            curve = curve["validation_accuracy"].to_numpy()[: row["epochs"]]
            assert row["first_accuracy"] == curve[0]
            last = curve[-max(2, len(curve) // 4) :]
            spread = np.std(last, ddof=1) if len(last) > 1 else np.nan
            np.testing.assert_allclose(row["oscillation"], spread)
    for cell in make_cells(found.options):
        voted = read_predictions(workdir / cell.part, cell.row.point.identity(), "test")
        np.testing.assert_array_equal(
            found.vote_is_right(cell), voted.vote == voted.labels
        )


@pytest.mark.full
@pytest.mark.usefixtures("quick_compile")
def test_permuted_test_labels_change_no_choice(digits, tmp_path, monkeypatch):
    options = Options(
        tables=(1,),
        dataset="mnist",
        data_dir=str(digits),
        seeds=2,
        cnn_seeds=2,
        epochs_scale=0.06,
    )
    one = reproduce(options, tmp_path / "one")

    def permuted(*args, **kwargs):
        data = load(*args, **kwargs)
        labels = np.random.default_rng(0).permutation(data.test.labels)
        test = data.test._replace(labels=labels)
        return dataclasses.replace(data, test=test)

    monkeypatch.setattr(request, "load", permuted)
    two = reproduce(options, tmp_path / "two")
    assert one.tables[1]["choice"].tolist() == two.tables[1]["choice"].tolist()
    same = ["validation_accuracy", "train_accuracy"]
    pd.testing.assert_frame_equal(one.tables[1][same], two.tables[1][same])
    assert (two.tables[1]["test_accuracy"] < one.tables[1]["test_accuracy"]).all()


def test_progress_of_the_parts_is_told_as_of_one_study():
    told = []
    whole = WholeProgress(total_work=60, on_progress=told.append)
    state = Progress("mlp 8", False, 1, 2, 9.0, 0, 20, 0.0, None)
    for work, seconds in ((10, 1.0), (20, 2.0)):
        whole(state._replace(work=work, seconds=seconds))
    whole.next_part()
    whole.next_part()  # a part with nothing to do tells nothing
    whole(state._replace(work=40, seconds=1.0, total_work=40))
    found = [(one.work, one.total_work, one.seconds) for one in told]
    assert found == [(10, 60, 1.0), (20, 60, 2.0), (60, 60, 3.0)]
    assert told[1].seconds_left == 4.0 and told[-1].seconds_left == 0


def test_a_plan_trains_and_writes_nothing(digits, tmp_path):
    options = Options(dataset="mnist", data_dir=str(digits), cnn_seeds=2)
    found = plan(options, tmp_path / "new")
    assert {name: one.asked for name, one in found.items()} == {"mlp": 27, "cnn": 32}
    assert all(one.seconds() > 0 for one in found.values())
    assert not (tmp_path / "new").exists()
    shown = paper(digits, tmp_path / "new", "--dry_run")
    assert "All parts: training time" in shown.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--tables=6", ["tables=6", "1, 2, 3, 4, 5"]),
        ("--tables=one", ["--tables=one", "1 to 5"]),
        ("--tables=", ["tables"]),
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


def test_other_data_in_the_workdir_is_refused_and_nothing_is_lost(digits, some):
    _, workdir = some
    before = (workdir / "paper.md").read_text()
    flags = ("--cnn_train_examples=90", *SOME)
    assert_refused(paper(digits, workdir, *flags), "train_examples", "100", "90")
    assert (workdir / "paper.md").read_text() == before
