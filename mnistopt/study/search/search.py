"""What a search was asked for: its space, its brackets, and what it may spend."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mnistopt.axes import plural
from mnistopt.study.request import Request
from mnistopt.study.search.brackets import Bracket, Rung, brackets, rung, shortened
from mnistopt.study.search.space import Space
from mnistopt.study.waves import Scheduler


class Budget(NamedTuple):
    """How much a search may spend, beside what confirms its best trial.

    Attributes:
        trials: Settings to try at most.
        images: Training images to go through at most.
        seconds: Seconds of training at most; the rung that goes beyond is finished.
    """

    trials: int
    images: float = math.inf
    seconds: float = math.inf


def _finite(limit: float) -> float | None:
    return limit if math.isfinite(limit) else None


class Batch(NamedTuple):
    """What a search tells of each batch before it trains.

    Attributes:
        number: From 1.
        trials: How many it proposes.
        by: Who has proposed them: samplers, or "given".
        why: Why chance has, where another sampler was asked; else "".
        bracket: How they will be trained.
    """

    number: int
    trials: int
    by: str
    why: str
    bracket: Bracket


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search was asked for.

    Attributes:
        space: What it chooses from.
        request: The settings of the run.
        sampler: Name of the sampler.
        seed: Of the sampler's random numbers.
        pruner: Name of the pruner, or what makes the scheduler of a batch's points.
        width: Trials to begin at a time, or None for the pruner's.
        budget: What it may spend.
        given: Settings to begin with, as `Space.suggest` has them.
        pbt: Epochs between two replacements of population-based training, which comes
            in place of a pruner; None without.
        confirm: How many fresh seeds the best trial is trained with anew.
        on_batch: Called with each `Batch`.
    """

    space: Space
    request: Request
    sampler: str
    seed: int
    pruner: str | Scheduler
    width: int | None
    budget: Budget
    given: Sequence[Mapping[str, Any]]
    pbt: int | None
    confirm: int
    on_batch: Callable[[Batch], None] = lambda _: None

    @property
    def epochs(self) -> int:
        """Epochs of a trial that is trained to its end."""
        return self.space.epochs

    @property
    def name_of_pruner(self) -> str:
        """The pruner's name; a scheduler's own."""
        own = getattr(self.pruner, "__name__", "a scheduler")
        if self.pbt:
            return f"none, pbt every {plural(self.pbt, 'epoch')}"
        return self.pruner if isinstance(self.pruner, str) else own

    def brackets(self) -> Iterable[Bracket]:
        """Yields how each batch is trained, up to all trials."""
        name = self.pruner if isinstance(self.pruner, str) else "none"
        if self.pbt:
            # A population is one batch.
            yield (Rung(self.budget.trials, self.epochs),)
            return
        left: float = min(self.budget.trials, self.space.size)
        for bracket in brackets(name, self.epochs, self.width):
            if left <= 0:
                return
            bracket = shortened(bracket, int(left))
            left -= bracket[0].trials
            yield bracket

    def seeds_at(self, epochs: int) -> Sequence[int]:
        """Returns the seeds of a rung: all at the last, one less at each below it.

        Few epochs tell trials apart roughly, with any number of seeds.
        """
        seeds = self.request.seeds
        if self.pruner not in ("hyperband", "halving") or self.pbt:
            return seeds
        below = 0
        while rung(self.epochs, below) > epochs:
            below += 1
        return seeds[: max(1, len(seeds) - below)]

    def images(self) -> int:
        """Training images that it takes at most, beside confirming."""
        return sum(map(self.images_of, self.brackets()))

    def images_of(self, bracket: Bracket) -> int:
        """Returns the training images that a bracket takes."""
        done, epochs = dict[int, int](), 0
        for trials, climbed in bracket:
            for seed in self.seeds_at(climbed):
                epochs += trials * (climbed - done.get(seed, 0))
                done[seed] = climbed
        return epochs * len(self.request.data.train.labels)

    def about(self) -> dict[str, Any]:
        """Returns what search.json is to know of it."""
        import optuna

        return {
            "space": self.space.to_json(),
            "sampler": self.sampler,
            "seed": self.seed,
            "pruner": self.name_of_pruner,
            "pbt": self.pbt,
            "width": self.width,
            "epochs": self.epochs,
            "trials": self.budget.trials,
            "images": _finite(self.budget.images),
            "timeout": _finite(self.budget.seconds),
            "seeds": list(self.request.seeds),
            "confirm": self.confirm,
            "optuna": optuna.__version__,
        }
