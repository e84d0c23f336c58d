"""A run in four steps: what was asked, its workdir, the plan, and the training."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mnistopt.engine.pool import LocalPool, Pool
from mnistopt.engine.precision import chosen
from mnistopt.errors import InputError, noting, see
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
from mnistopt.study.waves import Scheduler, everything
from mnistopt.study.workdir import Workdir


@takes_settings
def run(
    *,
    scheduler: Scheduler = everything,
    on_plan: Callable[[Plan], None] | None = None,
    on_progress: OnProgress | None = None,
    progress: bool | None = None,
    on_epoch: OnEpoch | None = None,
    **settings: Any,
) -> Study:
    """Trains a grid as parallel replicas, and returns the study.

    The grid is the product of all axes; an axis is one value, or a list, tuple, range
    or array of values. Only what the workdir lacks is trained: the same call resumes
    or repeats a study, and a larger grid extends it. All arguments are optional.

    Args:
        points: Sequence of `Point`. The settings to train, in place of axes.
        data: `Dataset`, or the path of an .npz file, of a table, or of a folder with
            a folder of pictures per class. Your own images, in place of `dataset`.
        dataset: "mnist_5k" (the default, 5,000 digits that come with the
            installation), "mnist", "fashion_mnist", "kmnist" or "emnist_digits".
        data_dir: Path of the dataset's files; without it they are downloaded.
        train_examples: Whole number. The size of a stratified subset of the training
            split; all of it by default.
        train_on: "train", or "all" to train on the validation split as well, once
            settings are chosen: validation accuracy is then training accuracy.
        teacher: Path of the workdir of a study whose networks this one's learn from:
            those of its ensemble.json, or all seeds of its best point. `distill` is
            the weight of their answers in the loss.
        image_size: Pixels, one number or (height, width). The size that pictures of a
            folder are fitted into.
        workdir: Path of the folder of the study, runs/DATASET-MODEL by default. It
            holds one study of one data set.
        seeds: Number of seeds per point, counted from 0, or a list of seeds.
        lanes: Number of points, or (seeds, points), that a device computes side by
            side; chosen by the kind of device by default.
        devices: Number of devices (CPU cores, GPUs or TPU chips); all by default.
        cluster: "local", "auto" or "HOST:PORT". A Ray cluster to train on.
        precision: "float32", "tf32" (a GPU's default) or "bfloat16" (a TPU's). The
            precision of products on an accelerator; a CPU always uses float32.
        memory_budget: Bytes, or a text as in "4GB". The most memory to plan for; all
            there is by default.
        fail_fast: Whether the first replica that diverges ends the run.
        cache_dir: Path of the folder for downloads and compiled programs.
        scheduler: Generator function that decides what trains: it is called with the
            points, yields those to train next, with their epochs, and gets for each
            its `Outcome`, as in docs/engine.md. By default all train to their end.
        on_plan: Function that is called with the `Plan` before training; of a
            `scheduler`, with that of what it asks for first.
        on_progress: Function that is called with a `Progress` before each compile and
            after each round.
        progress: Whether to show a progress bar below a notebook's cell; by default
            it is shown if there is no `on_progress`. Scripts show none.
        on_epoch: Function that is called after each epoch of each round, with the new
            rows of curves.csv as a data frame. After a kill, rows since the last
            checkpoint are passed again.
        model: Name of a network, your own flax module (an instance or a class), or a
            list of them.
        **settings: The axes: fields of your own module, and of the project's: {axes}

    Returns:
        The study: its tables, its charts, and the parameters of any replica.

    Raises:
        InputError: If an argument cannot be used, or does not fit the workdir.
        Diverged: With `fail_fast`, if a replica diverges; the same call without it
            resumes.
        Stopped: After Ctrl-C, SIGTERM or SIGHUP; the same call resumes.
    """
    shown = on_progress is None if progress is None else progress
    stopwatch = Stopwatch()
    with stopwatch("planning"), noting() as noted:
        request = Request.of(**settings)
    callbacks = Callbacks(on_plan, on_progress, on_epoch, shown)
    return run_request(request, scheduler, callbacks, stopwatch, noted)


class Callbacks(NamedTuple):
    """What a run calls: see `run`."""

    on_plan: Callable[[Plan], None] | None = None
    on_progress: OnProgress | None = None
    on_epoch: OnEpoch | None = None
    bar: bool = False


def run_request(
    request: Request,
    scheduler: Scheduler,
    callbacks: Callbacks,
    stopwatch: Stopwatch,
    noted: list[str],
) -> Study:
    """Trains what a scheduler asks for, and returns the study.

    Args:
        request: The settings of the run.
        scheduler: Called with the points of the request.
        callbacks: What to call meanwhile.
        stopwatch: Counts the seconds.
        noted: Warnings so far, to which those of the run are added.

    Raises:
        InputError: See `run`.
    """
    on_plan, on_progress, on_epoch, shown = callbacks
    with stopwatch("planning"), noting(noted):
        workdir = Workdir(request.workdir, request.about)
        pool = _make_pool(request, workdir)
    showing = NotebookBar() if shown and in_notebook() else contextlib.nullcontext()
    with pool, showing as bar, workdir.writing(), Stop() as stop:

        def report(progress: Progress) -> None:
            for callback in (on_progress, bar):
                if callback:
                    callback(progress)

        more = stopwatch, report, on_epoch, stop, noted
        train(scheduler, Run(request, workdir, pool, *more), on_plan)
    return Study(workdir.folder)


@takes_settings
def plan(**settings: Any) -> Plan:
    """Returns what `run` would do with the same settings.

    Loads the data and probes the devices, but trains and writes nothing.

    Args:
        **settings: The arguments of `run`, except `progress` and the callbacks.

    Returns:
        The plan: its cohorts, and the memory and time that they are estimated to take.

    Raises:
        InputError: As `run`.
    """
    request = Request.of(**settings)
    workdir = Workdir(request.workdir, request.about)
    with _make_pool(request, workdir) as pool:
        return plan_run(request, workdir, pool, measured=False)


def _make_pool(request: Request, workdir: Workdir) -> Pool:
    """Returns this machine's devices, or a cluster's, as they are asked for.

    Unless set otherwise, they multiply with the precision of the workdir's study, or of
    the study that is repeated.

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
            f"on all nodes{see('cluster')}"
        ) from error
    return RayPool(cluster, devices, cache_dir)
