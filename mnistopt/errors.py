"""What a person gave that cannot be used, or is doubtful."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any


class InputError(ValueError):
    """A flag, argument or file that cannot be used.

    Its message says what was given, what is expected and what to do about it. The
    programs print the message and exit with code 2.
    """


@contextlib.contextmanager
def starving() -> Iterator[None]:
    """Raises InputError where the system gives no more memory, or no more threads."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        short = "memory" if isinstance(error, MemoryError) else "threads"
        # The words are Python's, of a plain RuntimeError.
        if short == "threads" and "can't start new thread" not in str(error):
            raise
        raise InputError(
            f"the system gives this process no more {short}: raise its limits (ulimit "
            "-a, or the container's), or end other processes; then the same command "
            "goes on"
        ) from error


@contextlib.contextmanager
def noting(noted: list[str] | None = None) -> Iterator[list[str]]:
    """Yields a list to which this thread's warnings are added, as they are shown.

    Warnings that a notebook has shown for an earlier run are shown again.

    Args:
        noted: The list; None for a new one.
    """
    noted = [] if noted is None else noted
    with warnings.catch_warnings():
        show, thread = warnings.showwarning, threading.get_ident()

        def note(message: Any, category: type[Warning], *rest: Any) -> None:
            ours = category is UserWarning and threading.get_ident() == thread
            if ours and str(message) not in noted:
                noted.append(str(message))
            show(message, category, *rest)

        warnings.showwarning = note  # type: ignore[assignment]
        yield noted
