"""What the programs print: the plan, the progress bar and the tables."""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from mnistopt.labels import point_labels
from mnistopt.loop import Progress as State
from mnistopt.planning import Plan
from mnistopt.results import best_trial
from mnistopt.study import Study

# More rows than this scroll the best off the screen; summary.csv has all.
TABLE_ROWS = 20


def duration(seconds: float) -> str:
    """Writes seconds as a person says them: 48 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Writes bytes with a unit: 3.9 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def _console() -> Console:
    """Returns a console; a file or a pipe gets lines wide enough for the tables."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def plan(found: Plan) -> None:
    """Prints what a run will do."""
    console = _console()
    todo = f"{found.asked - found.there} to train, {found.there} there already"
    console.print(f"[bold]{found.asked} trials[/bold]: {todo}")
    if not found.jobs:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("network", "batch", "optimizer"):
        table.add_column(name)
    for name in ("params", "replicas", "epochs", "lanes", "state"):
        table.add_column(name, justify="right")
    for job in found.jobs:
        table.add_row(
            job.program.structure,
            str(job.program.batch_size),
            job.program.optimizer,
            f"{job.records[0].params:,}",
            str(len(job.records)),
            f"{job.start}-{job.milestones[-1]}" if job.start else f"{job.epochs}",
            f"{job.lanes.seeds}x{job.lanes.points}",
            size(job.state_bytes()),
        )
    console.print(table)
    console.print(
        f"{found.compiles} compile{'s' if found.compiles > 1 else ''}, "
        f"{found.images:,} training images, {size(found.data_bytes)} of data per "
        f"device, training time {duration(found.seconds())}"
        + ("" if found.timed else ", give or take a factor of two")
    )


def plans(found: Mapping[str, Plan]) -> None:
    """Prints what the parts of a study will do, and how long all of it takes."""
    for name, one in found.items():
        _console().print(f"\n[bold]{name}[/bold]")
        plan(one)
    if len(found) > 1 and any(one.jobs for one in found.values()):
        seconds = math.fsum(one.seconds() for one in found.values())
        _console().print(f"\nAll parts: training time {duration(seconds)}")


def markdown(text: str) -> None:
    """Prints Markdown, wide enough that no number of a table is cut."""
    console = Console(width=max(_console().width, 140), highlight=False)
    console.print(Markdown(text))


def where(workdir: str) -> None:
    """Prints where everything is."""
    _console().print(
        f"\nResults: {workdir}/paper.md, {workdir}/tables/", soft_wrap=True
    )


class Bar:
    """A progress bar on a terminal, and plain lines elsewhere; a context manager."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.fields[what]}"),
            BarColumn(bar_width=8),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=None, what="preparing", figures="")
        self._stage: tuple = ()
        self._printed = 0.0

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def __call__(self, state: State) -> None:
        """Shows where a run is."""
        # All of it fits a terminal of 80 columns.
        if state.compiling:
            figures = "compiling"
        else:
            minutes, seconds = divmod(round(state.seconds_left or 0), 60)
            figures = (
                f"{state.lanes} lanes  epoch {state.epoch}/{state.epochs}  "
                f"{state.images_per_second:,.0f} images/s  "
                f"best {100 * (state.best or 0):.1f} %  {minutes}:{seconds:02d} left"
            )
        self._bar.update(
            self._task,
            total=state.total_work,
            completed=state.work,
            what=state.structure,
            figures=figures,
        )
        # Off a terminal a line for each epoch, and in long ones every half minute.
        stage = (state.structure, state.compiling, state.epoch)
        due = stage != self._stage or time.monotonic() > self._printed + 30
        if self._bar.disable and due:
            print(f"{state.structure}  {figures}", file=sys.stderr, flush=True)
            self._stage, self._printed = stage, time.monotonic()


def _percent(row: pd.Series, name: str) -> str:
    ends = (100 * row[f"{name}_{end}"] for end in ("mean", "low", "high"))
    mean, low, high = (f"{end:.2f}" for end in ends)
    return "-" if mean == "nan" else mean if low == "nan" else f"{mean} [{low}, {high}]"


def results(study: Study) -> None:
    """Prints the points of a study, best first, and where everything is."""
    console = _console()
    summary = study.summary
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("point")
    table.add_column("n", justify="right")
    table.add_column("")
    for name in ("validation %", "test %", "train %", "train - test"):
        table.add_column(name, justify="right")
    labels = point_labels(summary)
    for _, row in summary.head(TABLE_ROWS).iterrows():
        missing = [
            f"{row[status]} {status}"
            for status in ("diverged", "unfinished")
            if row[status]
        ]
        table.add_row(
            labels[row["point"]],
            ", ".join([str(row["n"]), *missing]),
            row["choice"],
            *(
                _percent(row, name)
                for name in (
                    "validation_accuracy",
                    "test_accuracy",
                    "train_accuracy",
                    "overfitting",
                )
            ),
        )
    console.print(table)
    if len(summary) > TABLE_ROWS:
        console.print(f"{len(summary) - TABLE_ROWS} more points are in summary.csv")
    console.print(
        "Best first by validation accuracy, and what is tied with it at 5 %; mean over "
        "n seeds with its 95 % interval, the digits being fixed."
    )
    compiling = math.fsum(study.config["compile_seconds"].values())
    training = math.fsum(study.trials.groupby("replica")["seconds"].max())
    console.print(f"Training took {duration(training)}, compiling {compiling:.1f} s.")
    console.print(f"Results: {study.workdir}", soft_wrap=True)
    if (summary["n"] > 0).any():
        console.print(
            f"Best replica {best_trial(study.trials)}: "
            f"./launch.sh evaluate --workdir={study.workdir}",
            soft_wrap=True,
        )


def tensorboard(folder: Path) -> None:
    """Prints how to look at TensorBoard's files."""
    _console().print(f"Curves: tensorboard --logdir {folder}", soft_wrap=True)


def evaluation(found: dict) -> None:
    """Prints what `experiments.evaluate` found."""
    console = _console()
    low, high = (100 * end for end in found["accuracy_ci95"])
    console.print(
        f"[bold]{100 * found['accuracy']:.2f} %[/bold] accuracy "
        f"({found['correct']:,} of {found['count']:,}, 95 % interval "
        f"{low:.2f} to {high:.2f})\n"
        f"trial {found['trial']}, {found['weights']} weights, "
        f"{found['split']} split of {found['dataset']}",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("true \\ predicted", justify="right")
    for label in range(len(found["confusion"])):
        table.add_column(str(label), justify="right")
    for name in ("precision %", "recall %", "F1 %"):
        table.add_column(name, justify="right")
    for label, counts in enumerate(found["confusion"]):
        figures = found["per_class"][label]
        table.add_row(
            f"[bold]{label}[/bold]",
            *(
                f"[bold]{count}[/bold]" if other == label else str(count or "·")
                for other, count in enumerate(counts)
            ),
            *(f"{100 * figures[name]:.1f}" for name in ("precision", "recall", "f1")),
        )
    console.print(table)
