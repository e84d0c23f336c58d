"""What a run is given besides its axes: as Python has it, checked, and loaded."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.axes import as_list, count, show
from mnistopt.data import format2
from mnistopt.data.arrays import read_arrays
from mnistopt.data.check import check_own
from mnistopt.data.classes import positions
from mnistopt.data.dataset import Dataset
from mnistopt.data.doubts import doubts
from mnistopt.data.load import CACHE_DIR, cache_folder, load, read_named
from mnistopt.data.official import IMAGE_SIZE
from mnistopt.data.splits import Split, make_splits
from mnistopt.data.strangers import Strangers, read_strangers
from mnistopt.errors import InputError
from mnistopt.results.config import class_names

_COUNT = count(None, "")
_UNITS = {"": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_BYTES = re.compile(r"(\d+\.?\d*(?:e\+?\d+)?) *([KMGT]B)?", re.IGNORECASE)


def check_count(name: str, value: Any) -> int:
    """Returns a whole number of at least 1; numpy's and whole floats are some too.

    Raises:
        InputError: If it is none.
    """
    return _COUNT.check(name, value)


def check_optional(name: str, value: Any) -> int | None:
    """Returns a whole number of at least 1, or None; raises as `check_count`."""
    return None if value is None else check_count(name, value)


def check_lanes(value: Any) -> tuple[int, int] | None:
    """Returns lanes as (seeds, points); None, and points alone, may stand for them.

    Raises:
        InputError: If it is neither.
    """
    if value is None:
        return None
    sizes = [check_count("lanes", one) for one in as_list(value)]
    if len(sizes) not in (1, 2):
        raise InputError(
            f"lanes={value} is not allowed: expected points, or (seeds, points)"
        )
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def check_bytes(name: str, value: Any) -> float:
    """Returns a number of bytes from one, or from words as "4 GB"; inf for None.

    Raises:
        InputError: If it is none.
    """
    if value is None:
        return math.inf
    found = _BYTES.fullmatch(str(value).strip())
    count = float(found[1]) * _UNITS[(found[2] or "").upper()] if found else 0.0
    if not 0 < count < math.inf:
        raise InputError(f"{name}={value} is not allowed: expected a size as in 4GB")
    return count


def load_data(
    data: Dataset | str | Path | None,
    dataset: str | None,
    data_dir: str | Path | None,
    train_examples: int | None,
    cache_dir: str | Path = CACHE_DIR,
    image_size: Any = None,
) -> Dataset:
    """Returns the data of a run.

    Args:
        data: One's own: a `Dataset`, or what `Dataset.from_file` takes; None for those
            that have a name.
        dataset: As in `load`.
        data_dir: As in `load`.
        train_examples: As in `load`.
        cache_dir: As in `load`.
        image_size: As in `Dataset.from_file`.

    Raises:
        InputError: If they cannot be used, or are given twice.
    """
    if image_size is not None and (data is None or isinstance(data, Dataset)):
        raise InputError(
            f"image_size={show(image_size)} has no effect without a folder of "
            "pictures: give it as data, or leave image_size out"
        )
    if data is None:
        data = load(
            dataset or "mnist_5k",
            data_dir=data_dir,
            train_examples=train_examples,
            cache_dir=cache_dir,
        )
    else:
        if dataset or data_dir:
            raise InputError("give either data, or dataset and data_dir")
        if not isinstance(data, Dataset):
            data = Dataset.from_file(data, image_size)
        data = data.with_train_examples(train_examples)
    for doubt in doubts(data.name, data.train, data.classes):
        warnings.warn(f"{data.name}: {doubt}", stacklevel=2)
    return data


def study_data(config: Mapping[str, Any], data_dir: str | Path | None) -> Dataset:
    """Returns the data of a study, split as they were for it.

    Args:
        config: The content of its config.json.
        data_dir: As in `load`; None for where they were.

    Raises:
        InputError: If they cannot be had.
    """
    about, file = config["data"], config.get("data_file")
    if file and data_dir:
        raise InputError(f"data_dir={data_dir} has no effect: the data are {file}")
    name, folder = about["dataset"], data_dir or config["data_dir"]
    try:
        if config["format"] == 2:
            parts = (
                check_own(**read_arrays(Path(file))).parts
                if file
                else read_named(name, folder, cache_folder())
            )
            train, validation, test = format2.make_splits(*parts, sizes=about)
            names = class_names(about)
            return Dataset.from_splits(name, train, validation, test, names)
        if file:
            return _read_own(Path(file), about)
        return load_data(None, name, folder, about["train_examples"])
    except InputError as error:
        moved = file or (None if data_dir else folder)
        if not moved or Path(moved).exists():
            raise
        flag = "data" if file else "data_dir"
        raise InputError(
            f"{error}\nThe study's data were in {moved}. If they have been moved, tell "
            f"where they are: --{flag}=..."
        ) from error


def _read_own(path: Path, about: Mapping[str, Any]) -> Dataset:
    """Returns a file or folder as data for a study, its classes matched by name.

    Args:
        path: As in `Dataset.from_file`.
        about: `data` of the study's config.json.

    Raises:
        InputError: If it cannot be used, or has a class that the study has not.
    """
    path = Path(path).expanduser()
    names = class_names(about)
    height, width, channels = about.get("image_shape", (IMAGE_SIZE, IMAGE_SIZE, 1))
    fitted = ((height, width), channels) if path.is_dir() else ()
    own = check_own(**read_arrays(path, *fitted))
    parts = [
        Split(part.images, positions(own.class_names, names, str(path), part.labels))
        for part in own.parts
    ]
    train, validation, test = make_splits(*parts)
    data = Dataset.from_splits(path.stem, train, validation, test, names)
    size = about["train_examples"]
    return data.with_train_examples(
        size if size and size <= len(data.train.labels) else None
    )


def evaluated_data(
    config: Mapping[str, Any],
    data: str | Path | None,
    dataset: str | None,
    data_dir: str | Path | None,
    split: str,
) -> Dataset:
    """Returns the data to evaluate a study on: its own, or others to test it on.

    Args:
        config: The content of its config.json.
        data: As in `load_data`.
        dataset: As in `load`; None, or the study's, for its own.
        data_dir: As in `load`.
        split: Which part of them is to be evaluated.

    Returns:
        The data, their labels positions among the study's classes.

    Raises:
        InputError: If they cannot be had, or have a class that the study has not; or if
            they are others, and not to be tested on: what was held out of others has
            nothing to do with the study.
    """
    there = config["data"]
    if not data and dataset in (None, there["dataset"]):
        found = study_data(config, data_dir)
    elif data:
        if dataset or data_dir:
            raise InputError("give either data, or dataset and data_dir")
        found = _read_own(Path(data), there)
    else:
        found = _matched(load_data(None, dataset, data_dir, None), class_names(there))
    _check_fits(found, there)
    if found.fingerprint != there["fingerprint"] and split != "test":
        raise InputError(
            f"{found.name} is not the data that the study was trained on "
            f"({there['dataset']}, {there['train']} training examples): its {split} "
            "part was not the study's. Only --split=test can be evaluated on other data"
        )
    return found


def _matched(data: Dataset, names: Sequence[str]) -> Dataset:
    """Returns data whose labels are positions among a study's classes."""
    if data.class_names == tuple(names):
        return data
    train, validation, test = (
        part._replace(labels=positions(data.class_names, names, data.name, part.labels))
        for part in (data.train, data.validation, data.test)
    )
    return Dataset.from_splits(data.name, train, validation, test, names)


