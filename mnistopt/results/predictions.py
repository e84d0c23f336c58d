"""What the finished replicas say of each image, kept for paired tests and pictures.

In the folder `predictions` are `labels.npz` with the labels of the validation and test
splits and the names of the classes; per point `POINT.npz` with the classes by each of
its seeds, and the vote of all, the mean of their probabilities; and images to look at:
the surest mistakes, and training images as networks see them.
"""

import base64
import contextlib
import functools
import io
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from mnistopt.axes import show
from mnistopt.data.dataset import Dataset
from mnistopt.engine.checkpoint import Checkpoint, Store
from mnistopt.engine.predict import Predictor, training_images
from mnistopt.errors import InputError
from mnistopt.files import read_csv
from mnistopt.hparams import NUMBERS
from mnistopt.manifest import Manifest, checksum, digest
from mnistopt.points import Point
from mnistopt.results.tables import FINISHED
from mnistopt.training.augment import STAGES
from mnistopt.training.metrics import confusion

FOLDER, LABELS = "predictions", "labels"
SPLITS = ("validation", "test")
# Seconds of predicting between two writes: of a thousand points, each writes them all.
WRITE_EVERY = 5.0
_KEPT = ("classes", "probabilities", "vote")
# What numpy raises where a file of arrays is missing, cut off or of another kind.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, BadZipFile)


class Predictions(NamedTuple):
    """What a point's finished replicas say of the N images of a split.

    Attributes:
        seeds: The replicas' seeds, ascending, int [S].
        labels: The true classes, uint8 [N].
        classes: The likeliest classes by each of them, uint8 [S, N].
        probabilities: The mean of their probabilities, float16 [N, K].
        vote: The likeliest classes by that mean, before it was rounded, uint8 [N].
        class_names: K names; labels and classes are positions in them.
    """

    seeds: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    vote: np.ndarray
    class_names: tuple[str, ...]

    def confusion(self) -> np.ndarray:
        """Returns how often each class is taken for each, the seeds' mean, [K, K]."""
        k = self.probabilities.shape[1]
        return sum(
            confusion(self.labels, classes, k) for classes in self.classes
        ) / len(self.seeds)


def write_predictions(
    workdir: Path,
    store: Store,
    trials: pd.DataFrame,
    data: Dataset,
    make: Callable[[Point], Any],
    precision: str | None,
) -> None:
    """Predicts with every finished replica, unless its point's file has it.

    Args:
        workdir: Folder of the study.
        store: The study's checkpoints.
        trials: The study's table of trials.
        data: The study's data.
        make: Returns the network of a point.
        precision: The precision that they were trained with, as in `Predictor`.
    """
    manifest, names = Manifest(workdir), (f"{FOLDER}/{{}}.npz").format
    if not manifest.is_fresh(names(LABELS), data.fingerprint):
        labels = {name: getattr(data, name).labels.astype(np.uint8) for name in SPLITS}
        labels["class_names"] = np.array(data.class_names)
        manifest.write({names(LABELS): _packed(labels)}, data.fingerprint)
    finished = trials[trials["status"] == FINISHED].sort_values("seed")
    groups = dict(iter(finished.groupby("point", sort=False)))
    # Who was trained again, on another machine, is another.
    shown = ["trial", "machine", "test_accuracy"]
    of = {
        names(point): digest(data.fingerprint, group[shown].to_numpy().tolist())
        for point, group in groups.items()
    }
    fresh = manifest.fresh(of)
    todo = [point for point in groups if names(point) not in fresh]
    if not todo:
        return
    checkpoints = {
        (name, saved.epoch): saved for saved in store.saved() for name in saved.replicas
    }
    images = {name: getattr(data, name).images for name in SPLITS}
    predictor = Predictor(images, precision)
    packed: dict[str, bytes] = {}
    since = time.monotonic()
    for point in todo:
        group = groups[point]
        done = list(zip(group["replica"], group["epochs_done"]))
        if not checkpoints.keys() >= set(done):
            continue  # Damaged, and not asked for: there is nothing to predict with.
        where = {name: checkpoints[name, epoch] for name, epoch in done}
        first = next(iter(where))
        try:
            model = make(where[first].record(first).point)
        except InputError:
            continue  # A user's module that cannot be had any more.
        arrays = _predict_all(_networks(store, where, model), predictor)
        trials_of = group["trial"].to_numpy(dtype=str), group["seed"].to_numpy()
        arrays |= dict(zip(("trials", "seeds"), trials_of))
        packed[names(point)] = _packed(arrays)
        if time.monotonic() - since > WRITE_EVERY:
            manifest.write(packed, of)
            packed, since = {}, time.monotonic()
    manifest.write(packed, of)


