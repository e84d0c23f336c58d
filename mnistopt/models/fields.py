"""The fields of a user's module: which are axes, and how tables and files have them."""

import contextlib
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import flax.linen as nn

from mnistopt.axes import Axis, layers, number, show, whole

# Bits of the whole numbers that a table's column may hold: those of a float64.
_WHOLE_BITS = 53


def fields_of(kind: type[nn.Module]) -> list[dataclasses.Field]:
    """Returns the fields of a class besides flax's own."""
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
        if not axis or default is None:  # None is no value that could be written
            continue
        if default is dataclasses.MISSING:
            axes[field.name] = dataclasses.replace(axis, default=None)
            continue
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            known = axis.clean(default)
            axes[field.name] = dataclasses.replace(axis, default=known)
    return axes


def lists_of(kind: type[nn.Module]) -> set[str]:
    """Returns the fields of a class that are lists, where others are tuples."""
    hints = _hints(kind)
    return {
        field.name
        for field in fields_of(kind)
        if isinstance(_default(field), list)
        or (get_origin(hints.get(field.name)) or hints.get(field.name)) is list
    }


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
    given = default is not None and default is not dataclasses.MISSING
    found = type(default) if given else hint
    kinds = [one for one in _alternatives(hint) if one is not type(None)]
    if float in kinds and found is int:
        found = float  # As in `scale: float = 1`.
    if isinstance(found, type) and found in _AXES and found is not tuple:
        return _AXES[found]
    plural = (get_origin(found) or found) in (tuple, list, Sequence)
    inside = [one for kind in kinds for one in get_args(kind) if one is not ...]
    whole_numbers = plural and all(one is int for one in inside)
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

    They need not tell it from others: what a module computes does.
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
