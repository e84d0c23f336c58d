"""Flags: the hyper-parameters', and those that several programs have.

A comma separates swept values and `x` joins layers, as in `--hidden=128x128,256`.
Nothing heavy is imported here, so that `--help` answers at once.
"""

import contextlib
import re
import sys
from typing import Any

from absl import flags

from mnistopt.axes import Typed, show
from mnistopt.errors import InputError
from mnistopt.hparams import CHANGES, EPOCHS, NUMBERS, RECIPE
from mnistopt.models.registry import DEFAULT, NETWORKS, Network, fields
from mnistopt.study.grid import find

FLAGS = flags.FLAGS
# Titles of groups of flags, by the first flag of each.
GROUPS: dict[str, str] = {}
_MODEL = re.compile("--?model=")


class _Values(flags.ArgumentParser):
    """Parses comma-separated values, whose kinds their declarations know."""

    def parse(self, argument: Any) -> list:
        if isinstance(argument, list):
            return argument
        return [Typed(text.strip()) for text in argument.split(",")]


class _Count(flags.ArgumentParser):
    """Parses a whole number of at least `least`."""

    def __init__(self, least: int):
        self._least = least

    def parse(self, argument: Any) -> int:
        with contextlib.suppress(ValueError):
            if (number := int(argument)) >= self._least:
                return number
        raise ValueError(f"expected a whole number of at least {self._least}")


class _Serializer(flags.ArgumentSerializer):
    """Writes values as they are typed, for `--help` and for repeating a command."""

    def serialize(self, value: Any) -> str:
        return ",".join(map(show, value))


# Stages of a training step that are not of the images.
_OF_TRAINING = {"", "warmup", "clip", "average", "distill"}


def define_axes() -> None:
    """Defines a flag per hyper-parameter; several values make an axis of the grid."""
    networks = {**NETWORKS, **{network.name: network for network in _own_networks()}}
    names = ", ".join(NETWORKS)
    GROUPS["model"] = "Network"
    _define("model", DEFAULT, f"{names}, or package.module:Class of a flax module")
    for name, axis in fields(networks.values()).items():
        _define(name, axis.default, axis.help)
    GROUPS["lr"] = "Training"
    of_training = {k: v for k, v in NUMBERS.items() if v.stage in _OF_TRAINING}
    first = {"lr": NUMBERS["lr"], "epochs": EPOCHS}
    for name, axis in (first | RECIPE | of_training | {"changes": CHANGES}).items():
        _define(name, axis.default, axis.help)
    of_images = {k: v for k, v in NUMBERS.items() if v.stage not in _OF_TRAINING}
    GROUPS[next(iter(of_images))] = "Augmentation, the largest strength of each"
    for name, axis in of_images.items():
        _define(name, axis.default, axis.help)


# Fields of modules that are called as a flag of all programs.
_CLASHING: list[str] = []


def _define(name: str, default: Any, text: str) -> None:
    if name in FLAGS:
        _CLASHING.append(name)
        return
    values = None if default is None else [default]
    flags.DEFINE(_Values(), name, values, text, serializer=_Serializer())


def _own_networks() -> list[Network]:
    """Returns the classes of the user's own that --model names: they bring flags."""
    given = [text.partition("=")[2] for text in sys.argv if _MODEL.match(text)]
    given += [b for a, b in zip(sys.argv, sys.argv[1:]) if a in ("--model", "-model")]
    networks = []
    for name in (name for text in given for name in text.split(",") if ":" in name):
        # Errors in one are reported where the grid is made.
        with contextlib.suppress(InputError):
            networks.append(find(name))
    return networks


def axes() -> dict[str, Any]:
    """Returns the hyper-parameters that were given, and the model.

    Raises:
        InputError: If a field of a module cannot be a flag.
    """
    if _CLASHING:
        raise InputError(
            f"the field {_CLASHING[0]} cannot be a flag, as --{_CLASHING[0]} is one of "
            "all programs: rename it, or run from Python"
        )
    return {
        name: FLAGS[name].value
        for name in FLAGS
        if isinstance(FLAGS[name].parser, _Values)
        and (name == "model" or FLAGS[name].present)
    }


