"""Reads tables of pixels, a row per image: Kaggle's, and others like them."""

import math
from pathlib import Path

import numpy as np

from mnistopt.data.content import why_unreadable
from mnistopt.errors import InputError

# What the column of labels is called where columns have names: by Kaggle, by OpenML.
_LABELS = ("label", "class")


def is_csv(path: Path) -> bool:
    """Says whether a file is called as a table is."""
    return path.name.lower().removesuffix(".gz").endswith(".csv")


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads images and labels.

    The column of labels is the one called label or class; without names it is the
    first, or the last where the first is a corner of all images and always the same.

    Args:
        path: Comma-separated, gzipped or not, with or without a row of names.

    Returns:
        Square images [N, S, S], uint8 where all pixels are whole numbers of 0 to 255
        and else float32, and labels [N].

    Raises:
        InputError: If it is no such table.
    """
    table, names = _read(path)
    if unlabelled(names, table.shape[1]):
        raise InputError(
            f"{path} has {table.shape[1]} columns, a pixel each, and none of labels"
        )
    labels = table[:, (column := _label_column(table, names))]
    pixels = np.delete(table, column, axis=1)
    side = math.isqrt(pixels.shape[1])
    if not side or side**2 != pixels.shape[1]:
        raise InputError(
            f"{path} has {table.shape[1]} columns; expected are a label and the pixels "
            "of square images: 785 for 28 x 28"
        )
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise InputError(f"{path} has no number in row {row}, column {column}")
    if ((pixels == np.floor(pixels)) & (pixels >= 0) & (pixels <= 255)).all():
        pixels = pixels.astype(np.uint8)
    return pixels.reshape(-1, side, side), labels


def unlabelled(names: list[str], columns: int) -> bool:
    """Says whether a table has pixels only, as Kaggle's test.csv."""
    return not set(_LABELS) & set(names) and math.isqrt(columns) ** 2 == columns


def has_labels(path: Path) -> bool:
    """Says whether a table has a column of labels, by its first row."""
    table, names = _read(path, rows=1)
    return not unlabelled(names, table.shape[1])


def _read(path: Path, rows: int | None = None) -> tuple[np.ndarray, list[str]]:
    """Returns the numbers of a table, float32 [N, columns], and its columns' names."""
    import pandas as pd

    try:
        first = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0]
        named = not pd.to_numeric(first, errors="coerce").notna().all()
        table = pd.read_csv(
            path, header=0 if named else None, nrows=rows, dtype=np.float32
        )
    except (OSError, EOFError, ValueError, UnicodeDecodeError) as error:
        words = why_unreadable(path, error, "text")
        raise InputError(
            f"{path} cannot be read as a table of pixels ({words})"
        ) from error
    if not len(table):
        raise InputError(f"{path} has no rows")
    return table.to_numpy(), [str(name).lower() for name in first] if named else []


def _label_column(table: np.ndarray, names: list[str]) -> int:
    for name in _LABELS:
        if name in names:
            return names.index(name)
    first, last = table[:, 0], table[:, -1]
    return -1 if (first == first[0]).all() and (last != last[0]).any() else 0
