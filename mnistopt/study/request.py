"""What a run was asked for: checked once, and never changed."""

import contextlib
import dataclasses
import functools
import inspect
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnistopt.axes import Typed, as_list, count, layers, show, whole
from mnistopt.data.dataset import Dataset
from mnistopt.data.load import CACHE_DIR, cache_folder
from mnistopt.engine.precision import PRECISIONS
from mnistopt.errors import InputError
from mnistopt.files import check_path
from mnistopt.hparams import TRAINING
from mnistopt.models.registry import DEFAULT, fields
from mnistopt.points import NEUTRAL, Point
from mnistopt.results.columns import columns
from mnistopt.results.config import CONFIG, Config, DataDescription, read_config
from mnistopt.study import grid
from mnistopt.study.loading import load_data
from mnistopt.study.teacher import Teacher

_COUNT = count(None, "")
_SEED = dataclasses.replace(
    whole(None, ""), rule="expected whole numbers from 0 to 2147483647"
)
_DEVICES = dataclasses.replace(_COUNT, rule="expected auto or a number")
_LANES = dataclasses.replace(
    layers(None, ""),
    rule="expected auto, a number of points, or seeds and points as in 2x4",
)
_UNITS = {"": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_BYTES = re.compile(r"(\d+\.?\d*(?:e\+?\d+)?) *([KMGT]B)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Request:
    """The settings of a run.

    Attributes:
        points: Asked for, without repeats.
        seeds: The seeds of each point.
        data: The data.
        about: Their description in config.json.
        data_dir: Folder with the dataset's files, or None.
        data_file: File or folder of the user's data, or None.
        workdir: Folder of the study, absolute.
        cache: Folder of downloads and compiled programs, absolute.
        lanes: (seeds, points) side by side on a device; None to choose.
        devices: How many to use; None for all.
        cluster: Ray's address, or None for this machine.
        precision: The precision of an accelerator's products, None for its default.
        memory_budget: Bytes to use at most, of a device's or, on a CPU, of all.
        fail_fast: Whether the first replica that diverges ends the run.
        rerun: The config of a study that is run again: its modules and lanes hold.
        teacher: Whom the networks learn from, or None.
    """

    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    data: Dataset
    about: DataDescription
    data_dir: Path | None
    data_file: Path | None
    workdir: Path
    cache: Path
    lanes: tuple[int, int] | None
    devices: int | None
    cluster: str | None
    precision: str | None
    memory_budget: float
    fail_fast: bool
    rerun: Config | None
    teacher: Teacher | None = None

    @classmethod
    def of(
        cls,
        *,
        points: Sequence[Point] | None = None,
        data: Dataset | str | Path | None = None,
        dataset: str | None = None,
        data_dir: str | Path | None = None,
        train_examples: int | None = None,
        train_on: str = "train",
        teacher: str | Path | None = None,
        image_size: Any = None,
        workdir: str | Path | None = None,
        seeds: int | Sequence[int] = 3,
        lanes: int | tuple[int, int] | None = None,
        devices: int | None = None,
        cluster: str | None = None,
        precision: str | None = None,
        memory_budget: float | str | None = None,
        fail_fast: bool = False,
        cache_dir: str | Path = CACHE_DIR,
        rerun: Config | None = None,
        **axes: Any,
    ) -> "Request":
        """Checks the settings of `run`, loads the data, and warns of doubts.

        Raises:
            InputError: If one cannot be used.
        """
        which = _seeds(seeds)
        asked = _points(points, axes, len(which))
        if train_examples is not None:
            train_examples = _COUNT.check("train_examples", train_examples)
        file = None if isinstance(data, Dataset) else check_path("data", data)
        folder, cache = check_path("data_dir", data_dir), cache_folder(cache_dir)
        target = check_path("workdir", workdir)
        lanes, devices = _lanes(lanes), _devices(devices)
        budget, cluster = check_bytes("memory_budget", memory_budget), _cluster(cluster)
        given = file or data, dataset, folder, train_examples, cache, image_size
        loaded = load_data(*given, train_on)
        _check_steps(asked, len(loaded.train.labels))
        target = target or default_workdir(loaded.name, asked)
        if train_on == "all" and (len(asked) > 1 or _stops(asked)):
            warnings.warn(
                "with train_on=all validation images are trained on, so what is best "
                "by validation is what has learned them best: choose with "
                "train_on=train, then train one setting on all, without patience",
                stacklevel=2,
            )
        teaching = _teacher(teacher, loaded, asked, target, rerun)
        digest = teaching.digest if teaching else None
        loaded = dataclasses.replace(loaded, teacher=digest)
        return cls(
            asked,
            which,
            loaded,
            DataDescription.of(loaded, train_examples, train_on, digest),
            # Absolute, as a callback or a notebook's next cell may go elsewhere.
            data_dir=folder.absolute() if folder else None,
            data_file=file.absolute() if file else None,
            workdir=target.absolute(),
            cache=cache,
            lanes=lanes,
            devices=devices,
            cluster=cluster,
            precision=_precision(precision),
            memory_budget=budget,
            fail_fast=fail_fast,
            rerun=rerun,
            teacher=teaching,
        )

    @functools.cached_property
    def taught(self) -> Dataset:
        """The data, with what the teacher says of them if there is one."""
        if self.teacher is None:
            return self.data
        return dataclasses.replace(self.data, targets=self.teacher.targets(self.data))


def _stops(points: Sequence[Point]) -> bool:
    return any(point.hparams.patience for point in points)


def _teacher(
    teacher: str | Path | None,
    data: Dataset,
    points: Sequence[Point],
    workdir: Path,
    rerun: Config | None,
) -> Teacher | None:
    """Returns the teacher, if there is one and some point learns from it."""
    folder = check_path("teacher", teacher)
    learns = any(point.learns for point in points)
    if not learns:
        if folder and not rerun:
            warnings.warn(
                f"teacher={folder} has no effect, as distill, its weight in the loss, "
                "is 0: give distill=0.5 or another one",
                stacklevel=3,
            )
        return None
    if folder is None:
        raise InputError(
            "distill has no effect without a teacher: give teacher=WORKDIR, the "
            "folder of a study, or leave it out"
        )
    known = rerun
    if known is None and (workdir / CONFIG).exists():
        # What is wrong with it, `Workdir` says.
        with contextlib.suppress(InputError):
            known = read_config(workdir)
    return Teacher.of(folder, data, known)


def asked_values(points: Sequence[Point], seeds: Sequence[int]) -> dict[str, Any]:
    """Returns the values of each axis, and the number of seeds, or which."""
    rows = [point.row() for point in points]
    values = {
        name: list(dict.fromkeys(row.get(name, NEUTRAL.get(name)) for row in rows))
        for name in columns(points)
    }
    count = len(seeds)
    from_0 = tuple(seeds) == tuple(range(count))
    return {**values, "seeds": count if from_0 else list(seeds)}


def takes_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a function with `**settings` the signature of all settings of a run.

    So `help` and a notebook's completion show each setting and each axis, with its
    default. In the docstring, `{axes}` is replaced by a line for each axis.
    """
    own = inspect.signature(function)
    asked = inspect.signature(Request.of).parameters
    declared = fields() | TRAINING
    keyword = inspect.Parameter.KEYWORD_ONLY
    axes = [
        inspect.Parameter(name, keyword, default=axis.default)
        for name, axis in declared.items()
    ]
    model = inspect.Parameter("model", keyword, default=DEFAULT)
    *callbacks, _ = own.parameters.values()
    *settings, rest = (
        parameter for name, parameter in asked.items() if name != "rerun"
    )
    function.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[*settings, *callbacks, model, *axes, rest]
    )
    if function.__doc__:  # there is none under python -OO
        lines = [
            textwrap.fill(
                f"- `{name}` ({show(axis.default) or 'none'}): {axis.help}.",
                width=76,
                subsequent_indent="  ",
            )
            for name, axis in declared.items()
        ]
        text = inspect.cleandoc(function.__doc__)
        listed = textwrap.indent("\n".join(lines), " " * 8)
        function.__doc__ = text.replace(" {axes}", f"\n\n{listed}")
    return function


def default_workdir(dataset: str, points: Iterable[Point]) -> Path:
    """Returns runs/DATASET-MODEL, in the current folder.

    Raises:
        InputError: If these names are too long for one.
    """
    models = "-".join(dict.fromkeys(point.structure.model for point in points))
    folder = Path("runs", f"{dataset}-{models}")
    check_path("workdir", folder)
    return folder


def _points(
    points: Sequence[Point] | None, axes: Mapping[str, Any], seeds: int
) -> tuple[Point, ...]:
    if points is not None and axes:
        raise InputError(
            f"give either points or axes, not points and {', '.join(axes)}"
        )
    given = grid.product(axes, seeds) if points is None else as_list(points)
    given = [
        grid.make_point(**{str(name): value for name, value in point.items()})
        if isinstance(point, Mapping)
        else point
        for point in given
    ]
    if others := [point for point in given if not isinstance(point, Point)]:
        raise InputError(
            f"points={others[0]!r} is not allowed: expected dictionaries of "
            'hyper-parameters, as in {"lr": 0.001}'
        )
    found = tuple(dict.fromkeys(given))
    if not found:
        raise InputError("points has no points; give at least one")
    grid.check_size(len(found) * seeds)
    return found


def _seeds(given: Any) -> tuple[int, ...]:
    """Returns the seeds that are asked for: so many from 0 on, or those of a list."""
    if not isinstance(given, Iterable) or isinstance(given, str):
        return tuple(range(_COUNT.check("seeds", given)))
    seeds = tuple(dict.fromkeys(_SEED.values("seeds", given)))
    if beyond := [seed for seed in seeds if not 0 <= seed < 2**31]:
        raise InputError(f"seeds={beyond[0]} is not allowed: {_SEED.rule}")
    return tuple(sorted(seeds))


def _check_steps(points: Sequence[Point], examples: int) -> None:
    """Checks what follows from the number of training examples; warns of doubts."""
    for size in (point.recipe.batch_size for point in points):
        if size > examples:
            raise InputError(
                f"batch_size={size} is more than the {examples} training examples; "
                "give a smaller one"
            )
    for doubt in grid.doubts(points, examples):
        warnings.warn(doubt, stacklevel=2)


def _lanes(value: Any) -> tuple[int, int] | None:
    """Returns lanes as (seeds, points); points alone may stand for them."""
    if value is None or (isinstance(value, str) and value == "auto"):
        return None
    sizes = (1, *_LANES.check("lanes", value))
    if len(sizes) > 3:
        raise InputError(f"lanes={show(value)} is not allowed: {_LANES.rule}")
    return sizes[-2], sizes[-1]


def _devices(value: Any) -> int | None:
    """Returns a number of devices, which may be written; None for auto."""
    if value is None or (isinstance(value, str) and value == "auto"):
        return None
    written = Typed(value) if isinstance(value, str) else value
    return _DEVICES.check("devices", written)


def _cluster(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InputError(
            f"cluster={value!r} is not allowed: expected local, auto or HOST:PORT"
        )
    return value


def _precision(value: Any) -> str | None:
    """Returns a precision; None for auto."""
    if value is None or value == "auto":
        return None
    if value not in PRECISIONS:
        raise InputError(
            f"precision={value} is not known: expected auto, {' or '.join(PRECISIONS)}"
        )
    return value


def check_bytes(name: str, value: Any) -> float:
    """Returns a number of bytes from one, or from words as "4 GB"; inf for None.

    Raises:
        InputError: If it is none.
    """
    if value is None:
        return math.inf
    match = _BYTES.fullmatch(str(value).strip())
    size = float(match[1]) * _UNITS[(match[2] or "").upper()] if match else 0.0
    if not 0 < size < math.inf:
        raise InputError(f"{name}={value} is not allowed: expected a size as in 4GB")
    return size
