"""Which round a device takes next, whatever the devices' speeds."""

from collections import Counter
from concurrent.futures import Future
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.engine import queue
from mnistopt.engine.pool import MOST_LOSSES, Lost
from mnistopt.engine.queue import Queue
from mnistopt.engine.replicas import Trained


class FakeRound:
    def __init__(self, name):
        self.places, self.device = {name: (0, 0)}, None

    def read(self, result):
        return dict.fromkeys(self.places, result)


class FakeProgram:
    """Notes what is begun, and decides what is done first."""

    span = 0.0

    def __init__(self, devices, which=lambda count: range(count)):
        """Of so many devices that compute, those at `which(count)` are done."""
        self.devices, self.which, self.begun = list(range(devices)), which, []
        self.flying = {}

    def train(self, one, device, epochs, in_full):
        one.device = device
        self.begun.append((one, device, *epochs, in_full))
        return self.begin(device, epochs)

    def begin(self, device, epochs):
        call = Future()
        self.flying.setdefault(device, []).append((call, epochs))
        return call

    def go_on(self):
        busy = [device for device, calls in self.flying.items() if calls]
        for device in [busy[place] for place in self.which(len(busy))]:
            self.end(device)

    def end(self, device):
        call, epochs = self.flying[device].pop(0)
        call.set_result(Trained(list(epochs), 1.0))


def train(program, line, until):
    with mock.patch.object(queue, "TURN", 0):
        yield from line.train(until, while_waiting=program.go_on)


@given(
    starts=st.lists(st.integers(0, 1), min_size=1, max_size=7),
    devices=st.integers(1, 4),
    until=st.integers(2, 6),
    data=st.data(),
)
def test_every_round_is_trained_in_order_and_none_is_in_two_places(
    starts, devices, until, data
):
    program = FakeProgram(
        devices,
        lambda count: data.draw(st.sets(st.integers(0, count - 1), min_size=1)),
    )
    rounds = [FakeRound(str(i)) for i in range(len(starts))]
    line = Queue(program, dict(zip(rounds, starts)))
    done = dict(zip(map(str, range(len(starts))), starts))
    flying = []
    seen = 0
    for one in train(program, line, until):
        for began in program.begun[seen:]:
            where = {device for other, device, *_ in flying if other is began[0]}
            assert where <= {began[1]}, "in flight elsewhere"
            flying.append(began)
            here = [call for call in flying if call[1] == began[1]]
            assert len(here) <= queue.AHEAD
        seen = len(program.begun)
        (name,) = one.results
        assert one.epoch == done[name] + 1
        done[name] = one.epoch
        flying.remove(next(call for call in flying if name in call[0].places))
        begun = [
            sum(other is round_ for other, *_ in program.begun) + start
            for round_, start in zip(rounds, starts)
        ]
        assert max(begun) - min(begun) <= 2
    assert set(done.values()) == {until} and line.epoch == until
    # In full after the last epoch, and after no other.
    assert all(full == (epoch + 1 == until) for _, _, epoch, full in program.begun)


@given(st.integers(1, 7), st.integers(1, 3), st.integers(1, 5))
def test_on_hold_all_rounds_meet_and_go_on_from_there(rounds, devices, stop):
    program = FakeProgram(devices)
    line = Queue(program, {FakeRound(str(i)): 0 for i in range(rounds)})
    done = 0
    for one in train(program, line, 9):
        done += 1
        if one.epoch >= stop:
            line.hold()
    assert stop <= line.epoch <= stop + 2 and done == rounds * line.epoch
    assert not any(full for *_, full in program.begun)
    list(train(program, line, 9))
    assert line.epoch == 9 and len(program.begun) == 9 * rounds


@given(st.integers(1, 12), st.integers(1, 4))
def test_devices_of_one_speed_are_equally_busy(rounds, devices):
    program = FakeProgram(devices)
    line = Queue(program, {FakeRound(str(i)): 0 for i in range(rounds)})
    list(train(program, line, 20))
    calls = Counter(device for _, device, *_ in program.begun)
    assert sum(calls.values()) == 20 * rounds
    assert len(calls) == min(devices, rounds)
    assert max(calls.values()) - min(calls.values()) <= rounds


