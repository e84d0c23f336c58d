"""Searches a space: a sampler proposes, a pruner stops, the best is trained anew."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mnistopt.axes import plural
from mnistopt.errors import InputError
from mnistopt.points import Point
from mnistopt.results.ledger import Ledger, opened
from mnistopt.study.request import Request
from mnistopt.study.search.brackets import (
    Bracket,
    Rung,
    brackets,
    climbing,
    shortened,
)
from mnistopt.study.search.population import Population
from mnistopt.study.search.sampler import Proposal, Sampler, Told
from mnistopt.study.search.space import Space
from mnistopt.study.search.storage import Storage
from mnistopt.study.waves import Outcome, Scheduler, Wave, Waves


class Budget(NamedTuple):
    """How much a search may spend, beside what confirms its best trial.

    Attributes:
        trials: Settings to try at most.
        images: Training images to go through at most.
        seconds: Seconds of training at most; the batch that goes beyond is finished.
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
        by: The sampler that has proposed them, or "given".
        bracket: How they will be trained.
    """

    number: int
    trials: int
    by: str
    bracket: Bracket


class _Trial:
    """A proposal on its way."""

    def __init__(self, number: int, point: Point):
        self.number, self.point = number, point
        # With the name of what a user's module computes.
        self.named = point
        self.accuracies: dict[int, float] = {}
        self.images: dict[int, int] = {}
        self.seeds = 0
        self.diverged = False

    def note(self, outcome: Outcome, images: int) -> None:
        self.images[outcome.point.epochs] = images
        self.named = outcome.point
        self.accuracies[outcome.point.epochs] = outcome.accuracy
        self.seeds = len(outcome.records)
        self.diverged = any(r.history["diverged_at"][-1] >= 0 for r in outcome.records)

    @property
    def epochs(self) -> int:
        return max(self.accuracies, default=0)

    @property
    def accuracy(self) -> float:
        return self.accuracies[self.epochs]


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search was asked for; `train` is the scheduler that carries it out.

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
        below, at = 0, self.epochs
        while at > epochs:
            below, at = below + 1, max(1, round(self.epochs / 3 ** (below + 1)))
        return seeds[: max(1, len(seeds) - below)]

    def images(self) -> int:
        """Training images that it takes at most, beside confirming."""
        return sum(map(self.images_of, self.brackets()))

    def images_of(self, bracket: Bracket) -> int:
        """Returns the training images that a bracket takes."""
        done, epochs = dict[int, int](), 0
        for rung in bracket:
            for seed in self.seeds_at(rung.epochs):
                epochs += rung.trials * (rung.epochs - done.get(seed, 0))
                done[seed] = rung.epochs
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

    def train(self, points: Sequence[Point]) -> Waves:
        """Asks for what the sampler proposes, batch by batch, and then for the best."""
        del points
        return _Searching(self).waves()


class _Searching:
    """A search at work."""

    def __init__(self, search: Search):
        self._of = search
        self._workdir = search.request.workdir
        self._ledger: Ledger = opened(self._workdir, search.about())
        self._storage = Storage(self._workdir)
        self._sampler = Sampler(search.space, search.sampler, search.seed)
        # Proposals that were there before, or are given, and wait for their batch.
        self._waiting = [
            Proposal(row["params"], row["by"], row["attrs"])
            for row in self._ledger.proposals
        ]
        self._told: list[Any] = []
        self._trials: list[_Trial] = []
        # Points with the names of what users' modules compute.
        self._named: dict[Point, Point] = {}
        # The best member of a population: its place, its accuracy, and its point.
        self._best: tuple[int, float, Point] | None = None
        # Epochs and seconds of each point and seed so far.
        self._spent: dict[tuple[Point, int], tuple[int, float]] = {}
        self._examples = len(search.request.data.train.labels)
        self._climb = climbing(
            search.pruner if isinstance(search.pruner, str) else "none"
        )

    def waves(self) -> Waves:
        self._begin()
        for number, whole in enumerate(self._of.brackets(), 1):
            bracket = self._within_budget(whole)
            proposals = self._propose(bracket[0].trials, number)
            batch = [
                _Trial(len(self._trials) + i, self._of.space.point(proposal.params))
                for i, proposal in enumerate(proposals)
            ]
            if not batch:
                break
            self._trials += batch
            by = dict.fromkeys(proposal.by for proposal in proposals)
            self._of.on_batch(Batch(number, len(batch), " and ".join(by), bracket))
            complete = yield from self._train(batch, bracket)
            self._tell(batch)
            if not complete:
                break
        yield from self._confirm()

    def _within_budget(self, bracket: Bracket) -> Bracket:
        """Returns a bracket of as many trials as the images that are left suffice for.

        All of it, and its rungs as far as they suffice, if not one could be finished.
        """
        left = self._of.budget.images - self._images()
        for trials in range(bracket[0].trials, 0, -1):
            if self._of.images_of(fewer := shortened(bracket, trials)) <= left:
                return fewer
        return bracket

    def _images(self) -> int:
        """Returns the training images that it has gone through."""
        return self._examples * sum(epochs for epochs, _ in self._spent.values())

    def _begin(self) -> None:
        """Takes in what somebody has made by hand, before anything is proposed."""
        space, ledger = self._of.space, self._ledger
        if not ledger.proposals:
            given, known = self._storage.by_hand()
            ledger.known = [
                {"params": space.params(params), "accuracies": {self._of.epochs: value}}
                for params, value in known
            ]
            given = [space.params(params) for params in given]
            self._waiting = [
                Proposal(params, "given", {}) for params in (*self._of.given, *given)
            ]
        for row in ledger.known:
            accuracies = {int(epochs): a for epochs, a in row["accuracies"].items()}
            self._sampler.learn(row["params"], Told(accuracies, pruned=False))

    def _propose(self, count: int, number: int) -> list[Proposal]:
        waiting, self._waiting = self._waiting[:count], self._waiting[count:]
        proposals = self._sampler.take(waiting)
        asked = self._sampler.ask(count - len(proposals), count)
        proposals += asked
        start = len(self._trials)
        rows = [{**proposal._asdict(), "batch": number} for proposal in proposals]
        self._ledger.proposals[start : start + len(rows)] = rows
        self._ledger.write(self._workdir)
        return proposals

    def _train(self, batch: Sequence[_Trial], bracket: Bracket) -> Any:
        """Trains a batch; returns whether the budget has sufficed."""
        of, scheduler = self._of, self._of.pruner
        if of.pbt:
            self._ledger.lineage = []
            scheduler = Population(of.space, of.pbt, of.seed, self._note_members)
        elif isinstance(scheduler, str):
            scheduler = self._climb(bracket)
        trials = {trial.point.until(1): trial for trial in batch}
        waves = scheduler([trial.point.until(of.epochs) for trial in batch])
        asked = next(waves, None)
        while asked is not None:
            points = asked.points if isinstance(asked, Wave) else tuple(asked)
            found: dict[Point, Outcome] = {}
            # Rungs of different heights have seeds of their own.
            for epochs, some in itertools.groupby(points, key=lambda p: p.epochs):
                wave = Wave(
                    tuple(some), of.seeds_at(epochs), in_full=False, repack=True
                )
                if not self._affords(wave):
                    return False
                outcomes = yield wave
                for point, outcome in zip(wave.points, outcomes):
                    self._note(point, outcome)
                images = self._images()
                for point, outcome in zip(wave.points, outcomes):
                    if (key := point.until(1)) in trials:
                        trials[key].note(outcome, images)
                    self._named[key] = outcome.point
                    found[point] = outcome._replace(point=point)
            try:
                asked = waves.send([found[point] for point in points])
            except StopIteration:
                asked = None
        return True

    def _note(self, point: Point, outcome: Outcome) -> None:
        for record in outcome.records:
            epochs = record.epochs_done - self._inherited(point)
            took = epochs, sum(record.history["seconds"])
            self._spent[point.until(1), record.seed] = took

    def _inherited(self, point: Point) -> int:
        """Returns the epochs that another member was trained for."""
        parted = point.before_last_change() if self._of.pbt else None
        return parted[1] if parted else 0

    def _note_members(
        self, epoch: int, points: Sequence[Point], rows: Sequence[dict[str, Any]]
    ) -> None:
        """Writes down the members of a population, and which is the best."""
        self._ledger.lineage.append({"epoch": epoch, "members": list(rows)})
        self._ledger.write(self._workdir)
        place = min(
            range(len(rows)),
            key=lambda i: (-rows[i]["accuracy"], points[i].identity()),
        )
        self._best = place, rows[place]["accuracy"], points[place].until(epoch)

    def _affords(self, wave: Wave) -> bool:
        """Says whether the budget suffices for a wave."""
        seconds = sum(seconds for _, seconds in self._spent.values())
        epochs = {key: done for key, (done, _) in self._spent.items()}
        epochs |= {
            (point.until(1), seed): point.epochs - self._inherited(point)
            for point in wave.points
            for seed in wave.seeds or ()
        }
        images = sum(epochs.values()) * self._examples
        return images <= self._of.budget.images and seconds < self._of.budget.seconds

    def _tell(self, batch: Sequence[_Trial]) -> None:
        """Tells the sampler what a batch has come to, and writes it down."""
        trained = [trial for trial in batch if trial.accuracies]
        results = {
            trial.number: Told(trial.accuracies, trial.epochs < self._of.epochs)
            for trial in trained
        }
        told = self._sampler.tell(results)
        for trial, optuna_trial in zip(trained, told):
            optuna_trial.set_user_attr("point", trial.named.identity())
            optuna_trial.set_user_attr("seeds", trial.seeds)
        self._told += told
        self._storage.add(self._told)
        start = len(self._trials) - len(batch)
        self._ledger.trials[start : start + len(trained)] = [
            {
                "point": trial.named.until(trial.epochs).identity(),
                "accuracies": trial.accuracies,
                "images": trial.images,
                "seeds": trial.seeds,
                "state": self._state(trial),
            }
            for trial in trained
        ]
        self._ledger.write(self._workdir)

    def _state(self, trial: _Trial) -> str:
        if trial.diverged:
            return "diverged"
        return "complete" if trial.epochs == self._of.epochs else "pruned"

    def _confirm(self) -> Waves:
        """Trains the best trial anew, with fresh seeds, and measures it in full."""
        trained = [trial for trial in self._trials if trial.accuracies]
        if not trained:
            raise InputError(
                "the budget does not suffice for a single batch: give more `images` or "
                "`timeout`"
            )
        best = min(
            trained,
            key=lambda t: (-t.epochs, -t.accuracy, t.point.identity()),
        )
        chosen = self._best or (
            best.number,
            best.accuracy,
            best.point.until(best.epochs),
        )
        number, accuracy, point = chosen
        after = max(self._of.request.seeds) + 1
        seeds = list(range(after, after + self._of.confirm))
        named = self._named[point.until(1)]
        self._ledger.chosen = {
            "number": number,
            "point": named.until(self._of.epochs).identity(),
            "accuracy": accuracy,
            "epochs": point.epochs,
            "seeds": seeds,
        }
        self._ledger.write(self._workdir)
        yield Wave([point.until(self._of.epochs)], seeds)
