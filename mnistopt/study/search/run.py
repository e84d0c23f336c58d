"""What programs and notebooks call to search."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnistopt.axes import as_list, count, limit, number
from mnistopt.errors import InputError, noting
from mnistopt.hparams import CHANGING
from mnistopt.study.loop import OnEpoch
from mnistopt.study.progress import OnProgress, Stopwatch
from mnistopt.study.request import Request
from mnistopt.study.runner import Callbacks, run_request
from mnistopt.study.search.brackets import brackets
from mnistopt.study.search.population import SHARE
from mnistopt.study.search.ranges import log, uniform
from mnistopt.study.search.space import Space
from mnistopt.study.study import Study
from mnistopt.study.waves import Scheduler

# Epochs of a trial that is trained to its end: Hyperband's rungs are 1, 3 and 9.
EPOCHS = 9
# What is searched if nothing is said.
USUAL = {"lr": log(1e-4, 1e-1), "dropout": uniform(0.0, 0.6)}
_COUNT = count(None, "")
_SEED = limit("")
_POSITIVE = number(0.0, "", 1e-9, "expected a number above 0")


def search(
    *,
    trials: int = 32,
    sampler: str = "tpe",
    pruner: str = "hyperband",
    scheduler: Scheduler | None = None,
    pbt: int | None = None,
    confirm: int = 5,
    images: float | None = None,
    timeout: float | None = None,
    enqueue: Sequence[Mapping[str, Any]] = (),
    at_a_time: int | None = None,
    search_seed: int = 0,
    on_search: Callable[[Any], None] | None = None,
    on_batch: Callable[[Any], None] | None = None,
    on_progress: OnProgress | None = None,
    on_epoch: OnEpoch | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> Study:
    """Searches for the best setting, and returns the study.

    One of Optuna's samplers proposes settings in batches that train together, and a
    pruner stops the worse ones early, by validation accuracy (the mean over the seeds).
    The best one is trained anew with fresh seeds, and only then measured on the test
    split. The same call resumes a search; more `trials` or `epochs` extend it.

    Args:
        trials: Settings to try.
        sampler: "tpe", "random", "sobol" or "cmaes".
        pruner: "hyperband", "halving", "median" or "none".
        scheduler: In place of a pruner, a generator function as in `run`: it is called
            with the points of each batch.
        pbt: Number of epochs. In place of a pruner, population-based training: every
            so many epochs the worst quarter of the trials continues from the best
            quarter, with perturbed numbers.
        confirm: Fresh seeds that the best setting is trained with anew.
        images: Training images to go through at most, without those that confirm.
        timeout: Seconds of training at most; what trains then is finished.
        enqueue: Settings to begin with, as dictionaries; what one leaves out has its
            first value, or the middle of its range.
        at_a_time: Trials to begin at a time; by default those of a bracket, or 16.
        search_seed: The seed of the sampler.
        on_search: Called with the `Search` before it begins.
        on_batch: Called with each `Batch` before it trains.
        on_progress: See `run`.
        on_epoch: See `run`.
        progress: See `run`.
        **settings: The arguments of `run`. An axis is a list of values, or a range of
            numbers: `mnistopt.log(1e-5, 1e-1)`, `mnistopt.uniform(0, 0.6)`.

    Returns:
        The study: `study.search` has a row per trial, `study.trials` a row per
        replica, and "best" is the setting that was confirmed.

    Raises:
        InputError: If an argument cannot be used, or Optuna is not installed.
    """
    shown = on_progress is None if progress is None else progress
    stopwatch = Stopwatch()
    with stopwatch("planning"), noting() as noted:
        found = prepare(
            trials=trials,
            sampler=sampler,
            pruner=scheduler or pruner,
            pbt=pbt,
            confirm=confirm,
            images=images,
            timeout=timeout,
            enqueue=enqueue,
            at_a_time=at_a_time,
            search_seed=search_seed,
            on_batch=on_batch,
            **settings,
        )
    from mnistopt.study.search.searching import scheduler_of  # It needs Optuna.

    if on_search:
        on_search(found)
    callbacks = Callbacks(None, on_progress, on_epoch, shown)
    return run_request(found.request, scheduler_of(found), callbacks, stopwatch, noted)


def prepare(
    *,
    trials: int,
    sampler: str,
    pruner: str | Scheduler,
    pbt: int | None,
    confirm: int,
    images: float | None,
    timeout: float | None,
    enqueue: Sequence[Mapping[str, Any]],
    at_a_time: int | None,
    search_seed: int,
    on_batch: Callable[[Any], None] | None = None,
    **settings: Any,
) -> Any:
    """Returns the `Search` that `search` carries out, checked.

    Raises:
        InputError: See `search`.
    """
    try:
        from mnistopt.study.search.sampler import SAMPLERS
        from mnistopt.study.search.search import Budget, Search
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise InputError(
            "a search needs Optuna, which is not installed: pip install "
            "'mnistopt[search]'"
        ) from error
    if sampler not in SAMPLERS:
        raise InputError(
            f"sampler={sampler} is not known: choose one of {', '.join(SAMPLERS)}"
        )
    of_run = {
        name
        for name, of in inspect.signature(Request.of).parameters.items()
        if of.kind is not inspect.Parameter.VAR_KEYWORD
    }
    if settings.get("points") is not None:
        raise InputError("a search proposes its points: leave points out")
    axes = {name: value for name, value in settings.items() if name not in of_run}
    rest = {name: value for name, value in settings.items() if name in of_run}
    space = make_space(axes)
    width = None if at_a_time is None else _COUNT.check("at_a_time", at_a_time)
    if pbt is not None and not isinstance(pruner, str):
        raise InputError("give either pbt or a scheduler")
    if isinstance(pruner, str):
        next(brackets(pruner, space.epochs, width))
    budget = Budget(
        _COUNT.check("trials", trials),
        math.inf if images is None else _POSITIVE.check("images", images),
        math.inf if timeout is None else _POSITIVE.check("timeout", timeout),
    )
    given = [space.params(setting) for setting in as_list(enqueue)]
    if rest.get("train_on", "train") != "train":
        raise InputError(
            "a search chooses by validation images and cannot train on them: leave "
            "train_on out, and train what it has found with train_on=all"
        )
    request = Request.of(points=space.corners, **rest)
    if rest.get("workdir") is None:
        # A grid's has the same name without.
        folder = request.workdir.with_name(f"{request.workdir.name}-search")
        request = dataclasses.replace(request, workdir=folder)
    return Search(
        space,
        request,
        sampler,
        _SEED.check("search_seed", search_seed),
        pruner,
        width,
        budget,
        given,
        _pbt(pbt, space, budget.trials),
        _COUNT.check("confirm", confirm),
        on_batch or (lambda _: None),
    )


def _pbt(every: int | None, space: Space, trials: int) -> int | None:
    """Returns the epochs between two replacements.

    Raises:
        InputError: If nothing could be replaced.
    """
    if every is None:
        return None
    every = _COUNT.check("pbt", every)
    if every >= space.epochs:
        raise InputError(
            f"pbt={every} replaces nothing within {space.epochs} epochs: give fewer"
        )
    if trials < SHARE:
        raise InputError(f"pbt needs a population of {SHARE} `trials`, or more")
    if "changes" in space.axes:
        raise InputError("pbt finds changes: leave changes out")
    if not set(CHANGING) & set(space.ranges):
        raise InputError(
            f"pbt has no number to perturb: give one of {', '.join(CHANGING)} a range"
        )
    return every


def make_space(axes: Mapping[str, Any]) -> Space:
    """Returns the space of a search; the usual one if nothing is to be chosen.

    Raises:
        InputError: See `Space`; or if there are several numbers of epochs.
    """
    axes = {"epochs": EPOCHS, **axes}
    if len(as_list(axes["epochs"])) > 1:
        raise InputError(
            "a search trains its trials to one number of epochs: give one, and the "
            "pruner decides what stops earlier"
        )
    space = Space(axes)
    if space.size == 1:
        takes = any(network.dropout for network in space.networks)
        usual = {name: of for name, of in USUAL.items() if takes or name != "dropout"}
        space = Space({**usual, **axes})
    if space.size == 1:
        raise InputError(
            "there is nothing to search: give a hyper-parameter a range, as in "
            "lr=log:1e-4..1e-1, or several values"
        )
    return space
