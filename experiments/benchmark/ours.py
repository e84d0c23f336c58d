"""This project, timed: its machine, its replicas as a study trains them, studies."""

import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark.networks import DROPOUT, LEARNING_RATE, Network

# The widest first: what decides how many numbers an instruction multiplies.
INSTRUCTION_SETS = ("amx_tile", "avx512f", "avx2", "avx", "asimd")
REPEATS = 7
# Flags of `experiments.grid`, by the study's name in tables.
_RATES = ",".join(f"{rate:.6g}" for rate in (1e-4 * 10 ** (i / 10) for i in range(20)))
STUDIES = {
    "the main job: CNN, 3 rates x 3 seeds": ("--lr=1e-4,1e-3,1e-2",),
    "60 replicas: MLP, 20 rates x 3 seeds": ("--model=mlp", f"--lr={_RATES}"),
    "1,024 tiny replicas: MLP 32, 1,024 seeds, 3 epochs of 1,000 digits": (
        *("--model=mlp", "--hidden=32", "--seeds=1024", "--epochs=3"),
        "--train_examples=1000",
    ),
}


def describe(devices: Sequence[Any]) -> dict[str, Any]:
    """Returns processor, versions and devices; the widest instructions, if known."""
    from mnistopt.engine.devices import cores
    from mnistopt.results.config import describe_machine

    flags: set[str] = set()
    if Path("/proc/cpuinfo").exists():
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    return {
        **describe_machine(),
        "cores": cores(),
        "instructions": next((s for s in INSTRUCTION_SETS if s in flags), ""),
        "devices": list(map(str, devices)),
    }


def measure_ceilings(devices: Sequence[Any]) -> dict[str, float]:
    """Measures what all devices together reach, each the median of some repeats.

    Returns:
        `flops`, of float32 products of 1024 x 1024 matrices; `memory_bytes` per second,
        read and written, of an array too large for any cache; and `cache_bytes`, of one
        that fits into a core's own.
    """
    import jax
    import jax.numpy as jnp

    from mnistopt.engine.devices import compiler_options

    def put(shape: tuple[int, ...]) -> list[Any]:
        ones = np.ones(shape, np.float32)
        return [
            device.start(jax.device_put, ones, device.xla).result()
            for device in devices
        ]

    def again(_: Any, x: Any) -> Any:
        # Turned round: else XLA would keep the array in registers from pass to pass.
        return jnp.flip(x) * 0.5

    size, large, small, rounds = 1024, 1 << 26, 1 << 15, 4096
    # Each core by itself, as replicas are trained.
    options = compiler_options(devices[0].platform)
    jit = functools.partial(jax.jit, compiler_options=options)
    product = jit(lambda x: jax.lax.fori_loop(0, 4, lambda _, y: (y @ x) / size, x))
    stream = jit(lambda x: x + 1, donate_argnums=0)
    cached = jit(lambda x: jax.lax.fori_loop(0, rounds, again, x))
    seconds = {
        "flops": _median_seconds(product, devices, put((size, size))),
        "memory_bytes": _median_seconds(stream, devices, put((large,))),
        "cache_bytes": _median_seconds(cached, devices, put((small,))),
    }
    work = {
        "flops": 4 * 2 * size**3,
        "memory_bytes": 8 * large,
        "cache_bytes": 8 * small * rounds,
    }
    return {name: len(devices) * work[name] / seconds[name] for name in work}


def _median_seconds(call: Callable, devices: Sequence[Any], arrays: list[Any]) -> float:
    """Calls on all devices at once, again and again on what the last call gave."""
    import jax

    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        calls = [device.start(call, array) for device, array in zip(devices, arrays)]
        arrays = jax.block_until_ready([call.result() for call in calls])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


class Made(NamedTuple):
    """A cohort that is ready to be timed.

    Attributes:
        program: The compiled program.
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


def noise(examples: int, held_out: int = 1) -> Any:
    """Returns a dataset of random pixels: how long an update takes is the same.

    Args:
        examples: Number of training examples.
        held_out: Number of validation and of test examples; 1 where training is timed.
    """
    from mnistopt.data.dataset import Dataset
    from mnistopt.data.splits import Split

    rng = np.random.default_rng(0)
    train, validation, test = (
        Split(
            rng.integers(0, 256, (count, 28, 28, 1), np.uint8),
            (np.arange(count) % 10).astype(np.int32),
        )
        for count in (examples, held_out, held_out)
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
        made; None where the system does not say.
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
    match = re.search(rf"{name}:\s+(\d+) kB", text)
    return 1024 * int(match[1]) if match else 0


def evaluation_share(devices: Sequence[Any], epochs: int = 10) -> float:
    """Returns the share of a run's training time that evaluation takes.

    Of the main job's network on its digits: the validation split after each epoch, and
    all splits after the last.

    Args:
        devices: All of them train.
        epochs: The number of epochs.
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
    split = noise(1).train
    alone = Dataset.from_splits("train", whole.train, split, split, whole.class_names)
    runs = []
    for data, in_full in ((alone, False), (whole, False), (whole, True)):
        splits = put_splits(data, devices)
        program = Program(Cohort.of(point, data), Lanes(1, 1), splits)
        runs.append(make_timer(program, point.hparams, len(devices), in_full))
        runs[-1]()
    times = [[run() for run in runs] for _ in range(5)]
    train, validate, full = (statistics.median(values) for values in zip(*times))
    total = (epochs - 1) * validate + full
    return (total - epochs * train) / total


def time_study(name: str) -> list[dict[str, Any]]:
    """Runs a study with an empty compile cache, with a full one, and once more.

    Args:
        name: One of `STUDIES`.

    Returns:
        A row each: `study`, `run` ("cold", "cached" or "nothing to do"), the wall
        `seconds` of the whole process, `peak_bytes` of its memory, and in `stages` the
        seconds of each; what is left over went into imports.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cold, cached = Path(folder, "cold"), Path(folder, "cached")
        runs = {"cold": cold, "cached": cached, "nothing to do": cached}
        for run, workdir in runs.items():
            command = [sys.executable, "-m", "experiments.grid", "--quiet"]
            command += [f"--workdir={workdir}", *STUDIES[name]]
            # The cache of compiled programs is the user's own, in the home folder.
            env = {**os.environ, "HOME": folder}
            start = time.perf_counter()
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
            peak = 0
            while process.poll() is None:
                # What `wait4` returns would count what it was forked from.
                peak = max(peak, memory("VmHWM", process.pid))
                time.sleep(0.05)
            seconds = time.perf_counter() - start
            if process.returncode:
                status = process.returncode
                raise RuntimeError(f"{' '.join(command)} ended with {status}")
            config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
            row = {"study": name, "run": run, "seconds": seconds, "peak_bytes": peak}
            rows.append({**row, "stages": config["seconds"]})
    return rows
