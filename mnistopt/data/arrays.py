"""Reads a user's images: files of arrays, tables, and folders of pictures."""

import gzip
import math
import re
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from mnistopt.data.classes import sorted_names
from mnistopt.data.content import HEAD, listed, what_is, why_unreadable
from mnistopt.data.folders import read_folder
from mnistopt.data.official import Stored
from mnistopt.errors import InputError, see

# What the column of labels is called where columns have names: by Kaggle and OpenML,
# and by others.
_LABELS = ("label", "class", "labels", "target", "digit", "y")
_SEPARATORS = ",;\t|"  # Or else spaces.
# Patterns of names, numbers being 0, that have the column before the row.
_COLUMN_FIRST = re.compile(r".*(x\W*_*0\W*_*y|c[a-z]*_*0_*r)")


class _Layout(NamedTuple):
    """What the first row of a table shows.

    Attributes:
        names: The column names in lower case; [] if there are none.
        columns: How many there are.
        reading: Keyword arguments for pandas.
    """

    names: list[str]
    columns: int
    reading: dict[str, Any]


def is_csv(path: Path) -> bool:
    """Says whether a file is called as a table is."""
    return path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv"))


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads images and labels.

    The column of labels is the one called label or class; without names it is the
    first, or the last where the first is a corner of all images and always the same.
    Pixels are in the order of the numbers in their columns' names, pixel10 after pixel9
    and 2x1 after 1x28; columns of other names are ignored, with a warning.

    Args:
        path: Separated by commas, semicolons, tabs, bars or spaces, gzipped or not,
            with or without a row of names.

    Returns:
        Square images [N, S, S], uint8 where all pixels are whole numbers of 0 to 255,
        or of 16 bits, of which it has the upper eight, and else float32; and labels
        [N], words where they are not all numbers.

    Raises:
        InputError: If it is not such a table.
    """
    layout = _layout(path)
    if _unlabelled(layout):
        raise InputError(
            f"{path} has {layout.columns} columns, a pixel each, and none of labels"
        )
    table = _read(path, layout)
    column = _label_column(table, layout.names)
    columns = _pixel_columns(path, layout, column)
    side = math.isqrt(len(columns))
    if not side or side**2 != len(columns):
        raise InputError(
            f"{path} has {layout.columns} columns; expected are a label and the pixels "
            "of square images: 785 for 28 x 28"
        )
    try:
        pixels = table[columns].to_numpy(np.float32)
    except ValueError as error:
        raise _unreadable(path, f"a pixel is not a number: {error}") from error
    if not np.isfinite(pixels).all():
        row, bad = np.argwhere(~np.isfinite(pixels))[0]
        raise InputError(f"{path} has no number in row {row}, column {columns[bad]}")
    labels = _numbers(table[column])
    if labels.dtype.kind == "f" and (wrong := ~np.isfinite(labels)).any():
        raise InputError(f"{path} has no label in row {wrong.argmax()}")
    return _pixels_of(path, pixels).reshape(-1, side, side), labels


def _pixels_of(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Returns whole numbers of 8 or 16 bits as uint8, others as they are."""
    most = pixels.max()
    if (pixels != np.floor(pixels)).any() or pixels.min() < 0 or most > 65535:
        return pixels
    if most <= 255:
        return pixels.astype(np.uint8)
    warnings.warn(
        f"{path} has pixels up to {most:.0f}: they are read as 16 bits, of which the "
        "upper eight are kept",
        stacklevel=2,
    )
    return (pixels.astype(np.uint16) >> 8).astype(np.uint8)


def named_labels(labels: np.ndarray) -> np.ndarray:
    """Returns labels as words where as numbers they do not count from 0 without gaps.

    So that letters 1 to 26, or digits of which one is missing, are classes by name.
    """
    if labels.dtype.kind not in "iuf" or (labels != np.floor(labels)).any():
        return labels
    numbers = np.unique(labels)
    if len(numbers) == numbers[-1] + 1:
        return labels
    return np.array([f"{label:.0f}" for label in labels])


