"""Names of points, made of what differs between them."""

from collections.abc import Iterable

import pandas as pd

from mnistopt.axes import tell_apart
from mnistopt.engine.record import Record
from mnistopt.results.columns import axes_of


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
    points = {one.replica: one.point for one in records}
    rows = [{"point": point.identity(), **point.row()} for point in points.values()]
    names = point_labels(pd.DataFrame(rows)) if rows else {}
    return {replica: names[point.identity()] for replica, point in points.items()}
