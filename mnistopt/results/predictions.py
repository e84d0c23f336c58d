"""What the finished replicas say of each image, kept for paired tests and pictures.

`predictions/labels.npz` has the labels of the validation and test splits and the names
of the classes, and
`predictions/POINT.npz`, for each point, the classes by each of its seeds, and the vote
of all: the mean of their probabilities.
"""

import contextlib
import itertools
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
from mnistopt.files import replacing
from mnistopt.points import Point
from mnistopt.results.tables import FINISHED
from mnistopt.training.metrics import confusion

FOLDER = "predictions"
SPLITS = ("validation", "test")
_KEPT = ("classes", "probabilities", "vote")
# What numpy raises where a file of arrays is missing, cut off or of another kind.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, BadZipFile)


class Predictions(NamedTuple):
    """What a point's finished replicas say of the N images of a split.

    Attributes:
        seeds: Their seeds, ascending, int [S].
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
        return sum(confusion(self.labels, one, k) for one in self.classes) / len(
            self.seeds
        )


def write_predictions(
    workdir: Path,
    store: Store,
    trials: pd.DataFrame,
    data: Dataset,
    make: Callable[[Point], Any],
) -> None:
    """Predicts with every finished replica, unless its point's file has it.

    Args:
        workdir: Folder of the study.
        store: Its checkpoints.
        trials: Its table of trials.
        data: Its data.
        make: Returns the network of a point.
    """
    folder = workdir / FOLDER
    finished = trials[trials["status"] == FINISHED].sort_values("seed")
    todo = [
        (point, group)
        for point, group in finished.groupby("point", sort=False)
        if _trials_in(folder / f"{point}.npz") != group["trial"].tolist()
    ]
    if not todo:
        return
    labels = {name: getattr(data, name).labels.astype(np.uint8) for name in SPLITS}
    labels["class_names"] = np.array(data.class_names)
    _write(folder / "labels.npz", labels)
    checkpoints = {
        (name, saved.epoch): saved
        for saved in store.saved()
        for name in saved.about["replicas"]
    }
    images = {name: getattr(data, name).images for name in SPLITS}
    predictor = Predictor(images)
    for point, group in todo:
        done = zip(group["replica"], group["epochs_done"])
        where = {name: checkpoints[name, epoch] for name, epoch in done}
        networks = _networks(store, where, make)
        arrays = _predict_all(networks, predictor)
        seeds = group["seed"].to_numpy()
        names = group["trial"].to_numpy(dtype=str)
        _write(folder / f"{point}.npz", {"trials": names, "seeds": seeds, **arrays})


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
            _opened(folder / "labels.npz") as labels,
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
    store: Store, where: Mapping[str, Checkpoint], make: Callable[[Point], Any]
) -> Iterator[tuple[Any, Any]]:
    """Restores model and variables of a point's replicas, in order."""
    first = next(iter(where))
    model = make(where[first].record(first).point)
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
    for found in predictor(networks):
        for name, predicted in found.items():
            classes[name].append(predicted.classes)
            sums[name] = sums[name] + predicted.probabilities
    arrays = {}
    for name in SPLITS:
        mean = sums[name] / np.float32(len(classes[name]))
        arrays[f"{name}_classes"] = np.stack(classes[name])
        arrays[f"{name}_probabilities"] = mean.astype(np.float16)
        arrays[f"{name}_vote"] = mean.argmax(axis=-1).astype(np.uint8)
    return arrays


def _trials_in(path: Path) -> list[str]:
    """Returns the trials of a point's file; none where it is missing or broken."""
    try:
        with _opened(path) as kept:
            return kept["trials"].tolist()
    except _UNREADABLE:
        return []


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Opens a file of arrays; numpy leaves a broken one open."""
    with open(path, "rb") as file, np.load(file) as arrays:
        yield arrays


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed file, replacing it in one step."""
    with replacing(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **dict[str, Any](arrays))
