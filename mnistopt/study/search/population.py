"""Population-based training: the worst go on from the best, with other numbers.

Jaderberg et al. 2017 (arXiv:1711.09846). What goes on from another is that one with
numbers that change: a schedule, which can be trained again from any seed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mnistopt.hparams import CHANGING
from mnistopt.points import Point
from mnistopt.study.search.space import Space
from mnistopt.study.waves import Outcome, Waves

# A number becomes this many times as large, and one in four is replaced: section 4.1.1
# of the paper, which replaces one in five.
FACTORS = (0.8, 1.2)
SHARE = 4


class Population:
    """A scheduler of points that all train to the end, and learn from each other.

    After each so many epochs, the members of the worst quarter are replaced by
    members of the best, whose numbers are perturbed.
    """

    def __init__(
        self,
        space: Space,
        every: int,
        seed: int,
        note: Callable[[int, Sequence[Point], Sequence[dict[str, Any]]], None],
    ):
        """Takes its rules.

        Args:
            space: The ranges that numbers stay in.
            every: Epochs between two replacements.
            seed: Of what is drawn.
            note: Called with the epoch, the members, and a row for each: the member
                that it comes `from`, its first `replica`, its `changes`, the `numbers`
                that it was trained with last, and its `accuracy`.
        """
        self._space, self._every, self._seed, self._note = space, every, seed, note

    def __call__(self, points: Sequence[Point]) -> Waves:
        """Trains points to their epochs."""
        members, last = list(points), max(point.epochs for point in points)
        came = list(range(len(members)))
        for epoch in [*range(self._every, last, self._every), last]:
            outcomes = yield [member.until(epoch) for member in members]
            rows = [
                {
                    "from": source,
                    "replica": outcome.name,
                    "changes": member.changes,
                    "numbers": self._numbers(member, epoch - 1),
                    "accuracy": outcome.accuracy,
                }
                for source, member, outcome in zip(came, members, outcomes)
            ]
            self._note(epoch, list(members), rows)
            came = list(range(len(members)))
            if epoch < last:
                self._replace(members, came, outcomes, epoch)

    def _replace(
        self,
        members: list[Point],
        came: list[int],
        outcomes: Sequence[Outcome],
        epoch: int,
    ) -> None:
        """Puts perturbed copies of the best into the places of the worst."""
        order = sorted(
            range(len(members)),
            key=lambda i: (-outcomes[i].accuracy, outcomes[i].name),
        )
        some = len(members) // SHARE
        draw = np.random.default_rng([self._seed, epoch])
        best = list(members)
        for place in order[len(order) - some :]:
            # Two copies of one may have the same numbers; no two members have.
            for _ in range(100):
                source = order[int(draw.integers(some))]
                numbers = self._perturbed(best[source], epoch, draw)
                member = best[source].changing(epoch, **numbers) if numbers else None
                if member and member not in members:
                    members[place], came[place] = member, source
                    break

    def _numbers(self, point: Point, epoch: int) -> dict[str, float]:
        """Returns the numbers of a point that have a range, after some epochs."""
        row, now = point.row(), point.at(epoch)._asdict()
        return {
            name: now[name]
            for name in self._space.ranges
            if name in CHANGING and row.get(name) is not None
        }

    def _perturbed(
        self, point: Point, epoch: int, draw: np.random.Generator
    ) -> dict[str, float]:
        """Returns other numbers for a point, those that differ from its own."""
        numbers = {}
        for name, value in self._numbers(point, epoch).items():
            factor = FACTORS[int(draw.integers(len(FACTORS)))]
            changed = self._space.ranges[name].rounded(value * factor)
            if changed != value:
                numbers[name] = changed
        return numbers
