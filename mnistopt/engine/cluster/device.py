"""A worker, as the device that it has."""

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError, wait
from typing import Any

import ray

from mnistopt.engine.devices import Device, Lanes
from mnistopt.engine.pool import TURN, Lost
from mnistopt.engine.replicas import Trained

# Errors of a call that say that a worker, or what it had, is gone.
GONE = (
    *(ray.exceptions.RayActorError, ray.exceptions.ObjectLostError),
    *(ray.exceptions.OwnerDiedError, ray.exceptions.NodeDiedError),
)


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


class RemoteDevice(Device):
    """The device of a worker.

    Attributes:
        actor: The worker.
        number: The worker's number among those of this driver.
        node: Ray's identity of its node.
        where: Name of its node.
        gone: Whether it has died.
        longest: Seconds of the longest call that has trained.
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
        """Takes what `Worker.about` returns, and what to do while one waits for it."""
        self.actor, self.number = actor, number
        self.node, self.where = about["node"], about["where"]
        self.platform, self._machine = about["platform"], about["machine"]
        self.memory, self.idle_bytes = about["memory"], about["idle_bytes"]
        self.gone, self.longest = False, 0.0
        self._look = look
        self._waiting: set[Future] = set()
        # When it was last heard of, or began to have something to do.
        self._since = 0.0

    def __str__(self) -> str:
        """Its kind, number and node, as in "cpu 0 on 10.0.0.2"."""
        return f"{self.platform} {self.number} on {self.where}"

    @property
    def silence(self) -> float:
        """Seconds for which it has not answered, though it was asked."""
        return time.monotonic() - self._since if self._waiting else 0.0

    def describe(self, lanes: Lanes) -> dict[str, Any]:
        """Returns all that decides the bits of what it computes in these lanes."""
        return {**self._machine, "lanes": list(lanes)}

    def ask(self, call: Callable[..., Any], *arguments: Any) -> Future:
        """Begins `call(device, *arguments)`, as a `Device` does."""
        return self.answer(self.actor.ask.remote(call, *arguments))

    def answer(self, ref: Any) -> Future:
        """Returns the future of a call to the worker.

        Its error is `Lost` if the worker, or a state on its way to it, is.
        """
        answer = _Answer(self._look)
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.add(answer)

        def deliver(done: Future) -> None:
            self._since = time.monotonic()
            self._waiting.discard(answer)
            # Nobody waits any more for what was cancelled.
            with contextlib.suppress(InvalidStateError):
                if (error := done.exception()) is None:
                    if isinstance(result := done.result(), Trained):
                        self.longest = max(self.longest, result.seconds)
                    answer.set_result(result)
                else:
                    answer.set_exception(self._error(error))

        ref.future().add_done_callback(deliver)
        return answer

    def _error(self, error: BaseException) -> BaseException:
        if isinstance(error, GONE):
            # A worker that says of a call what it lacks is not gone itself.
            self.gone |= not isinstance(error, ray.exceptions.RayTaskError)
            return Lost(f"{self} is gone: {reason(error)}")
        if isinstance(error, ray.exceptions.RayTaskError):
            return error.cause
        return error


def reason(error: BaseException) -> str:
    """Returns the line of Ray's error that says what has happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("The actor") or "Error" in line]
    return (causes or lines or [type(error).__name__])[-1][:200]
