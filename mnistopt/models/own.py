"""A user's own flax module as a network: its axes, and how it is made again."""

import dataclasses
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import flax.linen as nn

from mnistopt.axes import Axis, layers, number, show, whole
from mnistopt.errors import InputError
from mnistopt.hparams import NUMBERS, RECIPE
from mnistopt.models.call import read_call
from mnistopt.models.registry import NETWORKS, Network
from mnistopt.points import Structure

# Names that a table, `mnistopt.run`, a chart or a program has for something else.
TAKEN = {*RECIPE, *NUMBERS, "model", "epochs", "epoch", "seed", "seeds", "point"} | {
    *("points", "replica", "trial", "status", "cause", "epochs_done", "params"),
    *("multiply_adds", "bytes", "latency_1_ms", "latency_256_ms", "seconds", "machine"),
    *("n", "diverged", "unfinished"),
    *("choice", "data", "dataset", "data_dir", "train_examples", "image_size"),
    *(
        "workdir",
        "lanes",
        "devices",
        "cluster",
        "memory_budget",
        "fail_fast",
        "modules",
    ),
    *("cache_dir", "progress", "quiet", "tensorboard", "dry_run", "rerun", "help"),
    *("on_plan", "on_progress", "on_epoch"),
}
# How further columns begin.
_TAKEN_STARTS = (
    "train_",
    "validation_",
    "test_",
    "best_",
    "overfitting",
    "convergence",
)
# Bits of the whole numbers that a table's column may hold.
_WHOLE_BITS = 63


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
        if field.name in TAKEN or field.name.startswith(_TAKEN_STARTS):
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
    values = _values(given, network.axes)
    # Until it is known what it computes, a module is none but itself.
    unknown = f"module {id(given)}"
    structure = Structure(
        network.name, values, network.dropout, unknown, network.path, given
    )
    return dataclasses.replace(network, axes={}, structure=structure)


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
    return kind(**{name: axes[name].check(name, value) for name, value in values})


def _fields(kind: type[nn.Module]) -> list[dataclasses.Field]:
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
    try:
        hints = get_type_hints(kind)
    except Exception:  # noqa: BLE001 - names that only a type checker knows
        hints = {}
    axes = {}
    for field in _fields(kind):
        default = None if field.default is dataclasses.MISSING else field.default
        make_axis = _axis(hints.get(field.name, type(default)), default)
        if make_axis and (default is not None or field.default is dataclasses.MISSING):
            # A list is no value of a field that a class may have by itself.
            axes[field.name] = dataclasses.replace(make_axis, default=default)
    return axes


def _axis(hint: Any, default: Any) -> Axis | None:
    """Returns the axis of a field with an annotation and a default; None for none."""
    found = type(default) if default is not None else hint
    kinds = [one for one in _alternatives(hint) if one is not type(None)]
    if float in kinds and found is int:
        found = float  # As in `scale: float = 1`.
    if found in _AXES:
        return _AXES[found]
    inside = {one for kind in kinds for one in get_args(kind)} - {...}
    plural = get_origin(found) in (tuple, list, Sequence) or found in (tuple, list)
    if plural and (inside <= {int}) and _are_whole(default):
        return _AXES[tuple]
    return None


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Returns the kinds that an annotation allows: of int | None both."""
    unions = (typing.Union, types.UnionType)
    return get_args(hint) if get_origin(hint) in unions else (hint,)


def _are_whole(value: Any) -> bool:
    return value is None or all(type(one) is int for one in value)


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


def _values(module: nn.Module, axes: Mapping[str, Axis]) -> tuple[tuple[str, Any], ...]:
    """Returns the fields of a module as files have them; None is left out."""
    values = []
    for field in _fields(type(module)):
        value = getattr(module, field.name)
        if value is None or (field.name not in axes and value is field.default):
            continue
        try:
            value = axes[field.name].clean(value)
            value = show(value) if isinstance(value, tuple) else value
        except (KeyError, ValueError, TypeError, OverflowError):
            value = _plain(value)
        values.append((field.name, value))
    return tuple(values)


def _plain(value: Any) -> Any:
    """Returns a value as a table has it; others than plain ones in words.

    They need not tell it from others: what a module computes does.
    """
    if isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _WHOLE_BITS else str(value)
    if isinstance(value, nn.Module):
        fields = ", ".join(
            f"{field.name}={_plain(getattr(value, field.name))}"
            for field in _fields(type(value))
        )
        return f"{type(value).__name__}({fields})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(str(_plain(one)) for one in value) + ")"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}" if value.shape else str(value)
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    with_what: Mapping[Any, Any] = {}
    if isinstance(value, functools.partial):
        name = _plain(value.func)
        with_what = dict(enumerate(value.args)) | value.keywords
    elif isinstance(value, types.FunctionType) and value.__closure__:
        # A function made by another one is told by what it was made with.
        with_what = inspect.getclosurevars(value).nonlocals
    words = ", ".join(f"{key}={_plain(one)}" for key, one in with_what.items())
    found = name.replace("<locals>.", "") or type(value).__name__
    return f"{found}({words})" if words else found
