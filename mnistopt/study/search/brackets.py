"""Who of a batch of trials goes on, and for how long: Hyperband and its relatives."""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mnistopt.errors import InputError
from mnistopt.points import Point
from mnistopt.results.ledger import PRUNERS
from mnistopt.study.waves import Scheduler, Waves, best_first

# Each rung has a third of the trials, for three times the epochs: the factor of Li et
# al. 2018, section 2 and table 1 (JMLR 18, 185).
ETA = 3
# Trials that are asked for at a time, unless a bracket says how many.
WIDTH = 16


class Rung(NamedTuple):
    """Trials that are trained to a number of epochs."""

    trials: int
    epochs: int


Bracket = tuple[Rung, ...]


def rung(epochs: int, below: int) -> int:
    """Returns the epochs of the rung so many places below the last."""
    return max(1, round(epochs / ETA**below))


def hyperband(epochs: int) -> list[Bracket]:
    """Returns the brackets of Hyperband, with the numbers of its paper's table 1.

    Bracket s begins with floor((s_max + 1) / (s + 1)) eta^s trials for epochs / eta^s
    epochs; of 81 epochs with 81, 27, 9, 6 and 5 trials. (The paper's algorithm 1 rounds
    otherwise than its table, to 34 and 15 for 27 and 9.) Epochs are rounded.

    Args:
        epochs: Those of a trial that is trained to its end.
    """
    most = 0
    while ETA ** (most + 1) <= epochs:
        most += 1
    brackets = []
    for s in range(most, -1, -1):
        first = (most + 1) // (s + 1) * ETA**s
        brackets.append(
            tuple(Rung(first // ETA**i, rung(epochs, s - i)) for i in range(s + 1))
        )
    return brackets


def brackets(pruner: str, epochs: int, width: int | None) -> Iterator[Bracket]:
    """Yields the brackets of a search, without end.

    Args:
        pruner: One of `PRUNERS`.
        epochs: Those of a trial that is trained to its end.
        width: Trials to begin at a time: as many whole brackets as fit into it, at
            least one; None for one bracket, or `WIDTH` trials where there is none.

    Raises:
        InputError: If there is no such pruner.
    """
    if pruner not in PRUNERS:
        raise InputError(
            f"pruner={pruner} is not known: choose one of {', '.join(PRUNERS)}"
        )
    table = hyperband(epochs)
    if pruner == "none" or len(table) == 1:
        # With so few epochs there is one rung.
        table = [(Rung(width or WIDTH, epochs),)]
    elif pruner == "median":
        # All that are not below the median go on: as many as it takes.
        table = [tuple(Rung(width or WIDTH, climbed) for _, climbed in table[0])]
    else:
        copies = max(1, (width or 0) // table[0][0].trials)
        table = [
            tuple(Rung(copies * trials, climbed) for trials, climbed in bracket)
            for bracket in (table if pruner == "hyperband" else table[:1])
        ]
    return itertools.cycle(table)


def shortened(bracket: Bracket, trials: int) -> Bracket:
    """Returns a bracket that begins with fewer trials; at least one reaches its end."""
    first = bracket[0].trials
    if trials >= first:
        return bracket
    return tuple(
        Rung(max(1, begun * trials // first), epochs) for begun, epochs in bracket
    )


def halving(bracket: Bracket) -> Scheduler:
    """Returns what trains a bracket: of each rung, the best go on to the next."""

    def train(points: Sequence[Point]) -> Waves:
        for trials, epochs in bracket:
            outcomes = yield [point.until(epochs) for point in points[:trials]]
            points = best_first(outcomes)

    return train


class Median:
    """Trains on what is not below the median of all trials after as many epochs."""

    def __init__(self) -> None:
        """Has seen no trial yet."""
        self._seen: dict[int, list[float]] = {}

    def __call__(self, bracket: Bracket) -> Scheduler:
        """Returns what trains a bracket."""

        def train(points: Sequence[Point]) -> Waves:
            for _, epochs in bracket:
                outcomes = yield [point.until(epochs) for point in points]
                seen = self._seen.setdefault(epochs, [])
                seen += [outcome.accuracy for outcome in outcomes]
                least = statistics.median(seen)
                points = [o.point for o in outcomes if o.accuracy >= least]
                if not points:
                    return

        return train


def climbing(pruner: str) -> Callable[[Bracket], Scheduler]:
    """Returns what makes the scheduler of a bracket."""
    return Median() if pruner == "median" else halving
