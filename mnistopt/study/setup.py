"""What a run is given: checked, loaded, and its workdir opened."""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnistopt.axes import as_list, show
from mnistopt.data.dataset import Dataset
from mnistopt.data.load import CACHE_DIR, cache_folder
from mnistopt.engine.checkpoint import Store
from mnistopt.engine.devices import Device, Lanes, choose_lanes
from mnistopt.engine.pool import TURN, LocalPool, Pool
from mnistopt.errors import InputError
from mnistopt.files import check_path
from mnistopt.points import NEUTRAL, Point
from mnistopt.results import config
from mnistopt.results.columns import columns
from mnistopt.study.grid import average_doubts, check_size, doubts, grid
from mnistopt.study.inputs import (
    check_bytes,
    check_count,
    check_lanes,
    check_optional,
    load_data,
)
from mnistopt.study.modules import Modules, identify


class Setup(NamedTuple):
    """All that decides what a run does.

    Attributes:
        points: Asked for.
        seeds: How many of each.
        dataset: The data.
        workdir: The folder of the study.
        pool: What computes.
        lanes: Per cohort, by `Point.program`.
        config: What config.json is to say.
        there: What it says.
        budget: Bytes of memory to use at most, of a device's or, on a CPU, of all.
        fail_fast: Whether the first replica that diverges ends the run.
    """

    points: list[Point]
    seeds: int
    dataset: Dataset
    workdir: Path
    pool: Pool
    lanes: dict[Point, Lanes]
    config: dict[str, Any]
    there: dict[str, Any]
    budget: float
    fail_fast: bool

    @property
    def devices(self) -> Sequence[Device]:
        """Those that compute: one at least, for which it waits."""
        while not (devices := self.pool.devices):
            time.sleep(TURN)
        return devices

    @property
    def store(self) -> Store:
        """The study's checkpoints."""
        return Store(self.workdir / "checkpoints")


def set_up(
    dry_run: bool,
    points: Sequence[Point] | None = None,
    data: Dataset | str | Path | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    train_examples: int | None = None,
    image_size: Any = None,
    workdir: str | Path | None = None,
    seeds: int = 3,
    lanes: int | tuple[int, int] | None = None,
    devices: int | None = None,
    cluster: str | None = None,
    memory_budget: float | str | None = None,
    fail_fast: bool = False,
    cache_dir: str | Path = CACHE_DIR,
    modules: Modules | None = None,
    **axes: Any,
) -> Setup:
    """Checks the settings of `run`, loads the data, and opens the workdir.

    A dry run makes no workdir. `modules` are those of a study that runs again.

    Raises:
        InputError: If an argument cannot be used, or does not fit the workdir.
    """
    points = _points(points, axes)
    seeds, lanes = check_count("seeds", seeds), check_lanes(lanes)
    check_size(len(points) * seeds)
    budget = check_bytes("memory_budget", memory_budget)
    devices = check_optional("devices", devices)
    train_examples = check_optional("train_examples", train_examples)
    workdir, data_dir = check_path("workdir", workdir), check_path("data_dir", data_dir)
    cache = cache_folder(cache_dir)
    file = None if isinstance(data, Dataset) else check_path("data", data)
    given = file or data, dataset, data_dir, train_examples, cache, image_size
    data = load_data(*given)
    _check_steps(points, len(data.train.labels))
    # Absolute, as a callback or a notebook's next cell may go to another folder.
    folder = (workdir or default_workdir(data.name, points)).absolute()
    about = config.describe_data(data, train_examples)
    there = config.check(folder, about)
    known = {**(modules or {}), **there.get("modules", {})}
    pool = _pool(cluster, devices, cache / "jax")
    with leaving(pool):
        # After JAX has been told of its devices: this is the first that uses it.
        points, modules = identify(points, data, known, measured=not dry_run)
        by_cohort = _lanes(points, seeds, lanes, there.get("lanes", {}), pool.devices)
        if not dry_run:
            config.prepare(folder, about)
    content = {
        **there,
        "data": about,
        "data_dir": str(data_dir.absolute()) if data_dir else None,
        "data_file": str(file.absolute()) if file else None,
        "asked": _asked(points, seeds),
        "modules": modules,
    }
    where = data, folder, pool, by_cohort
    return Setup(points, seeds, *where, content, there, budget, fail_fast)


