"""The images of a study, and others that it is evaluated on."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.arrays import read_arrays
from mnistopt.data.check import check_own
from mnistopt.data.classes import default_names, positions
from mnistopt.data.dataset import Dataset
from mnistopt.data.official import NUM_CLASSES
from mnistopt.data.qmnist import read_qmnist
from mnistopt.data.splits import Split, make_splits
from mnistopt.errors import InputError
from mnistopt.files import check_path
from mnistopt.results.config import Config, DataDescription
from mnistopt.study.loading import load_data


def study_data(config: Config, data_dir: str | Path | None) -> Dataset:
    """Returns the data of a study, split as they were for it.

    Args:
        config: The study's.
        data_dir: See `load`; None for where they were.

    Raises:
        InputError: If they cannot be had.
    """
    about, file = config.data, config.data_file
    if file and data_dir:
        raise InputError(f"data_dir={data_dir} has no effect: the data are {file}")
    folder = data_dir or config.data_dir
    try:
        if file:
            return _read_own(Path(file), about)
        return load_data(
            None, about.dataset, folder, about.train_examples, train_on=about.train_on
        )
    except InputError as error:
        moved = file or (None if data_dir else folder)
        if not moved or Path(moved).exists():
            raise
        setting = "data" if file else "data_dir"
        raise InputError(
            f"{error}\nThe study's data were in {moved}. If they have been moved, say "
            f"where they are: `{setting}=...`"
        ) from error


def _read_own(path: Path, about: DataDescription) -> Dataset:
    """Returns a file or folder as data for a study, its classes matched by name.

    Args:
        path: See `Dataset.from_file`.
        about: The study's data.

    Raises:
        InputError: If it cannot be used, or has a class that the study has not.
    """
    path, names = check_path("data", path) or Path(), about.class_names
    height, width, channels = about.image_shape
    fitted = ((height, width), channels) if path.is_dir() else ()
    parts, theirs = check_own(**read_arrays(path, *fitted))
    parts = [
        part._replace(labels=positions(theirs, names, str(path), part.labels))
        for part in parts
    ]
    data = Dataset.from_splits(path.stem, *make_splits(*parts), names)
    return as_trained(data, about)


def as_trained(data: Dataset, about: DataDescription) -> Dataset:
    """Returns data with the training examples that a study asked for of its own."""
    size = about.train_examples
    if size and size <= len(data.train.labels):
        data = data.with_train_examples(size)
    return data.with_validation_trained() if about.train_on == "all" else data


def own_data(
    config: Config,
    data: Any,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
) -> Dataset:
    """Returns a study's own data, wherever they are now.

    Args:
        config: The study's.
        data: A `Dataset` or a file that may be it; None for where it was.
        dataset: The name of the dataset that `data_dir` has; None for the study's.
        data_dir: See `load`.

    Raises:
        InputError: If they cannot be had.
    """
    about = config.data
    if isinstance(data, Dataset):
        same = data.fingerprint == about.fingerprint
        found = data if same else as_trained(data, about)
    elif data and config.data_file:
        found = _read_own(Path(data), about)
        if found.fingerprint != about.fingerprint:  # others, to be tested on
            found = study_data(config, None)
    else:
        found = study_data(
            config, data_dir if dataset in (None, about.dataset) else None
        )
    if found.fingerprint != about.fingerprint:
        raise InputError(
            "these are not the data that the study was trained on: say where they are "
            "(`data_dir` or `data`)"
        )
    return found


def evaluated_data(
    config: Config,
    data: str | Path | None,
    dataset: str | None,
    data_dir: str | Path | None,
    split: str,
) -> Dataset:
    """Returns the data to evaluate a study on: its own, or others to test it on.

    Args:
        config: The study's.
        data: See `load_data`.
        dataset: See `load`; None, or the study's, for its own.
        data_dir: See `load`.
        split: The part that is evaluated: "train", "validation" or "test".

    Returns:
        The data, their labels positions among the study's classes.

    Raises:
        InputError: If they cannot be had, or have a class that the study has not; or if
            they are others, and not to be tested on: what was held out of others has
            nothing to do with the study.
    """
    about = config.data
    if not data and dataset in (None, about.dataset):
        chosen = study_data(config, data_dir)
    elif data:
        if dataset or data_dir:
            raise InputError("give either data, or dataset and data_dir")
        chosen = _read_own(Path(data), about)
    else:
        chosen = _matched(load_data(None, dataset, data_dir, None), about.class_names)
    if chosen.image_shape != about.image_shape:
        raise InputError(
            f"{chosen.name} has images of shape {chosen.image_shape}; the study's "
            f"networks take {about.image_shape}"
        )
    if chosen.fingerprint != about.fingerprint and split != "test":
        raise InputError(
            f"{chosen.name} is not the data that the study was trained on "
            f"({about.dataset}, {about.train} training examples): its {split} part was "
            "not the study's. Only `split=test` can be evaluated on other data"
        )
    return chosen


def qmnist(config: Config, folder: str | Path | None) -> tuple[Split, dict[str, slice]]:
    """Returns QMNIST's test digits, and its two parts, for a study of digits.

    Args:
        config: The study's.
        folder: See `data.qmnist.read_qmnist`.

    Raises:
        InputError: If they cannot be had, or the study is of other images or classes.
    """
    split, parts = read_qmnist(check_path("data_dir", folder))
    about = config.data
    if about.image_shape != split.images.shape[1:] or about.dark_on_light:
        raise InputError(
            f"QMNIST has images of shape {split.images.shape[1:]}, white on black; "
            f"the study's networks take {about.image_shape}, "
            f"{'dark' if about.dark_on_light else 'light'} ink"
        )
    digits = default_names(NUM_CLASSES)
    labels = positions(digits, about.class_names, "QMNIST", split.labels)
    return split._replace(labels=labels), parts


def _matched(data: Dataset, names: Sequence[str]) -> Dataset:
    """Returns data whose labels are positions among a study's classes."""
    if data.class_names == tuple(names):
        return data
    train, validation, test = (
        part._replace(labels=positions(data.class_names, names, data.name, part.labels))
        for part in (data.train, data.validation, data.test)
    )
    return Dataset.from_splits(data.name, train, validation, test, names)


def count_seen(config: Config, images: np.ndarray) -> int | None:
    """Returns how many of some images a study was trained on, None if not known.

    It is not known where the study's data are gone, or have changed.

    Args:
        config: The study's.
        images: Images of other data, [N, H, W, C].
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = study_data(config, None)
    except InputError:
        return None
    train = data.train.images
    if data.fingerprint != config.data.fingerprint or train.dtype != images.dtype:
        return None
    trained_on = {image.tobytes() for image in train}
    return sum(image.tobytes() in trained_on for image in images)
