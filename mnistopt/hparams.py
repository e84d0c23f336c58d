"""The points of a grid, what of them is traced, and the identity of a replica."""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mnistopt.errors import InputError

MODELS = ("mlp", "cnn")
OPTIMIZERS = ("adam", "adamw", "sgd")


class Hparams(NamedTuple):
    """The hyper-parameters that are numbers: traced, so changing one compiles nothing.

    One replica's leaves are float32 scalars; `replicas.py` stacks them.
    """

    lr: Any
    dropout: Any
    weight_decay: Any
    label_smoothing: Any


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting of the swept hyper-parameters.

    The defaults are the paper's base structures (section 3.2), the dropout and learning
    rate it settles on (sections 4.3 and 4.4), and the smaller of its batch sizes, which
    gives a few thousand digits enough updates in few epochs.

    Attributes:
        model: "mlp" or "cnn".
        hidden: Units per hidden layer (mlp; None for a cnn).
        channels: Kernels per convolution (cnn; None for an mlp).
        dense: Units of the dense layer (cnn; None for an mlp).
        optimizer: "adam", "adamw", or "sgd" with momentum 0.9.
        batch_size: Examples per update.
        lr: Learning rate, > 0.
        dropout: Chance of dropping an activation, in [0, 1).
        weight_decay: >= 0; adamw and sgd only.
        label_smoothing: In [0, 1).
        epochs: Passes over the training examples.
    """

    model: str = "cnn"
    hidden: tuple[int, ...] | None = (128, 128)
    channels: tuple[int, ...] | None = (32, 64)
    dense: int | None = 128
    optimizer: str = "adam"
    batch_size: int = 32
    lr: float = 1e-3
    dropout: float = 0.3
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    epochs: int = 6

    def __post_init__(self):
        """Checks every field, and drops what does not belong to the model."""
        unused = ("channels", "dense") if self.model == "mlp" else ("hidden",)
        for name, (rule, holds) in _RULES.items():
            value = getattr(self, name)
            if not holds(value) and not (value is None and name in unused):
                raise InputError(f"{name}={show(value)} is not allowed: {rule}")
        if self.weight_decay and self.optimizer == "adam":
            raise InputError(
                f"weight_decay={self.weight_decay:g} has no effect with "
                "optimizer=adam: use optimizer=adamw (or sgd)"
            )
        for name in unused:
            object.__setattr__(self, name, None)
        for name in Hparams._fields:
            # Adding zero makes -0.0 and 0.0 one value, with one identity.
            object.__setattr__(self, name, float(getattr(self, name)) + 0.0)

    @property
    def hparams(self) -> Hparams:
        """The traced part, as Python floats."""
        return Hparams(*(getattr(self, name) for name in Hparams._fields))

    @property
    def program(self) -> "Point":
        """The static part: points with equal programs share one compile.

        A point like this one with every traced number, and the epochs, at a fixed
        value.
        """
        return dataclasses.replace(self, **_TRACED_DEFAULTS, epochs=1)

    @property
    def structure(self) -> str:
        """The network in words: "mlp 128x128" or "cnn 32x64/128"."""
        if self.model == "mlp":
            return f"mlp {show(self.hidden)}"
        return f"cnn {show(self.channels)}/{self.dense}"

    def row(self) -> dict[str, Any]:
        """The point as columns of a table: layers joined by x, None where unused."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: show(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Point":
        """Returns the point that `row` described."""
        layers = {k: parse_layers(row[k]) for k in ("hidden", "channels") if row[k]}
        return cls(**{**row, **layers})

    def identity(self) -> str:
        """A short hash of the point, 8 hexadecimal digits."""
        return _short_hash(self.row())


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_layers(value) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(map(_is_count, value))


def _is_number(value) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


_WHOLE = "expected a whole number of at least 1"
_LAYERS = "expected whole numbers of at least 1, joined by x as in 32x64"
_SHARE = "expected a number of at least 0 and below 1"
# Nearest to 1 that a rate may come, well before float32 rounds it to 1.
_LARGEST_SHARE = 1 - 2**-16
# The smallest normal float32: what is smaller is computed as 0.
_SMALLEST = 2.0**-126

