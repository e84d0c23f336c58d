"""Images to look at, kept with a study's predictions as data URLs of PNGs.

In its folder `predictions`: `mistakes.csv`, what votes misread; `samples.csv`, training
images as networks see them; `weights.csv`, the first layer of the best replica.
"""

import base64
import contextlib
import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from mnistopt.axes import show
from mnistopt.data.dataset import Dataset
from mnistopt.engine.checkpoint import Store
from mnistopt.engine.predict import training_images
from mnistopt.errors import InputError
from mnistopt.files import read_csv
from mnistopt.hparams import STRENGTHS
from mnistopt.manifest import Manifest, checksum, digest
from mnistopt.points import Point
from mnistopt.results.predictions import (
    FOLDER,
    LABELS,
    Predictions,
    read_predictions,
)
from mnistopt.results.tables import FINISHED, best_trial, summary_table

MISTAKES, SAMPLES = "mistakes.csv", "samples.csv"
# A dozen fills a picture; of the best point all are kept that a click may ask for.
MOST, OF_BEST = 12, 200
# In place of a point: what the votes of all points misread.
EVERY = "every"
SEPARATOR = " | "  # Between the names of classes, which have spaces of their own.
_COLUMNS = ["point", "place", "index", "true", "vote", "confidence", "votes", "image"]


def find_mistakes(
    predictions: Predictions, images: np.ndarray, most: int = MOST
) -> pd.DataFrame:
    """Returns the images that the vote of a point's seeds misreads most confidently.

    Args:
        predictions: Predictions for the N images of a split.
        images: uint8 or float32 [N, H, W, C].
        most: How many, at most.

    Returns:
        The most confident first: `place` (from 0), `index` of the image in the split,
        the name of its `true` class, that of the `vote` and its `confidence` in per
        cent, the `votes` of the seeds, joined by `SEPARATOR`, and the `image` as the
        data URL of a PNG.
    """
    confidence = 100 * predictions.probabilities.max(axis=1).astype(float)
    wrong = np.flatnonzero(predictions.vote != predictions.labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return _rows(
        worst, predictions.vote, confidence, predictions.classes, predictions, images
    )


def _rows(
    chosen: np.ndarray,
    vote: np.ndarray,
    confidence: np.ndarray,
    votes: np.ndarray,
    of: Predictions,
    images: np.ndarray,
) -> pd.DataFrame:
    """Returns rows as `find_mistakes` does, of the chosen images in that order."""
    names = of.class_names
    rows = [
        {
            "place": place,
            "index": int(index),
            "true": names[of.labels[index]],
            "vote": names[vote[index]],
            "confidence": float(confidence[index]),
            "votes": SEPARATOR.join(names[k] for k in votes[:, index]),
            "image": data_url(images[index]),
        }
        for place, index in enumerate(chosen)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS[1:])


class Hardest:
    """Finds the images that the votes of all points misread, a point at a time."""

    def __init__(self) -> None:
        self._votes: list[np.ndarray] = []
        self._chances: Any = 0.0
        self._one: Predictions | None = None

    def add(self, predictions: Predictions) -> None:
        """Counts what a point says of the N images of a split."""
        self._votes.append(predictions.vote)
        self._chances = self._chances + predictions.probabilities.astype(np.float32)
        self._one = predictions

    def find(self, images: np.ndarray) -> pd.DataFrame:
        """Returns the images, those that all are surest of first.

        Args:
            images: uint8 or float32 [N, H, W, C].

        Returns:
            As `find_mistakes`: the `vote` is the class that the mean of all
            probabilities is highest for, and `votes` are those of the points. No rows
            of fewer than two points.
        """
        if self._one is None or len(self._votes) < 2:
            return pd.DataFrame(columns=_COLUMNS[1:])
        votes, mean = np.stack(self._votes), self._chances / len(self._votes)
        wrong = np.flatnonzero((votes != self._one.labels).all(axis=0))
        confidence = 100 * mean.max(axis=1)
        worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST]
        said = mean.argmax(axis=1), confidence, votes
        return _rows(worst, *said, self._one, images)


def data_url(pixels: np.ndarray) -> str:
    """Returns an image of pixels [H, W, C] as the data URL of a PNG."""
    return _encoded(pixels.tobytes(), pixels.shape, pixels.dtype)


