"""Files that are only ever seen whole, and numbers read to the last bit."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write to; what is written there replaces `path` in one step.

    Args:
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    yield partial
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text in one step, unless the file has it already.

    One that has not changed keeps its time, and what is drawn from it stays.

    Args:
        path: The file.
        text: Its content.
    """
    if not path.exists() or path.read_text() != text:
        with replacing(path) as partial:
            partial.write_text(text)


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Reads a table as it was written, numbers to the last bit.

    Args:
        path: The file.
        **options: As in `pandas.read_csv`.
    """
    # Before 3.1 pandas read numbers to the last bit only on request; since, it always
    # does, and warns of the request.
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        options["float_precision"] = "round_trip"
    return pd.read_csv(path, **options)
