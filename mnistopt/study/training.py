"""Carries a plan out: trains its jobs, and writes all that is known then."""

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mnistopt.axes import show
from mnistopt.data.dataset import Dataset
from mnistopt.engine.devices import Device, Lanes, name_of
from mnistopt.engine.identity import make_again
from mnistopt.engine.memory import Exhausted
from mnistopt.engine.pool import present
from mnistopt.engine.predict import measure_latency
from mnistopt.errors import InputError, noting
from mnistopt.models.networks import count_bytes, multiply_adds
from mnistopt.points import Point
from mnistopt.results.columns import COSTS, network_name
from mnistopt.results.config import describe_machine
from mnistopt.results.predictions import write_predictions
from mnistopt.results.sheets import write_mistakes, write_samples, write_weights
from mnistopt.results.table_files import read_table
from mnistopt.study.jobs import Plan
from mnistopt.study.loop import Loop, Run
from mnistopt.study.plan import plan_run
from mnistopt.study.request import asked_values
from mnistopt.study.waves import Asking, Scheduler, Wave, outcomes


def train(
    scheduler: Scheduler, run: Run, on_plan: Callable[[Plan], None] | None = None
) -> None:
    """Trains what a scheduler asks for, and writes all that is known then.

    Tables, predictions, costs and config.json.

    Args:
        scheduler: Called with the points of the run's request.
        run: The run; warnings of the training are added to its notes.
        on_plan: Called with the plan of what the scheduler asks for first.
    """
    request, workdir, pool = run.request, run.workdir, run.pool
    asking = Asking(scheduler, request.points, request.seeds)
    points: dict[Point, None] = {}
    before: Plan | None = None
    wave, trials, loop = asking.first(), 0, Loop(run)
    while wave is not None:
        with run.stopwatch("planning"), noting(run.noted):
            plan = plan_run(request, workdir, pool, wave=wave, before=before)
        run.stop.check()
        if on_plan and before is None:
            on_plan(plan)
        points |= dict.fromkeys(plan.points)
        begun = bool(trials)
        # The rest of a wave whose numbers change has been counted.
        rest = before is not None and before.partial
        trials += 0 if rest else plan.asked - plan.there
        asked = asked_values(tuple(points), request.seeds)
        loop, before = _train_wave(plan, wave, loop, run, Noted(asked, trials, begun))
        if not before.partial:
            records, data = loop.records, request.data
            wave = asking.next(outcomes(plan.points, wave, records, data.identity))
    run.stop.check()
    _write_results(tuple(points), loop, run, bool(trials))


class Noted(NamedTuple):
    """What config.json is to know of a run so far.

    Attributes:
        asked: The values of each axis, and the seeds.
        trials: How many have been planned.
        begun: Whether it knows of the run already.
    """

    asked: Mapping[str, Any]
    trials: int
    begun: bool


def _train_wave(
    plan: Plan, wave: Wave, loop: Loop, run: Run, noted: Noted
) -> tuple[Loop, Plan]:
    """Trains what is planned, with fewer lanes if it takes too much memory.

    Returns:
        The loop, and the plan with the checkpoints that there are now.
    """
    while True:
        _note_run(plan, run, noted)
        noted = noted._replace(begun=noted.begun or bool(plan.jobs))
        try:
            saved = (*plan.saved, *loop.run(plan))
            return loop, dataclasses.replace(plan, saved=saved)
        except Exhausted as error:
            with noting(run.noted):
                lanes = {**plan.lanes, **_fewer_lanes(loop, error)}
        # From the last checkpoints, and with nothing of the loop in memory.
        del loop
        loop = Loop(run)
        with noting(run.noted):
            more = run.workdir, run.pool, lanes
            plan = plan_run(run.request, *more, wave=wave)


