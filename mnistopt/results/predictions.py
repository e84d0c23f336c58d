"""What the finished replicas say of each image, kept for paired tests and pictures.

In the folder `predictions` are `labels.npz` with the labels of the validation and test
splits and the names of the classes; per point `POINT.npz` with the classes by each of
its seeds, and the vote of all, the mean of their probabilities. `sheets` keeps images
beside them.
"""

import contextlib
import io
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from mnistopt.data.dataset import Dataset
from mnistopt.engine.checkpoint import Checkpoint, Store
from mnistopt.engine.predict import Predictor
from mnistopt.errors import InputError
from mnistopt.manifest import Manifest, digest
from mnistopt.points import Point
from mnistopt.results.tables import FINISHED
from mnistopt.training.metrics import confusion, per_class

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

    def per_class(self) -> pd.DataFrame:
        """Returns how well each class is recognized, means over the seeds.

        Returns:
            A row per class: its name `class`, the `count` of its images, its `accuracy`
            (recall; nan without images), `precision` and `f1`, in [0, 1].
        """
        count = len(self.class_names)
        tables = [
            per_class(confusion(self.labels, classes, count))
            for classes in self.classes
        ]
        means = pd.concat(map(pd.DataFrame, tables)).groupby(level=0).mean()
        counts = np.bincount(self.labels, minlength=count)
        return pd.DataFrame(
            {
                "class": self.class_names,
                "count": counts,
                "accuracy": means["recall"].where(counts > 0),
                "precision": means["precision"],
                "f1": means["f1"],
            }
        )


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
