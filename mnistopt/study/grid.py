"""The axes of a study, and the points of their product."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from mnistopt.axes import as_list, show, single
from mnistopt.errors import InputError, meant
from mnistopt.hparams import (
    EXPONENTIAL_FLOOR,
    NUMBERS,
    ONECYCLE_WARMUP,
    RECIPE,
    STRENGTHS,
    TRAINING,
    Hparams,
    Recipe,
    averaging_steps,
    read_changes,
)
from mnistopt.models.registry import DEFAULT, NETWORKS, Network
from mnistopt.points import Point

# To plan so many takes half a minute and half a gigabyte, before anything else does.
TOO_MANY = 100_000


def find(model: Any) -> Network:
    """Returns a network by its name, its import path, its class, or the module itself.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(model, str):
        if model in NETWORKS:
            return NETWORKS[model]
        if ":" in model:
            from mnistopt.models import own

            return own.declare(own.load(model))
    elif callable(model):
        from mnistopt.models import own

        if own.is_module(model):
            return own.declare(model)
    raise InputError(
        f"model={show(model)} is not allowed: choose one of {', '.join(NETWORKS)}, or "
        "give a flax module, or package.module:Class of one"
    )


def grid(**axes: Any) -> list[Point]:
    """Returns the Cartesian product of axes as points, without repeats.

    Args:
        **axes: Per hyper-parameter one value, or a list, tuple, range or array of
            values: `model`, the fields of the chosen networks, and those of
            `mnistopt.hparams`. Networks vary slowest, then their fields, then
            the others in their order, whatever order the axes come in. A layer
            structure is a tuple, (128, 128), or written as in "128x128".

    Returns:
        Points; a network takes of the axes those that it has.

    Raises:
        InputError: If a name is unknown, an axis is empty or does nothing for any of
            the networks, or a value is not allowed.

    Example:
        >>> [point.hparams.lr for point in grid(lr=[0.1, 0.01])]
        [0.1, 0.01]
    """
    return product(axes, 1)


def product(axes: Mapping[str, Any], seeds: int) -> list[Point]:
    """Returns the points of `grid`, unless there are too many with so many seeds each.

    Trials are counted before the first point is made.

    Args:
        axes: See `grid`.
        seeds: A whole number of at least 1.

    Raises:
        InputError: See `grid`; or if there are too many.
    """
    models = as_list(axes.get("model", DEFAULT))
    if not models:
        raise InputError("model has no values; give at least one")
    networks = [find(model) for model in models]
    axes = {name: values for name, values in axes.items() if name != "model"}
    _check_names(axes, networks)
    _check_schedule(axes)
    grids = []
    for network in networks:
        declared = {**network.axes, **TRAINING}
        values = [
            axis.values(name, axes[name]) if name in axes else [axis.default]
            for name, axis in declared.items()
        ]
        grids.append((network, tuple(declared), values))
    check_size(seeds * sum(math.prod(map(len, values)) for *_, values in grids))
    points = [
        _make(network, dict(zip(names, combination)))
        for network, names, values in grids
        for combination in itertools.product(*values)
    ]
    return list(dict.fromkeys(points))


