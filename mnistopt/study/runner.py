"""A run in four steps: what was asked, its workdir, the plan, and the training."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnistopt.engine.pool import LocalPool, Pool
from mnistopt.engine.precision import chosen
from mnistopt.errors import InputError, noting
from mnistopt.study.jobs import Plan
from mnistopt.study.loop import OnEpoch, Run
from mnistopt.study.plan import plan_run
from mnistopt.study.progress import (
    NotebookBar,
    OnProgress,
    Progress,
    Stopwatch,
    in_notebook,
)
from mnistopt.study.request import Request, takes_settings
from mnistopt.study.stopping import Stop
from mnistopt.study.study import Study
from mnistopt.study.training import train
from mnistopt.study.workdir import Workdir


@takes_settings
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
        **settings: The settings, all of them optional:

            - `data`: your own images: a `Dataset` (see `Dataset.from_arrays`), an .npz
              file, a table, or a folder with a folder of pictures per class.
            - `image_size`: the size to fit such pictures into, a side or (H, W).
            - `dataset`: otherwise one of `official.DATASETS`, "mnist_5k" by default.
            - `data_dir`: the folder with the dataset's files.
            - `train_examples`: the size of a stratified subset of them.
            - `workdir`: where results go and are found again, runs/DATASET-MODEL by
              default. It holds one study, of one dataset, which may grow.
            - `seeds`: how many, from 0 on, or a list of which; 3 by default.
            - `lanes`: (seeds, points) side by side on a device, or points.
            - `devices`: how many to use; all by default.
            - `cluster`: Ray's, "local", "auto" or "HOST:PORT" (docs/cluster.md).
            - `precision`: of products on an accelerator, "float32", "tf32" (the default
              on a GPU) or "bfloat16" (on a TPU); a CPU has float32.
            - `memory_budget`: the most bytes to use, or "4GB"; all there is by default.
            - `fail_fast`: whether the first replica that diverges ends the run.
            - `cache_dir`: of data and programs, ~/.cache/mnistopt by default.
            - every hyper-parameter is an axis, as in `study.grid.grid`: `model`, a name
              or a flax module of your own, its fields, and `hparams`.
            - `points`: the points themselves, in place of axes.

    Returns:
        The study: its tables, its charts, and the parameters of any replica.

    Raises:
        InputError: If an argument cannot be used, or does not fit the workdir.
        Diverged: With `fail_fast`; the same call without it goes on from there.
        Stopped: At Ctrl-C, SIGTERM or SIGHUP; the same call goes on from there.
    """
    shown = on_progress is None if progress is None else progress
    stopwatch = Stopwatch()
    with stopwatch("planning"), noting() as noted:
        request = Request.of(**settings)
        workdir = Workdir(request.workdir, request.about)
        pool = _make_pool(request, workdir)
    showing = NotebookBar() if shown and in_notebook() else contextlib.nullcontext()
    with pool, showing as bar, workdir.writing(), Stop() as stop:

        def report(progress: Progress) -> None:
            for callback in (on_progress, bar):
                if callback:
                    callback(progress)

        with stopwatch("planning"), noting(noted):
            planned = plan_run(request, workdir, pool)
        stop.check()
        if on_plan:
            on_plan(planned)
        more = stopwatch, report, on_epoch, stop, noted
        train(planned, Run(request, workdir, pool, *more))
    return Study(workdir.folder)


@takes_settings
def plan(**settings: Any) -> Plan:
    """Returns what `run` would do with the same settings; writes nothing."""
    request = Request.of(**settings)
    workdir = Workdir(request.workdir, request.about)
    with _make_pool(request, workdir) as pool:
        return plan_run(request, workdir, pool, measured=False)


def _make_pool(request: Request, workdir: Workdir) -> Pool:
    """Returns this machine's devices, or a cluster's, as they are asked for.

    They multiply as those that have trained what is there, or that of which it is a
    rerun, unless set otherwise.

    Raises:
        InputError: If there are none, or not as many, or they lack a precision, or the
            extra is not installed.
    """
    before = request.rerun or workdir.config
    with chosen(request.precision, before.precision if before else None):
        return _pool(request.cluster, request.devices, request.cache / "jax")


def _pool(cluster: str | None, devices: int | None, cache_dir: Path) -> Pool:
    if cluster is None:
        return LocalPool(devices, cache_dir)
    try:
        from mnistopt.engine.cluster.pool import RayPool
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise InputError(
            "cluster needs Ray, which is not installed: pip install 'mnistopt[ray]', "
            "on all nodes"
        ) from error
    return RayPool(cluster, devices, cache_dir)
