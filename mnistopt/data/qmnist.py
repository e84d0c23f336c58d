"""QMNIST: MNIST's test digits rebuilt, and the 50,000 that were lost, to be tested on.

Yadav and Bottou 2019, "Cold Case: The Lost MNIST Digits" (arXiv:1905.10498). Their
files: github.com/facebookresearch/qmnist.
"""

from pathlib import Path

import numpy as np

from mnistopt.data.idx import read_idx
from mnistopt.data.splits import Split
from mnistopt.errors import InputError

_IMAGES = "qmnist-test-images-idx3-ubyte"
_LABELS = "qmnist-test-labels-idx2-int"
# As published, and as torchvision keeps them.
_FOLDERS = "", "QMNIST/raw", "raw"
# The first of the test digits are MNIST's.
KNOWN = 10_000


def read_qmnist(folder: Path | None) -> tuple[Split, dict[str, slice]]:
    """Reads QMNIST's test digits.

    Args:
        folder: Where its two test files are, gzipped or not.

    Returns:
        Images uint8 [N, 28, 28, 1] and labels int32 [N], in their order; and where
        the digits of MNIST's test part are in it, and the others.

    Raises:
        InputError: If they are not there, damaged, or not as many.
    """
    if folder is None:
        raise InputError(
            "qmnist is not downloaded: give the folder of its files as `data_dir`, "
            f"{_IMAGES} and {_LABELS} (each with or without .gz)"
        )
    images, table = (
        read_idx(_found(folder, name), ndim=ndim)
        for name, ndim in ((_IMAGES, 3), (_LABELS, 2))
    )
    labels = table[:, 0].astype(np.int32)
    if len(images) != len(labels) or not set(labels.tolist()) <= set(range(10)):
        raise InputError(
            f"{folder} has {len(images):,} images of QMNIST and {len(labels):,} labels "
            f"from {labels.min()} to {labels.max()}: get both files again"
        )
    parts = {f"MNIST's {KNOWN:,}": slice(0, KNOWN)}
    if len(labels) > KNOWN:
        parts[f"the other {len(labels) - KNOWN:,}"] = slice(KNOWN, None)
    return Split(images[..., None], labels), parts


def _found(folder: Path, name: str) -> Path:
    for place in _FOLDERS:
        for ending in ("", ".gz"):
            if (path := folder / place / f"{name}{ending}").is_file():
                return path
    raise InputError(f"No qmnist in {folder}: not there: {name} (with or without .gz)")
