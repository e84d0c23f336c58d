"""Which round a device takes next, whatever the devices' speeds."""

from collections import Counter
from concurrent.futures import Future, wait
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from mnistopt.engine import queue
from mnistopt.engine.queue import Queue


class FakeRound:
    def __init__(self, name):
        self.places, self.device = {name: (0, 0)}, None

    def read(self, result):
        return dict.fromkeys(self.places, result)


class FakeProgram:
    """Notes what is begun; stands in for `wait`, and decides what is done first."""

    span = 0.0

    def __init__(self, devices, which=lambda count: range(count)):
        """Of so many calls, those at the places `which(count)` are done."""
        self.devices, self.which, self.begun = list(range(devices)), which, []

    def train(self, one, device, epochs, in_full):
        one.device = device
        (epoch,) = epochs
        self.begun.append((one, device, epoch, in_full))
        return Future()

    def wait(self, calls, timeout, return_when):
        for call in (calls[place] for place in self.which(len(calls))):
            if not call.done():
                call.set_result([None])
        return wait(calls, 0, return_when)


def train(program, line, until):
    with mock.patch.object(queue, "wait", program.wait):
        yield from line.train(until)


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
