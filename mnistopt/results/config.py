"""The folder of a study: what it was asked, on what data, and whether that fits."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnistopt.data.classes import default_names
from mnistopt.data.dataset import Dataset
from mnistopt.data.doubts import dark_on_light
from mnistopt.data.official import NUM_CLASSES
from mnistopt.engine.machine import processor
from mnistopt.errors import InputError
from mnistopt.files import write_text
from mnistopt.results.costs import COUNTED
from mnistopt.results.tables import TABLES

CONFIG = "config.json"
# That a study makes in its workdir.
FOLDERS = ("checkpoints", "predictions", "figures", "damaged")
FORMAT = 3
# Of config.json besides data, and what each has.
_OBJECTS: dict[str, Any] = {
    "asked": object,
    "lanes": str,
    "machines": dict,
    "modules": dict,
    "costs": dict,
    "compile_seconds": (int, float),
    "working_bytes": (int, float),
    "seconds": (int, float),
    "versions": str,
}
# What follows from the examples, whatever was asked for.
_DERIVED = {"image_size", "dark_on_light"}
_LANES = re.compile("[1-9][0-9]{0,9}x[1-9][0-9]{0,9}")
# Of a file that is read: that of 10,000 runs has a tenth.
MOST_BYTES = 100_000_000
# What can be read and evaluated, and why it cannot be trained further.
OLDER = {
    2: "Since then examples are split by their content and no longer by the order of "
    "their file, each device runs a program of its own, and dropout divides by the "
    "chance that it really has: the same settings give other numbers now, and a table "
    "with both would compare what is not alike."
}
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Undecodable(InputError):
    """A config.json that was cut off, or is no JSON at all."""


def describe_data(dataset: Dataset, train_examples: int | None) -> dict[str, Any]:
    """Returns what must stay the same in a workdir: the examples and their splits."""
    return {
        "dataset": dataset.name,
        "train_examples": train_examples,
        "train": len(dataset.train.labels),
        "validation": len(dataset.validation.labels),
        "test": len(dataset.test.labels),
        "fingerprint": dataset.fingerprint,
        "image_shape": list(dataset.image_shape),
        "class_names": list(dataset.class_names),
        "image_size": list(dataset.image_size) if dataset.image_size else None,
        "dark_on_light": dark_on_light(dataset.train.images),
    }


def class_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of a study's classes, from `data` of its config.json."""
    count = data.get("classes", NUM_CLASSES)
    return tuple(data.get("class_names") or default_names(count))


