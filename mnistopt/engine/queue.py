"""Rounds taking turns on the devices, none of which waits for another."""

import collections
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple

from mnistopt.engine.pool import MOST_LOSSES, TURN, Lost, Trainer
from mnistopt.engine.replicas import Result
from mnistopt.engine.rounds import Round
from mnistopt.training.replica import TrainState

# Calls begun per device: while the host reads one, the device computes the other.
AHEAD = 2


class Done(NamedTuple):
    """An epoch of a round that is done.

    Attributes:
        epoch: Epochs done, with this one.
        results: Per replica of the round, by name.
        seconds: That it took, shared among the devices that were busy.
        device: That it ran on.
    """

    epoch: int
    results: dict[str, Result]
    seconds: float
    device: Any


class _Call(NamedTuple):
    one: Round
    epochs: range
    result: Future[list[Result]]
    begun: float


_Calls = dict[Any, collections.deque[_Call]]


class Queue:
    """Trains rounds side by side, a call at a time: an epoch, or some that are short.

    A free device takes the round that is furthest behind, so that none is begun more
    than two calls ahead of another. Nothing that a replica computes depends on it, nor
    on devices that are lost: their rounds go on elsewhere from the state that the host
    has, and epochs that have been told of are trained again in silence.

    Attributes:
        program: That of the rounds.
    """

    def __init__(self, program: Trainer, rounds: Mapping[Round, int]):
        """Computes nothing.

        Args:
            program: That of the rounds.
            rounds: With the epochs that each has done before.
        """
        self.program = program
        self._begun = dict(rounds)
        # Epochs of the state that the host has, and those that were told of.
        self._held, self._told = dict(rounds), dict(rounds)
        self._losses = dict.fromkeys(rounds, 0)
        # How many rounds have begun so many epochs.
        self._at = collections.Counter(rounds.values())
        self._limit = 0
        self._stride = 1
        self._while_waiting: Callable[[], None] = lambda: None
        self._calls: _Calls = {}
        # Rounds without a call, by the epochs they have begun and by device: found at
        # once among ten thousand, too. The inner dictionaries are ordered sets.
        self._waiting: dict[int, dict[Any, dict[Round, None]]] = {}
        for one in rounds:
            self._put_back(one)

    @property
    def epoch(self) -> int:
        """Epochs that the foremost round has begun, and all when `train` has ended."""
        return max(self._at)

    def hold(self) -> None:
        """Lets `train` end at the epoch that the foremost round has begun."""
        self._limit = min(self._limit, self.epoch)

    def states(self) -> dict[str, TrainState]:
        """Returns the states of all replicas on the host, by name.

        To be called when `train` has ended; let go of them before it goes on, as
        `Trainer.read` says.
        """
        rounds = list(self._begun)
        while len(found := self.program.read(rounds)) < len(rounds):
            for one in rounds:
                if one not in found:
                    self._lose(one, Lost(f"{one.device} is gone"))
            for _ in self.train(self.epoch, False, self._while_waiting):
                pass
        self._held = dict(self._begun)
        self._losses = dict.fromkeys(rounds, 0)
        return {name: state for of in found.values() for name, state in of.items()}

    def measure(self, rounds: Iterable[Round]) -> dict[str, Result]:
        """Measures rounds that have a state on all splits; returns it by name."""
        found: dict[str, Result] = {}
        left = list(rounds)
        for _ in range(1 + MOST_LOSSES):
            devices = self.program.devices
            begun = [
                (one, self.program.measure(one, devices[i % len(devices)]))
                for i, one in enumerate(left)
            ]
            left = []
            for one, result in begun:
                try:
                    found |= one.read(result.result())
                except Lost as error:
                    left.append(one)
                    reason = error
            if not left:
                return found
        raise reason

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

        Raises:
            Lost: If a round has been lost again and again.
        """
        self._limit, self._while_waiting = until, while_waiting
        free_since: dict[Any, float] = {}
        try:
            while True:
                self._follow_devices(free_since)
                self._begin(until if in_full else None)
                if not any(self._calls.values()) and min(self._at) >= self._limit:
                    return
                for device in self._some_done():
                    yield from self._finish(device, free_since)
        finally:
            # Who stops in the middle waits for no more than what is being computed.
            for mine in self._calls.values():
                for call in mine:
                    call.result.cancel()
            self._calls = {}

    def _follow_devices(self, free_since: dict[Any, float]) -> None:
        """Takes in devices that have come, and lets go of those that are gone."""
        devices = self.program.devices
        for device in self._calls.keys() - devices:
            gone = self._calls.pop(device)
            lost = _rounds(gone)
            lost |= {one for one in self._begun if one.device is device}
            for one in lost:
                self._lose(one, Lost(f"{device} is gone"))
        for device in devices[: len(self._begun)]:
            if device not in self._calls:
                self._calls[device] = collections.deque()
                free_since[device] = time.perf_counter()

    def _begin(self, full_at: int | None) -> None:
        """Gives every device its calls, as far as there is something to do."""
        # With too few rounds for two each, one device would hold two for good, and
        # another have one to itself: then whatever is not computed is free for both.
        few = len(self._calls) < len(self._begun) < AHEAD * len(self._calls)
        for ahead in range(1 if few else AHEAD):
            for device, mine in self._calls.items():
                one = self._furthest_behind(device) if len(mine) <= ahead else None
                if one is None:
                    continue
                self._take(one)
                start = self._begun[one]
                stop = min(start + self._stride, self._limit)
                result = self.program.train(
                    one, device, range(start, stop), stop == full_at
                )
                self._move(one, stop)
                call = _Call(one, range(start, stop), result, time.perf_counter())
                mine.append(call)

    def _finish(self, device: Any, free_since: dict[Any, float]) -> Iterator[Done]:
        """Reads a device's first call, which is done, and tells of its epochs."""
        call = self._calls[device].popleft()
        one = call.one
        try:
            results = [one.read(result) for result in call.result.result()]
        except Lost as error:
            self._lose(one, error)
            return
        now = time.perf_counter()
        if one not in _rounds(self._calls[device]):
            self._put_back(one)
        seconds = (now - max(call.begun, free_since[device])) / len(results)
        free_since[device] = now
        if self.program.span:
            wanted = round(self.program.span / max(seconds, 1e-9))
            self._stride = max(1, min(wanted, 2 * self._stride))
        for epoch, result in zip(call.epochs, results):
            if epoch >= self._told[one]:
                self._told[one] = epoch + 1
                yield Done(epoch + 1, result, seconds / len(self._calls), device)

    def _some_done(self) -> Sequence[Any]:
        """Waits for devices whose first call is done; that begun first comes first."""
        first = {device: mine[0] for device, mine in self._calls.items() if mine}
        results = [call.result for call in first.values()]
        if not wait(results, timeout=TURN, return_when=FIRST_COMPLETED).done:
            if not results:
                time.sleep(TURN)
            self._while_waiting()
        done = [device for device, call in first.items() if call.result.done()]
        return sorted(done, key=lambda device: first[device].begun)

    def _furthest_behind(self, device: Any) -> Round | None:
        """Returns the round that a device is to train next; None to wait for one.

        A round that is computed elsewhere stays there. Where moving one costs time, it
        is for a device that has nothing else to do.
        """
        here = _rounds(self._calls[device])
        # Who has something to do leaves the others time to catch up.
        most = min(self._at) + (0 if here else self._stride)
        best = min(here, key=self._begun.__getitem__, default=None)
        if best and self._begun[best] > most:
            best = None
        limit = min(self._begun[best] if best else most, self._limit - 1)
        allowed = [epoch for epoch in sorted(self._waiting) if epoch <= limit]
        for epoch in allowed:
            places = self._waiting[epoch]
            if mine := places.get(device) or places.get(None):
                return next(iter(mine))
            if not self.program.span:
                return next(iter(next(iter(places.values()))))
        if allowed and not here:
            most_of = max(
                self._waiting[allowed[0]].values(), key=lambda some: len(some)
            )
            return next(iter(most_of))
        return best if best and self._begun[best] < self._limit else None

    def _lose(self, one: Round, error: Lost) -> None:
        """Goes back with a round to the state that the host has."""
        self._losses[one] += 1
        if self._losses[one] > MOST_LOSSES:
            raise Lost(
                f"replicas {', '.join(list(one.places)[:3])} have lost "
                f"{self._losses[one]} devices in a row ({error}): the same command "
                "goes on; with fewer --lanes they take less memory"
            ) from error
        # What else was begun of it is of no use.
        for mine in self._calls.values():
            for call in [call for call in mine if call.one is one]:
                mine.remove(call)
        self._take(one)
        one.device = None
        self._move(one, self._held[one])
        self._put_back(one)

    def _move(self, one: Round, epoch: int) -> None:
        self._at[self._begun[one]] -= 1
        if not self._at[self._begun[one]]:
            del self._at[self._begun[one]]
        self._at[epoch] += 1
        self._begun[one] = epoch

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
