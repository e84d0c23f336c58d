"""What is known of a classifier, as it is written into each file."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import mnistopt
from mnistopt.data.dataset import Dataset
from mnistopt.data.official import IMAGE_SIZE
from mnistopt.models.registry import NETWORKS
from mnistopt.results.config import DataDescription, own_commit
from mnistopt.results.stats import lost_interval, proportion_interval


class Source(NamedTuple):
    """What is exported.

    Attributes:
        networks: Models and their variables; several vote.
        data: The study's data, on which numbers are chosen and accuracy is measured.
        about: The study's description of them.
        study: The name of the study's folder.
        trial: What was asked for: a trial's name, or "ensemble".
        trials: The names of the networks' trials.
        settings: Their hyper-parameters.
    """

    networks: Sequence[tuple[Any, Any]]
    data: Dataset
    about: DataDescription
    study: str
    trial: str
    trials: Sequence[str]
    settings: Mapping[str, Any]


def make_card(source: Source, numbers: str, command: str) -> dict[str, Any]:
    """Returns what is known before anything is measured.

    Args:
        source: What is exported.
        numbers: "float32" or "int8".
        command: How the file is made again.
    """
    about, count = source.about, len(source.networks)
    model = source.settings["model"]
    words = NETWORKS[model].words if model in NETWORKS else model
    several = f"{count} networks that vote: " if count > 1 else ""
    return {
        "title": f"{several}{words} trained on {about.dataset}",
        "input": _input(source),
        "classes": list(about.class_names),
        "numbers": numbers,
        "study": source.study,
        "trials": list(source.trials),
        "settings": dict(source.settings),
        "data": {
            "name": about.dataset,
            "train": about.train,
            "validation": about.validation,
            "test": about.test,
            "fingerprint": about.fingerprint,
        },
        "command": command,
        "mnistopt": mnistopt.__version__,
        "commit": own_commit(),
    }


def _input(source: Source) -> str:
    """Returns what images have to be like."""
    about = source.about
    kind = source.data.test.images.dtype
    shape = ", ".join(map(str, about.image_shape))
    words = f"images {kind} [batch, {shape}] (rows, columns, channels)"
    if kind != np.uint8:
        return f"{words}, floats as the study's own"
    ends = (0, 255) if about.dark_on_light else (255, 0)
    words += f", from 0 to 255: ink is {ends[0]}, paper {ends[1]}"
    if tuple(about.image_shape) != (IMAGE_SIZE, IMAGE_SIZE, 1):
        return words
    return (
        f"{words}; digits placed as MNIST's are: scaled to fit 20 x 20 pixels, their "
        "aspect kept, the centre of mass in the middle"
    )


def measured(right: np.ndarray) -> dict[str, Any]:
    """Returns an accuracy and its 95 % interval (Wilson's, over images).

    Args:
        right: Bool [N].
    """
    correct, count = int(right.sum()), right.size
    interval = proportion_interval(correct, count)
    return {"accuracy": correct / count, "ci95": list(interval), "n": count}


def lost(floats: np.ndarray, wholes: np.ndarray) -> dict[str, Any]:
    """Returns by how much whole numbers are worse, in points, paired by image."""
    difference = lost_interval(floats, wholes)
    ends = [100 * difference.low, 100 * difference.high]
    return {"points": 100 * difference.mean, "ci95": ends}


def sentences(card: Mapping[str, Any]) -> list[str]:
    """Returns a card as lines for people."""
    test, data = card["test"], card["data"]
    settings = ", ".join(f"{name} {value}" for name, value in card["settings"].items())
    lines = [
        f"{card['title']}, on {data['train']:,} images.",
        f"Settings: {settings}.",
        f"Study {card['study']}, trial {', '.join(card['trials'])}.",
        f"Takes {card['input']}.",
        f"Classes: {', '.join(card['classes'])}.",
        f"Accuracy on {test['float']['n']:,} test images: {shown(test['float'])} in "
        "floats.",
    ]
    if "int8" in test:
        apart = test["lost"]
        low, high = apart["ci95"]
        lines += [
            f"In whole numbers {shown(test['int8'])}: {apart['points']:+.2f} points "
            f"lost [{low:+.2f}, {high:+.2f}].",
            f"As no digit it refuses {100 * test['refused']:.1f} % of them.",
        ]
    commit = f", commit {card['commit'][:10]}" if card["commit"] else ""
    return [*lines, f"Made by mnistopt {card['mnistopt']}{commit}:", card["command"]]


def shown(found: Mapping[str, Any]) -> str:
    """Returns an accuracy from `measured` in words."""
    low, high = (100 * end for end in found["ci95"])
    return f"{100 * found['accuracy']:.2f} % [{low:.2f}, {high:.2f}]"
