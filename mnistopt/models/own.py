"""A user's own flax module as a network: how it is called, its axes, how it is made."""

import contextlib
import dataclasses
import functools
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import flax.linen as nn

from mnistopt.axes import Axis, layers, number, show, whole
from mnistopt.errors import InputError
from mnistopt.hparams import NUMBERS, RECIPE
from mnistopt.models.registry import NETWORKS, Network
from mnistopt.points import Structure

# Bits of the whole numbers that a table's column may hold: those of a float64.
_WHOLE_BITS = 53
# What flax's own examples call the switch between training and evaluation, and its
# value in training.
SWITCHES = {"train": True, "training": True, "deterministic": False}


class Call(NamedTuple):
    """What a module's `__call__` takes apart from the images.

    Attributes:
        dropout: Whether it takes the dropout rate, which is traced; None in evaluation.
        switch: The name of its switch between training and evaluation; "" for none.
    """

    dropout: bool
    switch: str


@functools.cache
def read_call(kind: type[nn.Module]) -> Call:
    """Reads the signature of a class of modules.

    Raises:
        InputError: If it needs something else.
    """
    parameters = list(inspect.signature(kind.__call__).parameters.values())[1:]
    further = parameters[1:]
    unknown = [
        parameter.name
        for parameter in further
        if parameter.name not in ("dropout", *SWITCHES)
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if unknown or not parameters:
        raise InputError(
            f"{kind.__name__}.__call__ needs {', '.join(unknown) or 'images'}: a "
            "network takes images and returns logits; besides, it may take dropout "
            "(the rate, None in evaluation) and one of "
            f"{', '.join(SWITCHES)} (True or False)"
        )
    names = [parameter.name for parameter in further]
    switch = next((name for name in SWITCHES if name in names), "")
    return Call("dropout" in names, switch)


def fields_of(kind: type[nn.Module]) -> list[dataclasses.Field]:
    """Returns the fields of a class, without flax's own."""
    return [
        field
        for field in dataclasses.fields(kind)
        if field.name not in ("parent", "name")
    ]


def axes_of(kind: type[nn.Module]) -> dict[str, Axis]:
    """Returns the axes of those fields of a class whose values can be written.

    Args:
        kind: Whose fields are whole numbers, numbers, words, truth values, or tuples
            or lists of whole numbers, by their annotations or else their defaults.
    """
    hints, axes = _hints(kind), {}
    for field in fields_of(kind):
        default = _default(field)
        axis = _axis(hints.get(field.name, type(default)), default)
        if not axis or default is None:  # None cannot be written as a value
            continue
        if default is dataclasses.MISSING:
            axes[field.name] = dataclasses.replace(axis, default=None)
            continue
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            cleaned = axis.clean(default)
            axes[field.name] = dataclasses.replace(axis, default=cleaned)
    return axes


def _hints(kind: type[nn.Module]) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except Exception:  # noqa: BLE001 - names that only a type checker knows
        return {}


def _default(field: dataclasses.Field) -> Any:
    """Returns a field's default, or MISSING."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _axis(hint: Any, default: Any) -> Axis | None:
    """Returns the axis of a field with an annotation and a default; None for none."""
    has_default = default is not None and default is not dataclasses.MISSING
    chosen = type(default) if has_default else hint
    kinds = [part for part in _alternatives(hint) if part is not type(None)]
    if float in kinds and chosen is int:
        chosen = float  # As in `scale: float = 1`.
    if isinstance(chosen, type) and chosen in _AXES and chosen is not tuple:
        return _AXES[chosen]
    plural = (get_origin(chosen) or chosen) in (tuple, list, Sequence)
    inside = [part for kind in kinds for part in get_args(kind) if part is not ...]
    whole_numbers = plural and all(part is int for part in inside)
    return _AXES[tuple] if whole_numbers else None


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Returns the kinds that an annotation allows: of int | None both."""
    unions = (typing.Union, types.UnionType)
    return get_args(hint) if get_origin(hint) in unions else (hint,)


def _truth(value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ValueError
    return str(value).lower() == "true"


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return str(value)


_AXES: dict[Any, Axis] = {
    bool: Axis(None, "", "expected true or false", _truth, kind="truth"),
    int: whole(None, ""),
    float: number(0.0, ""),
    str: Axis(None, "", "expected a word", _word, kind="text"),
    tuple: layers(None, ""),
}


def values_of(
    module: nn.Module, axes: Mapping[str, Axis]
) -> tuple[tuple[str, Any], ...]:
    """Returns the fields of a module as files have them; None is left out."""
    values = []
    for field in fields_of(type(module)):
        value = getattr(module, field.name)
        if value is None or (field.name not in axes and _is(value, _default(field))):
            continue
        try:
            value = axes[field.name].clean(value)
            value = show(value) if isinstance(value, tuple) else value
        except (KeyError, ValueError, TypeError, OverflowError):
            value = _plain(value)
        values.append((field.name, value))
    return tuple(values)


def _is(value: Any, default: Any) -> bool:
    """Says whether a value is a field's default, as far as Python can compare them."""
    try:
        return value is default or bool(value == default)
    except Exception:  # noqa: BLE001 - arrays, and whatever else compares itself
        return False


def _plain(value: Any) -> Any:
    """Returns a value as a table has it; others than plain ones in words.

    They need not identify it: what a module computes does.
    """
    if isinstance(value, (bool, float, str)):
        return '""' if value == "" else value
    if isinstance(value, int):
        return value if value.bit_length() <= _WHOLE_BITS else str(value)
    if isinstance(value, nn.Module):
        fields = ", ".join(
            f"{field.name}={_plain(getattr(value, field.name))}"
            for field in fields_of(type(value))
            if not _is(getattr(value, field.name), _default(field))
        )
        return f"{type(value).__name__}({fields})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(str(_plain(part)) for part in value) + ")"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}" if value.shape else str(value)
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    with_what: Mapping[Any, Any] = {}
    if isinstance(value, functools.partial):
        name = _plain(value.func)
        with_what = dict(enumerate(value.args)) | value.keywords
    elif isinstance(value, types.FunctionType) and value.__closure__:
        # A function made by another one is known by what it was made with.
        with_what = inspect.getclosurevars(value).nonlocals
    words = ", ".join(f"{key}={_plain(part)}" for key, part in with_what.items())
    shown = name.replace("<locals>.", "") or type(value).__name__
    return f"{shown}({words})" if words else shown


# Names that a table, `mnistopt.run` or a program has for something else, and how
# further columns begin.
TAKEN = {*RECIPE, *NUMBERS} | {
    *("model", "epochs", "epoch", "seed", "seeds", "point", "points", "replica"),
    *("trial", "status", "cause", "epochs_done", "params", "multiply_adds", "bytes"),
    *("latency_1_ms", "latency_256_ms", "seconds", "machine", "n", "diverged"),
    *("unfinished", "choice", "data", "dataset", "data_dir", "train_examples"),
    *("image_size", "workdir", "lanes", "devices", "cluster", "precision"),
    *("memory_budget", "fail_fast", "modules", "cache_dir", "progress", "quiet"),
    *("tensorboard", "dry_run", "rerun", "help", "on_plan", "on_progress", "on_epoch"),
    *("label", "rank", "error", "scheduler", "changes", "train_on", "teacher"),
}
_STARTS = ("train_", "validation_", "test_", "best_", "overfitting", "convergence")


def is_module(given: Any) -> bool:
    """Says whether it is a flax module, or a class of them."""
    kind = given if isinstance(given, type) else type(given)
    return issubclass(kind, nn.Module)


def load(path: str) -> type[nn.Module]:
    """Imports a class of flax modules.

    Args:
        path: An import path, as "package.module:Class".

    Raises:
        InputError: If there is no such class; says why.
    """
    try:
        named: Any = pkgutil.resolve_name(path)
    except Exception as error:  # whatever the user's file raises
        raise InputError(
            f"model={path} cannot be imported ({type(error).__name__}: {error}); give "
            "package.module:Class, with the file on Python's path"
        ) from error
    if not isinstance(named, type) or not is_module(named):
        raise InputError(
            f"model={path} is not a class of flax modules (flax.linen.Module)"
        )
    return named


def declare(given: Any) -> Network:
    """Returns a user's module, or a class of them, as a network to choose.

    The fields of a class are axes, as far as their values can be written: whole
    numbers, numbers, words, True and False, and layers. A module is made already.

    Args:
        given: A flax module, or a class.

    Raises:
        InputError: If it cannot be identified, or asks for more than images and
            a dropout rate.
    """
    kind = given if isinstance(given, type) else type(given)
    for field in fields_of(kind):
        if field.name in TAKEN or field.name.startswith(_STARTS):
            raise InputError(
                f"{kind.__name__} has a field {field.name}, which is also the name of "
                "a column or a setting: rename the field"
                + (", or take dropout in __call__" if field.name == "dropout" else "")
            )
    if kind.__name__ in NETWORKS:
        raise InputError(
            f"{kind.__name__} is the name of a built-in network: rename the class"
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
    target: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        target = getattr(target, part, None)
    return target is kind and kind.__module__ != "__main__"


def make(structure: Structure) -> nn.Module:
    """Returns the module of a structure: the one given, or the same made again.

    Whether it computes what it did is for `program.trace` to say.

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
    try:
        return kind(**fields)
    except Exception as error:  # whatever the user's code raises
        words = ", ".join(f"{name}={show(value)}" for name, value in fields.items())
        raise InputError(
            f"{kind.__name__}({words}) cannot be made ({type(error).__name__}: {error})"
        ) from error
