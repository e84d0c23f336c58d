"""One run of a grid, from plan to tables: what the programs and a notebook call."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnistopt.data.dataset import Dataset
from mnistopt.data.load import CACHE_DIR
from mnistopt.engine.checkpoint import Store
from mnistopt.engine.devices import (
    Lanes,
    Mesh,
    choose_lanes,
    multiply_rate,
    use_devices,
)
from mnistopt.engine.replicas import put_splits
from mnistopt.errors import InputError
from mnistopt.hparams import show
from mnistopt.points import NEUTRAL, Point
from mnistopt.results import config
from mnistopt.results.columns import columns
from mnistopt.results.mistakes import write_mistakes
from mnistopt.results.predictions import write_predictions
from mnistopt.results.record import Record
from mnistopt.results.tables import read_table
from mnistopt.study import planning
from mnistopt.study.grid import grid
from mnistopt.study.inputs import (
    check_count,
    check_lanes,
    check_networks,
    check_path,
    load_data,
)
from mnistopt.study.loop import Loop, OnEpoch, OnProgress, Progress
from mnistopt.study.notebook import NotebookBar, in_notebook
from mnistopt.study.planning import Plan
from mnistopt.study.study import Study

# The share of the machine's matrix products that training reaches, counting direct
# multiplications, of which Winograd's convolution does fewer: measured on two cores of
# an AMD EPYC, 0.75 for the MLP 128x128 and 1.0 for the CNNs 32x64 and 32x64x64.
EFFICIENCY = 0.85


class _Prepared(NamedTuple):
    """A study ready to run."""

    workdir: Path
    dataset: Dataset
    mesh: Mesh
    store: Store
    config: dict[str, Any]
    records: dict[str, Record]
    plan: Plan


def _prepare(
    dry_run: bool,
    points: Sequence[Point] | None = None,
    data: Dataset | str | Path | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    train_examples: int | None = None,
    workdir: str | Path | None = None,
    seeds: int = 3,
    lanes: int | tuple[int, int] | None = None,
    devices: int | None = None,
    cache_dir: str | Path = CACHE_DIR,
    **axes: Any,
) -> _Prepared:
    """Loads the data, opens the workdir and plans; arguments as in `run`."""
    if points is not None and axes:
        raise InputError(
            f"give either points or axes, not points and {', '.join(axes)}"
        )
    points = grid(**axes) if points is None else list(dict.fromkeys(points))
    if not points:
        raise InputError("points has no points; give at least one")
    seeds, lanes = check_count("seeds", seeds), check_lanes(lanes)
    workdir, data_dir = check_path("workdir", workdir), check_path("data_dir", data_dir)
    if devices is not None:
        devices = check_count("devices", devices)
    if train_examples is not None:
        train_examples = check_count("train_examples", train_examples)
    file = None if isinstance(data, Dataset) else check_path("data", data)
    data = load_data(
        data if file is None else file, dataset, data_dir, train_examples, cache_dir
    )
    _check_batches(points, len(data.train.labels))
    folder = workdir or default_workdir(data.name, points)
    about_data = config.describe_data(data, train_examples)
    open_workdir = config.check if dry_run else config.prepare
    there = open_workdir(folder, about_data)
    mesh = use_devices(devices, Path(cache_dir).expanduser() / "jax")
    by_cohort = _lanes(points, seeds, lanes, there.get("lanes", {}), mesh)
    store = Store(folder / "checkpoints")
    saved = store.saved()
    records = planning.merge_records(saved)
    check_networks(points, data, records)
    plan = planning.make_plan(points, seeds, data, saved, by_cohort)
    if not plan.timed:
        rate = multiply_rate(mesh) * EFFICIENCY
        plan = dataclasses.replace(plan, work_per_second=rate)
    content = {
        "data": about_data,
        "data_dir": str(data_dir.absolute()) if data_dir else None,
        **({"data_file": str(file.absolute())} if file else {}),
        "asked": _asked(points, seeds),
        **_modules(points),
        "lanes": there.get("lanes", {})
        | {point.identity(): show(one) for point, one in by_cohort.items()},
        "compile_seconds": there.get("compile_seconds", {}),
        **_machine(mesh, there if not plan.jobs else {}),
    }
    return _Prepared(folder, data, mesh, store, content, records, plan)


def _check_batches(points: Sequence[Point], examples: int) -> None:
    for size in (point.recipe.batch_size for point in points):
        if size > examples:
            raise InputError(
                f"batch_size={size} is more than the {examples} training examples; "
                "give a smaller one"
            )


def _asked(points: Sequence[Point], seeds: int) -> dict[str, Any]:
    """Returns the values of each axis, and the number of seeds."""
    rows = [point.row() for point in points]
    values = {
        name: list(dict.fromkeys(row.get(name, NEUTRAL.get(name)) for row in rows))
        for name in columns(points)
    }
    return {**values, "seeds": seeds}


def _modules(points: Sequence[Point]) -> dict[str, Any]:
    """Returns how a command names the user's own modules; "" where it cannot."""
    own = [point.structure for point in points if point.structure.source]
    paths = {one.model: "" if one.module is not None else one.path for one in own}
    return {"modules": paths} if own else {}


