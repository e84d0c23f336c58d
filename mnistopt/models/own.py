"""A user's own flax module as a network: its axes, and how it is made again."""

import dataclasses
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn

from mnistopt.axes import show
from mnistopt.errors import InputError
from mnistopt.hparams import NUMBERS, RECIPE
from mnistopt.models.call import read_call
from mnistopt.models.fields import axes_of, fields_of, lists_of, values_of
from mnistopt.models.registry import NETWORKS, Network
from mnistopt.points import Structure

# Names that a table, `mnistopt.run` or a program has for something else, and how
# further columns begin.
TAKEN = {*RECIPE, *NUMBERS} | {
    *("model", "epochs", "epoch", "seed", "seeds", "point", "points", "replica"),
    *("trial", "status", "cause", "epochs_done", "params", "multiply_adds", "bytes"),
    *("latency_1_ms", "latency_256_ms", "seconds", "machine", "n", "diverged"),
    *("unfinished", "choice", "data", "dataset", "data_dir", "train_examples"),
    *("image_size", "workdir", "lanes", "devices", "cluster", "memory_budget"),
    *("fail_fast", "modules", "cache_dir", "progress", "quiet", "tensorboard"),
    *("dry_run", "rerun", "help", "on_plan", "on_progress", "on_epoch"),
    *("label", "rank", "error"),
}
_STARTS = ("train_", "validation_", "test_", "best_", "overfitting", "convergence")


def is_module(given: Any) -> bool:
    """Says whether it is a flax module, or a class of them."""
    kind = given if isinstance(given, type) else type(given)
    return issubclass(kind, nn.Module)


def load(path: str) -> type[nn.Module]:
    """Imports a class of flax modules.

    Args:
        path: As in "package.module:Class".

    Raises:
        InputError: If there is no such class; says why.
    """
    try:
        found: Any = pkgutil.resolve_name(path)
    except Exception as error:  # whatever the file of a stranger raises
        raise InputError(
            f"model={path} cannot be imported ({type(error).__name__}: {error}); give "
            "package.module:Class, the file being where Python looks for it"
        ) from error
    if not isinstance(found, type) or not is_module(found):
        raise InputError(
            f"model={path} is no class of flax modules (flax.linen.Module)"
        )
    return found


def declare(given: Any) -> Network:
    """Returns a module of one's own, or a class of them, as a network to choose.

    The fields of a class are axes, as far as their values can be written: whole
    numbers, numbers, words, True and False, and layers. A module is made already.

    Args:
        given: A flax module, or a class.

    Raises:
        InputError: If it cannot be told from others, or asks for more than images and
            a dropout rate.
    """
    kind = given if isinstance(given, type) else type(given)
    for field in fields_of(kind):
        if field.name in TAKEN or field.name.startswith(_STARTS):
            raise InputError(
                f"{kind.__name__} has a field {field.name}, which is the name of "
                "something else here: rename the field"
                + (", or take dropout in __call__" if field.name == "dropout" else "")
            )
    if kind.__name__ in NETWORKS:
        raise InputError(
            f"{kind.__name__} is the name of a network here: rename the class"
        )
    network = Network(
        name=kind.__name__,
        path=f"{kind.__module__}:{kind.__qualname__}",
        words=kind.__name__,
        axes=axes_of(kind),
        dropout=read_call(kind).dropout,
        kind=kind,
    )
    if isinstance(given, type):
        return network
    values = values_of(given, network.axes)
    # Until it is known what it computes, a module is none but itself.
    unknown = f"module {id(given)}"
    structure = Structure(
        network.name, values, network.dropout, unknown, network.path, given
    )
    return dataclasses.replace(network, axes={}, structure=structure)


def is_importable(kind: type[nn.Module]) -> bool:
    """Says whether a command can name a class: its module has it by its name."""
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind and kind.__module__ != "__main__"


def make(structure: Structure) -> nn.Module:
    """Returns the module of a structure: the one given, or the same made again.

    Whether it computes what it did is for `networks.trace` to say.

    Raises:
        InputError: If its class cannot be found, or has fields that cannot be read
            back.
    """
    if structure.module is not None:
        return structure.module
    advice = (
        f"make the module of {structure} yourself: "
        "module.apply(study.variables(...), images)"
    )
    try:
        kind = load(structure.path)
    except InputError as error:
        raise InputError(f"{error}; or {advice}") from error
    return remake(kind, structure.values, advice)


def remake(
    kind: type[nn.Module], values: Sequence[tuple[str, Any]], advice: str = ""
) -> nn.Module:
    """Returns a module of a class by the values of its fields, as files have them.

    Raises:
        InputError: If they cannot be read back; with the advice.
    """
    axes = axes_of(kind)
    if unknown := [name for name, _ in values if name not in axes]:
        raise InputError(f"{', '.join(unknown)} cannot be read back; {advice}")
    fields = {name: axes[name].check(name, value) for name, value in values}
    return construct(kind, fields)


def construct(kind: type[nn.Module], fields: Mapping[str, Any]) -> nn.Module:
    """Returns a module of a class with checked values of its axes.

    Raises:
        InputError: If the class does not take them; says why.
    """
    lists = lists_of(kind)
    given = {k: list(v) if k in lists else v for k, v in fields.items()}
    try:
        return kind(**given)
    except Exception as error:  # whatever the code of a stranger raises
        words = ", ".join(f"{name}={show(value)}" for name, value in fields.items())
        raise InputError(
            f"{kind.__name__}({words}) cannot be made ({type(error).__name__}: {error})"
        ) from error
