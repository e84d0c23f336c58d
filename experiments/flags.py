"""Flags, and how a program starts and ends.

A comma separates swept values and `x` joins layers, as in `--hidden=128x128,256`.
Nothing heavy is imported here, so that `--help` answers at once.
"""

import contextlib
import functools
import io
import os
import re
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from absl import flags

from mnistopt.axes import Axis, parse_layers, show
from mnistopt.errors import InputError
from mnistopt.hparams import EPOCHS, NUMBERS, RECIPE
from mnistopt.models.registry import DEFAULT, NETWORKS, Network
from mnistopt.study.grid import find

FLAGS = flags.FLAGS
_STARTED = time.perf_counter()
_MODEL = re.compile("--?model=")


class _Values(flags.ArgumentParser):
    """Parses comma-separated values: numbers, layers as in 32x64, and words."""

    def parse(self, argument: Any) -> list:
        if isinstance(argument, list):
            return argument
        return [_value(text.strip()) for text in argument.split(",")]


def _value(text: str) -> Any:
    """Reads what a person typed; whether it is allowed, its declaration says."""
    if "x" in text and all(part.isdecimal() for part in text.split("x")):
        return tuple(map(int, text.split("x")))
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class _Path(flags.ArgumentParser):
    """Parses a path: ~ is the home folder, which bash leaves alone after a "="."""

    def parse(self, argument: Any) -> str:
        return os.path.expanduser(argument)


class _Serializer(flags.ArgumentSerializer):
    """Writes values as they are typed, for `--help` and for repeating a command."""

    def serialize(self, value: Any) -> str:
        return ",".join(map(show, value))


def define_axes() -> None:
    """Defines a flag per hyper-parameter; several values make an axis of the grid."""
    networks = {**NETWORKS, **{one.name: one for one in _own_networks()}}
    names = ", ".join(NETWORKS)
    _define("model", DEFAULT, f"{names}, or package.module:Class of a flax module")
    told: dict[str, list[tuple[str, Axis]]] = {}
    for network in networks.values():
        for name, axis in network.axes.items():
            told.setdefault(name, []).append((network.name, axis))
    for name, uses in told.items():
        words = "; ".join(f"{model}: {axis.help}".strip(": ") for model, axis in uses)
        _define(name, uses[0][1].default, words)
    for name, axis in (RECIPE | NUMBERS | {"epochs": EPOCHS}).items():
        _define(name, axis.default, axis.help)


def _define(name: str, default: Any, text: str) -> None:
    values = None if default is None else [default]
    flags.DEFINE(_Values(), name, values, text, serializer=_Serializer())


def _own_networks() -> list[Network]:
    """Returns the classes of the user's own that --model names: they bring flags."""
    given = [text.partition("=")[2] for text in sys.argv if _MODEL.match(text)]
    given += [b for a, b in zip(sys.argv, sys.argv[1:]) if a in ("--model", "-model")]
    networks = []
    for name in (name for text in given for name in text.split(",") if ":" in name):
        # What is wrong with one is told where the grid is made.
        with contextlib.suppress(InputError):
            networks.append(find(name))
    return networks


def axes() -> dict[str, Any]:
    """Returns the hyper-parameters that were given, and the model."""
    return {
        name: FLAGS[name].value
        for name in FLAGS
        if isinstance(FLAGS[name].parser, _Values)
        and (name == "model" or FLAGS[name].present)
    }


def define_path(name: str, default: str | None, text: str) -> None:
    """Defines a flag that names a file or a folder."""
    flags.DEFINE(_Path(), name, default, text, serializer=flags.ArgumentSerializer())


def define_data(dataset: str | None) -> None:
    """Defines `--dataset` and `--data_dir`."""
    flags.DEFINE_string(
        "dataset",
        dataset,
        "mnist_5k (ships with the installation), mnist, fashion_mnist, kmnist or "
        "emnist_digits",
    )
    flags.DEFINE_string(
        "data_dir",
        None,
        "folder with the dataset's IDX files, or prepared by tensorflow-datasets; "
        "without it the dataset is downloaded",
    )


