"""The loop over epochs, writing checkpoints and tables, and who decides what trains."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import pandas as pd

from mnistopt.engine.devices import name_of
from mnistopt.engine.memory import check_call, exhaustible
from mnistopt.engine.pool import Pool, Trainer, present
from mnistopt.engine.queue import Done, Queue
from mnistopt.engine.record import Record
from mnistopt.engine.replicas import state_bytes, state_shapes
from mnistopt.engine.rounds import Member, Round, make_rounds
from mnistopt.engine.writer import Writer
from mnistopt.results.columns import record_labels
from mnistopt.results.table_files import write_tables
from mnistopt.results.tables import curves_table
from mnistopt.study.jobs import Job, Plan
from mnistopt.study.progress import OnProgress, Progress, Stopwatch
from mnistopt.study.request import Request
from mnistopt.study.stopping import Diverged, Stop
from mnistopt.study.workdir import Workdir
from mnistopt.training.cohort import TrainState


class Changes(NamedTuple):
    """What happens to the replicas of a job between two epochs.

    Attributes:
        drop: Names of those that train no further; they are measured on all splits
            first, and their bits stay in the checkpoint.
        add: New replicas with an empty history; they catch up with the others.
        copy: Names of those that take over another's state, to its name.
    """

    drop: Sequence[str] = ()
    add: Sequence[Record] = ()
    copy: Mapping[str, str] = {}


class Scheduler(Protocol):
    """Decides what a job trains.

    All replicas meet at the epochs that it names, and are shown to it. What a replica
    computes between two meetings does not depend on the others, so its bits do not
    depend on which are dropped or added.
    """

    def next_meeting(self, epoch: int) -> int | None:
        """Returns the next epoch to meet at, after `epoch`; None to end."""

    def is_milestone(self, epoch: int) -> bool:
        """Says whether all are measured on all splits there, and saved for good."""
        del epoch
        return True

    def decide(self, epoch: int, records: Mapping[str, Record]) -> Changes:
        """Returns what changes, after the meeting at `epoch`.

        Args:
            epoch: Epochs done by all replicas.
            records: The record of each replica, by name.
        """


class ToTheEnd(Scheduler):
    """The grid's scheduler: everything to its last epoch."""

    def __init__(self, milestones: Sequence[int]):
        """Takes the epochs that were asked for, ascending."""
        self._milestones = milestones

    def next_meeting(self, epoch: int) -> int | None:
        """Returns the next epoch that was asked for."""
        return next(
            (milestone for milestone in self._milestones if milestone > epoch), None
        )

    def decide(self, epoch: int, records: Mapping[str, Record]) -> Changes:
        """Changes nothing."""
        return Changes()


class EarlyStopping(ToTheEnd):
    """Looks at all replicas after each epoch, and drops those out of patience."""

    def next_meeting(self, epoch: int) -> int | None:
        """Returns the next epoch, up to the last that was asked for."""
        return epoch + 1 if super().next_meeting(epoch) else None

    def is_milestone(self, epoch: int) -> bool:
        """Says whether the epoch was asked for."""
        return epoch in self._milestones

    def decide(self, epoch: int, records: Mapping[str, Record]) -> Changes:
        """Drops those that have stopped."""
        return Changes(
            drop=[name for name, record in records.items() if record.stopped]
        )


def usual(job: Job) -> Scheduler:
    """Returns what trains all of a job, but replicas that have lost patience."""
    patient = any(record.point.hparams.patience for record in job.records)
    return (EarlyStopping if patient else ToTheEnd)(job.milestones)


