"""What config.json says of a study: what was asked, of what data, on what machine."""

import collections.abc
import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnistopt.data.check import dark_on_light
from mnistopt.data.dataset import Dataset
from mnistopt.engine.devices import processor
from mnistopt.errors import InputError
from mnistopt.manifest import MANIFEST, Manifest
from mnistopt.results.columns import COUNTED

CONFIG = "config.json"
FORMAT = 4
_LANES = re.compile("[1-9][0-9]{0,9}x[1-9][0-9]{0,9}")
# Of a file that is read: that of 10,000 runs has a tenth.
MOST_BYTES = 100_000_000
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_NUMBERS = (int, float, type(None))


class Altered(InputError):
    """A config.json that has been changed, or is not JSON."""

    def __init__(self, path: Path, reason: object):
        """Takes its path, and why."""
        super().__init__(
            f"{path} is damaged, or was changed ({reason}): restore it, or let the "
            "grid's command restore it from the checkpoints; if the change is "
            f"intended, remove {MANIFEST}"
        )


@dataclasses.dataclass(frozen=True)
class DataDescription:
    """What must stay the same in a workdir: the examples and their splits.

    Attributes:
        dataset: The name of the data.
        train_examples: The size of the subset that was asked for; None for all.
        train: Number of training examples.
        validation: Number of validation examples.
        test: Number of test examples.
        fingerprint: The fingerprint of all examples.
        image_shape: (H, W, C).
        class_names: K names.
        image_size: The size (H, W) that pictures were fitted into, or None.
        dark_on_light: Whether ink is darker than paper.
        train_on: "train", or "all" where validation examples are trained on, too.
        teacher: What identifies the teacher; None for none.
    """

    dataset: str
    train_examples: int | None
    train: int
    validation: int
    test: int
    fingerprint: str
    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None
    dark_on_light: bool
    train_on: str = "train"
    teacher: str | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        train_examples: int | None,
        train_on: str = "train",
        teacher: str | None = None,
    ) -> "DataDescription":
        """Describes a dataset, and which part of it was asked for."""
        return cls(
            dataset=dataset.name,
            train_examples=train_examples,
            train=len(dataset.train.labels),
            validation=len(dataset.validation.labels),
            test=len(dataset.test.labels),
            fingerprint=dataset.fingerprint,
            image_shape=dataset.image_shape,
            class_names=dataset.class_names,
            image_size=dataset.image_size,
            dark_on_light=dark_on_light(dataset.train.images),
            train_on=train_on,
            teacher=teacher,
        )

    @property
    def parts(self) -> str:
        """How many examples were for what, in words."""
        also = ", which were trained on, too," if self.train_on == "all" else ""
        return (
            f"{self.validation:,} for validation{also or ','} {self.test:,} for testing"
        )

    @property
    def identity(self) -> str:
        """As `Dataset.identity`."""
        return "+".join(filter(None, (self.fingerprint, self.teacher)))

    def differences(self, other: "DataDescription") -> list[str]:
        """Returns a line per difference that makes it another study's data."""
        # These follow from the examples, which the fingerprint compares.
        follows = {"image_size", "dark_on_light"}
        # A study may be given a teacher, or none again, but no second one.
        if None in (self.teacher, other.teacher):
            follows.add("teacher")
        names = [field.name for field in dataclasses.fields(self)]
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return [
            f"  {name}: {had} in the study, {asked} requested"
            for name, (had, asked) in pairs.items()
            if had != asked and name not in follows
        ]


