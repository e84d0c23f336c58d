"""One run of a grid, from plan to tables: what the programs and a notebook call."""

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnistopt.axes import show
from mnistopt.disk import writing_to
from mnistopt.engine.devices import Device, Lanes, multiply_rate
from mnistopt.engine.machine import name_of
from mnistopt.engine.memory import Exhausted
from mnistopt.engine.tidy import ASIDE, damaged, set_aside, tidy
from mnistopt.errors import noting
from mnistopt.points import Point
from mnistopt.results import config
from mnistopt.results.mistakes import write_mistakes
from mnistopt.results.predictions import write_predictions
from mnistopt.results.samples import write_samples
from mnistopt.results.tables import read_table
from mnistopt.study.capacity import available, fitted
from mnistopt.study.costs import find_costs
from mnistopt.study.integrity import (
    check_complete,
    check_data,
    check_unchanged,
    sound,
    warn_of_other_machines,
    whole,
)
from mnistopt.study.lock import writing
from mnistopt.study.loop import Loop, OnEpoch
from mnistopt.study.modules import Maker
from mnistopt.study.notebook import NotebookBar, in_notebook
from mnistopt.study.planning import Plan, make_plan
from mnistopt.study.progress import OnProgress, Progress
from mnistopt.study.setup import Setup, set_up
from mnistopt.study.stopping import Stop
from mnistopt.study.stopwatch import Stopwatch
from mnistopt.study.study import Study

# The share of the machine's matrix products that training reaches, counting direct
# multiplications, of which Winograd's convolution does fewer: measured on two cores of
# an AMD EPYC, 0.75 for the MLP 128x128 and 1.0 for the CNNs 32x64 and 32x64x64.
EFFICIENCY = 0.85


def _set_up(settings: Mapping[str, Any]) -> Setup:
    """Returns what a run is given, with the warnings for its config.json."""
    with noting() as noted:
        setup = set_up(dry_run=False, **settings)
    setup.config["warnings"] = noted
    return setup


def _plan(setup: Setup) -> Plan:
    """Returns what is to be trained, if nobody else has written to the workdir."""
    with noting() as noted:
        check_unchanged(setup.workdir, setup.config["data"], setup.there)
        found = _make_plan(setup)
    setup.config["warnings"] = [*setup.config.get("warnings", []), *noted]
    return found


def _make_plan(setup: Setup) -> Plan:
    """Returns what is to be trained, by the checkpoints that there are."""
    store, folder = setup.store, setup.workdir / "checkpoints"
    saved = whole(sound(store.saved(), folder), store)
    found = make_plan(setup.points, setup.seeds, setup.dataset, saved, setup.lanes)
    check_data(setup.workdir, found.records, setup.dataset.fingerprint)
    # What damage has taken is trained again, what somebody has removed is not.
    taken = (setup.workdir / ASIDE).exists() or damaged(folder, saved)
    retrained = found.trials if taken else frozenset[str]()
    check_complete(setup.workdir, found.records, retrained)
    known = setup.config.get("working_bytes", {})
    there = available(setup.devices, setup.workdir, setup.budget)
    found = fitted(found, setup.devices, known, there)
    warn_of_other_machines(found, setup.devices)
    if found.jobs:
        most = max(len(job.records) for job in found.jobs)
        states = max(job.state_bytes() for job in found.jobs)
        crossing = setup.pool.crossing(found.data_bytes, most, states)
        found = dataclasses.replace(found, crossing=crossing)
    if found.timed:
        return found
    rate = multiply_rate(setup.devices) * EFFICIENCY
    return dataclasses.replace(found, work_per_second=rate)


