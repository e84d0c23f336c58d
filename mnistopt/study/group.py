"""Jobs that train together, on one queue of rounds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mnistopt.engine.pool import Together, Trainer
from mnistopt.engine.queue import Queue
from mnistopt.engine.record import Record
from mnistopt.engine.rounds import Member, Round, make_rounds
from mnistopt.study.jobs import Job
from mnistopt.training.cohort import TrainState


class Group:
    """Jobs that begin at one epoch and have the same milestones.

    A device that has no round of one job left computes those of another.

    Attributes:
        records: Those of the replicas that still train, by name.
    """

    def __init__(self, jobs: Sequence[Job], programs: Mapping[str, Trainer]):
        """Takes the jobs, and their programs by the names of the jobs."""
        self._jobs, self._programs = jobs, programs
        self.records = {
            record.replica: record for job in jobs for record in job.records
        }
        self._job_of = {record.replica: job for job in jobs for record in job.records}

    def job_of(self, name: str) -> Job:
        """Returns the job of a replica."""
        return self._job_of[name]

    def by_job(self) -> list[list[Record]]:
        """Returns the records that are left, per job."""
        return [
            [
                self.records[one.replica]
                for one in job.records
                if one.replica in self.records
            ]
            for job in self._jobs
        ]

    def meetings(self) -> Iterator[int]:
        """Yields the epochs at which all are looked at.

        The milestones; with patience, all.
        """
        first = self._jobs[0]
        patient = any(record.point.hparams.patience for record in self.records.values())
        every = range(first.start + 1, first.milestones[-1] + 1)
        yield from every if patient else first.milestones

    def stopped(self) -> list[str]:
        """Returns the names of those that are out of patience."""
        return [name for name, record in self.records.items() if record.stopped]

    def drop(self, names: Iterable[str]) -> None:
        """Leaves out replicas that train no further."""
        for name in names:
            del self.records[name]

    def queue(
        self, states: Mapping[str, TrainState], epoch: int, names: Iterable[str] = ()
    ) -> Queue:
        """Returns a queue of the replicas.

        Args:
            states: Their states by name; those without begin.
            epoch: Epochs done.
            names: Which, of all that are left.
        """
        chosen = set(names) or self.records.keys()
        programs: dict[Round, Trainer] = {}
        for job, records in zip(self._jobs, self.by_job()):
            members = [
                Member(
                    one.replica,
                    one.seed,
                    one.point.at(job.start),
                    states.get(one.replica),
                )
                for one in records
                if one.replica in chosen
            ]
            rounds = make_rounds(job.lanes, members)
            programs |= dict.fromkeys(rounds, self._programs[job.name])
        return Queue(Together(programs), dict.fromkeys(programs, epoch))
