"""What a plan takes of memory and disk, and whether there is as much."""

import dataclasses
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from mnistopt.engine.devices import Device
from mnistopt.engine.memory import (
    COMPILING,
    COPIES,
    Capacity,
    device_memory,
    host_memory,
    process_memory,
)
from mnistopt.errors import InputError
from mnistopt.models.networks import count_bytes, count_outputs
from mnistopt.study.planning import Job, Plan

FLOAT = 4


def working_bytes(job: Job, known: Mapping[str, int]) -> int:
    """Returns the bytes that a step of one replica takes beside its state.

    What XLA has told of the cohort before; else, roughly, gradients and, for each image
    of a batch, what the layers compute and its gradient.

    Args:
        job: Has the replica.
        known: By the identity of a cohort.
    """
    name = job.program.identity()
    if name in known:
        return known[name]
    model, shape = job.replica.model, job.replica.image_shape
    outputs = job.replica.batch_size * count_outputs(model, shape) * FLOAT
    return count_bytes(model, shape) + 2 * outputs


def needed(plan: Plan, devices: Sequence[Device], known: Mapping[str, int]) -> Capacity:
    """Returns what a plan takes; its jobs come one after the other.

    Args:
        plan: What is to be trained.
        devices: Those that compute.
        known: As in `working_bytes`.
    """
    if not plan.jobs:
        return Capacity(0, 0, 0)
    each = [_of_job(job, plan.data_bytes, devices, known) for job in plan.jobs]
    # Before an older checkpoint is removed, the next one is there.
    disk = sum(one.disk for one in each) + max(j.state_bytes() for j in plan.jobs)
    return Capacity(max(o.host for o in each), max(o.device for o in each), disk)


def _of_job(
    job: Job, data: int, devices: Sequence[Device], known: Mapping[str, int]
) -> Capacity:
    first, states = devices[0], job.state_bytes()
    host = process_memory() + COMPILING + (COPIES - 1 + first.host_copies) * states
    disk = len(job.milestones) * states
    call = math.prod(job.lanes) * working_bytes(job, known)
    if first.on_host:
        calls = min(len(devices), len(job.records)) * call
        return Capacity(host + data + calls, 0, disk)
    device = first.idle_bytes + data + states / len(devices) + call
    return Capacity(host, device, disk)


def available(devices: Sequence[Device], workdir: Path, budget: float) -> Capacity:
    """Returns what there is.

    Args:
        devices: Those that compute.
        workdir: Need not exist.
        budget: Bytes of memory to use at most.
    """
    folder = workdir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if devices[0].on_host:
        return Capacity(min(host_memory(), budget), 0, free)
    return Capacity(host_memory(), min(device_memory(devices), budget), free)


def fitted(
    plan: Plan, devices: Sequence[Device], known: Mapping[str, int], there: Capacity
) -> Plan:
    """Returns a plan with as many lanes as fit, and with what it takes.

    Args:
        plan: What is to be trained.
        devices: Those that compute.
        known: As in `working_bytes`.
        there: From `available`.

    Raises:
        InputError: If it takes more than there is, however few lanes it has; says of
            what, and what to do.
    """
    jobs = []
    for job in plan.jobs:
        took = _of_job(job, plan.data_bytes, devices, known)
        while too_much(took, there) and job.lanes != (1, 1):
            job = dataclasses.replace(job, lanes=job.lanes.halved())
            took = _of_job(job, plan.data_bytes, devices, known)
        if short := too_much(took, there):
            raise _refusal(job, short, getattr(took, short), getattr(there, short))
        jobs.append(job)
    found = dataclasses.replace(plan, jobs=tuple(jobs), available=there)
    needs = needed(found, devices, known)
    if needs.disk > there.disk:
        raise InputError(
            f"the checkpoints of this study take {_size(needs.disk)} of disk, and "
            f"{_size(there.disk)} are free: make room, or give a --workdir on another "
            "disk, or fewer numbers of epochs"
        )
    return dataclasses.replace(found, needs=needs)


def too_much(took: Capacity, there: Capacity) -> str:
    """Returns which memory is too small, "host" or "device"; "" if none is."""
    for name in ("host", "device"):
        if getattr(took, name) > getattr(there, name):
            return name
    return ""


def _refusal(job: Job, name: str, took: float, there: float) -> InputError:
    where = "memory of each device" if name == "device" else "memory"
    return InputError(
        f"{len(job.records)} replicas of {job.program.structure}, "
        f"{job.records[0].params:,} parameters each, take {_size(took)} of {where}, "
        f"and there are {_size(there)}: give smaller networks, or fewer points or "
        "seeds at a time, which may share one --workdir"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
