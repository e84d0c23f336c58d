"""Carries a plan out: trains its jobs, and writes all that is known then."""

import time
import warnings
from collections.abc import Mapping
from typing import Any

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
from mnistopt.results.config import Config, describe_machine
from mnistopt.results.predictions import write_predictions
from mnistopt.results.sheets import write_mistakes, write_samples, write_weights
from mnistopt.results.table_files import read_table
from mnistopt.study.jobs import Plan
from mnistopt.study.loop import Loop, Run
from mnistopt.study.plan import plan_run


def train(plan: Plan, run: Run) -> None:
    """Trains what is planned, and writes tables, predictions, costs and config.json.

    Args:
        plan: The plan of what to train.
        run: The run that it is part of; warnings of the training are added to its
            notes.
    """
    request, workdir, pool = run.request, run.workdir, run.pool
    again = False
    while True:
        noted = _note_run(plan, run, again)
        loop = Loop(plan, run)
        try:
            loop.run()
            break
        except Exhausted as error:
            with noting(run.noted):
                lanes = {**plan.lanes, **_fewer_lanes(loop, error)}
        # From the last checkpoints, and with nothing of the loop in memory.
        del loop
        again = True
        with noting(run.noted):
            plan = plan_run(request, workdir, pool, lanes)
    run.stop.check()
    folder, data = workdir.folder, request.data
    with run.stopwatch("predictions"):
        trials = read_table(folder, "trials")
        made = {job.program.structure: job.cohort.model for job in plan.jobs}

        def make(point: Point) -> Any:
            run.stop.check()
            if (structure := point.structure) not in made:
                about = plan.modules, data.image_shape, data.classes
                made[structure] = make_again(point, *about)
            return made[structure]

        precision = workdir.config.precision if workdir.config else None
        write_predictions(folder, workdir.store, trials, data, make, precision)
        write_mistakes(folder, trials, data)
        write_samples(folder, plan.points, data)
        write_weights(folder, workdir.store, trials, data.image_shape)
    with run.stopwatch("costs"):
        records = [*plan.records.values(), *(r for j in plan.jobs for r in j.records)]
        wanted = {network_name(r.point.structure): r.point for r in records}
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
    if len(list(workdir.store.folder.glob("*/"))) > len(plan.jobs):
        workdir.store.tidy()
    runs = list(noted.runs)
    if plan.jobs and pool.traffic:
        runs[-1] = runs[-1] | {"traffic": dict(pool.traffic)}
    workdir.write(
        runs=runs,
        compile_seconds=_longest(noted.compile_seconds, loop.compile_seconds),
        working_bytes={**noted.working_bytes, **loop.working_bytes},
        seconds=run.stopwatch.seconds,
    )


def _note_run(plan: Plan, run: Run, again: bool) -> Config:
    """Writes to config.json what trains, and what it trains with; returns it.

    One that begins `again` with fewer lanes is the same run.
    """
    request, known, devices = run.request, run.workdir.config, present(run.pool)
    before = list(known.runs if known else [])
    now = {"devices": list(map(str, devices)), **describe_machine()}
    content: dict[str, Any] = {
        "data": request.about,
        "data_dir": str(request.data_dir) if request.data_dir else None,
        "data_file": str(request.data_file) if request.data_file else None,
        "asked": request.asked,
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
            "asked": request.asked,
            "trials": plan.asked - plan.there,
            **now,
            "machines": list(machines),
        }
        if again:
            first = before.pop()
            names = dict.fromkeys((*first["machines"], *machines))
            entry = {**first, "machines": list(names)}
        content |= {
            "lanes": {**(known.lanes if known else {}), **lanes},
            "machines": {**(known.machines if known else {}), **machines},
            "runs": [*before, entry],
        }
    return run.workdir.write(**content)


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
