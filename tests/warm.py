"""Processes that have imported what programs need: a second or two less for each.

They are copies of one that has imported it, in which JAX has not started.
"""

import multiprocessing
from collections.abc import Callable
from typing import Any

_context: Any = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        *("experiments.program", "experiments.show", "experiments.show_results"),
        *("mnistopt.study.rerun", "mnistopt.report.study", "mnistopt.data.official"),
        *("mnistopt.engine.predict", "mnistopt.models.mlp_cnn"),
    ]
)


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """Starts a function in a process of its own; returns that."""
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process
