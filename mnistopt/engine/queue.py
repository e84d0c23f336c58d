"""Rounds taking turns on the devices, none of which waits for another."""

import collections
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from mnistopt.engine.pool import MOST_LOSSES, TURN, Lost, Trainer
from mnistopt.engine.replicas import Result, Trained
from mnistopt.engine.rounds import Member, Round, make_rounds
from mnistopt.hparams import Hparams
from mnistopt.training.cohort import TrainState


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


# Calls begun per device: while the host reads one, the device computes the other.
AHEAD = 2


class Done(NamedTuple):
    """An epoch of a round that is done.

    Attributes:
        epoch: Epochs done, with this one.
        results: Per replica of the round, by name.
        seconds: That the device took, shared among the devices that compute.
        device: That it ran on.
    """

    epoch: int
    results: dict[str, Result]
    seconds: float
    device: Any


class _Call(NamedTuple):
    one: Round
    epochs: range
    result: Future[Trained]


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
        self._line = Line(rounds)
        # Epochs of the state that the host has, and those that were told of.
        self._held, self._told = dict(rounds), dict(rounds)
        self._losses = dict.fromkeys(rounds, 0)
        self._limit = 0
        self._stride = 1
        self._while_waiting: Callable[[], None] = lambda: None
        self._calls: dict[Any, collections.deque[_Call]] = {}
        # Devices of which a call has been done.
        self._answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Busy devices without another round for now, by the lowest epoch then.
        self._sated: dict[Any, int] = {}

    @property
    def epoch(self) -> int:
        """Epochs that the foremost round has begun, and all when `train` has ended."""
        return self._line.highest

    def hold(self) -> None:
        """Lets `train` end at the epoch that the foremost round has begun."""
        self._limit = min(self._limit, self.epoch)

    def states(self) -> dict[str, TrainState]:
        """Returns the states of all replicas on the host, by name.

        To be called when `train` has ended; let go of them before it goes on, as
        `Trainer.read` says.
        """
        rounds, epoch = list(self._held), self.epoch
        while True:
            found = self.program.read(rounds)
            for one in rounds:
                if one in found:
                    self._held[one], self._losses[one] = self._line.begun[one], 0
                else:
                    self._lose(one, Lost(f"{one.device} is gone"))
            if len(found) == len(rounds):
                break
            for _ in self.train(epoch, False, self._while_waiting):
                pass
        return {name: state for of in found.values() for name, state in of.items()}

    def measure(self, rounds: Iterable[Round]) -> dict[str, Result]:
        """Measures rounds that have a state on all splits; returns it by name."""
        found: dict[str, Result] = {}
        left = list(rounds)
        for _ in range(1 + MOST_LOSSES):
            while not (devices := self.program.devices):
                time.sleep(TURN)
                self._while_waiting()
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
        try:
            while True:
                self._follow_devices()
                self._begin(until if in_full else None)
                if not any(self._calls.values()) and self._line.lowest >= self._limit:
                    return
                for device in self._some_answered():
                    mine = self._calls[device]
                    while mine and mine[0].result.done():
                        yield from self._finish(device)
        finally:
            # Who stops in the middle waits for no more than what is being computed.
            for mine in self._calls.values():
                for call in mine:
                    call.result.cancel()
            self._calls, self._sated = {}, {}
            self._answered = queue.SimpleQueue()

    def _follow_devices(self) -> None:
        """Takes in devices that have come, and lets go of those that are gone."""
        devices = self.program.devices
        for device in self._calls.keys() - devices:
            lost = _rounds(self._calls.pop(device))
            lost |= {one for one in self._held if one.device is device}
            for one in lost:
                self._lose(one, Lost(f"{device} is gone"))
        for device in devices[: len(self._held)]:
            if device not in self._calls:
                self._calls[device] = collections.deque()

    def _begin(self, full_at: int | None) -> None:
        """Gives every device its calls, as far as there is something to do."""
        # With too few rounds for two each, one device would hold two for good, and
        # another have one to itself: then whatever is not computed is free for both.
        few = len(self._calls) < len(self._held) < AHEAD * len(self._calls)
        for ahead in range(1 if few else AHEAD):
            for device, mine in self._calls.items():
                if len(mine) > ahead or self._sated.get(device) == self._line.lowest:
                    continue
                one = self._furthest_behind(device)
                if one is None:
                    # Nothing but its own calls or a loss will change that.
                    if mine and self.program.span:
                        self._sated[device] = self._line.lowest
                    continue
                self._line.take(one)
                start = self._line.begun[one]
                stop = min(start + self._stride, self._limit)
                result = self.program.train(
                    one, device, range(start, stop), stop == full_at
                )
                self._line.move(one, stop)
                mine.append(_Call(one, range(start, stop), result))
                self._listen(device, result)

    def _listen(self, device: Any, result: Future) -> None:
        """Lets a device be noted when a call of its is done."""
        answered = self._answered
        result.add_done_callback(lambda _: answered.put(device))

    def _some_answered(self) -> list[Any]:
        """Waits for devices that have done a call; they come in that order."""
        found: dict[Any, None] = {}
        try:
            found[self._answered.get(timeout=TURN)] = None
            while True:
                found[self._answered.get_nowait()] = None
        except queue.Empty:
            if not found:
                self._while_waiting()
        return [device for device in found if device in self._calls]

    def _finish(self, device: Any) -> Iterator[Done]:
        """Reads a device's first call, which is done, and tells of its epochs."""
        call = self._calls[device].popleft()
        self._sated.pop(device, None)
        one = call.one
        try:
            results, seconds = call.result.result()
        except Lost as error:
            self._lose(one, error)
            return
        if one not in _rounds(self._calls[device]):
            self._line.put_back(one)
        seconds /= len(results)
        if self.program.span:
            # Not above twice as many: the first epochs are no measure of all.
            wanted = round(self.program.span / max(seconds, 1e-9))
            self._stride = max(1, min(wanted, 2 * self._stride))
        for epoch, result in zip(call.epochs, results):
            if epoch >= self._told[one]:
                self._told[one] = epoch + 1
                share = seconds / len(self._calls)
                yield Done(epoch + 1, one.read(result), share, device)

    def _furthest_behind(self, device: Any) -> Round | None:
        """Returns the round that a device is to train next; None to wait for one.

        A round that is computed elsewhere stays there. Where moving one costs time, it
        is for a device that has nothing else to do.
        """
        begun, costly = self._line.begun, bool(self.program.span)
        here = _rounds(self._calls[device])
        # Who has something to do leaves the others time to catch up.
        most = min(self._line.lowest + (0 if here else self._stride), self._limit - 1)
        again = min(here, key=begun.__getitem__, default=None)
        if again and begun[again] > most:
            again = None
        one = self._line.first(device, begun[again] if again else most, own=costly)
        if one is None and costly and not here:
            one = self._line.other(most)
        return one or again

    def _lose(self, one: Round, error: Lost) -> None:
        """Goes back with a round to the state that the host has."""
        self._losses[one] += 1
        if self._losses[one] > MOST_LOSSES:
            raise Lost(
                f"replicas {', '.join(list(one.places)[:3])} have lost "
                f"{self._losses[one]} devices in a row ({error}): the same command "
                "goes on; with fewer `lanes` they take less memory"
            ) from error
        # What else was begun of it is of no use.
        for mine in self._calls.values():
            for call in [call for call in mine if call.one is one]:
                mine.remove(call)
        self._sated.clear()
        self._line.take(one)
        one.device = None
        self._line.move(one, self._held[one])
        self._line.put_back(one)


def _rounds(mine: Iterable[_Call]) -> set[Round]:
    return {call.one for call in mine}


def make_timer(
    program: Trainer, numbers: Hparams, replicas: int, in_full: bool = False
) -> Callable[[], float]:
    """Returns a function that trains replicas for one epoch, and returns its seconds.

    The validation split is evaluated, as after every epoch of a study.

    Args:
        program: Of their cohort; trains on all of its devices.
        numbers: Their hyper-parameters.
        replicas: How many: of as many seeds as its lanes ask for.
        in_full: Whether to evaluate the training and test splits too.
    """
    seeds = -(-replicas // program.lanes.points)
    members = [
        Member(f"{seed}.{point}", seed, numbers)
        for seed in range(seeds)
        for point in range(program.lanes.points)
    ]
    rounds = make_rounds(program.lanes, members[:replicas])
    queue = Queue(program, dict.fromkeys(rounds, 0))

    def time_epoch() -> float:
        start = time.perf_counter()
        for _ in queue.train(queue.epoch + 1, in_full):
            pass
        return time.perf_counter() - start

    return time_epoch
