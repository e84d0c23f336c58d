"""The seam for what decides which replicas train on, and how far."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from mnistopt.results.record import Record
from mnistopt.study.planning import Job


class Changes(NamedTuple):
    """What happens to the replicas of a job between two epochs.

    Attributes:
        drop: Names of those that train no further; they are measured on all splits
            first, and their bits stay in the checkpoint.
        add: Those that begin, with an empty history; they catch up with the others.
        copy: Names of those that take over another's state, to its name.
    """

    drop: Sequence[str] = ()
    add: Sequence[Record] = ()
    copy: Mapping[str, str] = {}


class Scheduler(Protocol):
    """Decides what a job trains.

    All replicas meet at the epochs that it names, and are shown to it. What a replica
    computes between two meetings does not depend on the others, so its bits do not
    depend on who is dropped or added.
    """

    def next_meeting(self, epoch: int) -> int | None:
        """Returns the next epoch to meet at, after `epoch`; None to end."""

    def in_full(self, epoch: int) -> bool:
        """Says whether all are measured on all splits there, and saved for good."""
        del epoch
        return True

    def decide(self, epoch: int, records: Mapping[str, Record]) -> Changes:
        """Returns what changes, after the meeting at `epoch`.

        Args:
            epoch: Epochs done by all replicas.
            records: What is known of each, by name.
        """


class ToTheEnd(Scheduler):
    """The grid's scheduler: everything to its last epoch."""

    def __init__(self, milestones: Sequence[int]):
        """Takes the epochs that were asked for, ascending."""
        self._milestones = milestones

    def next_meeting(self, epoch: int) -> int | None:
        """Returns the next epoch that was asked for."""
        return next((one for one in self._milestones if one > epoch), None)

    def decide(self, epoch: int, records: Mapping[str, Record]) -> Changes:
        """Changes nothing."""
        return Changes()


class EarlyStopping(ToTheEnd):
    """Looks at all replicas after each epoch, and drops those out of patience."""

    def next_meeting(self, epoch: int) -> int | None:
        """Returns the next epoch, up to the last that was asked for."""
        return epoch + 1 if super().next_meeting(epoch) else None

    def in_full(self, epoch: int) -> bool:
        """Says whether the epoch was asked for."""
        return epoch in self._milestones

    def decide(self, epoch: int, records: Mapping[str, Record]) -> Changes:
        """Drops those that have stopped."""
        return Changes(drop=[name for name, one in records.items() if one.stopped])


def usual(job: Job) -> Scheduler:
    """Returns what trains all of a job, but replicas that have lost patience."""
    patient = any(record.point.hparams.patience for record in job.records)
    return (EarlyStopping if patient else ToTheEnd)(job.milestones)
