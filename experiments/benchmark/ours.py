"""The replicas of this project, timed as a study trains them."""

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark.networks import DROPOUT, LEARNING_RATE, Network


class Made(NamedTuple):
    """A cohort that is ready to be timed.

    Attributes:
        program: Its compiled program.
        numbers: The hyper-parameters of all of its replicas.
        compile_seconds: Cold, then from the cache.
    """

    program: Any
    numbers: Any
    compile_seconds: tuple[float, float]


def make(network: Network, batch: int, devices: Sequence[Any]) -> Made:
    """Compiles a cohort, twice: the second time from JAX's persistent cache."""
    from mnistopt.engine.devices import Lanes
    from mnistopt.engine.replicas import Program, compiled, put_splits
    from mnistopt.study.grid import grid
    from mnistopt.training.cohort import Cohort

    (point,) = grid(**network.axes, batch_size=batch, dropout=DROPOUT, lr=LEARNING_RATE)
    data = noise(network.examples)
    cohort, splits = Cohort.of(point, data), put_splits(data, devices)
    programs = []
    for _ in range(2):
        compiled.cache_clear()  # what a process keeps; JAX's on the disk stays
        programs.append(Program(cohort, Lanes(1, 1), splits))
    cold, cached = (program.compile_seconds for program in programs)
    return Made(programs[1], point.hparams, (cold, cached))


def noise(examples: int) -> Any:
    """Returns a dataset of random pixels: how long an update takes is the same."""
    from mnistopt.data.dataset import Dataset
    from mnistopt.data.splits import Split

    rng = np.random.default_rng(0)
    # One example to validate and to test on: training is what is timed.
    train, validation, test = (
        Split(
            rng.integers(0, 256, (count, 28, 28, 1), np.uint8),
            (np.arange(count) % 10).astype(np.int32),
        )
        for count in (examples, 1, 1)
    )
    return Dataset.from_splits(
        "noise", train, validation, test, class_names=tuple("0123456789")
    )


def timed(
    made: Made, replicas: int
) -> tuple[Callable[[], float], dict[str, int | None]]:
    """Makes replicas and trains their first epoch, which warms up.

    Returns:
        What trains one epoch and returns its seconds; and of their memory
        `planned_bytes`, their states, as a plan has them; `bytes`, by which the process
        has grown for them; and `peak_bytes`, the same at its highest, while they were
        made; None where the system does not tell.
    """
    from mnistopt.engine.queue import make_timer
    from mnistopt.engine.replicas import state_bytes

    before = _reset_peak()
    run = make_timer(made.program, made.numbers, replicas)
    run()
    grown = peak = None
    if before is not None:
        grown, peak = memory("VmRSS") - before, memory("VmHWM") - before
    planned = replicas * state_bytes(made.program.cohort)
    return run, {"planned_bytes": planned, "bytes": grown, "peak_bytes": peak}


def _reset_peak() -> int | None:
    """Forgets the peak of the process's memory; returns its bytes now."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        return memory("VmRSS")
    except OSError:
        return None


def memory(name: str, process: int | str = "self") -> int:
    """Returns VmRSS or VmHWM of a process in bytes; 0 where the system has none."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return 1024 * int(found[1]) if found else 0


def evaluation_share(devices: Sequence[Any], epochs: int = 10) -> float:
    """Returns the share of a run's training time that evaluation takes.

    Of the main job's network on its digits: the validation split after each epoch, and
    all splits after the last.

    Args:
        devices: All of them train.
        epochs: Of the run.
    """
    import mnistopt
    from mnistopt.data.dataset import Dataset
    from mnistopt.engine.devices import Lanes
    from mnistopt.engine.queue import make_timer
    from mnistopt.engine.replicas import Program, put_splits
    from mnistopt.study.grid import grid
    from mnistopt.training.cohort import Cohort

    (point,) = grid(dropout=DROPOUT, lr=LEARNING_RATE)
    whole = mnistopt.load()
    one = noise(1).train
    alone = Dataset.from_splits("train", whole.train, one, one, whole.class_names)
    runs = []
    for data, in_full in ((alone, False), (whole, False), (whole, True)):
        splits = put_splits(data, devices)
        program = Program(Cohort.of(point, data), Lanes(1, 1), splits)
        runs.append(make_timer(program, point.hparams, len(devices), in_full))
        runs[-1]()
    times = [[run() for run in runs] for _ in range(5)]
    train, validate, full = (statistics.median(one) for one in zip(*times))
    total = (epochs - 1) * validate + full
    return (total - epochs * train) / total
