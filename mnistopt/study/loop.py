"""The loop over epochs, writing checkpoints and tables."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from mnistopt.engine.checkpoint import Checkpoint
from mnistopt.engine.devices import Lanes, name_of
from mnistopt.engine.memory import check_call, exhaustible
from mnistopt.engine.pool import Pool, Trainer, present
from mnistopt.engine.queue import Done, Queue
from mnistopt.engine.record import Record
from mnistopt.engine.replicas import state_bytes, state_shapes
from mnistopt.engine.writer import Part, Writer
from mnistopt.points import Structure
from mnistopt.results.columns import record_labels
from mnistopt.results.table_files import write_tables
from mnistopt.results.tables import curves_table
from mnistopt.study.group import Group
from mnistopt.study.jobs import Job, Plan
from mnistopt.study.progress import OnProgress, Progress, Stopwatch
from mnistopt.study.request import Request
from mnistopt.study.stopping import Diverged, Stop
from mnistopt.study.workdir import Workdir
from mnistopt.training.cohort import TrainState

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
    """Trains the jobs of plans.

    Attributes:
        job: The job that needs most memory of those that train, or is compiled.
        records: What is known of each replica, by name.
        models: The networks that were trained, by their structure.
        plans: How many it has carried out.
        groups: How many folders of checkpoints it has written.
    """

    job: Job

    def __init__(self, run: Run):
        """Takes the run that it is part of; computes nothing."""
        self._run = run
        self._plan: Plan
        self.records: dict[str, Record] = {}
        self.models: dict[Structure, Any] = {}
        self.plans = self.groups = 0
        # Per cohort, with the lanes, and for how many devices.
        self._programs: dict[tuple, Trainer] = {}
        self._machines: dict[tuple[Any, Lanes], str] = {}
        self._work = self._since = 0.0
        self._images_per_second = 0.0
        self._best: tuple[float, str] | None = None
        self._labels: dict[str, str] = {}

    def run(self, plan: Plan) -> list[Checkpoint]:
        """Trains all jobs of a plan; returns the checkpoints that stay."""
        self._plan, self._work = plan, 0.0
        self._since = self._run.stopwatch.so_far("training")
        self._note(plan.records.values())
        for job in plan.jobs:
            self._note(job.records)
            self.models[job.program.structure] = job.cohort.model
        self.plans += 1
        self.groups += len(plan.jobs)
        self._labels = record_labels(self.records.values())
        for record in self.records.values():
            self._notice(record)
        with self._run.stopwatch("starting"):
            if self.plans == 1:
                self.write()
            if plan.jobs:
                self._run.pool.load(self._run.request.taught)
        kept = []
        for jobs in plan.groups:
            self._run.stop.check()
            with exhaustible():
                kept += self._train_together(jobs, self._compiled(jobs))
        return kept

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

    def _compiled(self, jobs: Sequence[Job]) -> dict[str, Trainer]:
        """Returns the program of each job, by the job's name."""
        # A device that has no round to train needs no program.
        replicas = sum(len(job.records) for job in jobs)
        most = min(replicas, len(present(self._run.pool)))
        budget = self._run.request.memory_budget
        with self._run.stopwatch("compiling"):
            for self.job in jobs:
                key = (self.job.program, self.job.lanes, most)
                if key in self._programs:
                    continue
                self._images_per_second = 0.0
                self._tell(self.job, self.job.start, compiling=True)
                program = self._run.pool.compile(self.job.cohort, self.job.lanes, most)
                lanes = self.job.lanes
                check_call(program.bytes, lanes, present(program), budget)
                self._programs[key] = program
        return {job.name: self._programs[job.program, job.lanes, most] for job in jobs}

    def _train_together(
        self, jobs: Sequence[Job], programs: Mapping[str, Trainer]
    ) -> list[Checkpoint]:
        """Trains jobs that begin at one epoch, and have the same milestones."""
        group = Group(jobs, programs)
        first = jobs[0]
        # A single lane cannot be halved.
        self.job = max(jobs, key=lambda j: (j.lanes != (1, 1), programs[j.name].bytes))
        with self._run.stopwatch("starting"):
            queue = group.queue(self._states(jobs), first.start)
        kept = []
        store = self._run.workdir.store
        with Writer(*[store.group(job.name) for job in jobs]) as writer:
            for meeting in group.meetings():
                milestone = meeting in first.milestones
                in_full = milestone and first.in_full
                self._train(group, queue, meeting, in_full, writer)
                while queue.epoch < meeting:  # It was time to save, or to stop.
                    self._save(group, queue, writer, milestone=False)
                    self._run.stop.check()
                    self._train(group, queue, meeting, in_full, writer)
                leaving = group.stopped()
                if leaving and first.in_full and not milestone:
                    self._measure(group, queue, leaving)
                milestone |= bool(leaving)
                if milestone or writer.due() or self._run.stop.asked:
                    saved = self._save(group, queue, writer, milestone)
                    kept += saved if milestone else []
                self._run.stop.check()
                if leaving:
                    states, epoch = queue.states(), queue.epoch
                    group.drop(leaving)
                    if not group.records:
                        break
                    queue = group.queue(states, epoch)
            with self._run.stopwatch("saving"):
                writer.finish()
        return kept

    def _train(
        self, group: Group, queue: Queue, meeting: int, in_full: bool, writer: Writer
    ) -> None:
        """Trains up to a meeting, or to where it is time to save."""
        with self._run.stopwatch("training"):
            waiting = self._run.stop.check_patience
            for done in queue.train(meeting, in_full, waiting):
                self._note_epoch(group, done)
                waiting()
                if writer.due() or self._run.stop.asked:
                    queue.hold()

    def _measure(self, group: Group, queue: Queue, leaving: Iterable[str]) -> None:
        """Measures on all splits those that train no further."""
        with self._run.stopwatch("training"):
            results = group.queue(queue.states(), 0, leaving).measure()
        for name, result in results.items():
            group.records[name].measure(result.metrics)

    def _note_epoch(self, group: Group, done: Done) -> None:
        """Records and reports the results of an epoch of a round."""
        trained = [group.records[name] for name in done.results]
        job = group.job_of(trained[0].replica)
        computer = done.device, job.lanes
        if computer not in self._machines:
            self._machines[computer] = name_of(done.device.describe(job.lanes))
        for record, result in zip(trained, done.results.values()):
            seconds = done.seconds / len(trained)
            record.append(
                result.metrics,
                result.diverged_at,
                seconds,
                result.cause,
                self._machines[computer],
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
        self._tell(job, done.epoch)

    def _notice(self, record: Record) -> None:
        """Keeps the best validation accuracy that a replica has ever had."""
        correct = record.history.get("validation_correct", [])
        if not correct:
            return
        best = max(correct) / record.history["validation_total"][0]
        if self._best is None or best > self._best[0]:
            self._best = best, self._labels[record.replica]

    def _states(self, jobs: Sequence[Job]) -> dict[str, TrainState]:
        """Returns where the replicas of jobs continue."""
        states: dict[str, TrainState] = {}
        for job in jobs:
            if job.checkpoint is not None:
                replicas = [record.replica for record in job.records]
                # Several may go on from one.
                names = {one: job.names.get(one, one) for one in replicas}
                store, like = self._run.workdir.store, state_shapes(job.cohort)
                some = list(dict.fromkeys(names.values()))
                found = store.load(job.checkpoint, some, like)
                # To each its own memory, which the device takes.
                states |= {
                    one: jax.tree.map(np.array, found[name])
                    if len(some) < len(names)
                    else found[name]
                    for one, name in names.items()
                }
        return states

    def _save(
        self, group: Group, queue: Queue, writer: Writer, milestone: bool
    ) -> list[Checkpoint]:
        with self._run.stopwatch("saving"):
            since = time.monotonic()
            states = queue.states()
            parts = [
                Part(
                    {record.replica: states[record.replica] for record in records},
                    {"records": [record.to_json() for record in records]},
                )
                for records in group.by_job()
            ]
            saved = writer.save(queue.epoch, parts, milestone, since)
            if milestone:
                # A table must not know of a trial whose checkpoint a kill may yet undo.
                writer.finish()
            self._note(group.records.values())
            self.write()
        return saved

    def _note(self, records: Iterable[Record]) -> None:
        for record in records:
            before = self.records.get(record.replica)
            merged = before.merged(record) if before else record
            self.records[record.replica] = merged

    def write(self) -> None:
        """Writes the tables of all that is known, with the costs in config.json."""
        costs = self._run.workdir.config.costs if self._run.workdir.config else {}
        write_tables(self._run.workdir.folder, self.records.values(), costs)

    def _tell(self, job: Job, epoch: int, compiling: bool = False) -> None:
        self._run.on_progress(
            Progress(
                structure=self._plan.labels[job.name],
                compiling=compiling,
                epoch=epoch,
                epochs=job.milestones[-1],
                images_per_second=self._images_per_second,
                work=round(self._work),
                total_work=self._plan.work,
                seconds=self._run.stopwatch.so_far("training") - self._since,
                best=self._best[0] if self._best else None,
                best_point=self._best[1] if self._best else "",
            )
        )
