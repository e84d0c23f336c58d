"""What the seconds of a run are spent on."""

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """Adds up wall seconds under names.

    Attributes:
        seconds: By name, in the order of their first use.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the time that its block takes, in whatever way that ends."""
        self._running[name] = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.so_far(name)
            del self._running[name]

    def so_far(self, name: str) -> float:
        """Returns the seconds of a name, with those of a block that still runs."""
        now = time.perf_counter()
        return self.seconds.get(name, 0.0) + now - self._running.get(name, now)