def plan(**settings: Any) -> Plan:
    """Returns what `run` would do with the same arguments; writes nothing."""
    setup = set_up(dry_run=True, **settings)
    with setup.pool:
        return _plan(setup)


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
        on_progress: Called with a `Progress` before each compile and after each round.
        progress: Whether to show a bar below a notebook's cell; None for where there
            is one and no `on_progress`. Scripts are silent.
        on_epoch: Called after each epoch of each round, with the rows that curves.csv
            will have of it; after a kill, again with those since the last checkpoint.
        **settings: Any of these.
            data: One's own: a `Dataset` (see `Dataset.from_arrays`), an .npz file, a
                table, or a folder with a folder of pictures per class.
            image_size: To fit such pictures into, a side or (H, W); None for as is.
            dataset: Else one of `official.DATASETS`; "mnist_5k" by default.
            data_dir: Folder with the dataset's files.
            train_examples: Size of a stratified subset of them; None for all.
            workdir: Where results go and are found again; runs/DATASET-MODEL by
                default. It holds one study, of one dataset, which may grow.
            seeds: How many; 3 by default, seeds 0, 1 and 2.
            lanes: (seeds, points) side by side on a device, or points; None to choose.
            devices: How many; None for all.
            cluster: Ray's, "local", "auto" or "HOST:PORT" (docs/cluster.md), or None.
            memory_budget: Most bytes to use, or "4GB"; None for what there is.
            fail_fast: Whether the first replica that diverges ends the run.
            cache_dir: Of data and programs; ~/.cache/mnistopt by default.
            Every hyper-parameter is an axis, as in `study.grid.grid`: `model`, a name
                or a flax module of one's own, what it can be told, and `hparams`.
            points: Instead of axes: the points themselves, for what is no full grid.

    Returns:
        The study: its tables, its charts, and the parameters of any replica.

    Raises:
        InputError: If an argument cannot be used, or does not fit the workdir.
        Diverged: With `fail_fast`; the same call without it goes on from there.
        Stopped: At Ctrl-C, SIGTERM or SIGHUP; the same call goes on from there.
    """
    stopwatch = Stopwatch()
    with stopwatch("planning"):
        setup = _set_up(settings)
    shown = on_progress is None if progress is None else progress
    bar = NotebookBar() if shown and in_notebook() else None
    folder = setup.workdir
    with setup.pool, writing_to(folder), writing(folder), Stop() as stop:
        with stopwatch("planning"):
            found = _plan(setup)
        if on_plan:
            on_plan(found)
        _carry_out(found, setup, _told(on_progress, bar), on_epoch, stopwatch, stop)
    if bar:
        bar.done()
    return Study(folder)


def _carry_out(
    plan: Plan,
    setup: Setup,
    on_progress: OnProgress,
    on_epoch: OnEpoch | None,
    stopwatch: Stopwatch,
    stop: Stop,
) -> None:
    """Trains what is planned and writes all that is known then."""
    workdir, content = setup.workdir, setup.config
    store = workdir / "checkpoints"
    set_aside(store, plan.saved)
    content |= _machine(setup.devices, {} if plan.jobs else content)
    while True:
        _note_run(plan, setup)
        config.write_config(workdir, content)
        loop = Loop(plan, setup, stopwatch, on_progress, on_epoch, stop=stop)
        try:
            loop.run()
            break
        except Exhausted as error:
            fewer = _fewer_lanes(setup, loop, error)
        # From the last checkpoints, and with nothing of the loop in memory.
        del loop
        setup = setup._replace(lanes=setup.lanes | fewer)
        plan = _make_plan(setup)
    stop.check()
    with stopwatch("predictions"):
        trials = read_table(workdir, "trials")
        made = {job.program.structure: job.replica.model for job in plan.jobs}
        data = setup.dataset
        make = Maker(content["modules"], data.image_shape, data.classes, made)
        write_predictions(workdir, setup.store, trials, data, make)
        write_mistakes(workdir, trials, setup.dataset)
        if plan.jobs:
            write_samples(workdir, setup.points, setup.dataset)
    with stopwatch("costs"):
        _add_costs(plan, setup, make)
        loop.write()
    if len(list(store.glob("*/"))) > len(plan.jobs):
        tidy(store, sound(setup.store.saved(), store))
    if plan.jobs and setup.pool.traffic:
        content["runs"][-1]["traffic"] = dict(setup.pool.traffic)
    content |= {
        "compile_seconds": content.get("compile_seconds", {}) | loop.compile_seconds,
        "working_bytes": content.get("working_bytes", {}) | loop.working_bytes,
        "seconds": stopwatch.seconds,
    }
    config.write_config(workdir, content)


def _note_run(plan: Plan, setup: Setup) -> None:
    """Adds to config.json what trains, and what it trains with."""
    if not plan.jobs:
        return
    content = setup.config
    lanes = {job.program.identity(): show(job.lanes) for job in plan.jobs}
    content["lanes"] = content.get("lanes", {}) | lanes
    used = [device.describe(job.lanes) for job in plan.jobs for device in setup.devices]
    machines = {name_of(one): one for one in used}
    content["machines"] = content.get("machines", {}) | machines
    run = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "asked": content["asked"],
        "trials": plan.asked - plan.there,
        **_machine(setup.devices, {}),
        "machines": list(machines),
    }
    content["runs"] = [*content.get("runs", []), run]


def _fewer_lanes(setup: Setup, loop: Loop, error: Exhausted) -> dict[Point, Lanes]:
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
        f"{error}: going on with lanes={show(fewer)} instead of {show(job.lanes)}. "
        "Numbers are the same to rounding",
        stacklevel=2,
    )
    return {job.program: fewer}


def _add_costs(plan: Plan, setup: Setup, make: Maker) -> None:
    """Adds to config.json what the study's networks cost, as far as it is not there."""
    records = [*plan.records.values(), *(r for job in plan.jobs for r in job.records)]
    points, there = [one.point for one in records], setup.config.get("costs", {})
    found = find_costs(points, there, setup.dataset, setup.devices[0], make)
    setup.config["costs"] = there | found


def _machine(devices: Sequence[Device], there: Mapping[str, Any]) -> dict[str, Any]:
    """Describes what computes; what is there keeps the name of what made it."""
    machine = {
        "devices": list(map(str, devices)),
        **config.describe_machine(),
    }
    return {name: there.get(name, value) for name, value in machine.items()}


def _told(*callbacks: OnProgress | None) -> OnProgress:
    """Returns a callback that calls those that are there."""

    def tell(progress: Progress) -> None:
        for callback in callbacks:
            if callback:
                callback(progress)

    return tell
