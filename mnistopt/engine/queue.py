"""Rounds taking turns on the devices, none of which waits for another."""

import collections
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from mnistopt.engine.devices import Device
from mnistopt.engine.pool import MOST_LOSSES, TURN, Computing, Lost, Trainer, present
from mnistopt.engine.replicas import Result, Trained
from mnistopt.engine.rounds import Member, Round, make_rounds
from mnistopt.hparams import Hparams
from mnistopt.training.cohort import TrainState

# Where a round is that is being computed.
_BUSY = object()


class Line:
    """Rounds by the epochs that they have begun, and by whom they wait for.

    What it is asked is answered at once among ten thousand rounds, too.
    """

    def __init__(self, rounds: Mapping[Round, int]):
        """All of them wait for any device.

        Args:
            rounds: With the epochs that each has done before.
        """
        self._place: dict[Round, tuple[int, Any]] = {}
        # The same the other way round. The inner dictionaries are ordered sets.
        self._rounds: dict[int, dict[Any, dict[Round, None]]] = {}
        for round_, epoch in rounds.items():
            self.put(round_, epoch, None)

    @property
    def lowest(self) -> int:
        """Epochs that the round furthest behind has begun."""
        return min(self._rounds)

    @property
    def highest(self) -> int:
        """Epochs that the foremost round has begun."""
        return max(self._rounds)

    def begun(self, round_: Round) -> int:
        """Returns the epochs that a round has begun."""
        return self._place[round_][0]

    def put(self, round_: Round, epoch: int, where: Any) -> None:
        """Puts a round into its place.

        Args:
            round_: It is taken out of where it was.
            epoch: Epochs that it has begun.
            where: The device that it waits for, as it was trained there last; None for
                any; `_BUSY` if it does not wait.
        """
        if round_ in self._place:
            before, waited_for = self._place[round_]
            places = self._rounds[before]
            del places[waited_for][round_]
            if not places[waited_for]:
                del places[waited_for]
            if not places:
                del self._rounds[before]
        self._place[round_] = epoch, where
        self._rounds.setdefault(epoch, {}).setdefault(where, {})[round_] = None

    def first(self, device: Device, most: int, own: bool) -> Round | None:
        """Returns the waiting round that is furthest behind.

        Args:
            device: Whose own are preferred among equals, then new ones, then those of
                the device that has most of them.
            most: Epochs that it may have begun at most.
            own: Whether those that were trained elsewhere are left out.
        """
        for epoch in sorted(self._rounds):
            if epoch > most:
                break
            places = self._rounds[epoch]
            waiting = places.get(device) or places.get(None)
            if not waiting and not own:
                others = [places[where] for where in places if where is not _BUSY]
                waiting = max(others, key=len, default=None)
            if waiting:
                return next(iter(waiting))
        return None


# Calls begun per device: while the host reads one, the device computes the other.
AHEAD = 2


class Done(NamedTuple):
    """An epoch of a round that is done.

    Attributes:
        epoch: Epochs done, with this one.
        results: Per replica of the round, by name.
        seconds: The device's seconds, divided by the number of devices that compute.
        device: The device that it ran on.
    """

    epoch: int
    results: dict[str, Result]
    seconds: float
    device: Device


class _Call(NamedTuple):
    round_: Round
    epochs: range
    result: Future[Trained]


