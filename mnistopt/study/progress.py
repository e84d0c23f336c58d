"""What a run tells about where it is."""

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """What a run tells its callback: before each compile, and after each round.

    Attributes:
        structure: The network being trained, in words.
        replicas: How many of it are being trained.
        lanes: How many of them are computed at once, over all devices.
        compiling: Whether its program is being compiled.
        epoch: The epoch being trained, from 1.
        epochs: The last one.
        images_per_second: In the last epoch of its replicas; 0 before the first.
        work: Multiplications done in this run, as `planning.Job.work` counts them.
        total_work: Of how many.
        seconds: That they took, without compiling.
        best: Best validation accuracy of a replica so far; None before the first.
        best_point: The name of its point; "" before the first.
    """

    structure: str
    replicas: int
    lanes: int
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