def define_own_data() -> None:
    """Defines `--data`."""
    flags.DEFINE_string(
        "data",
        None,
        "instead of --dataset, images of your own: an .npz file with the arrays images "
        "and labels, or a folder with a folder of PNGs per class",
    )


def define_quiet() -> None:
    """Defines `--quiet`."""
    flags.DEFINE_bool("quiet", False, "print nothing but where the report is")


def parse_lanes(text: str) -> tuple[int, int] | None:
    """Reads --lanes: auto as None, 4 as (1, 4), 2x4 as (2, 4).

    Raises:
        InputError: For any other text.
    """
    if text == "auto":
        return None
    try:
        sizes = parse_layers(text)
    except InputError:
        sizes = ()
    if len(sizes) not in (1, 2):
        raise InputError(
            f"--lanes={text} is not allowed: expected auto, a number of points, or "
            "seeds and points as in 2x4"
        )
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def parse_devices(text: str) -> int | None:
    """Reads --devices: auto as None, else a number.

    Raises:
        InputError: For any other text.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--devices={text} is not allowed: expected auto or a number")
    return int(text)


def running_for() -> float:
    """Returns the seconds since the program started."""
    return time.perf_counter() - _STARTED


def run(main: Callable[[], None], about: str) -> None:
    """Parses the command line, runs `main`, and ends the process.

    What a person gave and cannot be used is told in one message, exit code 2.

    Args:
        main: The program.
        about: Its description, for `--help`.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal of few letters shows ? for the others.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # In words, without the line of code that says so.
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    sys.unraisablehook = _unraisable
    flags.DEFINE_bool("help", False, "show this help", short_name="h")
    try:
        rest = _parse(sys.argv)
        if FLAGS.help:
            print(f"{about.strip()}\n\nFlags:{_flag_list()}")
            sys.exit(0)
        if rest:
            raise InputError(
                f"{' '.join(rest)!r} is no flag; flags look like --lr=1e-3"
            )
        main()
    except (flags.Error, InputError) as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        # A signal's number, where it came to a run that listens to others than Ctrl-C.
        number = getattr(error, "number", signal.SIGINT)
        program = os.path.basename(sys.argv[0]).removesuffix(".py")
        command = shlex.join([program, *sys.argv[1:]])
        print(
            f"stopped; the same command goes on from here: ./launch.sh {command}",
            file=sys.stderr,
        )
        sys.exit(128 + number)


def _parse(arguments: list[str]) -> list[str]:
    """Parses flags; returns what is none."""
    try:
        return FLAGS(arguments)[1:]
    except ValueError as error:  # As for --noquiet=3, which is no flags.Error.
        raise InputError(f"{error} (see --help)") from error


def _unraisable(unraisable: Any) -> None:
    """Minds what nobody can catch, as it was raised in a callback.

    A Ctrl-C that met JAX's callback of the garbage collector would be lost: it comes
    again. What callbacks say of writes that have failed has been told.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = functools.partial(os.kill, os.getpid(), signal.SIGINT)
        threading.Timer(0.05, again).start()
    elif str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _message(error: Exception) -> str:
    """Cuts absl's "flag --lr=abc: abc" to its point."""
    text = str(error)
    return f"{text} (see --help)" if isinstance(error, flags.Error) else text


def _flag_list() -> str:
    """Lists the programs' own flags with their defaults, in order of definition."""
    lines = []
    for module, defined in FLAGS.flags_by_module_dict().items():
        if module.startswith("absl"):
            continue
        for flag in defined:
            given = flag.value is not None and not flag.boolean
            default = f" [{flag.serialize().split('=', 1)[1]}]" if given else ""
            lines.append(f"\n  --{flag.name:<17}{flag.help}{default}")
    return "".join(lines)
