"""The rows of the outlook's tables: what the paper's section 5 names, as points.

Their numbers go on from the paper's five.
"""

import dataclasses
from typing import Any

from mnistopt.errors import InputError
from mnistopt.paper.plan import Cell, scaled
from mnistopt.paper.tables import Row, Table
from mnistopt.points import Point
from mnistopt.study.grid import make_point

PART = "outlook"
RECIPE = (
    "The lightweight CNN is the paper's of Table 1, 32 and 64 kernels and 128 dense "
    "neurons, with what its section 4 settles on: dropout 0.3, batches of 64, Adam at "
    "0.001. Test accuracies are of the network after its last epoch.",
    "Tables 6 and 8 let the rate fall to 0 by half a cosine, for all rows alike: at a "
    "constant one the last epochs differ by more than what is compared. Table 7 keeps "
    "it constant, as the convergence epoch would be the schedule's.",
    "Deformed: shifts of up to 2 pixels, turns of up to 10 degrees, sizes within 10 %, "
    "shears of up to 5 degrees, and elastic moves of 1 pixel root mean square. "
    "Corrupted: noise of a deviation of up to 0.3, blur of up to 1 pixel, contrast "
    "lowered by up to a half, and a square of up to 0.3 of the side erased.",
    "Robustness is the mean accuracy on corrupted test digits, seven corruptions in "
    "five strengths (as of evaluate's --corrupt); to noise, that under noise, and to "
    "deformation, that under shifts, turns and thicker strokes.",
    "Batch normalization stands before each ReLU, after a convolution's pool.",
    "MobileNet and ShuffleNet are scaled to 28x28 pixels (their docstrings say how), "
    "with a width that gives about the CNN's parameters, about its multiply-adds, or "
    "about half of these.",
    "Training seconds are a replica's share of the machine while all devices train, "
    "timed after the training: all networks of the tables in turn, an epoch each, "
    "validation included (speeds.csv). Latency is that of a batch on one device, with "
    "nothing else running.",
)

_BASE: dict[str, Any] = {"batch_size": 64, "dropout": 0.3, "epochs": 20}
_FALLING = {**_BASE, "schedule": "cosine"}
DEFORMED = {"shift": 2, "rotate": 10, "zoom": 0.1, "shear": 5, "elastic": 1}
CORRUPTED = {"noise": 0.3, "blur": 1, "contrast": 0.5, "erase": 0.3}
# Widths of about the CNN's parameters (421,642), its multiply-adds (4,241,152), and
# half of these; how near they come, the table shows.
SIZES = ("parameters", "multiply-adds", "half of them")
_WIDTHS = {
    "mobilenet_v1": (1.4, 0.88, 0.6),
    "mobilenet_v2": (1.42, 0.97, 0.6),
    "shufflenet_v1": (1.8, 1.08, 0.75),
    "shufflenet_v2": (1.31, 0.88, 0.52),
}
LIGHT = {
    "mobilenet_v1": "MobileNet v1",
    "mobilenet_v2": "MobileNet v2",
    "shufflenet_v1": "ShuffleNet v1",
    "shufflenet_v2": "ShuffleNet v2",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """How large it is.

    Attributes:
        dataset: One of `official.DATASETS`.
        data_dir: Folder with its files, or None.
        seeds: Of every row.
        train_examples: Training examples; None for all.
        epochs_scale: Factor to the 20 epochs.
    """

    dataset: str = "mnist_5k"
    data_dir: str | None = None
    seeds: int = 3
    train_examples: int | None = None
    epochs_scale: float = 1.0

    def __post_init__(self):
        """Checks what the engine does not."""
        if not 0 < self.epochs_scale <= 10:
            raise InputError(
                f"epochs_scale={self.epochs_scale:g}: expected a number above 0, and "
                "of at most 10"
            )


def augmented(**strengths: float) -> Point:
    """Returns the lightweight CNN with changed training images, of Table 6."""
    return make_point(**_FALLING, **strengths)


def normalized(model: str, norm: str) -> Point:
    """Returns the paper's MLP or CNN with batch normalization or none, of Table 7."""
    return make_point(**_BASE, model=model, norm=norm)


def light(model: str, size: str) -> Point:
    """Returns a MobileNet or ShuffleNet of one of `SIZES`, of Table 8."""
    width = _WIDTHS[model][SIZES.index(size)]
    return make_point(**_FALLING, model=model, width=width)


BASE = augmented()
BOTH = augmented(**DEFORMED, **CORRUPTED)
_MEASURED = ("test_accuracy", "robust", "robust_noise", "robust_deformation")

TABLES = {
    table.number: table
    for table in (
        Table(
            6,
            "Augmentation of the training images",
            _MEASURED,
            (
                Row({"augmentation": "none"}, BASE, {}),
                Row({"augmentation": "deformed"}, augmented(**DEFORMED), {}),
                Row({"augmentation": "corrupted"}, augmented(**CORRUPTED), {}),
                Row({"augmentation": "both"}, BOTH, {}),
            ),
        ),
        Table(
            7,
            "Batch normalization",
            (*_MEASURED[:2], "convergence_epoch"),
            tuple(
                Row({"model": model.upper(), "norm": norm}, normalized(model, norm), {})
                for model in ("cnn", "mlp")
                for norm in ("none", "batch")
            ),
        ),
        Table(
            8,
            "MobileNet and ShuffleNet against the lightweight CNN",
            _MEASURED[:2],
            (
                Row({"model": "lightweight CNN", "as many": "-"}, BASE, {}),
                *(
                    Row({"model": words, "as many": size}, light(model, size), {})
                    for size in SIZES
                    for model, words in LIGHT.items()
                ),
            ),
        ),
    )
}


def base_of(row: Row) -> Point:
    """Returns the point that a row is compared with, before it is scaled."""
    norm = row.words.get("norm")
    return BASE if norm is None else normalized(row.point.structure.model, "none")


def make_cells(options: Options) -> list[Cell]:
    """Returns all rows, their points with the epochs that are trained."""
    return [
        Cell(number, row._replace(point=trained(row.point, options)), PART)
        for number, table in TABLES.items()
        for row in table.rows
    ]


def trained(point: Point, options: Options) -> Point:
    """Returns a point with the epochs that are trained, and its schedule's."""
    point = scaled(point, options.epochs_scale)
    if point.recipe.schedule == "constant":
        return point
    horizon = float(point.epochs)
    return dataclasses.replace(point, hparams=point.hparams._replace(horizon=horizon))
