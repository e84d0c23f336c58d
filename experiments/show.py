"""What programs print before and while they run, and the console that they print to."""

import functools
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from experiments.program import command, short_path
from mnistopt.axes import plural
from mnistopt.study.jobs import Plan
from mnistopt.study.progress import Progress as State
from mnistopt.study.rerun import Rerun


class _Console(Console):
    """A console that leaves it to the program what a reader's end means."""

    def on_broken_pipe(self) -> None:
        """Is called where the error is handled, and does not suppress it."""
        raise  # noqa: PLE0704


def make_console() -> Console:
    """Returns a console; a file or a pipe gets lines of the usual 80 columns."""
    asked = os.environ.get("COLUMNS")
    width = None if sys.stdout.isatty() or asked else 80
    return _Console(width=width, highlight=False, emoji=False)


def make_table() -> Table:
    """Returns a table without columns, in the style of all."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def fits(console: Console, table: Table) -> bool:
    """Says whether a table can be printed without cutting or folding a cell."""
    # As wide as it likes: a measure is of no more than what there is.
    anything = console.options.update(width=100_000)
    return console.measure(table, options=anything).maximum <= console.width


def first_that_fits(console: Console, tables: Iterable[Table]) -> Table:
    """Returns the first of some tables that fits, or else the last."""
    for table in tables:
        if fits(console, table):
            break
    return table


def duration(seconds: float) -> str:
    """Writes seconds as a person says them: 0.4 s, 48 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 1:
        return f"{max(seconds, 0.1):.1f} s"
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


def plan(whole: Plan) -> None:
    """Prints what a run will do."""
    console = make_console()
    todo = f"{whole.asked - whole.there} to train, {whole.there} there already"
    console.print(f"[bold]{plural(whole.asked, 'trial')}[/bold]: {todo}")
    if not whole.jobs:
        return
    console.print(first_that_fits(console, map(functools.partial(_jobs, whole), _LEFT)))
    console.print(
        f"{plural(whole.compiles, 'compile')}, {whole.images:,} training images, "
        f"{size(whole.data_bytes)} of data per device"
    )
    compiling, training = whole.compile_seconds, whole.seconds()
    spent = f"{duration(training)} of training"
    if compiling:
        spent = f"{duration(compiling + training)}: {duration(compiling)} of compiling "
        spent += f"and {duration(training)} of training"
    known = "" if whole.timed else ", give or take a factor of two"
    console.print(f"about {spent}{known}")
    if precision := whole.machine.get("precision"):
        console.print(
            f"on {whole.machine['device']}: products in {precision} (--precision)"
        )
    needs, free = whole.needs, whole.available
    device = (
        f", {size(needs.device)} of {size(free.device)} of each device"
        if needs.device
        else ""
    )
    console.print(
        f"about {size(needs.host)} of {size(free.host)} of memory{device}, "
        f"{size(needs.disk)} of {size(free.disk)} of free disk"
    )
    if bytes_of := whole.crossing:
        console.print(
            f"over the network: {size(bytes_of['data'])} of data once, "
            f"{size(bytes_of['results'])} of results each epoch, and "
            f"{size(bytes_of['states'])} of states at each checkpoint, which takes at "
            "most a twentieth of the time"
        )


# Columns of a plan that are dropped if the terminal is narrow, first to last.
_LEFT: tuple[set[str], ...] = (set(), {"optimizer", "batch"})
_LEFT += (_LEFT[-1] | {"lanes", "params"},)


def _jobs(whole: Plan, left_out: set[str]) -> Table:
    """Returns a row per job of a plan; the network's name has what differs."""
    rows = [
        {
            "network": whole.labels[job.name],
            "batch": str(job.program.recipe.batch_size),
            "optimizer": job.program.recipe.optimizer,
            "params": f"{job.records[0].params:,}",
            "replicas": str(len(job.records)),
            "epochs": f"{job.start}-{job.milestones[-1]}"
            if job.start
            else f"{job.epochs}",
            "lanes": f"{job.lanes.seeds}x{job.lanes.points}",
            "state": size(job.state_bytes()),
        }
        for job in whole.jobs
    ]
    told = {
        name for name in ("batch", "optimizer") if len({row[name] for row in rows}) > 1
    }
    names = [name for name in rows[0] if name not in left_out | told]
    table = make_table()
    for name in names:
        words = name in ("network", "batch", "optimizer")
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[name]) for name in names))
    return table