@dataclasses.dataclass(frozen=True)
class Config:
    """The content of config.json.

    Attributes:
        data: The examples.
        data_dir: The folder with the dataset's files, or None.
        data_file: The file or folder of the user's data, or None.
        asked: The values of each axis, and the number of `seeds`, or a list of them.
        modules: Descriptions of the user's modules by class: see `engine.identity`.
        warnings: The warnings of the last run.
        devices: The names of the devices.
        python: Version of Python.
        platform: The system.
        cpu: The processor, and how many cores it has.
        versions: The version of each library.
        commit: The project's, in a checkout of it; else None.
        lanes: Per cohort, by its identity, as "1x2".
        machines: Descriptions of what has computed, by the name in trials.csv.
        runs: A dictionary for each run that has trained.
        costs: Per network what using it costs, by `columns.network_name`.
        compile_seconds: Per cohort, by its identity.
        working_bytes: Per cohort, of a replica's step beside its state.
        seconds: Seconds of the last run by what they were spent on.
        teacher: The `workdir` of the teacher's study, and how often each of its trials
            votes: `members`; None without one.
    """

    data: DataDescription
    data_dir: str | None
    data_file: str | None
    asked: Mapping[str, Any]
    modules: Mapping[str, Any]
    warnings: list[str]
    devices: list[str]
    python: str
    platform: str
    cpu: str
    versions: Mapping[str, str]
    commit: str | None
    lanes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    machines: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    costs: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    compile_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    working_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    teacher: Mapping[str, Any] | None = None

    @property
    def seeds(self) -> int:
        """How many seeds were asked for."""
        seeds = self.asked["seeds"]
        return len(seeds) if isinstance(seeds, list) else seeds

    @property
    def machine(self) -> Mapping[str, Any]:
        """The description of what has computed last; {} if there is none."""
        described = [
            machine
            for machine in self.machines.values()
            if isinstance(machine, Mapping)
        ]
        return described[-1] if described else {}

    @property
    def precision(self) -> str | None:
        """Of the products of what has computed last; None of a CPU."""
        precision = self.machine.get("precision")
        return precision if isinstance(precision, str) else None

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the file."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Config":
        """Reads what `to_json` has made.

        Raises:
            KeyError: If a part is missing.
            TypeError: If one is of another kind.
        """
        data = content["data"]
        if isinstance(data, dict):
            # These came later, as did `teacher`.
            data = {"train_on": "train", "teacher": None, **data}
        config = _read(cls, {"teacher": None, **content, "data": data})
        axes = {name: of for name, of in config.asked.items() if name != "seeds"}
        lists = all(isinstance(of, list) and of for of in axes.values())
        seeds = config.asked.get("seeds")
        which = seeds if isinstance(seeds, list) and seeds else [seeds]
        counted = all(isinstance(seed, int) for seed in which)
        complete = "model" in axes and lists and counted
        if not complete or len(config.data.image_shape) != 3:
            raise TypeError("image_shape or asked lacks a part")
        if not all(map(_LANES.fullmatch, config.lanes.values())):
            raise TypeError("lanes are not as in 1x2")
        for costs in config.costs.values():
            for name, cost in costs.items():
                fits = isinstance(cost, int if name in COUNTED else _NUMBERS)
                if not fits or not (cost is None or 0 <= cost < math.inf):
                    raise TypeError(f"the cost {name} is not a number of at least 0")
        return config


def _read(hint: Any, content: Any, name: str = "it") -> Any:
    """Returns JSON as a type has it, of those that `Config` is made of.

    Raises:
        KeyError: If a part is missing.
        TypeError: If one is of another kind.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(content, dict):
        hints = typing.get_type_hints(hint)
        parts = {name: _read(hints[name], content[name], name) for name in hints}
        return hint(**parts)  # type: ignore[operator]
    if origin is types.UnionType:
        if content is None:
            return None
        return _read(arguments[0], content, name)
    if origin in (list, tuple) and isinstance(content, list):
        return origin(_read(arguments[0], value, name) for value in content)
    if origin in (dict, collections.abc.Mapping) and isinstance(content, dict):
        return {key: _read(arguments[1], value, name) for key, value in content.items()}
    if hint is not Any and not (
        isinstance(hint, type)
        and isinstance(content, _NUMBERS[:2] if hint is float else hint)
    ):
        raise TypeError(f"{name} is of another kind")
    return content


def describe_machine() -> dict[str, Any]:
    """Returns processor, versions and, in a git checkout, the project's commit."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": f"{processor()}, {os.cpu_count()} cores",
        "versions": versions,
        "commit": own_commit(),
    }


def own_commit() -> str | None:
    """Returns the project's commit; None where it is not run from its own checkout.

    Installed inside somebody's repository, that one's commit says nothing.
    """
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        answer = subprocess.run(
            git, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError:
        return None
    top, _, commit = answer.stdout.strip().partition("\n")
    own = answer.returncode == 0 and Path(top).resolve() == root.resolve()
    return commit if own else None


def read_config(workdir: Path) -> Config:
    """Reads config.json.

    Raises:
        Altered: If it has been changed, or is not JSON.
        InputError: If it is missing, unreadable, or of another version.
    """
    path = workdir / CONFIG
    if Manifest(workdir).is_altered(CONFIG):
        raise Altered(path, "its checksum has changed")
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("it is not an object")
        if (version := content["format"]) != FORMAT:
            raise InputError(
                f"{path} has format {version!r}, not {FORMAT}: another version of "
                "mnistopt has made it; give another `workdir`, or use that version"
            )
        return Config.from_json(content)
    except FileNotFoundError as error:
        raise InputError(
            f"{workdir} is not the workdir of a grid: it has no {CONFIG}"
        ) from error
    except InputError:
        raise
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Altered(path, error) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({_reason(error)}); restore it, or give another "
            "`workdir`"
        ) from error


def _reason(error: Exception) -> str:
    """Returns in words why the content of config.json is none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    return str(error)


def write_config(workdir: Path, config: Config) -> None:
    """Writes config.json, if it has changed."""
    text = json.dumps(config.to_json(), indent=2) + "\n"
    Manifest(workdir).write({CONFIG: text.encode()})