def _write_results(
    points: Sequence[Point], loop: Loop, run: Run, trained: bool
) -> None:
    """Writes what is made of replicas: predictions, costs, and what the run took."""
    request, workdir, pool = run.request, run.workdir, run.pool
    folder, data, noted = workdir.folder, request.data, workdir.config
    if noted is None:
        return
    with run.stopwatch("predictions"):
        trials = read_table(folder, "trials")
        made = dict(loop.models)

        def make(point: Point) -> Any:
            run.stop.check()
            if (structure := point.structure) not in made:
                about = noted.modules, data.image_shape, data.classes
                made[structure] = make_again(point, *about)
            return made[structure]

        write_predictions(folder, workdir.store, trials, data, make, noted.precision)
        write_mistakes(folder, trials, data)
        write_samples(folder, points, data)
        write_weights(folder, workdir.store, trials, data.image_shape)
    with run.stopwatch("costs"):
        points_of = [record.point for record in loop.records.values()]
        wanted = {network_name(point.structure): point for point in points_of}
        costs = dict(noted.costs)
        for name, point in wanted.items():
            if name in costs:
                continue
            try:
                model = make(point)
            except InputError:
                continue  # A user's module that cannot be had any more has none.
            costs[name] = _costs(model, data, present(pool)[0])
        workdir.write(costs=costs)
        loop.write()
    if len(list(workdir.store.folder.glob("*/"))) > loop.groups or loop.plans > 1:
        workdir.store.tidy()
    runs = list(noted.runs)
    if trained and pool.traffic:
        runs[-1] = runs[-1] | {"traffic": dict(pool.traffic)}
    workdir.write(
        runs=runs,
        compile_seconds=_longest(noted.compile_seconds, loop.compile_seconds),
        working_bytes={**noted.working_bytes, **loop.working_bytes},
        seconds=run.stopwatch.seconds,
    )


def _note_run(plan: Plan, run: Run, noted: Noted) -> None:
    """Writes to config.json what trains, and what it trains with.

    One that begins again with fewer lanes, or with another wave, is the same run.
    """
    request, known, devices = run.request, run.workdir.config, present(run.pool)
    teacher = request.teacher
    before = list(known.runs if known else [])
    now = {"devices": list(map(str, devices)), **describe_machine()}
    content: dict[str, Any] = {
        # Once there is a teacher, its pupils stay.
        "data": run.workdir.data,
        "data_dir": str(request.data_dir) if request.data_dir else None,
        "data_file": str(request.data_file) if request.data_file else None,
        "teacher": teacher.to_json() if teacher else known and known.teacher,
        "asked": noted.asked,
        "modules": plan.modules,
        "warnings": list(run.noted),
    }
    if plan.jobs or known is None:
        content |= now
    if plan.jobs:
        used = [d.describe(job.lanes) for job in plan.jobs for d in devices]
        machines = {name_of(device): device for device in used}
        lanes = {job.program.identity(): show(job.lanes) for job in plan.jobs}
        entry = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "asked": noted.asked,
            "trials": noted.trials,
            **now,
            "machines": list(machines),
        }
        if noted.begun:
            first = before.pop()
            names = dict.fromkeys((*first["machines"], *machines))
            entry = {**first, **noted._asdict(), "machines": list(names)}
            del entry["begun"]
        content |= {
            "lanes": {**(known.lanes if known else {}), **lanes},
            "machines": {**(known.machines if known else {}), **machines},
            "runs": [*before, entry],
        }
    run.workdir.write(**content)


def _longest(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Returns the seconds of what took longest: from a cache it takes next to none."""
    names = dict.fromkeys((*before, *now))
    return {name: max(before.get(name, 0.0), now.get(name, 0.0)) for name in names}


def _fewer_lanes(loop: Loop, error: Exhausted) -> dict[Point, Lanes]:
    """Returns half of the lanes of the job that has taken too much memory.

    Raises:
        Exhausted: If it has one lane only.
    """
    job = loop.job
    if job.lanes == (1, 1):
        raise Exhausted(
            f"one replica of {job.program.structure} at a time takes too much memory "
            f"({error}): give a smaller network or batch, or fewer replicas"
        ) from error
    fewer = job.lanes.halved()
    warnings.warn(
        f"{error}: continuing with lanes={show(fewer)} instead of {show(job.lanes)}. "
        "Numbers are the same to rounding",
        stacklevel=2,
    )
    return {job.program: fewer}


def _costs(model: Any, dataset: Dataset, device: Device) -> dict[str, Any]:
    """Returns the `COSTS` of a network, of the first training images on a device."""
    shape, images = dataset.image_shape, dataset.train.images
    counted = multiply_adds(model, shape), count_bytes(model, shape)
    seconds = measure_latency(model, images, device).values()
    # Four digits: the fifth changes from call to call.
    measured = (float(f"{1e3 * duration:.4g}") for duration in seconds)
    return dict(zip(COSTS, (*counted, *measured), strict=True))
