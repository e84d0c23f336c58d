"""Where the time of a whole study goes, from start to report."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmark.ours import memory


class Study(NamedTuple):
    """A study to time.

    Attributes:
        name: In tables.
        flags: Of `experiments.grid`.
    """

    name: str
    flags: tuple[str, ...]


_RATES = ",".join(f"{rate:.6g}" for rate in (1e-4 * 10 ** (i / 10) for i in range(20)))
STUDIES = (
    Study("the main job: CNN, 3 rates x 3 seeds", ("--lr=1e-4,1e-3,1e-2",)),
    Study("60 replicas: MLP, 20 rates x 3 seeds", ("--model=mlp", f"--lr={_RATES}")),
    Study(
        "1,024 tiny replicas: MLP 32, 1,024 seeds, 3 epochs of 1,000 digits",
        ("--model=mlp", "--hidden=32", "--seeds=1024", "--epochs=3")
        + ("--train_examples=1000",),
    ),
)


def time_study(study: Study) -> list[dict[str, Any]]:
    """Runs a study with an empty compile cache, anew with a full one, and once more.

    Returns:
        A row each: `study`, `run` ("cold", "cached" or "nothing to do"), the wall
        `seconds` of the whole process, `peak_bytes` of its memory, and in `stages` the
        seconds of each; what is left over went into imports.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cold, cached = Path(folder, "cold"), Path(folder, "cached")
        for run, workdir in (
            ("cold", cold),
            ("cached", cached),
            ("nothing to do", cached),
        ):
            command = [sys.executable, "-m", "experiments.grid", "--quiet"]
            command += [f"--workdir={workdir}", *study.flags]
            # The cache of compiled programs is the user's own, in the home folder.
            env = {**os.environ, "HOME": folder}
            start = time.perf_counter()
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
            peak = 0
            while process.poll() is None:
                # What `wait4` tells would count what it was forked from.
                peak = max(peak, memory("VmHWM", process.pid))
                time.sleep(0.05)
            seconds = time.perf_counter() - start
            if process.returncode:
                status = process.returncode
                raise RuntimeError(f"{' '.join(command)} ended with {status}")
            stages = json.loads((workdir / "config.json").read_text(encoding="utf-8"))[
                "seconds"
            ]
            rows.append(
                {
                    "study": study.name,
                    "run": run,
                    "seconds": seconds,
                    "peak_bytes": peak,
                    "stages": stages,
                }
            )
    return rows