def _unlabelled(layout: _Layout) -> bool:
    """Says whether a table has pixels only, as Kaggle's test.csv."""
    square = math.isqrt(layout.columns) ** 2 == layout.columns
    return not set(_LABELS) & set(layout.names) and square


def _layout(path: Path) -> _Layout:
    """Reads the first row of a table."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
        packed = head.startswith(b"\x1f\x8b")
        if (content := what_is(head)).startswith(("empty", "a web page")):
            raise _unreadable(path, f"it is {content}")
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig") as text:
            line = text.readline().strip("\r\n")
    except InputError:
        raise
    except (OSError, EOFError, ValueError) as error:
        words = why_unreadable(path, error, "text")
        raise _unreadable(path, words) from error
    separator = max(_SEPARATORS, key=line.count)
    split = line.split(separator if separator in line else None)
    cells = [cell.strip().strip("\"'").lower() for cell in split]
    texts = [cell for cell in cells if not _is_number(cell)]
    # One text alone may be the label of a table without names.
    named = len(texts) > 1 or bool(set(texts) & set(_LABELS))
    # As pandas numbers columns that have no names.
    numbered = cells == [str(i) for i in range(len(cells))]
    if not line or len(cells) < 2:
        raise _unreadable(path, "its first row has one column" if line else "no rows")
    reading = {
        "sep": separator if separator in line else r"\s+",
        "skipinitialspace": True,
        "header": None,
        "skiprows": int(named or numbered),
        "encoding": "utf-8-sig",
        "compression": "gzip" if packed else None,
        "decimal": "," if separator != "," and "," in line else ".",
    }
    return _Layout(cells if named else [], len(cells), reading)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _unreadable(path: Path, words: str) -> InputError:
    return InputError(f"{path} cannot be read as a table of pixels ({words})")


def _read(path: Path, layout: _Layout) -> Any:
    """Returns a table as a data frame; what may be labels is text, all else float32."""
    import pandas as pd

    columns = range(layout.columns)
    text = {0, layout.columns - 1}
    text |= {i for i, name in enumerate(layout.names) if not re.search(r"\d", name)}
    kinds: dict[Any, Any] = {i: str if i in text else np.float32 for i in columns}
    try:
        with warnings.catch_warnings():
            # That a row is longer than the first.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                **layout.reading,
                names=list(columns),
                index_col=False,
                dtype=kinds,
                keep_default_na=False,
                na_values=[""],
            )
    except (OSError, EOFError, ValueError, pd.errors.ParserWarning) as error:
        words = why_unreadable(path, error, "text")
        raise _unreadable(path, words) from error
    if not len(table):
        raise InputError(f"{path} has no rows")
    return table


def _numbers(column: Any) -> np.ndarray:
    """Returns a column of text as numbers if all of it are some."""
    try:
        return column.to_numpy(float)
    except ValueError:
        return column.fillna("").to_numpy(dtype=str)


def _label_column(table: Any, names: Sequence[str]) -> int:
    for name in _LABELS:
        if name in names:
            return names.index(name)
    first, last = (_numbers(table[column]) for column in (0, table.shape[1] - 1))
    if (first == first[0]).all() and (last != last[0]).any():
        return table.shape[1] - 1
    return 0


def _pixel_columns(path: Path, layout: _Layout, label: int) -> list[int]:
    """Returns the columns of pixels in the order of the numbers in their names.

    Raises:
        InputError: If two are of the same name.
    """
    columns = [i for i in range(layout.columns) if i != label]
    if not layout.names:
        return columns
    patterns: dict[str, dict[tuple, list[int]]] = {}
    for i in columns:
        numbers = tuple(map(int, re.findall(r"\d+", layout.names[i])))
        if numbers:
            pattern = re.sub(r"\d+", "0", layout.names[i])
            if _COLUMN_FIRST.match(pattern):
                numbers = numbers[::-1]
            patterns.setdefault(pattern, {}).setdefault(numbers, []).append(i)
    most = max(patterns.values(), key=len, default={})
    if len(most) < len(columns) / 2:
        return columns  # Names that give no order.
    if twice := [i for places in most.values() for i in places[1:]]:
        raise InputError(
            f"{path} has the column {layout.names[twice[0]]} twice: which is the pixel?"
        )
    ordered = [most[numbers][0] for numbers in sorted(most)]
    if others := sorted_names(
        layout.names[i] or "''" for i in set(columns) - set(ordered)
    ):
        warnings.warn(
            f"{path} also has the columns {listed(others)}, which are ignored",
            stacklevel=2,
        )
    return ordered


_NAMES = ("images", "labels", "test_images", "test_labels", "class_names")
# What others call them: Keras' mnist.npz.
_KERAS = ("x_train", "y_train", "x_test", "y_test", "class_names")
_EXPECTED = (
    "an .npz file with the arrays images and labels, and perhaps test_images and "
    "test_labels (or x_train, y_train, x_test, y_test), and class_names; a .csv file "
    "with a row of pixels and a label per image; or a folder with a folder of pictures "
    "per class"
)


def read_arrays(
    path: Path,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> dict[str, Any]:
    """Reads images and labels, as `Dataset.from_arrays` takes them.

    Args:
        path: An .npz or .csv file, or a folder of class folders of pictures.
        image_size: See `folders.read_folder`; None for others.
        channels: See `folders.read_folder`; arrays keep the channels they have.

    Raises:
        InputError: If it cannot be read.
    """
    if path.is_dir():
        return read_folder(path, image_size, channels)
    if image_size:
        raise InputError(
            f"image_size has no effect on {path}, whose images have one size: it is "
            "for folders of pictures"
        )
    if is_csv(path):
        images, labels = read_csv(path)
        return {"images": images, "labels": named_labels(labels)}
    return read_npz(path, ("images", "labels"), _EXPECTED)


def read_npz(
    path: Path, needed: Collection[str], expected: str
) -> dict[str, np.ndarray]:
    """Reads the arrays of a file that have one of the names we know.

    Args:
        path: An .npz file.
        needed: The names that it must have, those of `Dataset.from_arrays`.
        expected: A description of what to give, for error messages.

    Returns:
        Arrays by their names in `Dataset.from_arrays`.

    Raises:
        InputError: If it cannot be read, or has not what is needed.
    """
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise InputError(f"{path} is one array; expected is {expected}")
        with opened as kept:
            their_names = _KERAS if _KERAS[0] in kept.files else _NAMES
            names = {
                ours: theirs
                for ours, theirs in zip(_NAMES, their_names)
                if theirs in kept.files
            }
            if not set(needed) <= set(names):
                shapes = listed(f"{name} {kept[name].shape}" for name in kept.files)
                raise InputError(
                    f"{path} holds {shapes}; expected is {expected}{see('data')}"
                )
            if others := set(kept.files) - set(names.values()):
                warnings.warn(
                    f"{path} also holds {listed(others)}, which are ignored",
                    stacklevel=2,
                )
            return {ours: kept[theirs] for ours, theirs in names.items()}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        words = why_unreadable(path, error, "a zip file")
        raise InputError(
            f"{path} cannot be read ({words}); expected is {expected}{see('data')}"
        ) from error


def read_stored_npz(path: Path) -> list[Stored]:
    """Reads a dataset that has a name from an .npz file, as Keras keeps MNIST.

    Returns:
        The train part, and the test part if it has one.

    Raises:
        InputError: See `read_npz`.
    """
    arrays = read_npz(path, ("images", "labels"), _EXPECTED)
    return [
        Stored(arrays[images], arrays[labels], f"{path} ({images})", str(path))
        for images, labels in (_NAMES[:2], _NAMES[2:4])
        if images in arrays and labels in arrays
    ]


def read_stored_csv(*paths: Path) -> list[Stored]:
    """Reads a dataset that has a name from a table for each part.

    Returns:
        The train part, and the test part if it has labels: Kaggle's has none.

    Raises:
        InputError: See `read_csv`.
    """
    return [
        Stored(*read_csv(path), str(path), str(path))
        for part, path in enumerate(paths)
        if not part or not _unlabelled(_layout(path))
    ]
