"""The columns of tables that are hyper-parameters: their types, and names of points."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from mnistopt.axes import kind_of, show, tell_apart
from mnistopt.engine.record import Record
from mnistopt.hparams import TRAINING
from mnistopt.models.registry import NETWORKS
from mnistopt.points import ALWAYS, NEUTRAL, Point, Structure

# Per name of a network (`network_name`), numbers by the names of columns.
Costs = Mapping[str, Mapping[str, float]]

# Counted: the multiplications of one image's forward pass, and the bytes of parameters
# and running statistics. Measured: milliseconds to classify 1 and 256 images.
COUNTED = ("multiply_adds", "bytes")
TIMED = ("latency_1_ms", "latency_256_ms")
COSTS = (*COUNTED, *TIMED)

# Per column, the kinds of its values, as `Axis.kind`.
Kinds = Mapping[str, set[str]]
_DTYPES = {"truth": "boolean", "whole": "Int64", "number": "float64"}
_TRUTH = {"True": True, "False": False}


def columns(points: Iterable[Point]) -> tuple[str, ...]:
    """Returns the columns that a table of these points has, in order.

    Those of `ALWAYS`, and others where a point has them: the network's, the recipe's,
    the traced numbers, and the epochs.
    """
    rows = [point.row() for point in points]
    named = dict.fromkeys(name for row in rows for name in (*ALWAYS, *row)) or ALWAYS
    training = [name for name in TRAINING if name in named]
    network = [name for name in named if name not in training]
    return (*network, *training)


def axes_of(table: pd.DataFrame) -> list[str]:
    """Returns the columns of a data frame of points that are hyper-parameters."""
    names = list(table.columns)
    end = names.index("epochs") + 1 if "epochs" in names else names.index("seed")
    return names[names.index("model") : end]


def network_axes(table: pd.DataFrame) -> list[str]:
    """Returns the columns of the fields of networks."""
    return [axis for axis in axes_of(table) if axis not in {"model", *TRAINING}]


def declared_kinds(models: Iterable[str], modules: Mapping[str, Any]) -> Kinds:
    """Returns the kinds of the fields of networks.

    Args:
        models: Names of the networks of a table.
        modules: The user's modules, from config.json.
    """
    kinds: dict[str, set[str]] = {}
    for model in set(models):
        if model in NETWORKS:
            for name, axis in NETWORKS[model].axes.items():
                kinds.setdefault(name, set()).add(axis.kind)
        for entry in modules.get(model, {}).get("programs", {}).values():
            for name, value in entry["values"].items():
                kinds.setdefault(name, set()).add(kind_of(value))
    return kinds


def kinds_of(points: Iterable[Point]) -> Kinds:
    """Returns the kinds of the fields of the networks of points, by their values."""
    structures = {point.structure for point in points}
    built_in = [structure.model for structure in structures if not structure.path]
    kinds = {name: set(found) for name, found in declared_kinds(built_in, {}).items()}
    for structure in structures:
        for name, value in structure.values if structure.path else ():
            kinds.setdefault(name, set()).add(kind_of(value))
    return kinds


def typed(table: pd.DataFrame, kinds: Kinds) -> pd.DataFrame:
    """Gives the columns of hyper-parameters the types that they are written with.

    Args:
        table: With plain values, or with text as files have it.
        kinds: The kinds of the networks' fields; other columns are text.
    """
    there = {name: value for name, value in NEUTRAL.items() if name in table}
    # A column of words without any would be one of numbers.
    words = [name for name, value in there.items() if isinstance(value, str)]
    table = table.astype(dict.fromkeys(words, object)).fillna(there)
    for network in NETWORKS.values():
        for name, declared in network.axes.items():
            if declared.neutral is not None and name in table:
                lacking = (table["model"] == network.name) & table[name].isna()
                table[name] = table[name].astype(object).mask(lacking, declared.neutral)
    # The columns of `ALWAYS` are in tables of other networks too.
    all_kinds = {**declared_kinds(("mlp", "cnn"), {}), **kinds}
    for axis in network_axes(table):
        table[axis] = _converted(table[axis], all_kinds.get(axis, {"text"}))
    # Of costs and epochs some are empty.
    whole = dict.fromkeys((*COUNTED, "convergence_epoch", "best_epoch"), "Int64")
    others = whole | dict.fromkeys(TIMED, "float64")
    return table.astype({name: kind for name, kind in others.items() if name in table})


def _converted(column: pd.Series, kinds: set[str]) -> pd.Series:
    """Returns a column as what is declared; of several kinds as text."""
    (kind, *others) = sorted(kinds)
    if kinds == {"number", "whole"}:
        kind, others = "number", []
    if others or kind == "text":
        return column.astype(str).where(column.notna())
    if kind == "truth":
        column = column.map(lambda text: _TRUTH.get(text, text))
    elif column.dtype == object or pd.api.types.is_string_dtype(column.dtype):
        column = pd.to_numeric(column)
    return column.astype(_DTYPES[kind])  # type: ignore[call-overload]


def network_name(structure: Structure) -> str:
    """Returns the words by which config.json knows what a network costs."""
    values = [f"{name}={show(value)}" for name, value in sorted(structure.values)]
    return " ".join(filter(None, (structure.model, *values, structure.program)))


def varying_axes(points: pd.DataFrame) -> list[str]:
    """Returns the hyper-parameters that differ between the rows of a table.

    That some models lack one is said by the model.

    Args:
        points: A table with a column per hyper-parameter.
    """
    rows = points[axes_of(points)].astype(object)
    rows = rows.where(rows.notna(), None)
    return [axis for axis in axes_of(points) if rows[axis].nunique() > 1]


def point_labels(summary: pd.DataFrame) -> dict[str, str]:
    """Returns a name per point, made of what differs between the points.

    Args:
        summary: The table of points.

    Returns:
        Per value of the column `point` something like "lr 0.001, dropout 0.3"; model
        and learning rate where nothing differs.
    """
    rows = summary[axes_of(summary)].astype(object)
    rows = rows.where(rows.notna(), None)
    varying = varying_axes(summary) or ["model", "lr"]
    texts = {axis: tell_apart(rows[axis].dropna()) for axis in varying}
    labels = {}
    for point, (_, row) in zip(summary["point"], rows.iterrows()):
        parts = [
            str(row[axis]) if axis == "model" else f"{axis} {texts[axis][row[axis]]}"
            for axis in varying
            if row[axis] is not None
        ]
        labels[point] = ", ".join(parts)
    return labels


def labelled(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of points with the `label` of each, and its `rank` from 0.

    Args:
        summary: The table of points, best first.
    """
    names = point_labels(summary) if len(summary) else {}
    labels = [names[point] for point in summary.get("point", [])]
    return summary.assign(label=labels, rank=range(len(summary)))


def record_labels(records: Iterable[Record]) -> dict[str, str]:
    """Returns the names of the points of replicas, by replica."""
    points = {record.replica: record.point for record in records}
    rows = [{"point": point.identity(), **point.row()} for point in points.values()]
    names = point_labels(pd.DataFrame(rows)) if rows else {}
    return {replica: names[point.identity()] for replica, point in points.items()}