def doubts(points: Iterable[Point], examples: int) -> list[str]:
    """Returns in words what of some points has no effect, or hardly the one meant.

    Args:
        points: The requested points.
        examples: Number of examples in the training split.
    """
    points, doubtful = list(points), []
    adamw = [point for point in points if point.recipe.optimizer == "adamw"]
    if adamw and not any(point.hparams.weight_decay for point in adamw):
        doubtful.append(
            "optimizer=adamw with weight_decay=0 is plain adam: give a weight_decay, "
            "as in 0.01"
        )
    for patience, epochs in _most((p.hparams.patience, p.epochs) for p in points):
        if patience >= epochs:
            doubtful.append(
                f"patience={show(patience)} ends nothing within {epochs} epochs"
            )
    spared = [p.hparams for p in points if p.hparams.spare]
    if spared and not any(getattr(one, name) for one in spared for name in STRENGTHS):
        doubtful.append(
            f"spare={show(spared[0].spare)} spares images nothing: give what is to "
            "change the others, as in rotate=10"
        )
    constant = [point for point in points if point.recipe.schedule == "constant"]
    for warmup, epochs in _most((p.hparams.warmup, p.epochs) for p in constant):
        if warmup > epochs:
            doubtful.append(
                f"warmup={show(warmup)} is longer than the {epochs} epochs, so the "
                "learning rate never comes up to lr"
            )
    for decay, steps in _most(
        (p.hparams.average, p.epochs * (examples // p.recipe.batch_size))
        for p in points
    ):
        if steps < (needed := averaging_steps(decay)):
            doubtful.append(
                f"average={show(decay)} takes {needed:,} steps to come to that decay, "
                f"and {steps:,} are trained: until then it is (1 + step) / (10 + step),"
                " the same for all larger ones. Give a smaller average, or more epochs"
            )
    return doubtful


def _most(pairs: Iterable[tuple[float, int]]) -> Iterable[tuple[float, int]]:
    """Returns per first number the largest second one."""
    largest: dict[float, int] = {}
    for value, count in pairs:
        largest[value] = max(largest.get(value, 0), count)
    return largest.items()


def check_size(trials: int) -> None:
    """Refuses what would take the memory of the host before any training.

    Raises:
        InputError: If there are `TOO_MANY` trials or more.
    """
    if trials >= TOO_MANY:
        raise InputError(
            f"that is {trials:,} trials; give fewer than {TOO_MANY:,}: "
            "fewer values, or fewer seeds"
        )


def make_point(**values: Any) -> Point:
    """Returns the point of these values, one each as in `grid`, and of defaults."""
    (point,) = grid(**{name: [value] for name, value in values.items()})
    return point


def _make(network: Network, values: Mapping[str, Any]) -> Point:
    """Returns a point of checked values.

    Raises:
        InputError: If two of them do not go together, or one is missing.
    """
    if missing := [name for name in network.axes if values[name] is None]:
        raise InputError(f"{network.name} needs {', '.join(missing)}: give a value")
    if values["weight_decay"] and values["optimizer"] == "adam":
        raise InputError(
            f"weight_decay={show(values['weight_decay'])} has no effect with "
            "optimizer=adam: use optimizer=adamw (or sgd)"
        )
    numbers = {name: values[name] for name in NUMBERS} | _schedule(values)
    if not network.dropout:
        numbers["dropout"] = 0.0
    fields = {name: values[name] for name in network.axes}
    structure = network.choose(fields)
    if network.kind and not network.structure:
        from mnistopt.models import own

        module = own.construct(network.kind, fields)
        structure = dataclasses.replace(structure, module=module)
    return Point(
        structure,
        Recipe(**{name: values[name] for name in RECIPE}),
        Hparams(**{name: single(value) for name, value in numbers.items()}),
        values["epochs"],
        _changes(network, values),
        Hparams(**numbers),
    )


def _changes(network: Network, values: Mapping[str, Any]) -> str:
    """Returns the changes of a point.

    Raises:
        InputError: If one has no effect.
    """
    for change in read_changes(values["changes"]):
        if change.epoch >= values["epochs"]:
            raise InputError(
                f"changes={values['changes']} has no effect: training ends after "
                f"{values['epochs']} epochs, before the change after {change.epoch}"
            )
        if "dropout" in change.numbers and not network.dropout:
            raise InputError(f"model={network.name} has no dropout that could change")
        if change.numbers.get("weight_decay") and values["optimizer"] == "adam":
            raise InputError(
                "a change of weight_decay has no effect with optimizer=adam: use "
                "optimizer=adamw (or sgd)"
            )
    return values["changes"]


def _schedule(values: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a point's schedule: those given, or what they stand for.

    Raises:
        InputError: If they do not go together.
    """
    name, warmup = values["schedule"], values["warmup"]
    if name == "constant":
        return {"lr_floor": 0.0, "horizon": 0.0}
    horizon = values["horizon"] or float(values["epochs"])
    if name == "onecycle":
        warmup = warmup or ONECYCLE_WARMUP * horizon
    if warmup >= horizon:
        raise InputError(
            f"warmup={warmup:g} epochs leave nothing of the {horizon:g} that the "
            f"schedule takes: give fewer, or schedule=constant"
        )
    floor = values["lr_floor"]
    if name == "exponential":
        floor = floor or EXPONENTIAL_FLOOR
    return {"warmup": warmup, "lr_floor": floor, "horizon": horizon}


def _check_schedule(axes: Mapping[str, Any]) -> None:
    """Checks that numbers of a schedule were given with one."""
    if {show(schedule) for schedule in as_list(axes.get("schedule", "constant"))} == {
        "constant"
    }:
        for name in ("lr_floor", "horizon"):
            if any(NUMBERS[name].values(name, axes.get(name, 0))):
                raise InputError(
                    f"{name}={','.join(map(show, as_list(axes[name])))} has no effect "
                    "with schedule=constant: choose another schedule"
                )


def _check_names(axes: Mapping[str, Any], networks: Iterable[Network]) -> None:
    """Checks that each axis is known and means something to one of the networks."""
    networks = list(networks)
    kinds: dict[str, type | None] = {}
    for network in networks:
        if kinds.setdefault(network.name, network.kind) is not network.kind:
            raise InputError(f"two different networks are called {network.name}")
    used = {name for network in networks for name in network.axes} | set(TRAINING)
    if not any(network.dropout for network in networks):
        used.remove("dropout")
    everywhere = {
        network.name: network for network in (*NETWORKS.values(), *networks)
    }.values()
    fields = (name for network in everywhere for name in network.axes)
    known = dict.fromkeys(("model", *fields, *TRAINING))
    if unknown := sorted(set(axes) - set(known)):
        guess = meant(unknown[0], [*known, "seeds", "workdir"])
        raise InputError(
            f"unknown hyper-parameter {', '.join(unknown)}"
            + (f" (did you mean {guess}?)" if guess else "")
            + f"; there are {', '.join(known)}"
        )
    for name in axes:
        if name not in used:
            chosen = " and ".join(network.name for network in networks)
            have = " or ".join(
                network.name for network in everywhere if name in network.axes
            )
            raise InputError(
                f"{name}={','.join(map(show, as_list(axes[name])))} has no effect with "
                f"model={chosen}: leave it out"
                + (f", or choose model={have}" if have else "")
            )
