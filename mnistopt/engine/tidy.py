"""Clears a store of what runs that were killed have left, and of what is damaged."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mnistopt.engine.checkpoint import Checkpoint

# Of what is only half there, as Orbax names it; nobody reads such folders.
PARTIAL = ".orbax-checkpoint-tmp"
# Folder of a study with checkpoints that could not be used.
ASIDE = "damaged"


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


def damaged(folder: Path, sound: Sequence[Checkpoint]) -> list[Path]:
    """Returns the folders of checkpoints that cannot be used.

    Args:
        folder: The store's.
        sound: All checkpoints of it that can.
    """
    known = {(one.group, str(one.epoch)) for one in sound}
    steps = (step for step in folder.glob("*/*/") if step.name.isdecimal())
    return [step for step in steps if (step.parent.name, step.name) not in known]


def set_aside(folder: Path, sound: Sequence[Checkpoint]) -> None:
    """Moves damaged checkpoints out of the way of new ones, to the folder `damaged`.

    Args:
        folder: The store's, that nobody else writes to.
        sound: All checkpoints of it that can be used.
    """
    for step in damaged(folder, sound):
        aside = folder.parent / ASIDE
        aside.mkdir(exist_ok=True)
        count = len(list(aside.iterdir()))
        step.rename(aside / f"{step.parent.name}-{step.name}-{count}")


def _measured(one: Checkpoint) -> bool:
    """Says whether any replica was measured in full: those of stopped ones, too."""
    histories = (record["history"] for record in one.about["records"])
    return any(history["train_total"][one.epoch - 1] for history in histories)
