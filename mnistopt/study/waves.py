"""Who decides what trains: a scheduler asks for one wave of replicas after another."""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.points import Point, replica_id


@dataclasses.dataclass(frozen=True)
class Wave:
    """Replicas to train next, each to the epochs of its point.

    Attributes:
        points: The points.
        seeds: The seeds of each; None for those of the run.
        in_full: Whether they are measured on all splits then, the test split among
            them, or on the validation split only, as after each epoch.
        repack: Whether an accelerator packs them into lanes anew, as there may be few.
    """

    points: Sequence[Point]
    seeds: Sequence[int] | None = None
    in_full: bool = True
    repack: bool = False


class Outcome(NamedTuple):
    """What a point of a wave has come to.

    Attributes:
        point: The point, as it was asked for.
        records: What is known of its replicas, up to the epochs that were asked for.
    """

    point: Point
    records: tuple[Record, ...]

    @property
    def diverged(self) -> bool:
        """Whether one of its replicas has."""
        return any(one.history["diverged_at"][-1] >= 0 for one in self.records)

    @property
    def accuracies(self) -> list[float]:
        """The validation accuracy of each seed; 0 of one that has diverged."""
        return [
            record.history["validation_correct"][-1]
            / record.history["validation_total"][-1]
            if record.history["diverged_at"][-1] < 0
            else 0.0
            for record in self.records
        ]

    @property
    def accuracy(self) -> float:
        """Their mean; 0 if one has diverged."""
        return 0.0 if self.diverged else sum(self.accuracies) / len(self.records)

    @property
    def name(self) -> str:
        """A name by its content: that of its first replica."""
        return self.records[0].replica


# A generator function: it is called with the points of the grid, yields a `Wave`, or
# just points, and gets an `Outcome` for each of them, in their order.
Waves = Generator[Wave | Iterable[Point], list[Outcome], None]
Scheduler = Callable[[Sequence[Point]], Waves]


def everything(points: Sequence[Point]) -> Waves:
    """The grid's scheduler: everything to its last epoch."""
    yield Wave(points)


def best_first(outcomes: Iterable[Outcome]) -> list[Point]:
    """Returns the points by mean validation accuracy, ties by their content."""
    ranked = sorted(outcomes, key=lambda o: (-o.accuracy, o.name))
    return [outcome.point for outcome in ranked]


class Asking:
    """A scheduler at work.

    What it has asked for is known by its content: a run that was killed asks it again
    from the beginning, and what has been trained is answered without training.
    """

    def __init__(
        self, scheduler: Scheduler, points: Sequence[Point], seeds: Sequence[int]
    ):
        """Begins; calls the scheduler.

        Raises:
            InputError: If it is no generator function.
        """
        self._seeds = tuple(seeds)
        self._asked: Sequence[Point] = ()
        self._waves = scheduler(points)
        if not isinstance(self._waves, Generator):
            raise InputError(
                f"scheduler={scheduler!r} is not allowed: expected a generator "
                "function, which takes points and yields points"
            )

    def first(self) -> Wave | None:
        """Returns what it asks for first."""
        return self._checked(next(self._waves, None))

    def next(self, outcomes: list[Outcome]) -> Wave | None:
        """Returns what it asks for next; None to end.

        Args:
            outcomes: Of the points of the last wave, in their order.
        """
        asked = dict.fromkeys(self._asked)
        if len(asked) != len(outcomes):
            raise InputError("the scheduler asked for two points that compute the same")
        by_point = dict(zip(asked, outcomes))
        found = [by_point[point]._replace(point=point) for point in self._asked]
        try:
            return self._checked(self._waves.send(found))
        except StopIteration:
            return None

    def _checked(self, asked: Any) -> Wave | None:
        if asked is None:
            return None
        wave = asked if isinstance(asked, Wave) else Wave(tuple(asked))
        self._asked = tuple(wave.points)
        points = tuple(dict.fromkeys(self._asked))
        if others := [point for point in points if not isinstance(point, Point)]:
            raise InputError(f"the scheduler asked for {others[0]!r}: expected points")
        if not points:
            raise InputError("the scheduler asked for no points: return to end")
        seeds = self._seeds if wave.seeds is None else tuple(wave.seeds)
        return dataclasses.replace(wave, points=points, seeds=seeds)


def outcomes(
    points: Iterable[Point],
    wave: Wave,
    records: Mapping[str, Record],
    fingerprint: str,
) -> list[Outcome]:
    """Returns what the points of a wave have come to.

    Args:
        points: Its points, in their order; users' modules are named by what they do.
        wave: With its seeds.
        records: All records, by name.
        fingerprint: That of the data.
    """
    return [
        Outcome(
            point,
            tuple(
                records[replica_id(point, seed, fingerprint)].until(point.epochs)
                for seed in wave.seeds or ()
            ),
        )
        for point in points
    ]
