"""Rounds taking turns on the devices, none of which waits for another."""

import collections
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple

from mnistopt.engine.devices import Device
from mnistopt.engine.replicas import Program, Result
from mnistopt.engine.rounds import Round
from mnistopt.training.replica import TrainState

# Calls begun per device: while the host reads one, the device computes the other.
AHEAD = 2
# Seconds between two looks at whether to go on waiting.
TURN = 0.5


class Done(NamedTuple):
    """An epoch of a round that is done.

    Attributes:
        epoch: Epochs done, with this one.
        results: Per replica of the round, by name.
        seconds: That it took, shared among the devices that were busy.
    """

    epoch: int
    results: dict[str, Result]
    seconds: float


class _Call(NamedTuple):
    one: Round
    epoch: int
    result: Future[Result]
    begun: float


class Queue:
    """Trains rounds side by side, epoch by epoch.

    A free device takes the round that is furthest behind, so that none is begun more
    than two epochs ahead of another. Nothing that a replica computes depends on it.

    Attributes:
        program: That of the rounds.
    """

    def __init__(self, program: Program, rounds: Mapping[Round, int]):
        """Computes nothing.

        Args:
            program: That of the rounds.
            rounds: With the epochs that each has done before.
        """
        self.program = program
        self._begun = dict(rounds)
        self._limit = 0
        # Rounds without a call, by the epochs they have begun and by device: found at
        # once among ten thousand, too. The inner dictionaries are ordered sets.
        self._waiting: dict[int, dict[Any, dict[Round, None]]] = {}
        for one in rounds:
            self._put_back(one)

    @property
    def epoch(self) -> int:
        """Epochs that the foremost round has begun, and all when `train` has ended."""
        return max(self._begun.values())

    def hold(self) -> None:
        """Lets `train` end at the epoch that the foremost round has begun."""
        self._limit = min(self._limit, self.epoch)

    def states(self) -> dict[str, TrainState]:
        """Returns the states of all replicas on the host, by name.

        Let go of them before `train`, as `Round.read` says.
        """
        return {
            name: state
            for one in self._begun
            for name, state in one.read(one.state).items()
        }

    def train(
        self,
        until: int,
        in_full: bool = True,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> Iterator[Done]:
        """Trains all rounds to the same epoch, and tells each epoch as it is done.

        Args:
            until: That epoch; `hold` may end the training at an earlier one.
            in_full: Whether to evaluate all splits after it.
            while_waiting: Called now and then; what it raises ends the training.
        """
        self._limit = until
        devices = self.program.devices[: len(self._begun)]
        calls = {device: collections.deque[_Call]() for device in devices}
        free_since = dict.fromkeys(devices, time.perf_counter())
        try:
            while True:
                self._begin(calls, until if in_full else None)
                if not any(calls.values()):
                    return
                device = _next_done(calls, while_waiting)
                call = calls[device].popleft()
                results = call.one.read(call.result.result())
                now = time.perf_counter()
                if call.one not in _rounds(calls[device]):
                    self._put_back(call.one)
                seconds = now - max(call.begun, free_since[device])
                free_since[device] = now
                yield Done(call.epoch, results, seconds / len(devices))
        finally:
            # Who stops in the middle waits for no more than what is being computed.
            for mine in calls.values():
                for call in mine:
                    call.result.cancel()

    def _begin(
        self, calls: Mapping[Device, collections.deque[_Call]], full_at: int | None
    ) -> None:
        """Gives every device its calls, as far as there is something to do."""
        # With too few rounds for two each, one device would hold two for good, and
        # another have one to itself: then whatever is not computed is free for both.
        few = len(calls) < len(self._begun) < AHEAD * len(calls)
        for ahead in range(1 if few else AHEAD):
            for device, mine in calls.items():
                one = self._furthest_behind(device, calls)
                if len(mine) > ahead or one is None:
                    continue
                self._take(one)
                epoch = self._begun[one]
                full = epoch + 1 == full_at
                result = self.program.train_epoch(one, device, epoch, full)
                self._begun[one] = epoch + 1
                mine.append(_Call(one, epoch + 1, result, time.perf_counter()))

    def _furthest_behind(
        self, device: Device, calls: Mapping[Device, collections.deque[_Call]]
    ) -> Round | None:
        """Returns the round that a device is to train next; None to wait for one.

        A round that is computed elsewhere stays there.
        """
        here = _rounds(calls[device])
        candidates = [(self._begun[one], 1, one) for one in here]
        if self._waiting:
            epoch, by_device = min(self._waiting.items(), key=lambda item: item[0])
            there = by_device.get(device) or next(iter(by_device.values()))
            candidates.append((epoch, 0, next(iter(there))))
        flying = [self._begun[one] for mine in calls.values() for one in _rounds(mine)]
        # Who has something to do leaves the others time to catch up.
        most = min([*self._waiting, *flying]) + (not here)
        allowed = [c for c in candidates if c[0] <= most and c[0] < self._limit]
        return min(allowed, key=lambda c: c[:2])[2] if allowed else None

    def _put_back(self, one: Round) -> None:
        by_device = self._waiting.setdefault(self._begun[one], {})
        by_device.setdefault(one.device, {})[one] = None

    def _take(self, one: Round) -> None:
        """Takes a round out of those that wait, if it is there."""
        epoch = self._begun[one]
        by_device = self._waiting.get(epoch, {})
        by_device.get(one.device, {}).pop(one, None)
        self._waiting[epoch] = {d: some for d, some in by_device.items() if some}
        if not self._waiting[epoch]:
            del self._waiting[epoch]


def _rounds(mine: Iterable[_Call]) -> set[Round]:
    return {call.one for call in mine}


def _next_done(
    calls: Mapping[Device, collections.deque[_Call]], while_waiting: Callable[[], None]
) -> Device:
    """Waits for a device whose first call is done; of several, the one begun first."""
    first = {device: mine[0] for device, mine in calls.items() if mine}
    results = [call.result for call in first.values()]
    while not wait(results, timeout=TURN, return_when=FIRST_COMPLETED).done:
        while_waiting()
    done = [device for device, call in first.items() if call.result.done()]
    return min(done, key=lambda device: first[device].begun)