def _check_fits(data: Dataset, there: Mapping[str, Any]) -> None:
    """Checks that a study's networks can be applied to other data."""
    shape = tuple(there.get("image_shape", (IMAGE_SIZE, IMAGE_SIZE, 1)))
    if data.image_shape != shape:
        raise InputError(
            f"{data.name} has images of shape {data.image_shape}; the study's networks "
            f"take {shape}"
        )


def count_seen(config: Mapping[str, Any], images: np.ndarray) -> int:
    """Returns how many of some images a study was trained on, 0 if that is not known.

    Args:
        config: The content of its config.json.
        images: Of other data, [N, H, W, C].
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train = study_data(config, None).train.images
    except InputError:  # They are no longer there: nobody knows.
        return 0
    if train.dtype != images.dtype or train.shape[1:] != images.shape[1:]:
        return 0
    known = {image.tobytes() for image in train}
    return sum(image.tobytes() in known for image in images)


def read_images(config: Mapping[str, Any], path: str | Path) -> Strangers:
    """Returns a stranger's digits, made like those of a study.

    Args:
        config: The content of its config.json.
        path: As in `read_strangers`; class folders are called as the study's classes.

    Raises:
        InputError: If they cannot be read.
    """
    about = config["data"]
    shape = about.get("image_shape", (IMAGE_SIZE, IMAGE_SIZE, 1))
    light = about.get("dark_on_light", False)
    return read_strangers(path, class_names(about), tuple(shape), light)