def agreement(rerun: Rerun) -> str:
    """Says in words whether a study has given the same numbers once more."""
    match = rerun.agreement
    where = short_path(rerun.study.workdir)
    counts = plural(match.replicas, "replica"), plural(match.epochs, "epoch")
    what = f"{', '.join(counts)}, in {where}"
    if match.apart.empty and match.epochs:
        return f"The numbers are the same to the bit: {what}."
    if match.apart.empty:
        return f"There is no epoch to compare: {what}."
    first = (match.apart if rerun.exact else match.beyond).head(1).to_dict("records")
    most = f"validation accuracies differ by {100 * match.largest:.2f} points at most"
    if not first:
        return f"The numbers are the same to rounding, {most}: {what}."
    (row,) = first
    there, here = (100 * row[f"validation_accuracy_{at}"] for at in ("there", "here"))
    why = "though the machine is the same" if rerun.exact else "by more than rounding"
    return (
        f"The numbers are not the same, {why}: replica {row['replica']} parts first, "
        f"in epoch {row['epoch']} ({there:.2f} and {here:.2f} % of the validation "
        f"images); {most}: {what}."
    )


def steps(plans: Sequence[Plan]) -> None:
    """Prints what studies that come one after another will do, the first in full."""
    if not plans:
        make_console().print("Nothing to train: the evidence is complete")
        return
    plan(plans[0])
    if len(plans) > 1:
        trials = sum(plan.asked - plan.there for plan in plans)
        # Of what is compiled once, later steps find it compiled.
        seconds = plans[0].compile_seconds
        seconds += math.fsum(plan.seconds() for plan in plans)
        make_console().print(
            f"This is step 1 of {len(plans)}, each with other seeds: {trials} trials "
            f"to train in all, about {duration(seconds)}"
        )


def section(text: str, name: str) -> None:
    """Prints a section of a document in Markdown."""
    part = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    make_console().print(Markdown(part))


def draw(write: Callable[[], Path], workdir: Path) -> None:
    """Writes a report and prints its path; tables stand whatever becomes of it."""
    try:
        path = write()
    except Exception as error:  # noqa: BLE001 - whatever a picture may run into
        again = command("report", f"--workdir={short_path(workdir)}")
        print(
            f"warning: no report could be drawn ({type(error).__name__}: {error}); "
            f"the tables are saved, and {again} tries again",
            file=sys.stderr,
        )
    else:
        print(f"Report: {short_path(path)}")


class _TwoLines(Progress):
    """A bar with a line of text below it."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Returns the bar, and the text cut to one line."""
        yield self.make_tasks_table(self.tasks)
        yield Text(self.below, no_wrap=True, overflow="ellipsis", style="dim")


class Bar:
    """A progress bar on a terminal, and plain lines elsewhere; a context manager.

    It begins with the first progress: the plan is printed before, and stands above it.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._stage: tuple = ()
        self._printed = 0.0
        self._begin()

    def _begin(self) -> None:
        self._bar = _TwoLines(
            TextColumn("{task.fields[what]}", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[figures]}", markup=False),
            console=Console(stderr=True, emoji=False),
            transient=True,
            disable=self._quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=None, what="", figures="")

    def print_plan(self, found: Plan) -> None:
        """Prints one of several plans in place of the bar, which restarts below it."""
        self.__exit__()
        # The old one would first go up to where it was.
        self._begin()
        plan(found)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_) -> None:
        # Some versions of rich print an empty line for a bar that is not shown.
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
        self._bar.start()  # Does nothing where it has.
        # Off a terminal a line for each epoch, and in long ones every half minute.
        stage = (state.structure, state.compiling, state.epoch)
        due = stage != self._stage or time.monotonic() > self._printed + 30
        if self._bar.disable and due and not self._quiet:
            words = filter(None, (state.structure, state.figures, state.leader))
            print("  ".join(words), file=sys.stderr, flush=True)
            self._stage, self._printed = stage, time.monotonic()


def tensorboard(folder: Path) -> None:
    """Prints how to look at TensorBoard's files."""
    shown = shlex.join(["tensorboard", "--logdir", short_path(folder)])
    make_console().print(f"Curves: {shown}", soft_wrap=True, markup=False)