_RULES = {
    "model": (f"choose one of {', '.join(MODELS)}", lambda v: v in MODELS),
    "hidden": (_LAYERS, _is_layers),
    "channels": (_LAYERS, _is_layers),
    "dense": (_WHOLE, _is_count),
    "optimizer": (f"choose one of {', '.join(OPTIMIZERS)}", lambda v: v in OPTIMIZERS),
    "batch_size": (_WHOLE, _is_count),
    "lr": ("expected a number above 0", lambda v: _is_number(v) and v >= _SMALLEST),
    "dropout": (_SHARE, lambda v: _is_number(v) and 0 <= v <= _LARGEST_SHARE),
    "weight_decay": (
        "expected a number of at least 0",
        lambda v: _is_number(v) and v >= 0,
    ),
    "label_smoothing": (
        _SHARE,
        lambda v: _is_number(v) and 0 <= v <= _LARGEST_SHARE,
    ),
    "epochs": (_WHOLE, _is_count),
}

_TRACED_DEFAULTS: dict[str, Any] = {
    f.name: f.default for f in dataclasses.fields(Point) if f.name in Hparams._fields
}
AXES = tuple(f.name for f in dataclasses.fields(Point))


def parse_layers(text: str) -> tuple[int, ...]:
    """Reads a layer structure, "32x64" as (32, 64).

    Raises:
        InputError: If the text is not whole numbers of at least 1, joined by x.
    """
    parts = text.strip().split("x")
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise InputError(f"{text!r} is no layer structure: {_LAYERS}")
    return tuple(map(int, parts))


def show(value: Any) -> str:
    """Writes a value as a person would type it: (32, 64) as 32x64, 0.001 as 0.001."""
    if isinstance(value, (tuple, list)):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def grid(**axes: Any) -> list[Point]:
    """Returns the Cartesian product of axes as points, without repeats.

    Args:
        **axes: Per field of `Point`, one value, or a list or array of values. The
            first field of `Point` varies slowest, whatever order the axes come in. A
            layer structure is a tuple, (128, 128), or written as in "128x128".

    Returns:
        Points; two that differ only in what their model does not use are one.

    Raises:
        InputError: If a name is unknown, an axis is empty, or a value not allowed.

    Example:
        >>> [p.lr for p in grid(lr=[0.1, 0.01])]
        [0.1, 0.01]
    """
    if unknown := sorted(set(axes) - set(AXES)):
        raise InputError(
            f"unknown hyper-parameter {', '.join(unknown)}; there are {', '.join(AXES)}"
        )
    names = [name for name in AXES if name in axes]
    values = [_as_list(name, axes[name]) for name in names]
    for name, axis in zip(names, values):
        if not axis:
            raise InputError(f"{name} has no values; give at least one")
    product = itertools.product(*values)
    return list(dict.fromkeys(Point(**dict(zip(names, v))) for v in product))


def _as_list(name: str, values: Any) -> list[Any]:
    if hasattr(values, "tolist"):  # numpy's arrays and numbers
        values = values.tolist()
    if not isinstance(values, list):
        values = [values]
    if name in ("hidden", "channels"):
        return [parse_layers(v) if isinstance(v, str) else v for v in values]
    return values


def replica_id(point: Point, seed: int, fingerprint: str) -> str:
    """Returns the identity of a replica: 10 hexadecimal digits.

    A hash of the point, the seed and the data, but not of `epochs`: a run to 20
    epochs passes through the run to 10, and both are the same replica.

    Args:
        point: The replica's point.
        seed: Its seed.
        fingerprint: `Dataset.fingerprint`.
    """
    row = {k: v for k, v in point.row().items() if k != "epochs"}
    return _short_hash({**row, "seed": seed, "data": fingerprint}, digits=10)


def _short_hash(content: Mapping[str, Any], digits: int = 8) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
