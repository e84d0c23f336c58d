"""A user's own flax module as a network: its axes, and what it is known by.

A module's identity is the name of its class, its fields, and a hash of its source.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any, get_origin, get_type_hints

import flax.linen as nn
import numpy as np

from mnistopt.axes import Axis, layers, number, show, whole
from mnistopt.errors import InputError
from mnistopt.hparams import NUMBERS, RECIPE
from mnistopt.models.call import read_call
from mnistopt.models.registry import Network
from mnistopt.models.source import hash_source, is_closure, is_own
from mnistopt.points import Structure

# Names that a table, `mnistopt.run` or a program has for something else.
_TAKEN = {*RECIPE, *NUMBERS, "model", "epochs", "epoch", "seed", "seeds", "point"} | {
    *("points", "replica", "trial", "status", "params", "n", "choice", "seconds"),
    *("data", "dataset", "data_dir", "train_examples", "workdir", "lanes"),
    *("devices", "cluster"),
    *("multiply_adds", "bytes", "latency_1_ms", "latency_256_ms"),
    *("cache_dir", "progress", "quiet", "tensorboard", "dry_run", "help"),
}


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
    name, _, qualified = path.partition(":")
    try:
        found: Any = importlib.import_module(name)
        for part in qualified.split("."):
            found = getattr(found, part)
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
    for field in _fields(kind):
        if field.name in _TAKEN:
            raise InputError(
                f"{kind.__name__} has a field {field.name}, which is the name of "
                "something else here: rename the field"
                + (", or take dropout in __call__" if field.name == "dropout" else "")
            )
    network = Network(
        name=kind.__name__,
        path=f"{kind.__module__}:{kind.__qualname__}",
        words=kind.__name__,
        axes=_axes(kind),
        dropout=read_call(kind).dropout,
        source=hash_source(kind),
    )
    if isinstance(given, type):
        return network
    values = _values(given, network.axes)
    structure = Structure(
        network.name, values, network.dropout, network.source, network.path, given
    )
    return dataclasses.replace(network, axes={}, structure=structure)


def make(structure: Structure) -> nn.Module:
    """Returns the module of a structure: the one given, or the same made again.

    Raises:
        InputError: If its class cannot be found, has changed, or has fields that cannot
            be read back.
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
    if hash_source(kind) != structure.source:
        raise InputError(
            f"{structure.path} has changed since {structure} was trained; bring its "
            f"source back, or {advice}"
        )
    axes = _axes(kind)
    if unknown := [name for name, _ in structure.values if name not in axes]:
        raise InputError(f"{', '.join(unknown)} cannot be read back; {advice}")
    values = {name: axes[name].check(name, value) for name, value in structure.values}
    return kind(**values)


def _fields(kind: type[nn.Module]) -> list[dataclasses.Field]:
    return [
        field
        for field in dataclasses.fields(kind)
        if field.name not in ("parent", "name")
    ]


def _axes(kind: type[nn.Module]) -> dict[str, Axis]:
    """Returns the axes of those fields of a class whose values can be written."""
    hints = get_type_hints(kind)
    axes = {}
    for field in _fields(kind):
        default = None if field.default is dataclasses.MISSING else field.default
        told = hints.get(field.name)
        told = type(default) if default is not None else get_origin(told) or told
        if told in _KINDS and (
            default is not None or field.default is dataclasses.MISSING
        ):
            axes[field.name] = dataclasses.replace(_KINDS[told], default=default)
    return axes


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _truth(value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ValueError
    return str(value).lower() == "true"


_KINDS = {
    bool: Axis(None, "", "expected true or false", _truth),
    int: whole(None, ""),
    float: number(0.0, ""),
    str: Axis(None, "", "expected a word", _word),
    tuple: layers(None, ""),
}


def _values(module: nn.Module, axes: Mapping[str, Axis]) -> tuple[tuple[str, Any], ...]:
    """Returns the fields of a module as files have them."""
    values = []
    for field in _fields(type(module)):
        value = getattr(module, field.name)
        if field.name not in axes and value is field.default:
            continue  # the source tells it
        try:
            value = axes[field.name].clean(value)
            value = show(value) if isinstance(value, tuple) else value
        except (KeyError, ValueError, TypeError, OverflowError):
            value = _words(f"{type(module).__name__}.{field.name}", value)
        values.append((field.name, value))
    return tuple(values)


def _words(name: str, value: Any) -> str:
    """Returns words for a value that tell it from others, in every process the same."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return str(value)
    if isinstance(value, nn.Module):
        fields = ", ".join(
            f"{field.name}={_words(name, getattr(value, field.name))}"
            for field in _fields(type(value))
        )
        return f"{type(value).__name__}({fields}) {hash_source(type(value))}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(_words(name, one) for one in value) + ")"
    if isinstance(value, FunctionType) and is_own(value):
        return f"{value.__qualname__} {hash_source(value)}"
    if qualified := getattr(value, "__qualname__", getattr(value, "__name__", "")):
        # A function made by another one is known by what it was made with.
        closed = inspect.getclosurevars(value).nonlocals if is_closure(value) else {}
        made_with = [f" {key}={_words(name, one)}" for key, one in closed.items()]
        return f"{getattr(value, '__module__', '')}.{qualified}{''.join(made_with)}"
    if isinstance(value, (np.dtype, np.generic)):
        return str(value)
    raise InputError(
        f"{name} is a {type(value).__name__}, of which no lasting words can be made to "
        "know it by: use numbers, words, functions, types, modules, or tuples of them"
    )