def _machine(mesh: Mesh, there: dict[str, Any]) -> dict[str, Any]:
    """Describes what computes; what is there keeps the name of what made it."""
    machine = {
        "devices": [f"{device.platform} {device.id}" for device in mesh.devices.flat],
        **config.describe_machine(),
    }
    return {name: there.get(name, value) for name, value in machine.items()}


def _lanes(
    points: Sequence[Point],
    seeds: int,
    asked: tuple[int, int] | None,
    before: dict[str, str],
    mesh: Mesh,
) -> dict[Point, Lanes]:
    """Returns the lanes per cohort: as asked, else as before in this workdir.

    Numbers are bitwise the same at equal lanes only, so a continued study keeps its.
    """
    lanes = {}
    for program in dict.fromkeys(point.program for point in points):
        if asked:
            lanes[program] = Lanes(*asked)
        elif text := before.get(program.identity()):
            lanes[program] = Lanes(*map(int, text.split("x")))
        else:
            settings = {p.hparams for p in points if p.program == program}
            lanes[program] = choose_lanes(mesh, len(settings), seeds)
    return lanes


def default_workdir(dataset: str, points: Sequence[Point]) -> Path:
    """Returns runs/DATASET-MODEL, in the current folder."""
    models = "-".join(dict.fromkeys(point.structure.model for point in points))
    return Path("runs") / f"{dataset}-{models}"


def plan(**settings: Any) -> Plan:
    """Returns what `run` would do with the same arguments; writes nothing."""
    return _prepare(dry_run=True, **settings).plan


def run(
    *,
    on_plan: Callable[[Plan], None] | None = None,
    on_progress: OnProgress | None = None,
    progress: bool | None = None,
    on_epoch: OnEpoch | None = None,
    **settings: Any,
) -> Study:
    """Trains a grid as parallel replicas, or what of it is not in the workdir yet.

    Args:
        on_plan: Called with the plan before it is carried out.
        on_progress: Called with a `loop.Progress` before each compile and after each
            round of replicas.
        progress: Whether to show a bar below a notebook's cell; None for where there
            is one and no `on_progress`. Scripts are silent.
        on_epoch: Called after each epoch of each round, with the rows that curves.csv
            will have of it: a data frame with a row per replica of the round. A run
            that was killed trains, and tells, the epochs after its last checkpoint
            again.
        **settings: Any of these.
            data: One's own: a `Dataset` (see `Dataset.from_arrays`), an .npz file, or
                a folder with a folder of PNGs per class.
            dataset: Else one of `official.DATASETS`; "mnist_5k" by default.
            data_dir: Folder with the dataset's files.
            train_examples: Size of a stratified subset of the training split; None
                for all of it.
            workdir: Where results go and are found again; runs/DATASET-MODEL by
                default. It holds one study, of one dataset, which may grow.
            seeds: How many; 3 by default, seeds 0, 1 and 2.
            lanes: (seeds, points) that a device computes side by side, or points
                alone; None to choose.
            devices: How many; None for all.
            cache_dir: For data and compiled programs; ~/.cache/mnistopt by default.
            Every hyper-parameter is an axis, as in `study.grid.grid`: `model`, a name
                or a flax module of one's own, what it can be told, and `hparams`.
            points: Instead of axes: the points themselves, for what is no full grid.

    Returns:
        The study: its tables, its charts, and the parameters of any replica.

    Raises:
        InputError: If an argument cannot be used, or does not fit the workdir.
    """
    ready = _prepare(dry_run=False, **settings)
    if on_plan:
        on_plan(ready.plan)
    if progress is None:
        progress = on_progress is None
    bar = NotebookBar() if progress and in_notebook() else None
    _carry_out(ready, _told(on_progress, bar), on_epoch)
    if bar:
        bar.done()
    return Study(ready.workdir)


def _carry_out(
    ready: _Prepared, on_progress: OnProgress, on_epoch: OnEpoch | None
) -> None:
    """Trains what is planned and writes all that is known then."""
    config.write_config(ready.workdir, ready.config)
    loop = Loop(
        ready.plan,
        ready.records,
        ready.store,
        ready.workdir,
        ready.mesh,
        put_splits(ready.dataset, ready.mesh),
        on_progress,
        on_epoch,
    )
    compile_seconds = loop.run()
    trials = read_table(ready.workdir, "trials")
    own = {job.program.structure: job.replica.model for job in ready.plan.jobs}
    write_predictions(ready.workdir, ready.store, trials, ready.dataset, own)
    write_mistakes(ready.workdir, trials, ready.dataset)
    ready.config["compile_seconds"] |= compile_seconds
    config.write_config(ready.workdir, ready.config)


def _told(*callbacks: OnProgress | None) -> OnProgress:
    """Returns a callback that calls those that are there."""

    def tell(progress: Progress) -> None:
        for callback in callbacks:
            if callback:
                callback(progress)

    return tell
