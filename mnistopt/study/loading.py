"""The data that a run is given: its own, or a dataset by name."""

import warnings
from pathlib import Path
from typing import Any

from mnistopt.axes import show
from mnistopt.data.check import doubts
from mnistopt.data.dataset import Dataset
from mnistopt.data.load import CACHE_DIR, load
from mnistopt.errors import InputError

TRAIN_ON = "train", "all"


def load_data(
    data: Dataset | str | Path | None,
    dataset: str | None,
    data_dir: str | Path | None,
    train_examples: int | None,
    cache_dir: str | Path = CACHE_DIR,
    image_size: Any = None,
    train_on: str = "train",
) -> Dataset:
    """Returns the data of a run; warns of what is doubtful in them.

    Args:
        data: One's own: a `Dataset`, or what `Dataset.from_file` takes; None for those
            that have a name.
        dataset: See `load`.
        data_dir: See `load`.
        train_examples: See `load`.
        cache_dir: See `load`.
        image_size: See `Dataset.from_file`.
        train_on: "train", or "all" to train on the validation split as well.

    Raises:
        InputError: If they cannot be used, or are given twice.
    """
    if train_on not in TRAIN_ON:
        raise InputError(
            f"train_on={train_on!r} is not known; choose {' or '.join(TRAIN_ON)}"
        )
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
    if train_on == "all":
        data = data.with_validation_trained()
    for doubt in doubts(data.name, data.train, data.classes):
        warnings.warn(f"{data.name}: {doubt}", stacklevel=2)
    return data