# The same few images are hard for most points.
@functools.lru_cache(maxsize=4096)
def _encoded(content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> str:
    from PIL import Image

    pixels = np.frombuffer(content, dtype).reshape(shape)
    file = io.BytesIO()
    if pixels.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()
        pixels = (255 * (pixels - low) / max(high - low, 1e-9)).astype(np.uint8)
    # Colours as they are; one channel dark on light, as on paper.
    shown = pixels if pixels.shape[-1] == 3 else 255 - pixels[..., 0]
    Image.fromarray(shown).save(file, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def write_mistakes(workdir: Path, trials: pd.DataFrame, data: Dataset) -> None:
    """Writes predictions/mistakes.csv, unless it is of the predictions that there are.

    Args:
        workdir: Folder of the study.
        trials: The study's table of trials.
        data: The study's data.
    """
    folder, name = workdir / FOLDER, f"{FOLDER}/{MISTAKES}"
    points = trials[trials["status"] == FINISHED]["point"].unique()
    if not len(points):
        return
    best = summary_table(trials)["point"].iloc[0]
    files = [*points, LABELS]
    of = digest(best, [(file, checksum(folder / f"{file}.npz")) for file in files])
    if Manifest(workdir).is_fresh(name, of):
        return
    images, hardest = data.test.images, Hardest()
    frames = []
    for point in points:
        with contextlib.suppress(InputError):  # It could not be predicted.
            said = read_predictions(workdir, point, "test")
            hardest.add(said)
            most = OF_BEST if point == best else MOST
            frames.append(find_mistakes(said, images, most).assign(point=point))
    if not frames:
        return
    frames.append(hardest.find(images).assign(point=EVERY))
    # One that made none has no types, which older versions of pandas warn of.
    some = [frame for frame in frames if len(frame)] or frames[:1]
    table = pd.concat(some, ignore_index=True)[_COLUMNS]
    Manifest(workdir).write({name: table.to_csv(index=False).encode()}, of)


def read_mistakes(workdir: Path) -> pd.DataFrame:
    """Reads predictions/mistakes.csv; without rows where that is not whole."""
    text = dict.fromkeys(("point", "true", "vote", "votes"), str)
    return _read_images(workdir, MISTAKES, _COLUMNS, text)


def _read_images(
    workdir: Path, name: str, columns: list[str], text: Mapping[str, type]
) -> pd.DataFrame:
    if not Manifest(workdir).is_altered(f"{FOLDER}/{name}"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            return read_csv(workdir / FOLDER / name, dtype=text)[columns]
    return pd.DataFrame(columns=columns)


# Images of a row of the sheet, each of another class as far as there are so many, and
# rows: as found, and of the first settings.
WIDE, ROWS, DRAWS = 12, 8, 2
_SAMPLE_COLUMNS = ["row", "setting", "draw", "place", "image"]


def setting(point: Point) -> str:
    """Returns a point's augmentation in words; "" for none."""
    numbers = point.hparams._asdict()
    used = [name for name in STRENGTHS if numbers[name]]
    used += ["spare"] * bool(used and numbers["spare"])
    return ", ".join(f"{name} {show(numbers[name])}" for name in used)


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
        return pd.DataFrame(columns=_SAMPLE_COLUMNS)
    labels = data.train.labels
    firsts = [np.flatnonzero(labels == k)[:2] for k in np.unique(labels)]
    chosen = [i for turn in zip(*firsts) for i in turn][:WIDE]
    images = data.train.images[chosen]
    rows = [
        (0, "as they are", 0, place, data_url(image))
        for place, image in enumerate(images)
    ]
    for row, (words, hparams) in enumerate(list(settings.items())[: ROWS - 1], 1):
        changed = training_images(images, hparams, 0, DRAWS, data.pixel_range)
        if images.dtype == np.uint8:
            changed = np.rint(255 * changed).astype(np.uint8)
        rows += [
            (row, words, draw, place, data_url(image))
            for draw, drawn in enumerate(changed)
            for place, image in enumerate(drawn)
        ]
    return pd.DataFrame(rows, columns=_SAMPLE_COLUMNS)


def write_samples(workdir: Path, points: Iterable[Point], data: Dataset) -> None:
    """Writes predictions/samples.csv, if some point changes images and it is not new.

    Args:
        workdir: Folder of the study.
        points: The study's points.
        data: The study's data.
    """
    points, name = list(points), f"{FOLDER}/{SAMPLES}"
    settings = list(map(setting, points))
    of = digest(data.fingerprint, settings)
    if not any(settings) or Manifest(workdir).is_fresh(name, of):
        return
    table = make_samples(points, data)
    Manifest(workdir).write({name: table.to_csv(index=False).encode()}, of)


def read_samples(workdir: Path) -> pd.DataFrame:
    """Reads predictions/samples.csv; without rows where that is not whole."""
    return _read_images(workdir, SAMPLES, _SAMPLE_COLUMNS, {"setting": str})


# --- Weights ---

WEIGHTS = "weights.csv"
# Units of the first layer that are drawn, those with the largest weights.
UNITS = 24
_WEIGHT_COLUMNS = ["place", "kind", "image"]


def first_weights(variables: Any, image_shape: Sequence[int]) -> np.ndarray | None:
    """Returns the weights by which the first layer sees images, [units, h, w].

    Args:
        variables: A network's.
        image_shape: (H, W, C) of its images.

    Returns:
        Of a dense layer an image of weights per unit, h x w being H x W; of a
        convolution a filter per unit; means over the channels. None if no kernel has
        such a shape, or several have, of which any may be the first.
    """
    height, width, channels = image_shape
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        shape = np.shape(leaf)
        # A depthwise kernel looks like one of a single channel.
        depthwise = "Depthwise" in jax.tree_util.keystr(path)
        if len(shape) == 2 and shape[0] == height * width * channels:
            found.append(np.reshape(leaf, (height, width, channels, -1)))
        filters = len(shape) == 4 and shape[2] == channels and min(shape[:2]) > 1
        if filters and not depthwise:
            found.append(leaf)
    if len(found) != 1:
        return None
    return np.moveaxis(np.mean(found[0], axis=2), -1, 0)


def make_weights(variables: Any, image_shape: Sequence[int]) -> pd.DataFrame:
    """Returns the weights of a network's first layer as images.

    Returns:
        A row per unit, those with the largest weights first: `place` (from 0), the
        `kind` of layer, and the `image` as the data URL of a PNG, blue where a weight
        is positive, orange where it is negative, white at 0.
    """
    weights = first_weights(variables, image_shape)
    if weights is None:
        return pd.DataFrame(columns=_WEIGHT_COLUMNS)
    order = np.argsort(-np.abs(weights).sum(axis=(1, 2)), kind="stable")[:UNITS]
    kind = "dense" if weights.shape[1:] == tuple(image_shape[:2]) else "convolution"
    blue, orange = np.array([0, 114, 178.0]), np.array([213, 94, 0.0])
    rows = []
    for place, unit in enumerate(order):
        share = weights[unit] / max(np.abs(weights[unit]).max(), 1e-12)
        towards = np.where(share[..., None] > 0, blue, orange)
        colours = 255 + np.abs(share)[..., None] * (towards - 255)
        rows.append((place, kind, data_url(np.rint(colours).astype(np.uint8))))
    return pd.DataFrame(rows, columns=_WEIGHT_COLUMNS)


def write_weights(
    workdir: Path, store: Store, trials: pd.DataFrame, image_shape: Sequence[int]
) -> None:
    """Writes predictions/weights.csv, of the best replica, if it is not there.

    Args:
        workdir: Folder of the study.
        store: The study's checkpoints.
        trials: The study's table of trials.
        image_shape: (H, W, C) of its images.
    """
    name = f"{FOLDER}/{WEIGHTS}"
    with contextlib.suppress(InputError):  # None has finished, or it is damaged.
        row = trials[trials["trial"] == best_trial(trials)].iloc[0]
        of = digest(row["trial"], row["machine"], row["test_accuracy"])
        if Manifest(workdir).is_fresh(name, of):
            return
        at = row["replica"], row["epochs_done"]
        for saved in store.saved():
            if saved.epoch == at[1] and at[0] in saved.replicas:
                part = store.load_part(saved, [at[0]], "weights/last")
                table = make_weights(part[at[0]], image_shape)
                content = table.to_csv(index=False).encode()
                Manifest(workdir).write({name: content}, of)
                return


def read_weights(workdir: Path) -> pd.DataFrame:
    """Reads predictions/weights.csv; without rows where that is not whole."""
    return _read_images(workdir, WEIGHTS, _WEIGHT_COLUMNS, {"kind": str})
