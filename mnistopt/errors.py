"""What a person is told: of what cannot be used or is doubtful, and no more."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

# The least level at which a library's log record is of use: Orbax tells each step of
# each checkpoint, and tensorflow-datasets advises to install what we do not need.
_LEAST = {"orbax": logging.WARNING, "tensorflow_datasets": logging.ERROR}


class InputError(ValueError):
    """A flag, argument or file that cannot be used.

    Its message says what was given, what is expected and what to do about it. The
    programs print the message and exit with code 2.
    """


@contextlib.contextmanager
def noting(noted: list[str] | None = None) -> Iterator[list[str]]:
    """Yields a list to which the warnings are added that are shown meanwhile.

    Warnings that a notebook has shown for an earlier run are shown again.

    Args:
        noted: The list; None for a new one.
    """
    noted = [] if noted is None else noted
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Any, category: type[Warning], *rest: Any) -> None:
            if category is UserWarning and str(message) not in noted:
                noted.append(str(message))
            show(message, category, *rest)

        warnings.showwarning = note  # type: ignore[assignment]
        yield noted


def quiet() -> None:
    """Leaves out records that are of no use; calling it twice changes nothing.

    Both libraries log through absl, whose logger people set to INFO for programs of
    their own.
    """
    logging.getLogger("absl").addFilter(_of_use)


def _of_use(record: logging.LogRecord) -> bool:
    return all(
        record.levelno >= least
        for library, least in _LEAST.items()
        if f"/{library}/" in record.pathname.replace("\\", "/")
    )
