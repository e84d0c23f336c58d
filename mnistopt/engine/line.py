"""How far rounds have come, and which of them wait to be trained."""

import collections
from collections.abc import Mapping
from typing import Any

from mnistopt.engine.rounds import Round


class Line:
    """Rounds by the epochs that they have begun.

    What it is asked is answered at once among ten thousand rounds, too.

    Attributes:
        begun: Epochs that each round has begun.
    """

    def __init__(self, rounds: Mapping[Round, int]):
        """All of them wait.

        Args:
            rounds: With the epochs that each has done before.
        """
        self.begun = dict(rounds)
        # How many rounds have begun so many epochs.
        self._at = collections.Counter(rounds.values())
        # Those that wait, by epochs and by the device that they were trained on last.
        # The inner dictionaries are ordered sets.
        self._waiting: dict[int, dict[Any, dict[Round, None]]] = {}
        for one in rounds:
            self.put_back(one)

    @property
    def lowest(self) -> int:
        """Epochs that the round furthest behind has begun."""
        return min(self._at)

    @property
    def highest(self) -> int:
        """Epochs that the foremost round has begun."""
        return max(self._at)

    def take(self, one: Round) -> None:
        """Takes a round out of those that wait, if it is there."""
        epoch = self.begun[one]
        by_device = self._waiting.get(epoch, {})
        by_device.get(one.device, {}).pop(one, None)
        self._waiting[epoch] = {d: some for d, some in by_device.items() if some}
        if not self._waiting[epoch]:
            del self._waiting[epoch]

    def move(self, one: Round, epoch: int) -> None:
        """Sets the epochs that a round which does not wait has begun."""
        before = self.begun[one]
        self._at[before] -= 1
        if not self._at[before]:
            del self._at[before]
        self._at[epoch] += 1
        self.begun[one] = epoch

    def put_back(self, one: Round) -> None:
        """Lets a round wait."""
        by_device = self._waiting.setdefault(self.begun[one], {})
        by_device.setdefault(one.device, {})[one] = None

    def first(self, device: Any, most: int, own: bool) -> Round | None:
        """Returns the waiting round that is furthest behind.

        Args:
            device: Whose own are preferred among equals, then new ones.
            most: Epochs that it may have begun at most.
            own: Whether those that were trained elsewhere are left out.
        """
        for epoch in sorted(self._waiting):
            if epoch > most:
                break
            places = self._waiting[epoch]
            if mine := places.get(device) or places.get(None):
                return next(iter(mine))
            if not own:
                return next(iter(next(iter(places.values()))))
        return None

    def other(self, most: int) -> Round | None:
        """Returns a waiting round of the device that has most of those furthest behind.

        Args:
            most: Epochs that it may have begun at most.
        """
        epoch = min(self._waiting, default=most + 1)
        if epoch > most:
            return None
        most_of = max(self._waiting[epoch].values(), key=lambda some: len(some))
        return next(iter(most_of))
