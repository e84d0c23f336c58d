"""A worker as the device it has, and a program that workers train with."""

import collections
import contextlib
import itertools
import os
import signal
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, wait
from typing import Any, Protocol

import jax
import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mnistopt.engine.devices import Lanes
from mnistopt.engine.pool import MOST_LOSSES, TURN, Lost
from mnistopt.engine.replicas import Result, Trained, state_bytes
from mnistopt.engine.rounds import Round
from mnistopt.models.source import own_modules
from mnistopt.training.replica import Replica, TrainState

# Seconds of a call: beginning one takes the driver half a millisecond, and some more
# until it begins, so that 512 devices keep half of one core busy.
SPAN = 0.5
# Bytes of states that are on their way to the driver at a time: an object store may be
# as small as 80 MB, and what is larger goes there by way of a disk.
WINDOW = 64e6
_NUMBERS = itertools.count()


class _Answer(Future):
    """A future that looks after the workers while somebody waits for it."""

    def __init__(self, look: Callable[[], object]):
        super().__init__()
        self._look = look

    def result(self, timeout: float | None = None) -> Any:
        while timeout is None and not self.done():
            wait([self], timeout=TURN)
            self._look()
        return super().result(timeout)


class RemoteDevice:
    """The device of a worker.

    Attributes:
        actor: The worker.
        number: Of the workers of this driver.
        node: Ray's identity of its node.
        where: Name of its node.
        platform: As of a `Device`.
        memory: Bytes that there are for it.
        idle_bytes: Of them, those that are taken before it computes.
        waiting: Calls that it has not answered.
        gone: Whether it has died.
        forgotten: Rounds that it may forget.
    """

    on_host = False
    # What a lost device has trained begins again from there.
    host_copies = 1

    def __init__(
        self,
        actor: Any,
        number: int,
        about: Mapping[str, Any],
        look: Callable[[], object],
    ):
        """Takes what `Worker.about` tells, and what to do while one waits for it."""
        self.actor, self.number, self.where = actor, number, about["node"]
        self._look = look
        self.platform, self._machine = about["platform"], about["machine"]
        self.memory, self.idle_bytes = about["memory"], about["idle_bytes"]
        self.node, self._process = about["node_id"], about["process"]
        self.waiting: set[Future] = set()
        self.gone = False
        self.forgotten: collections.deque[int] = collections.deque()

    def __str__(self) -> str:
        """Its kind, number and node, as in "cpu 0 on 10.0.0.2"."""
        return f"{self.platform} {self.number} on {self.where}"

    def describe(self, lanes: Lanes) -> dict[str, Any]:
        """Returns all that decides the bits of what it computes in these lanes."""
        return {**self._machine, "lanes": list(lanes)}

    def ask(self, call: Callable[..., Any], *arguments: Any) -> Future:
        """Begins `call(device, *arguments)` where the device is."""
        return self.answer(self.actor.ask.remote(call, *arguments))

    def read(self, number: int) -> Future:
        """Begins to bring the state of a round here, while others compute."""
        read = self.actor.read.options(concurrency_group="io")
        return self.answer(read.remote(number))

    def answer(self, ref: Any, then: Callable[[Any], Any] = lambda found: found):
        """Returns the future of a call to the worker; what `then` makes of its result.

        Its error is `Lost` if the worker, or a state on its way to it, is.
        """
        found = _Answer(self._look)
        self.waiting.add(found)

        def tell(of: Future) -> None:
            self.waiting.discard(found)
            # Where nobody waits for it any more, or it was lost, nothing is told.
            with contextlib.suppress(InvalidStateError):
                try:
                    found.set_result(then(of.result()))
                except InvalidStateError:
                    raise
                except Exception as error:  # noqa: BLE001 - whoever waits is told
                    found.set_exception(self._error(error))

        ref.future().add_done_callback(tell)
        return found

    def end(self) -> None:
        """Ends the worker; what it has not answered is lost."""
        self.gone = True
        ray.kill(self.actor)
        # Ray asks a process to end; one that is frozen does not hear it.
        here = NodeAffinitySchedulingStrategy(self.node, soft=False)
        _kill.options(num_cpus=0, scheduling_strategy=here).remote(self._process)
        for found in list(self.waiting):
            with contextlib.suppress(InvalidStateError):
                found.set_exception(Lost(f"{self} was ended"))

    def _error(self, error: BaseException) -> BaseException:
        if lost(error):
            # A worker that says of a call what it lacks is not gone itself.
            self.gone |= not isinstance(error, ray.exceptions.RayTaskError)
            return Lost(f"{self} is gone: {reason(error)}")
        if isinstance(error, ray.exceptions.RayTaskError):
            return error.cause
        return error


