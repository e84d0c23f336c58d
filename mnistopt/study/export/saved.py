"""Classifiers as plain numbers: what the format npz holds, and runs without JAX."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from mnistopt.errors import InputError
from mnistopt.files import check_path
from mnistopt.models.graph import Add, Conv, Graph, Select, Window
from mnistopt.study.export.classifier import Classifier, Refusal
from mnistopt.study.export.integers import Network, Whole
from mnistopt.study.export.packing import unpack


@dataclasses.dataclass(frozen=True, eq=False)
class FloatClassifier:
    """Networks in floats, which vote.

    Attributes:
        members: The networks.
        temperatures: What each one's logits are divided by.
        class_names: K names.
        card: What is known of it.
    """

    members: tuple[Graph, ...]
    temperatures: tuple[float, ...]
    class_names: tuple[str, ...]
    card: Mapping[str, Any]

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Classifies images.

        Args:
            images: uint8 or float32 [N, H, W, C].

        Returns:
            The class of each, int [N], and the probabilities, float [N, K].
        """
        scaled = images / np.float32(255) if images.dtype == np.uint8 else images
        logits = [graph(scaled) for graph in self.members]
        chances = vote(logits, self.temperatures)
        return chances.argmax(-1), chances


_KINDS = {
    kind.__name__: kind
    for kind in (Add, Classifier, Conv, FloatClassifier, Graph, Network, Refusal)
} | {kind.__name__: kind for kind in (Select, Whole, Window)}


def read_export(path: str | Path) -> Any:
    """Reads a file of the format npz.

    Args:
        path: The file.

    Returns:
        What classifies images without JAX: called with uint8 [N, H, W, C], it returns
        classes int [N] and, per class, probabilities; or, in whole numbers, 255ths,
        and the class -1 for no digit. Its `card` says what is known of it.

    Raises:
        InputError: If it is no such file, or damaged.
    """
    found = unpack(check_path("path", path) or Path(), _KINDS)
    if not isinstance(found, (Classifier, FloatClassifier)):
        raise InputError(f"{path} holds no classifier; write it again")
    return found


def vote(logits: Sequence[np.ndarray], temperatures: Sequence[float]) -> np.ndarray:
    """Returns the mean of networks' probabilities, [N, K]."""
    chances = [special.softmax(a / t, axis=-1) for a, t in zip(logits, temperatures)]
    return np.mean(chances, axis=0)