OnEpoch = Callable[[pd.DataFrame], None]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run has from its beginning to its end.

    Attributes:
        request: The settings of the run.
        workdir: Where tables and checkpoints go, and nobody else writes to.
        pool: The pool of devices.
        stopwatch: Counts the seconds.
        on_progress: Called with a `Progress`.
        on_epoch: Called with the rows of curves.csv that a round has just made.
        stop: Says when to; what is done is saved then.
        noted: Warnings for config.json.
    """

    request: Request
    workdir: Workdir
    pool: Pool
    stopwatch: Stopwatch
    on_progress: OnProgress
    on_epoch: OnEpoch | None = None
    stop: Stop = dataclasses.field(default_factory=Stop)
    noted: list[str] = dataclasses.field(default_factory=list)


class Loop:
    """Trains the jobs of one plan.

    Attributes:
        job: The current or the last job.
    """

    job: Job

    def __init__(
        self,
        plan: Plan,
        run: Run,
        make_scheduler: Callable[[Job], Scheduler] = usual,
    ):
        """Prepares, computing nothing.

        Args:
            plan: The plan of what to train.
            run: The run that it is part of.
            make_scheduler: Called with each job; the grid's own trains all of it, but
                what has lost patience.
        """
        self._plan, self._run = plan, run
        self._make_scheduler = make_scheduler
        self._records = dict(plan.records)
        for job in plan.jobs:
            self._note(job.records)
        self._programs: dict[tuple, Trainer] = {}
        self._machines: dict[Any, str] = {}
        self._work = 0.0
        self._images_per_second = 0.0
        self._best: tuple[float, str] | None = None
        self._labels = record_labels(self._records.values())
        for record in self._records.values():
            self._notice(record)

    def run(self) -> None:
        """Trains all jobs."""
        with self._run.stopwatch("starting"):
            self.write()
            if self._plan.jobs:
                self._run.pool.load(self._run.request.data)
        for job in self._plan.jobs:
            self._run.stop.check()
            self.job, self._machines = job, {}
            self._label = self._plan.labels[job.name]
            with exhaustible():
                with self._run.stopwatch("compiling"):
                    program = self._program()
                self._run_job(program)

    @property
    def working_bytes(self) -> dict[str, int]:
        """Of a step of one replica beside its state, by the identity of its cohort."""
        return {
            point.identity(): program.bytes // math.prod(program.lanes)
            - state_bytes(program.cohort)
            for (point, *_), program in self._programs.items()
        }

    @property
    def compile_seconds(self) -> dict[str, float]:
        """Of each program that was compiled, by the identity of its cohort."""
        seconds: dict[str, float] = {}
        for (point, *_), program in self._programs.items():
            name = point.identity()
            seconds[name] = seconds.get(name, 0.0) + program.compile_seconds
        return seconds

    def _program(self) -> Trainer:
        job = self.job
        # A device that has no round to train needs no program.
        most = min(len(job.records), len(present(self._run.pool)))
        key = (job.program, job.lanes, most)
        if key not in self._programs:
            self._images_per_second = 0.0
            self._tell(job.start, compiling=True)
            program = self._run.pool.compile(job.cohort, job.lanes, most)
            budget = self._run.request.memory_budget
            check_call(program.bytes, job.lanes, present(program), budget)
            self._programs[key] = program
        return self._programs[key]

    def _run_job(self, program: Trainer) -> None:
        job = self.job
        scheduler = self._make_scheduler(job)
        records = {record.replica: record for record in job.records}
        with self._run.stopwatch("starting"):
            rounds = self._rounds(records, self._states())
            queue = Queue(program, dict.fromkeys(rounds, job.start))
        with Writer(self._run.workdir.store.group(job.name)) as writer:
            while (meeting := scheduler.next_meeting(queue.epoch)) is not None:
                milestone = scheduler.is_milestone(meeting)
                self._train(queue, meeting, milestone, records, writer)
                while queue.epoch < meeting:  # It was time to save, or to stop.
                    self._save(records, queue, writer, milestone=False)
                    self._run.stop.check()
                    self._train(queue, meeting, milestone, records, writer)
                changes = scheduler.decide(meeting, records)
                if changes.drop and not milestone:
                    self._measure(queue, {name: records[name] for name in changes.drop})
                    milestone = True
                if milestone or writer.due() or self._run.stop.asked:
                    self._save(records, queue, writer, milestone)
                self._run.stop.check()
                if changes != Changes():
                    queue = self._changed(queue, records, changes)
                if not records:
                    break
            with self._run.stopwatch("saving"):
                writer.finish()

    def _train(
        self,
        queue: Queue,
        meeting: int,
        milestone: bool,
        records: Mapping[str, Record],
        writer: Writer,
    ) -> None:
        """Trains up to a meeting, or to where it is time to save."""
        with self._run.stopwatch("training"):
            waiting = self._run.stop.check_patience
            for done in queue.train(meeting, milestone, waiting):
                self._note_epoch(done, records)
                waiting()
                if writer.due() or self._run.stop.asked:
                    queue.hold()

    def _measure(self, queue: Queue, leaving: Mapping[str, Record]) -> None:
        """Measures on all splits those that train no further."""
        rounds = self._rounds(leaving, queue.states())
        with self._run.stopwatch("training"):
            results = queue.measure(rounds)
        for name, record in leaving.items():
            record.measure(results[name].metrics)

    def _changed(
        self, queue: Queue, records: dict[str, Record], changes: Changes
    ) -> Queue:
        """Carries out a scheduler's changes; returns what trains on."""
        states = queue.states()
        states |= {to: states[name] for to, name in changes.copy.items()}
        for name in changes.drop:
            del records[name]
        old = self._rounds(records, states)
        added = {record.replica: record for record in changes.add}
        new = self._rounds(added, {})
        records |= added
        self._note(added.values())
        self._labels = record_labels(self._records.values())
        return Queue(
            queue.program,
            dict.fromkeys(old, queue.epoch) | dict.fromkeys(new, 0),
        )

    def _rounds(
        self, records: Mapping[str, Record], states: Mapping[str, TrainState]
    ) -> list[Round]:
        members = [
            Member(name, record.seed, record.point.hparams, states.get(name))
            for name, record in records.items()
        ]
        return make_rounds(self.job.lanes, members)

    def _note_epoch(self, done: Done, records: Mapping[str, Record]) -> None:
        """Records and reports the results of an epoch of a round."""
        job, trained = self.job, [records[name] for name in done.results]
        if done.device not in self._machines:
            self._machines[done.device] = name_of(done.device.describe(job.lanes))
        for record, result in zip(trained, done.results.values()):
            seconds = done.seconds / len(trained)
            record.append(
                result.metrics,
                result.diverged_at,
                seconds,
                result.cause,
                self._machines[done.device],
            )
            self._notice(record)
            if self._run.request.fail_fast and result.diverged_at >= 0:
                self._run.stop.end(Diverged(record, self._labels[record.replica]))
        images = len(trained) * self._plan.examples[0]
        self._images_per_second = images / done.seconds
        share = len(trained) / len(job.records)
        self._work += share * job.work(self._plan.examples) / job.epochs
        if self._run.on_epoch:
            self._run.on_epoch(curves_table(trained, since=done.epoch - 1))
        self._tell(done.epoch)

    def _notice(self, record: Record) -> None:
        """Keeps the best validation accuracy that a replica has ever had."""
        correct = record.history.get("validation_correct", [])
        if not correct:
            return
        best = max(correct) / record.history["validation_total"][0]
        if self._best is None or best > self._best[0]:
            self._best = best, self._labels[record.replica]

    def _states(self) -> dict[str, TrainState]:
        """Returns where the replicas of the job continue."""
        job = self.job
        if job.checkpoint is None:
            return {}
        names = [record.replica for record in job.records]
        like = state_shapes(job.cohort)
        return self._run.workdir.store.load(job.checkpoint, names, like)

    def _save(
        self,
        records: Mapping[str, Record],
        queue: Queue,
        writer: Writer,
        milestone: bool,
    ) -> None:
        with self._run.stopwatch("saving"):
            since = time.monotonic()
            states = queue.states()
            own_states = {name: states[name] for name in records}
            about = {"records": [record.to_json() for record in records.values()]}
            writer.save(queue.epoch, own_states, about, milestone, since)
            if milestone:
                # A table must not know of a trial whose checkpoint a kill may yet undo.
                writer.finish()
            self._note(records.values())
            self.write()

    def _note(self, records: Iterable[Record]) -> None:
        for record in records:
            before = self._records.get(record.replica)
            merged = before.merged(record) if before else record
            self._records[record.replica] = merged

    def write(self) -> None:
        """Writes the tables of all that is known, with the costs in config.json."""
        costs = self._run.workdir.config.costs if self._run.workdir.config else {}
        write_tables(self._run.workdir.folder, self._records.values(), costs)

    def _tell(self, epoch: int, compiling: bool = False) -> None:
        self._run.on_progress(
            Progress(
                structure=self._label,
                compiling=compiling,
                epoch=epoch,
                epochs=self.job.milestones[-1],
                images_per_second=self._images_per_second,
                work=round(self._work),
                total_work=self._plan.work,
                seconds=self._run.stopwatch.so_far("training"),
                best=self._best[0] if self._best else None,
                best_point=self._best[1] if self._best else "",
            )
        )