def describe_machine() -> dict[str, Any]:
    """Returns processor, versions and, in a git checkout, the project's commit."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": f"{processor()}, {os.cpu_count()} cores",
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Returns the project's commit; None where it is not run from its own checkout.

    Installed inside somebody's repository, that one's commit says nothing.
    """
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(
            git, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError:
        return None
    top, _, commit = found.stdout.strip().partition("\n")
    ours = found.returncode == 0 and Path(top).resolve() == root.resolve()
    return commit if ours else None


def prepare(workdir: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the workdir, or checks that the one there is of the same data.

    Args:
        workdir: The folder.
        data: From `describe_data`.

    Returns:
        The content of its config.json; {} if it has none yet.

    Raises:
        InputError: If it cannot be written to, or belongs to other data.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"workdir {workdir} cannot be written to ({error.strerror}); "
            "give another --workdir"
        ) from error
    return check(workdir, data)


def check(workdir: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of config.json, {} if there is none, writing nothing.

    Raises:
        InputError: If it is unreadable, of another format or of other data, says what
            is different; or if something stands in the way of its files.
    """
    for name in FOLDERS:
        if (workdir / name).exists() and not (workdir / name).is_dir():
            raise _in_the_way(workdir / name, "a folder")
    for name in (CONFIG, *(f"{table}.csv" for table in TABLES)):
        if (workdir / name).is_dir():
            raise _in_the_way(workdir / name, "a file")
    if not (workdir / CONFIG).exists():
        tables = (f"{name}.csv" for name in TABLES)
        others = [name for name in tables if (workdir / name).exists()]
        if others and not (workdir / "checkpoints").exists():
            raise InputError(
                f"{workdir} has {others[0]} of somebody else's, as there is neither "
                f"{CONFIG} nor checkpoints: give another --workdir"
            )
        return {}
    try:
        config = read_config(workdir)
    except Undecodable as error:
        if not (workdir / "checkpoints").is_dir():
            raise
        # By their names replicas tell what they were trained on.
        warnings.warn(f"{error}; it is made anew from the checkpoints", stacklevel=2)
        return {}
    if config["format"] != FORMAT:
        raise InputError(_explain(workdir, config))
    made_with = config["data"] | {"class_names": list(class_names(config["data"]))}
    differences = [
        f"  {name}: {made_with.get(name)} there, {value} asked for"
        for name, value in data.items()
        if name not in _DERIVED and made_with.get(name) != value
    ]
    if differences:
        raise InputError(
            f"workdir {workdir} holds a study of other data:\n"
            + "\n".join(differences)
            + "\nGive another --workdir, or the settings it was made with."
        )
    return config


def _in_the_way(path: Path, wanted: str) -> InputError:
    return InputError(
        f"{path} is in the way of {wanted} of that name: move it, or give another "
        "--workdir"
    )


def _explain(workdir: Path, config: Mapping[str, Any]) -> str:
    """Says why a workdir of an older format cannot be trained further."""
    commit = config.get("commit")
    made = f"the version that made it (commit {commit[:12]})" if commit else "that one"
    return (
        f"workdir {workdir} was made by an earlier version (format {config['format']}, "
        f"this is {FORMAT}) and cannot be trained further by this one. "
        f"{OLDER[config['format']]}\nWhat is there can be read, reported and evaluated "
        f"as before. To train, give another --workdir, or use {made}."
    )


def read_config(workdir: Path) -> dict[str, Any]:
    """Reads config.json, of this format or an older one.

    Raises:
        InputError: If it is missing, unreadable, or of a format that is not known.
    """
    path = workdir / CONFIG
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError("it is no object")
        if config["format"] not in (FORMAT, *OLDER):
            raise InputError(
                f"{path} has format {config['format']!r}, not {FORMAT}: it was made by "
                "another version; give another --workdir"
            )
        _check_kinds(config)
    except FileNotFoundError as error:
        raise InputError(f"{workdir} is no workdir of a grid: no {CONFIG}") from error
    except InputError:
        raise
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Undecodable(f"{path} is damaged ({error})") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({_reason(error)}); restore it, or give another "
            "--workdir"
        ) from error
    return config


def _reason(error: Exception) -> str:
    """Returns in words why the content of config.json is none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    return str(error)


def _check_kinds(config: Mapping[str, Any]) -> None:
    """Raises TypeError if a part is not of its kind; most came with later versions."""
    parts = {"data": config["data"]} | {name: config.get(name, {}) for name in _OBJECTS}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise TypeError(f"{name} is no object")
        kind = _OBJECTS.get(name, object)
        if not all(isinstance(value, kind) for value in part.values()):
            raise TypeError(f"{name} has a value of another kind")
    if not all(map(_LANES.fullmatch, parts["lanes"].values())):
        raise TypeError("lanes are not as in 1x2")
    for name, cost in (pair for one in parts["costs"].values() for pair in one.items()):
        if not isinstance(cost, int if name in COUNTED else (int, float, type(None))):
            raise TypeError(f"the cost {name} is no number")
    for name in ("runs", "warnings"):
        if not isinstance(config.get(name, []), list):
            raise TypeError(f"{name} is no list")


def write_config(workdir: Path, config: Mapping[str, Any]) -> None:
    """Writes config.json, if it has changed."""
    text = json.dumps({"format": FORMAT, **config}, indent=2) + "\n"
    write_text(workdir / CONFIG, text)
