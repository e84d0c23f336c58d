"""The progress of a run, and what its seconds are spent on."""

import contextlib
import html
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Stopwatch:
    """Adds up wall seconds under names.

    Attributes:
        seconds: Seconds by name, in the order of first use.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the time that its block takes, in whatever way that ends."""
        self._running[name] = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.so_far(name)
            del self._running[name]

    def so_far(self, name: str) -> float:
        """Returns the seconds of a name, with those of a block that still runs."""
        now = time.perf_counter()
        return self.seconds.get(name, 0.0) + now - self._running.get(name, now)


class Progress(NamedTuple):
    """What a run passes to its callback: before each compile, and after each round.

    Attributes:
        structure: The network being trained, in words, and what tells its job from
            others.
        compiling: Whether its program is being compiled.
        epoch: The epoch being trained, from 1.
        epochs: The last one.
        images_per_second: Training speed in the last epoch; 0 before the first.
        work: Multiplications done in this run, as `jobs.Job.work` counts them.
        total_work: The whole of it.
        seconds: The seconds that they took, without compiling.
        best: Best validation accuracy of a replica so far; None before the first.
        best_point: The name of its point; "" before the first.
    """

    structure: str
    compiling: bool
    epoch: int
    epochs: int
    images_per_second: float
    work: int
    total_work: int
    seconds: float
    best: float | None
    best_point: str = ""

    @property
    def figures(self) -> str:
        """Where it is, in words that fit a line of 80 columns beside the network's."""
        if self.compiling:
            return "compiling"
        minutes, seconds = divmod(round(self.seconds_left or 0), 60)
        return (
            f"epoch {self.epoch}/{self.epochs}  {self.images_per_second:,.0f} images/s"
            f"  {minutes}:{seconds:02d} left"
        )

    @property
    def leader(self) -> str:
        """The best so far, in words; "" before the first."""
        if self.best is None:
            return ""
        return f"best {100 * self.best:.1f} % by validation, {self.best_point}"

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None before the first round."""
        if not self.work:
            return None
        return (self.total_work - self.work) * self.seconds / self.work


OnProgress = Callable[[Progress], None]


def in_notebook() -> bool:
    """Says whether a notebook's cell is running, which can show more than text."""
    # Not imported here: a notebook has, and a script need not.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookBar:
    """Shows where a run is, below the cell; a callback of `runner.run`."""

    def __init__(self) -> None:
        """Shows that the run prepares."""
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML("<p>preparing</p>"), display_id=True)

    def __call__(self, progress: Progress) -> None:
        """Shows where the run is."""
        text = f"{progress.structure}  {progress.figures}"
        self._handle.update(
            self._html(
                f'<progress value="{progress.work}" max="{progress.total_work}" '
                f'style="width: 20em" aria-label="work done"></progress> '
                f"{html.escape(text)}<br>{html.escape(progress.leader)}"
            )
        )

    def __enter__(self) -> "NotebookBar":
        """Does nothing: the bar is there."""
        return self

    def __exit__(self, *_: object) -> None:
        """Takes the bar away, however the run ends."""
        self._handle.update(self._html(""))
