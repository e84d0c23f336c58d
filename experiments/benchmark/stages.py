"""Where the time of a whole study goes, from start to report."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.benchmark.ours import memory

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


def time_study(name: str) -> list[dict[str, Any]]:
    """Runs a study with an empty compile cache, anew with a full one, and once more.

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
                # What `wait4` tells would count what it was forked from.
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