def test_ten_thousand_rounds_are_not_searched_one_by_one():
    class Counted(FakeRound):
        looked_at = 0

        def __hash__(self):
            Counted.looked_at += 1
            return id(self)

    program = FakeProgram(2)
    line = Queue(program, {Counted(str(i)): 0 for i in range(10_000)})
    Counted.looked_at = 0
    list(train(program, line, 2))
    assert len(program.begun) == 20_000
    assert Counted.looked_at < 100 * len(program.begun)


class BreakingProgram(FakeProgram):
    """Its devices are lost while others come, as often as it is told to."""

    span = 0.5

    def __init__(self, devices, losses, draw):
        super().__init__(devices)
        self.names = iter(range(devices, 1000))
        self.losses, self.draw = losses, draw
        self.there, self.held = {}, {}

    def train(self, one, device, epochs, in_full):
        assert device in self.devices
        if one.device is None:
            self.there[one] = self.held.get(one, 0)
        assert epochs.start == self.there[one], "not where its state is"
        self.there[one] = epochs.stop
        one.device = device
        return self.begin(device, epochs)

    def lose(self, device):
        self.losses -= 1
        self.devices.remove(device)
        if not self.devices or self.draw(st.booleans()):
            self.devices.append(next(self.names))
        for call, _ in self.flying.pop(device, []):
            call.set_exception(Lost("it broke"))

    def go_on(self):
        fates = st.sampled_from(["done", "later", "lost"])
        busy = [device for device, calls in self.flying.items() if calls]
        for number, device in enumerate(busy):
            fate = self.draw(fates) if number else "done"
            if fate == "lost" and self.losses:
                self.lose(device)
            elif fate != "later":
                self.end(device)

    def read(self, rounds):
        lost = set()
        if self.losses and self.draw(st.booleans()):
            self.lose(device := self.draw(st.sampled_from(self.devices)))
            lost = {one for one in rounds if one.device == device}
        for one in (one for one in rounds if one.device is not None):
            if one not in lost:
                self.held[one] = self.there[one]
        return {one: one.read(self.held[one]) for one in rounds if one not in lost}


@given(
    rounds=st.integers(1, 7),
    devices=st.integers(1, 4),
    losses=st.integers(0, MOST_LOSSES),
    stops=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    data=st.data(),
)
def test_lost_devices_cost_time_and_nothing_else(rounds, devices, losses, stops, data):
    """Every epoch is told of once and in order, and states are those of the end."""
    program = BreakingProgram(devices, losses, data.draw)
    line = Queue(program, {FakeRound(str(i)): 0 for i in range(rounds)})
    told = {str(i): [] for i in range(rounds)}
    until = 0
    for stop in stops:
        until += stop
        for one in train(program, line, until):
            ((name, epoch),) = one.results.items()
            assert epoch == one.epoch - 1
            told[name].append(one.epoch)
        with mock.patch.object(queue, "TURN", 0):
            assert line.states() == dict.fromkeys(told, until)
    assert all(epochs == list(range(1, until + 1)) for epochs in told.values())


def test_what_breaks_every_device_ends_the_training():
    program = BreakingProgram(1, 100, None)
    program.draw = lambda _: True
    program.go_on = lambda: program.lose(program.devices[0])
    with pytest.raises(Lost, match=f"lost {MOST_LOSSES + 1} devices in a row"):
        list(train(program, Queue(program, {FakeRound("r"): 0}), 3))


def test_a_round_moves_only_to_who_has_nothing_else_to_do():
    """Where moving costs time: devices of one speed keep what they have begun."""

    class Remote(FakeProgram):
        span, moves = 1e-9, 0

        def train(self, one, device, epochs, in_full):
            self.moves += one.device not in (None, device)
            return super().train(one, device, epochs, in_full)

    program = Remote(4)
    line = Queue(program, {FakeRound(str(i)): 0 for i in range(40)})
    list(train(program, line, 30))
    assert len(program.begun) == 40 * 30
    assert program.moves <= 40


def test_short_epochs_are_called_for_together():
    class Remote(FakeProgram):
        span, longest = 1e9, 0

        def train(self, one, device, epochs, in_full):
            one.device = device
            assert in_full == (epochs.stop == 100)
            self.begun.append(epochs)
            call = Future()
            call.set_result(Trained(list(epochs), 1.0))
            return call

    program = Remote(2)
    line = Queue(program, {FakeRound(str(i)): 0 for i in range(4)})
    done = [one.epoch for one in line.train(100)]
    assert sorted(done) == sorted(list(range(1, 101)) * 4)
    assert len(program.begun) < 50 and line.epoch == 100
