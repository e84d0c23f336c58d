"""What the programs print: the plan, the progress bar and the tables."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from mnistopt.results.labels import point_labels
from mnistopt.results.tables import best_trial
from mnistopt.study.planning import Plan
from mnistopt.study.progress import Progress as State
from mnistopt.study.rerun import Rerun
from mnistopt.study.study import Study

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


def make_console() -> Console:
    """Returns a console; a file or a pipe gets lines of the usual 80 columns."""
    asked = os.environ.get("COLUMNS")
    width = None if sys.stdout.isatty() or asked else 80
    return Console(width=width, highlight=False)


def plan(found: Plan) -> None:
    """Prints what a run will do."""
    console = make_console()
    todo = f"{found.asked - found.there} to train, {found.there} there already"
    console.print(f"[bold]{found.asked} trials[/bold]: {todo}")
    if not found.jobs:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("network", overflow="fold")
    for name in ("batch", "optimizer"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "replicas", "epochs", "lanes", "state"):
        table.add_column(name, justify="right", no_wrap=True)
    for job in found.jobs:
        table.add_row(
            str(job.program.structure),
            str(job.program.recipe.batch_size),
            job.program.recipe.optimizer,
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
    needs, there = found.needs, found.available
    device = (
        f", {size(needs.device)} of {size(there.device)} of each device"
        if needs.device
        else ""
    )
    console.print(
        f"about {size(needs.host)} of {size(there.host)} of memory{device}, "
        f"{size(needs.disk)} of {size(there.disk)} of free disk"
    )


def agreement(found: Rerun) -> str:
    """Says in words whether a study has given the same numbers once more."""
    one = found.agreement
    what = f"{one.replicas} replicas, {one.epochs} epochs, in {found.study.workdir}"
    if one.apart.empty and one.epochs:
        return f"The numbers are the same to the bit: {what}."
    if one.apart.empty:
        return f"There is no epoch to compare: {what}."
    first = (one.apart if found.exact else one.beyond).head(1).to_dict("records")
    most = f"validation accuracies differ by {100 * one.largest:.2f} points at most"
    if not first:
        return f"The numbers are the same to rounding, {most}: {what}."
    (row,) = first
    there, here = (100 * row[f"validation_accuracy_{at}"] for at in ("there", "here"))
    why = "though the machine is the same" if found.exact else "by more than rounding"
    return (
        f"The numbers are not the same, {why}: replica {row['replica']} parts first, "
        f"in epoch {row['epoch']} ({there:.2f} and {here:.2f} % of the validation "
        f"images); {most}: {what}."
    )


def plans(found: Mapping[str, Plan]) -> None:
    """Prints what the parts of a study will do, and how long all of it takes."""
    for name, one in found.items():
        make_console().print(f"\n[bold]{name}[/bold]")
        plan(one)
    if len(found) > 1 and any(one.jobs for one in found.values()):
        seconds = math.fsum(one.seconds() for one in found.values())
        make_console().print(f"\nAll parts: training time {duration(seconds)}")


def section(text: str, name: str) -> None:
    """Prints a section of paper.md or outlook.md."""
    part = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    make_console().print(Markdown(part))


def draw(write: Callable[[], Path]) -> None:
    """Writes a report and prints its path; tables stand whatever becomes of it."""
    try:
        print(f"Report: {write()}")
    except Exception as error:  # noqa: BLE001 - whatever a picture may run into
        print(
            f"warning: no report could be drawn ({type(error).__name__}: {error}); the "
            "tables are there, and ./launch.sh report --workdir=... tries again",
            file=sys.stderr,
        )


class _TwoLines(Progress):
    """A bar with a line of text below it."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Returns the bar, and the text cut to one line."""
        yield self.make_tasks_table(self.tasks)
        yield Text(self.below, no_wrap=True, overflow="ellipsis", style="dim")


