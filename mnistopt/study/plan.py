"""What a run will do: lanes for each cohort, and jobs that fit into memory."""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mnistopt.axes import plural, show
from mnistopt.engine.devices import (
    Device,
    Lanes,
    multiply_rate,
    name_of,
)
from mnistopt.engine.identity import check_records, identify
from mnistopt.engine.lanes import choose_lanes
from mnistopt.engine.memory import Capacity, at_hand, available, needs
from mnistopt.engine.pool import Pool, present
from mnistopt.errors import InputError, see
from mnistopt.models import forms, fused
from mnistopt.points import Point
from mnistopt.results.config import Config
from mnistopt.study.jobs import Job, Plan, make_plan
from mnistopt.study.request import Request
from mnistopt.study.waves import Wave
from mnistopt.study.workdir import Workdir
from mnistopt.training.cohort import Cohort

# Rounds per device from which one that waits for the last is idle for next to nothing.
_FULL = 16


def plan_run(
    request: Request,
    workdir: Workdir,
    pool: Pool,
    lanes: Mapping[Point, Lanes] | None = None,
    measured: bool = True,
    wave: Wave | None = None,
    before: Plan | None = None,
) -> Plan:
    """Returns what is to be trained, by the checkpoints that there are.

    Args:
        request: The settings of the run.
        workdir: Where it is to be.
        pool: The pool of devices: it comes first, as all else uses JAX.
        lanes: Per cohort; None to choose.
        measured: Whether to compute the probes of modules too, for config.json.
        wave: What a scheduler asks for; None for all that the run asks for.
        before: The plan of the wave before, with all checkpoints that there are now.

    Raises:
        InputError: If a module cannot be trained or has changed, there are more lanes
            than replicas, what is there is not of this request's data, modules or
            study, or what is to be trained does not fit into memory or on the disk.
    """
    devices, known = present(pool), workdir.config
    configs = [config for config in (request.rerun, known) if config]
    modules = {
        name: about for config in configs for name, about in config.modules.items()
    }
    asked = wave or Wave(request.points)
    seeds = request.seeds if asked.seeds is None else asked.seeds
    points, modules = identify(asked.points, request.data, modules, measured)
    if lanes is None:
        had = {
            cohort: text
            for config in configs
            for cohort, text in config.lanes.items()
            # What a search has left is packed into fewer lanes.
            if not asked.repack
        }
        lanes = _lanes(points, len(seeds), request, had, devices, asked.repack)
    saved = before.saved if before else workdir.checkpoints()
    lost = {} if before else workdir.lost(saved)
    of_wave = saved, lanes, lost, asked.in_full
    plan = make_plan(points, seeds, request.data, *of_wave)
    if not before:
        check_records(points, plan.records.values())
        workdir.check_data(plan.records)
        # What a scheduler will ask for later is not known.
        if set(asked.points) == set(request.points):
            workdir.check_complete(lost, saved, plan.wanted)
    free = available(devices, workdir.folder, request.memory_budget)
    plan = fitted(plan, devices, _measured(known, devices), free)
    if not (asked.repack and before):
        _warn_of_other_machines(plan, devices)
    _warn_of_slow_layers(plan, devices)
    more: dict[str, Any] = {"modules": modules}
    if plan.jobs:
        more["machine"] = devices[0].describe(plan.jobs[0].lanes)
        most = max(len(job.records) for job in plan.jobs)
        states = max(job.state_bytes() for job in plan.jobs)
        more["crossing"] = pool.crossing(plan.data_bytes, most, states)
    if not plan.timed:
        # What the machine's matrix products reach. Of it, training the MLP 128x128
        # reaches 0.6, the CNNs 1.6: all multiplications of the direct method are
        # counted, of which they do fewer (two cores of an AMD EPYC).
        more["work_per_second"] = multiply_rate(devices)
    return dataclasses.replace(plan, **more)


def _lanes(
    points: Sequence[Point],
    seeds: int,
    request: Request,
    before: Mapping[str, str],
    devices: Sequence[Device],
    few: bool,
) -> dict[Point, Lanes]:
    """Returns the lanes per cohort: as asked, else as before in this workdir.

    Numbers are bitwise the same at equal lanes only, so a continued study keeps its.
    Of a search `few` may be left to fill them.

    Raises:
        InputError: If more are asked for than there are replicas to fill them (and they
            are not the ones that the workdir has had).
    """
    asked = request.lanes
    settings: dict[Point, set] = {}
    for point in points:
        numbers = point.hparams, point.changes
        settings.setdefault(point.program, set()).add(numbers)
    most = Lanes(seeds, max(map(len, settings.values())))
    new = {before.get(program.identity()) for program in settings} != {show(asked)}
    if asked and new and not few and (asked[0] > most.seeds or asked[1] > most.points):
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
            each = at_hand(Cohort.of(program, request.data))
            lanes[program] = choose_lanes(devices, len(hparams), seeds, each)
    return lanes


def _measured(known: Config | None, devices: Sequence[Device]) -> Mapping[str, int]:
    """Returns what steps took beside their state, if it was on devices of this kind."""
    if known and known.machine.get("platform") == devices[0].platform:
        return known.working_bytes
    return {}