@ray.remote(max_retries=0)
def _kill(process: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(process, signal.SIGKILL)


def lost(error: BaseException) -> bool:
    """Says whether a call failed as a worker, or what it had, is gone."""
    gone = (
        *(ray.exceptions.RayActorError, ray.exceptions.ObjectLostError),
        *(ray.exceptions.OwnerDiedError, ray.exceptions.NodeDiedError),
    )
    return isinstance(error, gone)


def reason(error: BaseException) -> str:
    """Returns the line of Ray's error that says what has happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("The actor") or "Error" in line]
    return (told or lines or [type(error).__name__])[-1][:200]


class _Owner(Protocol):
    """What a program knows of its pool."""

    traffic: collections.Counter[str]

    @property
    def devices(self) -> Sequence[RemoteDevice]: ...

    def called(self, seconds: float) -> None: ...


class RemoteProgram:
    """The program of a cohort, compiled by each worker that trains with it.

    Attributes:
        replica: The static part of its replicas.
        lanes: The shape of a round.
        span: Seconds that a call should take at least.
        compile_seconds: Of the worker that took longest.
        bytes: That a call needs on its device, beside the examples.
    """

    span = SPAN

    def __init__(
        self, pool: _Owner, replica: Replica, lanes: Lanes, dataset: Any, most: int
    ):
        """Compiles on all of the devices.

        Args:
            pool: Has them.
            replica: The static part of its replicas.
            lanes: The shape of a round.
            dataset: Where Ray has it.
            most: How many of the devices to use.
        """
        self.replica, self.lanes = replica, lanes
        self._pool, self._most, self._dataset = pool, most, dataset
        self._number = next(_NUMBERS)
        for module in own_modules(type(replica.model)):
            ray.cloudpickle.register_pickle_by_value(module)
        self._about = ray.put((replica, lanes))
        self._compiled: weakref.WeakKeyDictionary[RemoteDevice, Future] = (
            weakref.WeakKeyDictionary()
        )
        found: list[dict[str, float]] = []
        losses = 0
        while not found:
            devices = self.devices
            if not devices:
                time.sleep(TURN)
                continue
            # One on each node: the others find its program in the compile cache.
            first = {device.node: device for device in reversed(devices)}.values()
            for some in (first, devices):
                compiling = [self._compile(device) for device in some]
                found += [told for told in map(_told, compiling) if told]
            losses += not found
            if losses > MOST_LOSSES:
                raise Lost(
                    f"workers have died {losses} times in a row while they compiled "
                    f"{replica.model}: Ray's logs may say why"
                )
        self.compile_seconds = max(told["seconds"] for told in found)
        self.bytes = int(max(told["bytes"] for told in found))

    @property
    def working_bytes(self) -> int:
        """Bytes that a step of one replica takes beside its state."""
        return self.bytes // int(np.prod(self.lanes)) - state_bytes(self.replica)

    @property
    def devices(self) -> Sequence[RemoteDevice]:
        """Those that compute now."""
        return self._pool.devices[: self._most]

    def train(
        self, one: Round, device: RemoteDevice, epochs: range, in_full: bool
    ) -> Future[Trained]:
        """Starts some epochs of a round, as `Trainer.train` has it."""
        self._compile(device)
        sent, moved = None, None
        if one.device is not device:
            sent = one
            if one.device is not None:
                moved = one.device.actor.take.options(concurrency_group="io")
                moved = moved.remote(one.number)
                sent = _without_state(one)
                self._pool.traffic["moved"] += self._state_bytes
            else:
                self._pool.traffic["rounds"] += _bytes((one.state, one.hparams))
            one.device = device
            # Who has the round may forget it when nobody wants it any more.
            weakref.finalize(one, device.forgotten.append, one.number)
        forget = [device.forgotten.popleft() for _ in range(len(device.forgotten))]
        ref = device.actor.train.remote(
            self._number, one.number, sent, moved, epochs, in_full, forget
        )
        return device.answer(ref, self._count)

    def measure(self, one: Round, device: RemoteDevice) -> Future[Result]:
        """Starts measuring a round that has trained, on all splits."""
        self._compile(device)
        self._pool.traffic["rounds"] += _bytes((one.state, one.hparams))
        return device.answer(device.actor.measure.remote(self._number, one))

    def read(self, rounds: Sequence[Round]) -> dict[Round, dict[str, TrainState]]:
        """Brings states to the host, a few at a time; leaves out those that are lost.

        They stay there, so that rounds which are lost later can go on from them.
        """
        found = {one: one.read(one.state) for one in rounds if one.device is None}
        left = iter([one for one in rounds if one.device is not None])
        size = max(1, int(WINDOW / self._state_bytes))
        while some := list(itertools.islice(left, size)):
            reading = [one.device.read(one.number) for one in some]
            for one, state in zip(some, map(_told, reading)):
                if state is None:
                    continue
                # Copied, as Ray's own would fill its store.
                one.state = jax.tree.map(np.array, state)
                found[one] = one.read(one.state)
                self._pool.traffic["states"] += self._state_bytes
        return found

    @property
    def _state_bytes(self) -> int:
        """Bytes of a round's state."""
        return int(np.prod(self.lanes)) * state_bytes(self.replica)

    def _compile(self, device: RemoteDevice) -> Future:
        if device not in self._compiled:
            self._compiled[device] = device.answer(
                device.actor.compile.remote(self._number, self._about, self._dataset)
            )
        return self._compiled[device]

    def _count(self, trained: Trained) -> Trained:
        self._pool.traffic["results"] += _bytes(trained.results)
        self._pool.called(trained.seconds)
        return trained


def _told(answer: Future) -> Any:
    """Waits for an answer; returns None if it is lost."""
    try:
        return answer.result()
    except Lost:
        return None


def _without_state(one: Round) -> Round:
    """Returns a round to be sent, whose state comes from elsewhere."""
    sent = object.__new__(Round)
    sent.__dict__.update(one.__getstate__(), state=None)
    return sent


def _bytes(tree: Any) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))
