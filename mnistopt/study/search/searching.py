"""A search at work: asks the sampler, trains what it proposes, and tells it."""

import itertools
from collections.abc import Sequence
from typing import Any

from mnistopt.errors import InputError
from mnistopt.points import Point
from mnistopt.results.ledger import Ledger, opened
from mnistopt.study.search.brackets import Bracket, climbing, shortened
from mnistopt.study.search.population import Population
from mnistopt.study.search.sampler import Proposal, Sampler, Told
from mnistopt.study.search.search import Batch, Search
from mnistopt.study.search.storage import Storage
from mnistopt.study.waves import Asking, Outcome, Wave, Waves


def scheduler_of(search: Search) -> Any:
    """Returns the scheduler that carries out a search."""

    def waves(points: Sequence[Point]) -> Waves:
        del points
        yield from _Searching(search).waves()

    return waves


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
        self.named = outcome.records[0].point
        self.accuracies[outcome.point.epochs] = outcome.accuracy
        self.seeds = len(outcome.records)
        self.diverged = outcome.diverged

    @property
    def epochs(self) -> int:
        return max(self.accuracies, default=0)

    @property
    def accuracy(self) -> float:
        return self.accuracies[self.epochs]


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
            if not self._can_begin(bracket):
                break
            proposals = self._propose(bracket[0].trials, number)
            batch = [
                _Trial(len(self._trials) + i, self._of.space.point(proposal.params))
                for i, proposal in enumerate(proposals)
            ]
            if not batch:
                break
            self._trials += batch
            by = dict.fromkeys(proposal.by for proposal in proposals)
            why = self._sampler.why if "random" in by else ""
            told = number, len(batch), " and ".join(by), why, bracket
            self._of.on_batch(Batch(*told))
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

    def _can_begin(self, bracket: Bracket) -> bool:
        """Says whether the budget suffices for the first rung."""
        images = self._images() + self._of.images_of(bracket[:1])
        return images <= self._of.budget.images and self._has_time()

    def _has_time(self) -> bool:
        seconds = sum(seconds for _, seconds in self._spent.values())
        return seconds < self._of.budget.seconds

    def _images(self) -> int:
        """Returns the training images that it has gone through."""
        return self._examples * sum(epochs for epochs, _ in self._spent.values())

    def _begin(self) -> None:
        """Takes in what somebody has made by hand, before anything is proposed."""
        space, ledger = self._of.space, self._ledger
        if not ledger.proposals:
            given, known = self._storage.by_hand
            ledger.known = [
                {"params": space.params(params), "accuracies": {self._of.epochs: value}}
                for params, value in known
            ]
            given = [space.params(params) for params in given]
            self._waiting = [
                Proposal(params, "given", {}) for params in (*self._of.given, *given)
            ]
            ledger.proposals = [
                {**proposal._asdict(), "batch": 1} for proposal in self._waiting
            ]
            ledger.write(self._workdir)
            self._storage.take()
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
        points = [trial.point.until(of.epochs) for trial in batch]
        asking = Asking(scheduler, points, of.request.seeds)
        asked = asking.first()
        while asked is not None:
            points = list(asked.points)
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
                    self._named[key] = outcome.records[0].point
                    found[point] = outcome._replace(point=point)
            asked = asking.next([found[point] for point in points])
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
            key=lambda i: (-rows[i]["accuracy"], rows[i]["replica"]),
        )
        self._best = place, rows[place]["accuracy"], points[place].until(epoch)

    def _affords(self, wave: Wave) -> bool:
        """Says whether the budget suffices for a wave."""
        epochs = {key: done for key, (done, _) in self._spent.items()}
        epochs |= {
            (point.until(1), seed): point.epochs - self._inherited(point)
            for point in wave.points
            for seed in wave.seeds or ()
        }
        images = sum(epochs.values()) * self._examples
        return images <= self._of.budget.images and self._has_time()

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
        self._storage.write(self._told)
        start = len(self._trials) - len(batch)
        self._ledger.trials[start : start + len(batch)] = [
            {
                "point": trial.named.until(max(1, trial.epochs)).identity(),
                "accuracies": trial.accuracies,
                "images": trial.images,
                "seeds": trial.seeds,
                "state": self._state(trial),
            }
            for trial in batch
        ]
        self._ledger.write(self._workdir)

    def _state(self, trial: _Trial) -> str:
        if not trial.accuracies:
            return "waiting"
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
            key=lambda t: (-t.epochs, -t.accuracy, t.named.identity()),
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