def read_predictions(workdir: Path, point: str, split: str) -> Predictions:
    """Reads what a point's replicas say of a split.

    Args:
        workdir: Folder of a study.
        point: The identity of one of its points.
        split: "validation" or "test".

    Raises:
        InputError: If the split is neither, or nothing is kept of the point.
    """
    if split not in SPLITS:
        raise InputError(f"split={split!r} is not kept; choose {' or '.join(SPLITS)}")
    folder = workdir / FOLDER
    try:
        with (
            _opened(folder / f"{LABELS}.npz") as labels,
            _opened(folder / f"{point}.npz") as kept,
        ):
            of_split = {name: kept[f"{split}_{name}"] for name in _KEPT}
            names = tuple(labels["class_names"].tolist())
            return Predictions(
                kept["seeds"], labels[split], **of_split, class_names=names
            )
    except _UNREADABLE as error:
        raise InputError(
            f"{workdir} has no predictions of point {point} ({error}); run the grid "
            "to its end"
        ) from error


def _networks(
    store: Store, where: Mapping[str, Checkpoint], model: Any
) -> Iterator[tuple[Any, Any]]:
    """Restores the variables of a point's replicas, in order; yields model and them."""
    # Seeds that came later are in other checkpoints.
    for _, group in itertools.groupby(where, key=lambda name: where[name][:2]):
        names = list(group)
        variables = store.load_part(where[names[0]], names, "weights/last")
        yield from ((model, variables[name]) for name in names)


def _predict_all(
    networks: Iterator[tuple[Any, Any]], predictor: Predictor
) -> dict[str, Any]:
    """Returns the arrays of a point's file."""
    classes: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    sums: dict[str, Any] = dict.fromkeys(SPLITS, 0.0)
    for by_split in predictor(networks):
        for name, predicted in by_split.items():
            classes[name].append(predicted.classes)
            sums[name] = sums[name] + predicted.probabilities
    arrays = {}
    for name in SPLITS:
        mean = sums[name] / np.float32(len(classes[name]))
        arrays[f"{name}_classes"] = np.stack(classes[name])
        arrays[f"{name}_probabilities"] = mean.astype(np.float16)
        arrays[f"{name}_vote"] = mean.argmax(axis=-1).astype(np.uint8)
    return arrays


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Opens a file of arrays; numpy leaves a broken one open."""
    with open(path, "rb") as file, np.load(file) as arrays:
        yield arrays


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns a compressed file of arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **dict[str, Any](arrays))
    return file.getvalue()


# --- Images to look at ---

MISTAKES, SAMPLES = "mistakes.csv", "samples.csv"
# A dozen fills a picture.
MOST = 12
SEPARATOR = " | "  # Between the names of classes, which have spaces of their own.
_COLUMNS = ["point", "place", "index", "true", "vote", "confidence", "votes", "image"]


def find_mistakes(predictions: Predictions, images: np.ndarray) -> pd.DataFrame:
    """Returns the images that the vote of a point's seeds misreads most confidently.

    Args:
        predictions: Predictions for the N images of a split.
        images: uint8 or float32 [N, H, W, C].

    Returns:
        At most `MOST` rows, the most confident first: `place` (from 0), `index` of the
        image in the split, the name of its `true` class, that of the `vote` and its
        `confidence` in per cent, the `votes` of the seeds, joined by `SEPARATOR`, and
        the `image` as the data URL of a PNG.
    """
    names = predictions.class_names
    confidence = 100 * predictions.probabilities.max(axis=1).astype(float)
    wrong = np.flatnonzero(predictions.vote != predictions.labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST]
    rows = [
        {
            "place": place,
            "index": int(index),
            "true": names[predictions.labels[index]],
            "vote": names[predictions.vote[index]],
            "confidence": float(confidence[index]),
            "votes": SEPARATOR.join(names[k] for k in predictions.classes[:, index]),
            "image": data_url(images[index]),
        }
        for place, index in enumerate(worst)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS[1:])


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
    files = [*points, LABELS]
    of = digest([(file, checksum(folder / f"{file}.npz")) for file in files])
    if not len(points) or Manifest(workdir).is_fresh(name, of):
        return
    frames = []
    for point in points:
        with contextlib.suppress(InputError):  # It could not be predicted.
            predicted = read_predictions(workdir, point, "test")
            mistakes = find_mistakes(predicted, data.test.images)
            frames.append(mistakes.assign(point=point)[_COLUMNS])
    if not frames:
        return
    # One that made none has no types, which older versions of pandas warn of.
    some = [frame for frame in frames if len(frame)] or frames[:1]
    table = pd.concat(some, ignore_index=True)
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
