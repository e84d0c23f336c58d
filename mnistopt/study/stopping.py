"""Ending a run on request: what it has done is saved first."""

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from mnistopt.engine.record import Record
from mnistopt.errors import InputError

# Seconds that the epoch in progress has to end, so that it can be saved; a program that
# was asked to stop then has one more to end.
PATIENCE = 4.0
# Ctrl-C; what SLURM, Kubernetes and kill send; a terminal that is closed.
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A run that was asked to stop has stopped.

    Attributes:
        number: The number of the signal.
    """

    def __init__(self, number: int):
        """Knows the signal."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Diverged(InputError):
    """A replica has diverged, and the run was to end then."""

    def __init__(self, record: Record, label: str):
        """Takes the replica's record, and the name of its point."""
        super().__init__(
            f"{label}, seed {record.seed}, has diverged by epoch {record.epochs_done} "
            f"({record.history['cause'][-1]}), which ends the run, as fail_fast asks; "
            "what is done is saved. The same command without it resumes, and leaves "
            "out what has diverged"
        )


class Stop:
    """Whether a run is to end; a context manager that listens while it runs.

    A handler only takes a note, which the run reads between two epochs. If it has not
    ended within `PATIENCE`, whatever it does, Stopped is raised there: again and again,
    as what is raised wherever a signal arrives may be lost in somebody's callback. The
    second signal does what it did before. In other threads than the main one nothing
    can be listened to, and signals that are ignored (as by nohup) stay so.
    """

    def __init__(self) -> None:
        """Listens to nothing yet."""
        self._number: int | None = None
        self._error: Exception | None = None
        self._deadline = float("inf")
        self._before: dict[int, Any] = {}
        self._ended, self._insisting = threading.Event(), False

    def __enter__(self) -> "Stop":
        """Starts to listen."""
        if threading.current_thread() is threading.main_thread():
            signals = [getattr(signal, n) for n in SIGNALS if hasattr(signal, n)]
            for number in signals:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the signals back to who had them."""
        self._ended.set()
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._insisting:
            self._insisting = False
            self.check()
        if self._number is not None:
            self.__exit__()
            os.kill(os.getpid(), number)
            return
        self._number = number
        self._deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):
            message = "\nstopping within 5 s, to end this epoch; again: at once\n"
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, message.encode())
        threading.Thread(target=self._insist, args=(number,), daemon=True).start()

    def _insist(self, number: int) -> None:
        """Raises Stopped in the main thread, when it had time to stop by itself."""
        patience = PATIENCE
        while not self._ended.wait(patience):
            self._insisting = True
            # To that thread, which may wait for another one.
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            patience = 1.0

    @property
    def asked(self) -> bool:
        """Whether the run is to end after this epoch."""
        return self._number is not None or self._error is not None

    def end(self, error: Exception) -> None:
        """Lets the run end after this epoch, for another reason than a signal."""
        self._error = self._error or error

    def check(self) -> None:
        """Raises Stopped if a signal has come, or the reason that `end` was given."""
        if self._number is not None:
            raise Stopped(self._number)
        if self._error is not None:
            raise self._error

    def check_patience(self) -> None:
        """Raises Stopped if one has come and the epoch did not end in time."""
        if time.monotonic() > self._deadline:
            self.check()