def define_count(name: str, default: int | None, text: str, least: int = 1) -> None:
    """Defines a flag that is a whole number."""
    flags.DEFINE(
        _Count(least), name, default, text, serializer=flags.ArgumentSerializer()
    )


def define_data(dataset: str | None, own: bool = False, more: str = "") -> None:
    """Defines `--dataset` and `--data_dir`, and for a user's data `--data`."""
    GROUPS["dataset"] = "Data"
    flags.DEFINE_string(
        "dataset",
        dataset,
        "mnist_5k (ships with the installation), mnist, fashion_mnist, kmnist or "
        f"emnist_digits{more}",
    )
    flags.DEFINE_string(
        "data_dir",
        None,
        "where the dataset is: a folder with its IDX files, or another format listed "
        "in docs/data.md; without it the dataset is downloaded",
    )
    if own:
        flags.DEFINE_string(
            "data",
            None,
            "your own images instead of --dataset: an .npz file with the arrays "
            "images and labels, a .csv file with a row per image, or a folder with a "
            "folder of pictures per class",
        )


def define_train_examples() -> None:
    """Defines `--train_examples`."""
    define_count(
        "train_examples", None, "size of a stratified subset of the training examples"
    )


def define_lessons() -> None:
    """Defines `--train_on` and `--teacher`."""
    flags.DEFINE_enum(
        "train_on",
        "train",
        ["train", "all"],
        "all: also on the validation split, once settings are chosen",
    )
    flags.DEFINE_string(
        "teacher", None, "folder of a study whose networks are learned from (--distill)"
    )


def define_quiet() -> None:
    """Defines `--quiet`."""
    flags.DEFINE_bool("quiet", False, "print only the path of the report")


# What a run computes with.
COMPUTING = ("devices", "cluster", "precision", "memory_budget")


def define_run(workdir: str) -> None:
    """Defines seeds, data, and where and how to train.

    Args:
        workdir: The default workdir, in words.
    """
    GROUPS["seeds"] = "Seeds"
    define_count("seeds", 3, "number of seeds per point")
    define_data("mnist_5k", own=True)
    flags.DEFINE_string(
        "image_size",
        None,
        "fit the pictures of a --data folder into a size in pixels, as in 28 or 28x32 "
        "(height x width); their aspect ratio is kept",
    )
    define_train_examples()
    define_lessons()
    GROUPS["workdir"] = "Run"
    flags.DEFINE_string("workdir", None, f"folder of the study [{workdir}]")
    flags.DEFINE_string(
        "lanes",
        "auto",
        "replicas that a device computes side by side: points, or seeds x points",
    )
    flags.DEFINE_string("devices", "auto", "number of devices")
    flags.DEFINE_string(
        "cluster", None, "train on a Ray cluster: local, auto or HOST:PORT of its head"
    )
    flags.DEFINE_string(
        "precision",
        "auto",
        "products on an accelerator: float32, tf32 (a GPU's own) or bfloat16 (a TPU's)",
    )
    flags.DEFINE_string(
        "memory_budget", None, "most memory to use, as in 4GB [all available]"
    )
    define_quiet()
    flags.DEFINE_bool(
        "tensorboard", False, "write TensorBoard events to WORKDIR/tensorboard"
    )
    flags.DEFINE_bool("dry_run", False, "show the plan and stop")


def run_settings() -> dict[str, Any]:
    """Returns the flags of `define_run` as arguments of `mnistopt.run`."""
    names = ["seeds", "data", "data_dir", "train_examples", "image_size", "workdir"]
    names += ["train_on", "teacher"]
    default = FLAGS.data and not FLAGS["dataset"].present
    return {
        **{name: FLAGS[name].value for name in (*names, *COMPUTING, "lanes")},
        # The default gives way to --data.
        "dataset": None if default else FLAGS.dataset,
    }
