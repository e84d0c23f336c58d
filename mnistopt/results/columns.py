"""The columns of tables that are hyper-parameters, and their types."""

from collections.abc import Iterable

import pandas as pd

from mnistopt.hparams import NUMBERS, RECIPE
from mnistopt.models.registry import NETWORKS
from mnistopt.points import ALWAYS, NEUTRAL, Point


def columns(points: Iterable[Point]) -> tuple[str, ...]:
    """Returns the columns that a table of these points has, in order.

    Those of `ALWAYS`, and others where a point has them: the network's, the recipe's,
    the traced numbers, and the epochs.
    """
    rows = [point.row() for point in points]
    named = dict.fromkeys(name for row in rows for name in (*ALWAYS, *row)) or ALWAYS
    training = [name for name in (*RECIPE, *NUMBERS) if name in named]
    network = [name for name in named if name not in {*training, "epochs"}]
    return (*network, *training, "epochs")


def axes_of(table: pd.DataFrame) -> list[str]:
    """Returns the columns of a data frame of points that are hyper-parameters."""
    names = list(table.columns)
    end = names.index("epochs") + 1 if "epochs" in names else names.index("seed")
    return names[names.index("model") : end]


def told(table: pd.DataFrame) -> list[str]:
    """Returns the columns of what only networks that came later are told."""
    known = {*ALWAYS, *RECIPE, *NUMBERS}
    return [axis for axis in axes_of(table) if axis not in known]


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Gives the columns of hyper-parameters the types that they are read with.

    What networks that came later are told is whole numbers, numbers or else text.
    """
    for axis in axes_of(table):
        if axis in NEUTRAL:
            table[axis] = table[axis].fillna(NEUTRAL[axis])
        if axis == "dense":
            table[axis] = table[axis].astype("Int64")
    for network in NETWORKS.values():
        for name, declared in network.axes.items():
            if declared.neutral is not None and name in table:
                mine = (table["model"] == network.name) & table[name].isna()
                table[name] = table[name].astype(object).mask(mine, declared.neutral)
    for axis in told(table):
        table[axis] = _as_told(table[axis])
    return table


def _as_told(column: pd.Series) -> pd.Series:
    """Returns a column of text or plain values as whole numbers, numbers or text."""
    text = column.astype(str).where(column.notna())
    for kind in ("Int64", float):
        try:
            return pd.to_numeric(text).astype(kind)
        except (ValueError, TypeError):
            continue
    return text
