"""A small run in a process of its own, to be killed."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests import warm

GRID = {
    "model": "mlp", "hidden": (8,), "train_examples": 200, "seeds": 2,
    "lr": [0.1, 0.01], "epochs": [3, 8],
}  # fmt: skip


def start(workdir: Path, rename: int = 0) -> Any:
    """Starts the run, which saves after each epoch; returns its process.

    Args:
        workdir: Of the study.
        rename: It is killed at so many renamed files; 0 for none.
    """
    return warm.start(_train, workdir, rename)


def _train(workdir: Path, rename: int) -> None:
    import mnistopt
    from mnistopt.engine import predict, writer
    from mnistopt.study.stopping import Stopped

    writer.FIRST_SAVE, writer.SAVE_SHARE = 0.0, 1e9
    predict.BUDGET = 0.0
    if rename:
        _die_at(rename)
    try:
        mnistopt.run(**GRID, workdir=workdir)
    except Stopped as stopped:
        sys.exit(128 + stopped.number)


def _die_at(rename: int) -> None:
    """Kills the process before one rename, which is how all that is kept appears."""
    count = 0

    def dying(original):
        def call(*arguments, **keywords):
            nonlocal count
            count += 1
            if count == rename:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return call

    os.replace, os.rename = dying(os.replace), dying(os.rename)
