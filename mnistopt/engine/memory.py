"""Memory: what there is, and what computing takes."""

import contextlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from mnistopt.engine.devices import Device, Lanes, cores
from mnistopt.engine.replicas import state_bytes
from mnistopt.errors import InputError
from mnistopt.models import forms
from mnistopt.models.networks import count_bytes, count_outputs, count_patches
from mnistopt.training.cohort import Cohort
from mnistopt.training.metrics import EVAL_BATCH

try:
    import resource
except ModuleNotFoundError:  # Windows has no such limits.
    resource = None  # type: ignore[assignment]

FLOAT = 4

# What compiling takes and the process keeps: 250 MB for an MLP, 390 MB for a CNN, by
# the peak of a process (Linux, JAX 0.10.2) before and after. From the cache: 100 MB.
COMPILING = 350e6
# Arrays as large as all states at once, while a checkpoint is written: the states, what
# is stacked for saving, and what the storage library has encoded and not written yet.
# 2.6 to 2.9 were measured, from 0.1 to 1.9 GB of states.
COPIES = 3
# A process with JAX and MNIST's 5,000, before it compiles.
USUAL = 380e6
# Of a container, version 2 and version 1.
_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
# Of a process: what the shell calls the limit, where /proc/self/statm counts what it is
# of, and the bytes of that which a process that has trained holds beside the memory it
# takes: libraries, and the stacks and arenas of threads. 2.5 and 1.1 GB on one core,
# 0.1 GB more on two (Linux, JAX 0.10.2).
_OF_PROCESS = {
    "RLIMIT_AS": ("ulimit -v", 0, 2.6e9),
    "RLIMIT_DATA": ("ulimit -d", 5, 1.2e9),
}
_PER_CORE = 0.1e9


class Capacity(NamedTuple):
    """What a study takes, or what there is of it.

    Attributes:
        host: Bytes of the process; on a CPU, with what is computed.
        device: Bytes of each accelerator; 0 where there is none.
        disk: Bytes of checkpoints that are added, and of the one being written.
    """

    host: float
    device: float
    disk: float


class Exhausted(InputError):
    """Computing takes more memory than there is."""


def host_memory() -> float:
    """Returns the bytes of memory that this process may use; inf if unknown."""
    limits = [math.inf]
    names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    if hasattr(os, "sysconf"):
        limits.append(float(math.prod(map(os.sysconf, names))))
    for name in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limits.append(float(Path(name).read_text(encoding="utf-8")))
    limits = [limit for limit in limits if limit > 0]
    return min([*limits, *(room for room, _, _ in _process_limits())])


def _process_limits() -> Iterator[tuple[float, float, str]]:
    """Yields what the limits of this process leave for its memory, if it has any.

    Yields:
        The bytes of memory, below 0 where they do not suffice for the rest; the limit
        in bytes; its name.
    """
    if resource is None:
        return
    for name, (shell, column, most) in _OF_PROCESS.items():
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit != resource.RLIM_INFINITY and (sizes := _statm()):
            beside = max(sizes[column] - sizes[1], most + _PER_CORE * cores())
            yield limit - beside, limit, shell


def address_space() -> float:
    """Returns the bytes of addresses that this process may use; inf for any."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else -1
    return math.inf if limit < 0 else float(limit)


def check_process_limits() -> None:
    """Checks that this process may take what compiling a program takes.

    JAX and the libraries that write checkpoints end or hang without a word where they
    get no memory or no thread.

    Raises:
        InputError: If one of its limits is too low; says which.
    """
    for room, limit, shell in _process_limits():
        missing = USUAL + COMPILING - room
        if missing > 0:
            raise InputError(
                f"this process is limited to {limit / 1e9:.2f} GB ({shell}), and the "
                f"smallest network takes {(limit + missing) / 1e9:.2f} GB: raise the "
                f"limit, or remove it: {shell} unlimited"
            )


def device_memory(devices: Sequence[Device]) -> float:
    """Returns the bytes of each device; of those on the host, what they share."""
    if devices[0].on_host:
        return host_memory()
    return min(device.memory for device in devices)


def process_memory() -> float:
    """Returns the bytes that this process takes now: Python, JAX, and the data."""
    sizes = _statm()
    return float(sizes[1]) if sizes else USUAL


def _statm() -> list[int]:
    """Returns the sizes in bytes that Linux gives of this process; else none."""
    with contextlib.suppress(OSError, ValueError):
        text = Path("/proc/self/statm").read_text(encoding="utf-8")
        return [int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in text.split()]
    return []


def available(devices: Sequence[Device], workdir: Path, budget: float) -> Capacity:
    """Returns what there is.

    Args:
        devices: The devices that compute.
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


def at_hand(cohort: Cohort) -> float:
    """Returns the bytes of a replica's state and, roughly, of what a step computes."""
    return state_bytes(cohort) + _working(cohort, forms.BLOCKS)


def _working(cohort: Cohort, form: str) -> int:
    """Estimates the bytes that a step of a replica takes beside its state.

    Gradients and, for each image of a batch, what the layers compute and its gradient.
    In whole batches what kernels see, too; and then an evaluation may take more.
    """
    model, shape = cohort.model, cohort.image_shape
    numbers, images = count_outputs(model, shape), 2 * cohort.batch_size
    if not forms.in_loops(form):
        numbers += count_patches(model, shape)
        images = max(images, EVAL_BATCH)
    return count_bytes(model, shape) + images * numbers * FLOAT


def needs(
    cohort: Cohort,
    lanes: Lanes,
    replicas: int,
    kept: int,
    devices: Sequence[Device],
    data: int,
    working: int | None,
) -> Capacity:
    """Returns what training replicas of a cohort takes.

    Args:
        cohort: The static part of the replicas.
        lanes: The lanes that one device computes side by side.
        replicas: How many there are.
        kept: How many of their checkpoints stay.
        devices: The devices that compute.
        data: Bytes of the examples.
        working: Bytes that a step of one replica takes beside its state, as XLA has
            reported before; None to estimate them.
    """
    if working is None:
        working = _working(cohort, forms.form_of(devices[0].platform))
    first, states = devices[0], replicas * state_bytes(cohort)
    host = process_memory() + COMPILING + (COPIES - 1 + first.host_copies) * states
    call = math.prod(lanes) * working
    if first.on_host:
        calls = min(len(devices), replicas) * call
        return Capacity(host + data + calls, 0, kept * states)
    device = first.idle_bytes + data + states / len(devices) + call
    return Capacity(host, device, kept * states)


@contextlib.contextmanager
def exhaustible() -> Iterator[None]:
    """Tells of memory that a device has not: as `Exhausted`, and not as JAX's error."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        # Without the frames, which hold what is to be given back.
        reason = str(error).strip().partition("\n")[0]
    else:
        return
    raise Exhausted(f"the device has not enough memory ({reason:.200})")


def check_call(
    needed: int, lanes: Lanes, devices: Sequence[Device], budget: float
) -> None:
    """Checks that calls on all devices fit into memory, by what XLA says of a call.

    Args:
        needed: Bytes that a call needs on its device, beside the examples.
        lanes: The lanes of the program, for the error message.
        devices: All of them compute; those on the host share its memory.
        budget: Bytes to use at most.

    Raises:
        Exhausted: If they do not.
    """
    if devices[0].on_host:
        needed *= len(devices)
    room = min(device_memory(devices), budget)
    if needed > room:
        raise Exhausted(
            f"lanes={lanes.seeds}x{lanes.points} need {needed / 1e9:.1f} GB of memory, "
            f"and there are {room / 1e9:.1f} GB; give fewer `lanes`"
        )