def _pool(cluster: str | None, devices: int | None, cache_dir: Path) -> Pool:
    """Returns this machine's devices, or a cluster's.

    Raises:
        InputError: If there are none, or not as many, or the extra is not installed.
    """
    if cluster is None:
        return LocalPool(devices, cache_dir)
    if not isinstance(cluster, str) or not cluster:
        raise InputError(
            f"cluster={cluster!r} is not allowed: expected local, auto or HOST:PORT"
        )
    try:
        from mnistopt.engine.cluster.pool import RayPool
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise InputError(
            "cluster needs Ray, which is not installed: pip install 'mnistopt[ray]', "
            "on all nodes"
        ) from error
    return RayPool(cluster, devices, cache_dir)


@contextlib.contextmanager
def leaving(pool: Pool) -> Iterator[None]:
    """Leaves a pool if something goes wrong."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(pool)
        yield
        stack.pop_all()


def _points(points: Sequence[Point] | None, axes: Mapping[str, Any]) -> list[Point]:
    if points is not None and axes:
        raise InputError(
            f"give either points or axes, not points and {', '.join(axes)}"
        )
    given = grid(**axes) if points is None else as_list(points)
    if others := [one for one in given if not isinstance(one, Point)]:
        raise InputError(
            f"points={others[0]!r} is not allowed: expected points, as "
            "study.grid.make_point makes them"
        )
    found = list(dict.fromkeys(given))
    if not found:
        raise InputError("points has no points; give at least one")
    for doubt in doubts(found):
        warnings.warn(doubt, stacklevel=2)
    return found


def _check_steps(points: Sequence[Point], examples: int) -> None:
    """Checks what follows from the number of training examples; warns of doubts."""
    for size in (point.recipe.batch_size for point in points):
        if size > examples:
            raise InputError(
                f"batch_size={size} is more than the {examples} training examples; "
                "give a smaller one"
            )
    for doubt in average_doubts(points, examples):
        warnings.warn(doubt, stacklevel=2)


def default_workdir(dataset: str, points: Sequence[Point]) -> Path:
    """Returns runs/DATASET-MODEL, in the current folder."""
    models = "-".join(dict.fromkeys(point.structure.model for point in points))
    return Path("runs") / f"{dataset}-{models}"


def _asked(points: Sequence[Point], seeds: int) -> dict[str, Any]:
    """Returns the values of each axis, and the number of seeds."""
    rows = [point.row() for point in points]
    values = {
        name: list(dict.fromkeys(row.get(name, NEUTRAL.get(name)) for row in rows))
        for name in columns(points)
    }
    return {**values, "seeds": seeds}


def _lanes(
    points: Sequence[Point],
    seeds: int,
    asked: tuple[int, int] | None,
    before: Mapping[str, str],
    devices: Sequence[Device],
) -> dict[Point, Lanes]:
    """Returns the lanes per cohort: as asked, else as before in this workdir.

    Numbers are bitwise the same at equal lanes only, so a continued study keeps its.

    Raises:
        InputError: If more are asked for than there are replicas to fill them (and they
            are not the ones that the workdir has had).
    """
    settings: dict[Point, set] = {}
    for point in points:
        settings.setdefault(point.program, set()).add(point.hparams)
    most = Lanes(seeds, max(map(len, settings.values())))
    new = {before.get(program.identity()) for program in settings} != {show(asked)}
    if asked and new and (asked[0] > most.seeds or asked[1] > most.points):
        raise InputError(
            f"lanes={show(asked)} is more than there is to compute side by side: at "
            f"most {show(most)}, seeds x points of one network and batch size; give "
            "fewer, or auto"
        )
    lanes = {}
    for program, hparams in settings.items():
        if asked:
            lanes[program] = Lanes(*asked)
        elif text := before.get(program.identity()):
            lanes[program] = Lanes(*map(int, text.split("x")))
        else:
            lanes[program] = choose_lanes(devices, len(hparams), seeds)
    return lanes
