"""Keeps what other libraries log to what a person can do something about."""

import logging

# The least level at which a record of theirs is of use: Orbax logs each step of each
# checkpoint, and tensorflow-datasets advises to install what we do not need.
_LEAST = {"orbax": logging.WARNING, "tensorflow_datasets": logging.ERROR}


def quiet() -> None:
    """Leaves out such records, from now on; calling it twice changes nothing.

    Both log through absl, whose logger people set to INFO for programs of their own.
    """
    logging.getLogger("absl").addFilter(_of_use)


def _of_use(record: logging.LogRecord) -> bool:
    return all(
        record.levelno >= least
        for library, least in _LEAST.items()
        if f"/{library}/" in record.pathname.replace("\\", "/")
    )