class Bar:
    """A progress bar on a terminal, and plain lines elsewhere; a context manager."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar = _TwoLines(
            TextColumn("{task.fields[what]}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=None, what="preparing", figures="")
        self._stage: tuple = ()
        self._printed = 0.0

    def __enter__(self) -> "Bar":
        # Some versions of rich print an empty line for a bar that is not shown.
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        if not self._bar.disable:
            self._bar.stop()

    def __call__(self, state: State) -> None:
        """Shows where a run is."""
        self._bar.below = state.leader
        self._bar.update(
            self._task,
            total=state.total_work,
            completed=state.work,
            what=state.structure,
            figures=state.figures,
        )
        # Off a terminal a line for each epoch, and in long ones every half minute.
        stage = (state.structure, state.compiling, state.epoch)
        due = stage != self._stage or time.monotonic() > self._printed + 30
        if self._bar.disable and due and not self._quiet:
            words = filter(None, (state.structure, state.figures, state.leader))
            print("  ".join(words), file=sys.stderr, flush=True)
            self._stage, self._printed = stage, time.monotonic()


def _percent(row: pd.Series, name: str) -> str:
    ends = (100 * row[f"{name}_{end}"] for end in ("mean", "low", "high"))
    mean, low, high = (f"{end:.2f}" for end in ends)
    return "-" if mean == "nan" else mean if low == "nan" else f"{mean} [{low}, {high}]"


def results(study: Study) -> None:
    """Prints the points of a study, best first."""
    console = make_console()
    summary = study.summary
    labels = point_labels(summary)
    # The further columns where there is room: the first fit 80 columns.
    names = ["validation_accuracy", "test_accuracy"]
    if console.width >= 100 + max(map(len, labels.values())):
        names += ["train_accuracy", "overfitting"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("point", overflow="fold")
    table.add_column("n", justify="right")
    table.add_column("")
    for name in names:
        table.add_column(_HEADINGS[name], justify="right", no_wrap=True)
    for _, row in summary.head(TABLE_ROWS).iterrows():
        states = [_MARKS.get(row["choice"], row["choice"])] if row["choice"] else []
        states += [f"{row[s]} {s}" for s in ("diverged", "unfinished") if row[s]]
        table.add_row(
            Text(labels[row["point"]]),
            str(row["n"]),
            ", ".join(states),
            *(_percent(row, name) for name in names),
            style="dim" if row["choice"] in ("", "fewer seeds") else None,
        )
    console.print(table)
    if (left_out := len(summary) - TABLE_ROWS) > 0:
        console.print(f"Points left out here: {left_out}; summary.csv has all.")
    console.print(
        "Best first by validation accuracy, and what is tied with it at 5 %; mean over "
        "n seeds with its 95 % interval, the digits being fixed."
    )
    if (summary["n"] > 0).any():
        console.print(
            f"Best replica {best_trial(study.trials)}: "
            f"./launch.sh evaluate --workdir={study.workdir}",
            soft_wrap=True,
            markup=False,
        )


def took(seconds: Mapping[str, float], wall: float) -> None:
    """Prints what a run took, and on what it was spent.

    Args:
        seconds: By what they were spent on.
        wall: From the start of the program; what is left over went into imports.
    """
    parts = {"imports": wall - math.fsum(seconds.values()), **seconds}
    told = {name: part for name, part in parts.items() if part >= 0.05}
    words = ", ".join(f"{name} {part:.1f}" for name, part in told.items())
    make_console().print(f"Took {duration(wall)}: {words} s.")


_HEADINGS = {
    "validation_accuracy": "validation %",
    "test_accuracy": "test %",
    "train_accuracy": "train %",
    "overfitting": "train - test",
}
_MARKS = {"best": "[bold green]best[/]", "tied": "[yellow]tied[/]"}


def tensorboard(folder: Path) -> None:
    """Prints how to look at TensorBoard's files."""
    make_console().print(f"Curves: tensorboard --logdir {folder}", soft_wrap=True)
