"""Training images as networks see them: a contact sheet of a study's augmentation."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from mnistopt.axes import show
from mnistopt.data.dataset import Dataset
from mnistopt.engine.predict import training_images
from mnistopt.files import read_csv, replacing
from mnistopt.hparams import NUMBERS
from mnistopt.points import Point
from mnistopt.results.mistakes import data_url
from mnistopt.results.predictions import FOLDER
from mnistopt.training.augment import STAGES

FILE = "samples.csv"
# Images of a row of the sheet, each of another class as far as there are so many, and
# rows: as found, and of the first settings.
WIDE, ROWS, DRAWS = 12, 8, 2
_COLUMNS = ["row", "setting", "draw", "place", "image"]
_STRENGTHS = [name for name, axis in NUMBERS.items() if axis.stage in STAGES]


def setting(point: Point) -> str:
    """Returns a point's augmentation in words; "" for none."""
    numbers = point.hparams._asdict()
    return ", ".join(f"{k} {show(numbers[k])}" for k in _STRENGTHS if numbers[k])


def make_samples(points: Iterable[Point], data: Dataset) -> pd.DataFrame:
    """Returns the first training images of the classes as the points change them.

    Returns:
        A row per setting, the first being none, draw and image: `row` and `place` (from
        0), the `setting` in words, the `draw`, and the `image` as the data URL of a
        PNG. No rows if no point changes images.
    """
    settings = {setting(point): point.hparams for point in points}
    settings.pop("", None)
    if not settings:
        return pd.DataFrame(columns=_COLUMNS)
    labels = data.train.labels
    firsts = [np.flatnonzero(labels == k)[:2] for k in np.unique(labels)]
    chosen = [i for turn in zip(*firsts) for i in turn][:WIDE]
    images = data.train.images[chosen]
    found = [
        (0, "as they are", 0, place, data_url(image))
        for place, image in enumerate(images)
    ]
    for row, (words, hparams) in enumerate(list(settings.items())[: ROWS - 1], 1):
        changed = training_images(images, hparams, 0, DRAWS, data.pixel_range)
        if images.dtype == np.uint8:
            changed = np.rint(255 * changed).astype(np.uint8)
        found += [
            (row, words, draw, place, data_url(image))
            for draw, drawn in enumerate(changed)
            for place, image in enumerate(drawn)
        ]
    return pd.DataFrame(found, columns=_COLUMNS)


def write_samples(workdir: Path, points: Iterable[Point], data: Dataset) -> None:
    """Writes predictions/samples.csv, if some point changes images.

    Args:
        workdir: Folder of the study.
        points: Its points.
        data: Its data.
    """
    table = make_samples(points, data)
    if len(table):
        with replacing(workdir / FOLDER / FILE) as partial:
            table.to_csv(partial, index=False)


def read_samples(workdir: Path) -> pd.DataFrame:
    """Reads predictions/samples.csv; without rows where there is none."""
    path = workdir / FOLDER / FILE
    return read_csv(path) if path.exists() else pd.DataFrame(columns=_COLUMNS)
