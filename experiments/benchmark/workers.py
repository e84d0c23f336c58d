"""Processes that do a piece of work on request."""

import multiprocessing
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Failed(Exception):
    """A worker gave up, or was given up."""


def _serve(connection: Connection, make: Callable, arguments: tuple) -> None:
    """Makes the work, and does it once per message."""
    try:
        work = make(*arguments)
        connection.send(None)
        while connection.recv():
            work()
            connection.send(None)
    except EOFError:
        pass
    except Exception as error:  # reported by the caller
        traceback.print_exc()
        connection.send(f"{type(error).__name__}: {error}".partition("\n")[0])


class Workers:
    """Processes that do the same work at the same time; a context manager.

    They are started afresh, so that each has its own number of threads.
    """

    def __init__(self, count: int, limit: float, make: Callable, *arguments: Any):
        """Starts them, and waits until they are ready.

        Args:
            count: How many.
            limit: Seconds that getting ready, or a piece of work, may take.
            make: Called with `arguments` in each process, returns the work: a function
                without arguments.
            *arguments: Arguments that can be pickled.

        Raises:
            Failed: If one of them is not ready in time; says why.
        """
        self._limit = limit
        context = multiprocessing.get_context("spawn")
        self._ends, self._processes = [], []
        for _ in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, make, arguments), daemon=True
            )
            process.start()
            theirs.close()
            self._ends.append(mine)
            self._processes.append(process)
        self._wait()

    def run(self) -> float:
        """Does the work once in each process; returns the seconds until all are done.

        Raises:
            Failed: If one of them is not done in time; says why.
        """
        start = time.perf_counter()
        for end in self._ends:
            end.send(True)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        until = time.monotonic() + self._limit
        for end in self._ends:
            if not end.poll(max(0, until - time.monotonic())):
                self.close()
                raise Failed(f"not done in {self._limit:.0f} s")
            try:
                problem = end.recv()
            except EOFError:
                problem = "the process died"
            if problem:
                self.close()
                raise Failed(problem)

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.kill()
            process.join()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