def _warn_of_other_machines(plan: Plan, devices: Sequence[Device]) -> None:
    """Warns if what is there and what is to be trained cannot agree to the bit."""
    before: dict[str, set[str]] = {}
    for record in plan.records.values():
        names = before.setdefault(record.point.program.identity(), set())
        names |= set(record.history.get("machine", []))
    for job in plan.jobs:
        now = devices[0].describe(job.lanes)
        if before.get(job.program.identity(), set()) - {name_of(now)}:
            warnings.warn(
                f"{plural(len(job.records), 'replica')} of {job.program.structure} "
                "will train on another machine than some before, or with other "
                f"versions, lanes, layers or precision (now {now['device']}, "
                f"{_amount(now)}, jax {now['jax']}, layers {now['form']}, lanes "
                f"{show(tuple(job.lanes))}): numbers agree to rounding and not "
                "to the bit. The column machine of trials.csv shows which are which"
                + see("engine#what-changes-a-bit-and-what-does-not"),
                stacklevel=2,
            )
            return


def _warn_of_slow_layers(plan: Plan, devices: Sequence[Device]) -> None:
    """Warns if a CPU is to convolve without the C++ that is made for it."""
    convolve = [job for job in plan.jobs if job.program.structure.model == "cnn"]
    if convolve and devices[0].describe(convolve[0].lanes).get("form") == forms.BLOCKS:
        why = fused.MISSING or "a worker was installed without it"
        warnings.warn(
            f"convolutions train at a quarter of their speed: their C++ is missing "
            f"({why}). Where there is a C++ compiler, or an index from which pip can "
            "fetch ziglang, install mnistopt again; pip install -v shows what fails"
            + see("engine#one-layer-a-form-for-each-kind-of-device"),
            stacklevel=2,
        )


def _amount(machine: Mapping[str, Any]) -> str:
    """Returns an accelerator's precision, or how many cores a CPU has."""
    return machine.get("precision") or f"{machine['cores']} cores"


def fitted(
    plan: Plan, devices: Sequence[Device], known: Mapping[str, int], room: Capacity
) -> Plan:
    """Returns a plan with as many lanes as fit, its groups, and what it takes.

    Args:
        plan: The plan of what to train.
        devices: The devices that compute.
        known: Bytes of a replica's step beside its state, by the identity of a cohort.
        room: The capacity from `available`.

    Raises:
        InputError: If it takes more than there is, however few lanes it has; says of
            what, and what to do.
    """
    jobs, each = [], []
    for job in plan.jobs:
        working = known.get(job.program.identity())
        while True:
            size = job.lanes, len(job.records), len(job.milestones)
            took = needs(job.cohort, *size, devices, plan.data_bytes, working)
            if took.host <= room.host and took.device <= room.device:
                break
            if job.lanes == (1, 1):
                raise _refusal(job, took, room)
            job = dataclasses.replace(job, lanes=job.lanes.halved())
        jobs.append(job)
        each.append(took)
    if not jobs:
        return dataclasses.replace(plan, available=room)
    # Before an older checkpoint is removed, the next one is there.
    disk = sum(need.disk for need in each) + max(job.state_bytes() for job in jobs)
    if disk > room.disk:
        raise InputError(
            f"the checkpoints of this study take {_size(disk)} of disk, and "
            f"{_size(room.disk)} are free: make room, or give a `workdir` on another "
            "disk, or fewer numbers of epochs"
        )
    first, working = jobs[0], known.get(jobs[0].program.identity())
    none = Lanes(0, 0), 0, 0
    nothing = needs(first.cohort, *none, devices, plan.data_bytes, working)
    groups, most = _grouped(jobs, each, nothing, room, _FULL * len(devices))
    taken = Capacity(most.host, most.device, disk)
    return dataclasses.replace(
        plan, jobs=tuple(jobs), groups=groups, needs=taken, available=room
    )


def _grouped(
    jobs: Sequence[Job],
    each: Sequence[Capacity],
    nothing: Capacity,
    room: Capacity,
    full: int,
) -> tuple[tuple[tuple[Job, ...], ...], Capacity]:
    """Returns the jobs that train together, so that no device waits for the last round.

    Args:
        jobs: The jobs.
        each: The memory that each takes alone.
        nothing: What a job without replicas would take.
        room: The memory that there is.
        full: Rounds from which a group needs no more.

    Returns:
        The groups, which come one after the other, and the most that one takes.
    """
    groups: list[tuple[Job, ...]] = []
    most = nothing
    # By what its jobs have in common, the group that may grow, and what it takes.
    growing: dict[tuple, tuple[int, int, Capacity]] = {}
    for job, took in zip(jobs, each):
        key = job.start, job.milestones, job.in_full
        rounds = -(-len(job.records) // math.prod(job.lanes))
        if key in growing:
            place, there, held = growing[key]
            more = Capacity(
                *(a + b - c for a, b, c in zip(held, took, nothing, strict=True))
            )
            if there < full and more.host <= room.host and more.device <= room.device:
                groups[place] += (job,)
                growing[key] = place, there + rounds, more
                most = Capacity(*map(max, most, more))
                continue
        growing[key] = len(groups), rounds, took
        groups.append((job,))
        most = Capacity(*map(max, most, took))
    return tuple(groups), most


def _refusal(job: Job, took: Capacity, room: Capacity) -> InputError:
    what, taken, free = "memory", took.host, room.host
    if taken <= free:
        what, taken, free = "memory of each device", took.device, room.device
    return InputError(
        f"{plural(len(job.records), 'replica')} of {job.program.structure}, "
        f"{job.records[0].params:,} parameters each, take {_size(taken)} of {what}, "
        f"and there are {_size(free)}: give smaller networks, or fewer points or "
        "seeds at a time, which may share one `workdir`"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