class Queue:
    """Trains rounds side by side, a call at a time: an epoch, or some that are short.

    A free device takes the round that is furthest behind, so that none is begun more
    than two calls ahead of another. Nothing that a replica computes depends on it, nor
    on devices that are lost: their rounds go on elsewhere from the state that the host
    has, and epochs already reported are retrained without being reported again.

    Attributes:
        program: What computes the rounds.
    """

    def __init__(self, program: Computing, rounds: Mapping[Round, int]):
        """Computes nothing.

        Args:
            program: What computes the rounds.
            rounds: With the epochs that each has done before.
        """
        self.program = program
        self._line = Line(rounds)
        # Epochs of the state that the host has, and those that were reported.
        self._held, self._reported = dict(rounds), dict(rounds)
        self._losses = dict.fromkeys(rounds, 0)
        self._limit = 0
        # Epochs per call, of each round: programs differ in speed.
        self._strides, self._longest = dict.fromkeys(rounds, 1), 1
        self._while_waiting: Callable[[], None] = lambda: None
        self._calls: dict[Device, collections.deque[_Call]] = {}
        # Whether a call has been done.
        self._answered = threading.Event()
        # Busy devices without another round for now, by the lowest epoch then.
        self._sated: dict[Device, int] = {}

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
            states = self.program.read(rounds)
            for round_ in rounds:
                if round_ in states:
                    self._held[round_] = self._line.begun(round_)
                    self._losses[round_] = 0
                else:
                    self._lose(round_, Lost(f"{round_.device} is gone"))
            if len(states) == len(rounds):
                break
            for _ in self.train(epoch, False, self._while_waiting):
                pass
        return {name: state for of in states.values() for name, state in of.items()}

    def measure(self) -> dict[str, Result]:
        """Measures all rounds on all splits, by the states that they have."""
        measured: dict[str, Result] = {}
        left = list(self._held)
        for _ in range(1 + MOST_LOSSES):
            devices = present(self.program, self._while_waiting)
            begun = [
                (round_, self.program.measure(round_, device))
                for round_, device in zip(left, itertools.cycle(devices))
            ]
            left = []
            for round_, result in begun:
                try:
                    measured |= round_.read(result.result())
                except Lost as error:
                    left.append(round_)
                    reason = error
            if not left:
                return measured
        raise reason

    def train(
        self,
        until: int,
        in_full: bool = True,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> Iterator[Done]:
        """Trains all rounds to the same epoch, and yields each epoch as it is done.

        Args:
            until: The last epoch; `hold` may end the training at an earlier one.
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
                if self._answered.wait(TURN):
                    self._answered.clear()
                else:
                    while_waiting()
                for device, calls in self._calls.items():
                    while calls and calls[0].result.done():
                        yield from self._finish(device)
        finally:
            # Who stops in the middle waits for no more than what is being computed.
            for calls in self._calls.values():
                for call in calls:
                    call.result.cancel()
            self._calls, self._sated = {}, {}

    def _follow_devices(self) -> None:
        """Takes in devices that have come, and lets go of those that are gone."""
        devices = self.program.devices
        for device in self._calls.keys() - devices:
            del self._calls[device]
            for round_ in self._held:
                if round_.device is device:
                    self._lose(round_, Lost(f"{device} is gone"))
        for device in devices[: len(self._held)]:
            if device not in self._calls:
                self._calls[device] = collections.deque()

    def _begin(self, full_at: int | None) -> None:
        """Gives every device its calls, as far as there is something to do."""
        # With too few rounds for two each, one device would hold two for good, and
        # another have one to itself: then whatever is not computed is free for both.
        few = len(self._calls) < len(self._held) < AHEAD * len(self._calls)
        for ahead in range(1 if few else AHEAD):
            for device, calls in self._calls.items():
                if len(calls) > ahead or self._sated.get(device) == self._line.lowest:
                    continue
                round_ = self._furthest_behind(device)
                if round_ is None:
                    # Nothing but its own calls or a loss will change that.
                    if calls and self.program.span:
                        self._sated[device] = self._line.lowest
                    continue
                start = self._line.begun(round_)
                stop = min(start + self._strides[round_], self._limit)
                self._line.put(round_, stop, _BUSY)
                epochs = range(start, stop)
                result = self.program.train(round_, device, epochs, stop == full_at)
                calls.append(_Call(round_, epochs, result))
                result.add_done_callback(lambda _: self._answered.set())

    def _finish(self, device: Device) -> Iterator[Done]:
        """Reads a device's first call, which is done, and yields its epochs."""
        calls = self._calls[device]
        round_, epochs, result = calls.popleft()
        self._sated.pop(device, None)
        try:
            results, seconds = result.result()
        except Lost as error:
            self._lose(round_, error)
            return
        if all(call.round_ is not round_ for call in calls):
            self._line.put(round_, self._line.begun(round_), device)
        seconds /= len(results)
        if self.program.span:
            # Not above twice as many: the first epochs may not be typical.
            wanted = round(self.program.span / max(seconds, 1e-9))
            stride = max(1, min(wanted, 2 * self._strides[round_]))
            self._strides[round_] = stride
            self._longest = max(self._longest, stride)
        for epoch, counts in zip(epochs, results):
            if epoch >= self._reported[round_]:
                self._reported[round_] = epoch + 1
                share = seconds / len(self._calls)
                yield Done(epoch + 1, round_.read(counts), share, device)

    def _furthest_behind(self, device: Device) -> Round | None:
        """Returns the round that a device is to train next; None to wait for one.

        A round that is computed elsewhere stays there. Where moving one costs time, it
        is for a device that has nothing else to do.
        """
        line, calls = self._line, self._calls[device]
        # A busy device gives the others time to catch up.
        ahead = 0 if calls else self._longest
        most = min(line.lowest + ahead, self._limit - 1)
        round_ = line.first(device, most, own=bool(self.program.span))
        if round_ is None and not calls:
            return line.first(device, most, own=False)
        again = (call.round_ for call in calls if line.begun(call.round_) <= most)
        return round_ or next(again, None)

    def _lose(self, round_: Round, error: Lost) -> None:
        """Goes back with a round to the state that the host has."""
        self._losses[round_] += 1
        if self._losses[round_] > MOST_LOSSES:
            raise Lost(
                f"replicas {', '.join(list(round_.places)[:3])} have lost "
                f"{self._losses[round_]} devices in a row ({error}): the same command "
                "resumes; with fewer `lanes` they take less memory"
            ) from error
        # What else was begun of it is of no use.
        for calls in self._calls.values():
            for call in [call for call in calls if call.round_ is round_]:
                calls.remove(call)
        self._sated.clear()
        round_.device = None
        self._line.put(round_, self._held[round_], None)


def make_timer(
    program: Trainer, numbers: Hparams, replicas: int, in_full: bool = False
) -> Callable[[], float]:
    """Returns a function that trains replicas for one epoch, and returns its seconds.

    The validation split is evaluated, as after every epoch of a study.

    Args:
        program: The program of their cohort; trains on all of its devices.
        numbers: The hyper-parameters of the replicas.
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
