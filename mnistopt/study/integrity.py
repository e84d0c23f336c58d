"""Whether what a workdir holds is of one study, and whole, before it is added to."""

import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from mnistopt.axes import show
from mnistopt.engine.checkpoint import Checkpoint, Store, warn_of
from mnistopt.engine.checksums import CHECKSUM, Damaged
from mnistopt.engine.devices import Device
from mnistopt.engine.machine import name_of
from mnistopt.errors import InputError
from mnistopt.points import replica_id
from mnistopt.results import config
from mnistopt.results.record import Record
from mnistopt.results.summary import UNFINISHED
from mnistopt.results.tables import curves_table, read_table, trials_table
from mnistopt.study.planning import Plan


def check_unchanged(
    workdir: Path, data: Mapping[str, Any], there: Mapping[str, Any]
) -> None:
    """Checks that no other run has written config.json since it was read.

    Raises:
        InputError: If one has.
    """
    if config.check(workdir, data) != there:
        raise InputError(
            f"another run has just written to workdir {workdir}: the same command "
            "again goes on from what is there now"
        )


def sound(saved: Iterable[Checkpoint], folder: Path) -> list[Checkpoint]:
    """Returns the checkpoints whose records can be read; warns of others.

    Args:
        saved: From `Store.saved`.
        folder: Of the store, for the message.
    """
    found = []
    for one in saved:
        try:
            records = [Record.from_json(content) for content in one.about["records"]]
            lengths = {
                len(values) for record in records for values in record.history.values()
            }
            if lengths != {one.epoch}:
                raise ValueError(f"histories of {sorted(lengths)} epochs")
            if CHECKSUM not in one.about:
                # Nobody vouches for what it says: it must at least make tables.
                _check_plain(records)
                curves_table(records), trials_table(records)
                if {r.replica for r in records} != set(one.about["replicas"]):
                    raise ValueError("records of other replicas")
            found.append(one)
        except Exception as error:  # noqa: BLE001 - whatever its content leads to
            warn_of(folder / one.group / str(one.epoch), error)
    return found


def _check_plain(records: Iterable[Record]) -> None:
    """Raises TypeError if a history has anything but numbers and words."""
    for record in records:
        for values in record.history.values():
            if not {type(value) for value in values} <= {int, float, str}:
                raise TypeError(f"{record.replica} has a history of other things")


def check_data(workdir: Path, records: Mapping[str, Record], fingerprint: str) -> None:
    """Checks that replicas were trained on the data at hand.

    A replica's name is made of what it was trained on, so this needs no config.json.

    Args:
        workdir: For the message.
        records: By the names of their replicas.
        fingerprint: Of the data.

    Raises:
        InputError: If one was not.
    """
    others = [
        name
        for name, one in records.items()
        if replica_id(one.point, one.seed, fingerprint) != name
    ]
    if others:
        raise InputError(
            f"{len(others)} of the {len(records)} replicas whose checkpoints are in "
            f"{workdir} were trained on other data: one study cannot hold both. Give "
            "another --workdir, or the data it was made with"
        )


def whole(saved: Iterable[Checkpoint], store: Store) -> list[Checkpoint]:
    """Returns the checkpoints whose arrays are as they were written; warns of others.

    Args:
        saved: Of the store; sound.
        store: Has them.
    """
    found = []
    for one in saved:
        try:
            store.check(one)
            found.append(one)
        except Damaged as error:
            warnings.warn(str(error), stacklevel=2)
    return found


def warn_of_other_machines(plan: Plan, devices: Sequence[Device]) -> None:
    """Warns if what is there and what is to be trained cannot agree to the bit.

    Args:
        plan: What is to be trained.
        devices: That are to train it.
    """
    before: dict[str, set[str]] = {}
    for record in plan.records.values():
        names = before.setdefault(record.point.program.identity(), set())
        names |= set(record.history.get("machine", []))
    for job in plan.jobs:
        now = devices[0].describe(job.lanes)
        if before.get(job.program.identity(), set()) - {"", name_of(now)}:
            warnings.warn(
                f"{len(job.records)} replicas of {job.program.structure} train on "
                f"another machine than some before, or with other versions or lanes "
                f"(now {now['device']}, {now['cores'] or 1} cores, jax {now['jax']}, "
                f"lanes {show(tuple(job.lanes))}): numbers agree to rounding and not "
                "to the bit. The column machine of trials.csv tells which are which",
                stacklevel=2,
            )
            return


def check_complete(
    workdir: Path, records: Mapping[str, Record], retrained: Set[str]
) -> None:
    """Checks that the checkpoints of all trained trials are there.

    Tables are made of checkpoints, so a trial without one would vanish from them.

    Args:
        workdir: Has the tables.
        records: What the checkpoints know, by replica.
        retrained: Trials without one that may be trained again.

    Raises:
        InputError: If there is another trial without; says how many.
    """
    try:
        trials = read_table(workdir, "trials")
        trained = trials[trials["status"] != UNFINISHED]
        lost = [
            trial
            for trial, replica, epochs in zip(
                trained["trial"], trained["replica"], trained["epochs_done"]
            )
            if replica not in records or epochs not in records[replica].measured
        ]
    except (InputError, KeyError):
        return  # Not there or not readable: it is made anew.
    if lost := [trial for trial in lost if trial not in retrained]:
        raise InputError(
            f"{workdir}/trials.csv has {len(lost)} trained trials whose checkpoints "
            f"are gone, {lost[0]} among them. Tables are made of checkpoints, so these "
            "rows would be lost: bring the folder checkpoints back, give another "
            "--workdir, or, to do without them, move trials.csv away"
        )
