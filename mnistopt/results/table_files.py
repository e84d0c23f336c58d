"""The files that the tables of a study are kept in."""

import contextlib
import types
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mnistopt.engine.checkpoint import Store, merge_records
from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.files import read_csv
from mnistopt.manifest import Manifest
from mnistopt.models.registry import NETWORKS
from mnistopt.results.columns import COSTS, Costs, declared_kinds, network_axes, typed
from mnistopt.results.config import read_config
from mnistopt.results.tables import (
    CURVE_COLUMNS,
    FINISHED,
    MEASURED,
    TEXT,
    WORDS,
    curves_table,
    summary_table,
    trials_table,
)

TABLES = ("trials", "curves", "summary")


def write_tables(
    workdir: Path,
    records: Iterable[Record],
    costs: Costs = types.MappingProxyType({}),
) -> None:
    """Writes trials.csv, curves.csv and summary.csv, those that have changed.

    Args:
        workdir: The folder of the study.
        records: The records of its replicas.
        costs: The known costs of their networks.
    """
    tables = _tables(records, costs)
    Manifest(workdir).write(
        {f"{name}.csv": tables[name].to_csv(index=False).encode() for name in TABLES}
    )


def _tables(records: Iterable[Record], costs: Costs) -> dict[str, pd.DataFrame]:
    """Returns `TABLES` by name, made of what is known of replicas."""
    records = list(records)
    trials = trials_table(records, costs)
    tables = (trials, curves_table(records), summary_table(trials))
    return dict(zip(TABLES, tables, strict=True))


# The columns that each table has, of words and of numbers.
_NAMES = {
    "trials": ("trial", "replica", "point", "status"),
    "curves": ("replica",),
    "summary": ("point",),
}
_NUMBERS = {
    "trials": ("seed", "epochs_done", "params", *COSTS, *MEASURED, "seconds"),
    "curves": CURVE_COLUMNS,
    "summary": ("n", "diverged", "unfinished"),
}


def _check_columns(name: str, table: pd.DataFrame) -> None:
    """Raises KeyError or ValueError if a table lacks what each study has."""
    names, numbers = table[list(_NAMES[name])], table[list(_NUMBERS[name])]
    numbers.astype(float)
    if names.isna().any(axis=None):
        raise ValueError("a row lacks its name")
    if name == "trials":
        chosen_by = numbers.loc[names["status"] == FINISHED, "validation_accuracy"]
        if not chosen_by.between(0, 1).all():
            raise ValueError("a finished trial lacks its validation accuracy")


def read_table(workdir: Path, name: str) -> pd.DataFrame:
    """Returns one of `TABLES`, as it was written.

    One that is damaged, gone or was changed is made of the checkpoints again, with a
    warning; where there are none, as of a published study, it is as it is.

    Raises:
        InputError: If it is missing or cannot be read, and there are no checkpoints.
    """
    if not Manifest(workdir).is_altered(f"{name}.csv"):
        try:
            return read_as_is(workdir, name)
        except InputError:
            if (tables := _from_checkpoints(workdir)) is None:
                raise
    elif (tables := _from_checkpoints(workdir)) is None:
        return read_as_is(workdir, name)
    warnings.warn(
        f"{workdir / name}.csv is missing, damaged or changed, so it is read from the "
        "checkpoints. The grid's command restores it",
        stacklevel=2,
    )
    return tables[name]


def _from_checkpoints(workdir: Path) -> dict[str, pd.DataFrame] | None:
    """Returns the tables of what the checkpoints hold; None if there are none."""
    records = merge_records(Store(workdir / "checkpoints").saved())
    if not records:
        return None
    costs: Costs = {}
    with contextlib.suppress(InputError):
        costs = read_config(workdir).costs
    return _tables(records.values(), costs)


def read_as_is(workdir: Path, name: str) -> pd.DataFrame:
    """Returns one of `TABLES` as its file has it; raises as `read_table`."""
    path = workdir / f"{name}.csv"
    text = dict.fromkeys(("trial", "replica", "point", *TEXT, *WORDS), str)
    try:
        text |= dict.fromkeys(network_axes(read_csv(path, nrows=0)), str)
        table = read_csv(path, dtype=text)
        if len(table.columns):
            modules: Mapping[str, Any] = {}
            if set(table["model"]) - NETWORKS.keys():
                with contextlib.suppress(InputError):  # Where config.json is gone.
                    modules = read_config(workdir).modules
            table = typed(table, declared_kinds(table["model"], modules))
        table = table.fillna(dict.fromkeys(WORDS & set(table), ""))
        _check_columns(name, table)
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); is {workdir} the workdir of a grid?"
        ) from error
    return table
