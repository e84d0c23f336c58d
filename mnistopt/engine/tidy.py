"""Clears a store of what runs that were killed have left, and of what is damaged."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mnistopt.engine.checkpoint import Checkpoint

# Of what is only half there, as Orbax names it; nobody reads such folders.
PARTIAL = ".orbax-checkpoint-tmp"


def tidy(folder: Path, saved: Sequence[Checkpoint]) -> None:
    """Removes partial checkpoints, superseded ones, and folders without any.

    A checkpoint is superseded if none of its replicas was measured in full there, and
    all of them have gone further in others.

    Args:
        folder: The store's, that nobody else writes to.
        saved: All checkpoints of it.
    """
    newest: dict[str, int] = {}
    for one in saved:
        for name in one.about["replicas"]:
            newest[name] = max(one.epoch, newest.get(name, 0))
    for one in saved:
        if not _measured(one) and all(
            newest[name] > one.epoch for name in one.about["replicas"]
        ):
            step = folder / one.group / str(one.epoch)
            # In one step, so that there is no half of it if this is killed.
            step.rename(step.with_name(step.name + PARTIAL))
    for partial in folder.glob(f"*/*{PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)
    for group in folder.glob("*/"):
        if not any(group.glob("*/")):
            shutil.rmtree(group, ignore_errors=True)


def set_aside(folder: Path, saved: Sequence[Checkpoint]) -> None:
    """Moves damaged checkpoints to the folder `damaged`, out of the way of new ones.

    Args:
        folder: The store's, that nobody else writes to.
        saved: All checkpoints of it that can be read.
    """
    known = {(one.group, str(one.epoch)) for one in saved}
    for step in folder.glob("*/*/"):
        group = step.parent.name
        if step.name.isdecimal() and (group, step.name) not in known:
            aside = folder.parent / "damaged"
            aside.mkdir(exist_ok=True)
            count = len(list(aside.iterdir()))
            step.rename(aside / f"{group}-{step.name}-{count}")


def _measured(one: Checkpoint) -> bool:
    """Says whether any replica was measured in full: those of stopped ones, too."""
    histories = (record["history"] for record in one.about["records"])
    return any(history["train_total"][one.epoch - 1] for history in histories)
