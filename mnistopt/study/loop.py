"""The loop over epochs: trains a plan's jobs, writing checkpoints and tables."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mnistopt.data.splits import Split
from mnistopt.engine.checkpoint import Contents, Store, Writer
from mnistopt.engine.replicas import Mesh, Program, Round, first_state, pack
from mnistopt.results.labels import point_labels
from mnistopt.results.record import Record
from mnistopt.results.tables import curves_table, write_tables
from mnistopt.study.planning import Job, Plan
from mnistopt.training.train import TrainState


class Progress(NamedTuple):
    """What a run tells its callback: before each compile, and after each round.

    Attributes:
        structure: The network being trained, in words.
        replicas: How many of it are being trained.
        lanes: How many of them are computed at once, over all devices.
        compiling: Whether its program is being compiled.
        epoch: The epoch being trained, from 1.
        epochs: The last one.
        images_per_second: In the last epoch of its replicas; 0 before the first.
        work: Multiplications done in this run, as `planning.Job.work` counts them.
        total_work: Of how many.
        seconds: That they took, without compiling.
        best: Best validation accuracy of a replica so far; None before the first.
        best_point: The name of its point; "" before the first.
    """

    structure: str
    replicas: int
    lanes: int
    compiling: bool
    epoch: int
    epochs: int
    images_per_second: float
    work: int
    total_work: int
    seconds: float
    best: float | None
    best_point: str = ""

    @property
    def figures(self) -> str:
        """Where it is, in words that fit a line of 80 columns beside the network's."""
        if self.compiling:
            return "compiling"
        minutes, seconds = divmod(round(self.seconds_left or 0), 60)
        return (
            f"epoch {self.epoch}/{self.epochs}  {self.images_per_second:,.0f} images/s"
            f"  {minutes}:{seconds:02d} left"
        )

    @property
    def leader(self) -> str:
        """The best so far, in words; "" before the first."""
        if self.best is None:
            return ""
        return f"best {100 * self.best:.1f} % by validation, {self.best_point}"

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None before the first round."""
        if not self.work:
            return None
        return (self.total_work - self.work) * self.seconds / self.work


OnProgress = Callable[[Progress], None]
OnEpoch = Callable[[pd.DataFrame], None]


class Loop:
    """Trains the jobs of one plan."""

    def __init__(
        self,
        plan: Plan,
        records: Mapping[str, Record],
        store: Store,
        workdir: Path,
        mesh: Mesh,
        splits: tuple[Split, Split, Split],
        on_progress: OnProgress,
        on_epoch: OnEpoch | None = None,
    ):
        """Prepares, computing nothing.

        Args:
            plan: What to train.
            records: What the workdir knows of each replica.
            store: Where the checkpoints are.
            workdir: Where the tables go.
            mesh: The devices.
            splits: The examples, on the devices.
            on_progress: Called with a `Progress`.
            on_epoch: Called with the rows of curves.csv that a round has just made.
        """
        self._plan, self._store, self._workdir = plan, store, workdir
        self._mesh, self._splits = mesh, splits
        self._on_progress, self._on_epoch = on_progress, on_epoch
        self._records = dict(records)
        for job in plan.jobs:
            self._note(job.records)
        self._programs: dict[tuple, Program] = {}
        self._work = 0
        self._seconds = 0.0
        self._images_per_second = 0.0
        self._best: tuple[float, str] | None = None
        self._labels = _labels(self._records.values())
        for record in self._records.values():
            self._notice(record)

    def run(self) -> dict[str, float]:
        """Trains all jobs; returns the seconds each structure took to compile."""
        self._write()
        for job in self._plan.jobs:
            self._run_job(job, self._program(job))
        self._write()
        seconds: dict[str, float] = {}
        for (point, _), program in self._programs.items():
            before = seconds.get(str(point.structure), 0.0)
            seconds[str(point.structure)] = before + program.compile_seconds
        return seconds

    def _program(self, job: Job) -> Program:
        key = (job.program, job.lanes)
        if key not in self._programs:
            self._images_per_second = 0.0
            self._tell(job, job.start, compiling=True)
            self._programs[key] = Program(
                job.replica, job.lanes, self._mesh, self._splits
            )
        return self._programs[key]

    def _run_job(self, job: Job, program: Program) -> None:
        states = self._states(job)
        rows = pack([record.seed for record in job.records], job.lanes)
        hparams = [record.point.hparams for record in job.records]
        rounds = [
            Round(program, rows[i : i + program.rows], states, hparams)
            for i in range(0, len(rows), program.rows)
        ]
        del states
        with self._store.writer(job.name, keep=job.milestones) as writer:
            for epoch in range(job.start, job.milestones[-1]):
                self._run_epoch(job, program, rounds, epoch)
                if writer.due(epoch + 1):
                    self._save(job, rounds, writer, epoch + 1)

    def _run_epoch(
        self, job: Job, program: Program, rounds: list[Round], epoch: int
    ) -> None:
        start = time.perf_counter()
        for one in rounds:
            program.train_epoch(one, epoch, epoch + 1 in job.milestones)
        for one in rounds:
            results = one.read((one.metrics, one.state.diverged_at))
            seconds = time.perf_counter() - start
            start += seconds
            for member, (metrics, diverged_at) in results.items():
                record = job.records[member]
                record.append(metrics, diverged_at, seconds / len(results))
                self._notice(record)
            images = len(results) * self._plan.examples[0]
            self._images_per_second = images / seconds
            share = len(results) / len(job.records)
            self._work += round(share * job.work(self._plan.examples) / job.epochs)
            self._seconds += seconds
            if self._on_epoch:
                trained = [job.records[member] for member in results]
                self._on_epoch(curves_table(trained, since=epoch))
            self._tell(job, epoch + 1)

    def _notice(self, record: Record) -> None:
        """Keeps the best validation accuracy that a replica has ever had."""
        correct = record.history.get("validation_correct", [])
        if not correct:
            return
        best = max(correct) / record.history["validation_total"][0]
        if self._best is None or best > self._best[0]:
            self._best = best, self._labels[record.replica]

    def _states(self, job: Job) -> list[TrainState]:
        seeds = {record.seed for record in job.records}
        first = {seed: first_state(job.replica, seed) for seed in seeds}
        if job.saved is None:
            return [first[record.seed] for record in job.records]
        names = [record.replica for record in job.records]
        like = _contents(next(iter(first.values())))
        loaded = self._store.load(job.saved, names, like)
        return [_state(loaded[name]) for name in names]

    def _save(self, job: Job, rounds: list[Round], writer: Writer, epoch: int) -> None:
        states = {k: v for one in rounds for k, v in one.read(one.state).items()}
        contents = {
            record.replica: _contents(states[i]) for i, record in enumerate(job.records)
        }
        about = {"records": [record.to_json() for record in job.records]}
        writer.save(epoch, contents, about)
        self._note(job.records)
        self._write()

    def _note(self, records) -> None:
        for record in records:
            known = self._records.get(record.replica)
            merged = known.merged(record) if known else record
            self._records[record.replica] = merged

    def _write(self) -> None:
        write_tables(self._workdir, self._records.values())

    def _tell(self, job: Job, epoch: int, compiling: bool = False) -> None:
        self._on_progress(
            Progress(
                structure=str(job.program.structure),
                replicas=len(job.records),
                lanes=job.lanes.seeds * job.lanes.points * self._mesh.size,
                compiling=compiling,
                epoch=epoch,
                epochs=job.milestones[-1],
                images_per_second=self._images_per_second,
                work=self._work,
                total_work=self._plan.work,
                seconds=self._seconds,
                best=self._best[0] if self._best else None,
                best_point=self._best[1] if self._best else "",
            )
        )


def _labels(records: Iterable[Record]) -> dict[str, str]:
    """Returns the names of the replicas' points, by replica."""
    points = {one.replica: one.point for one in records}
    rows = [{"point": point.identity(), **point.row()} for point in points.values()]
    names = point_labels(pd.DataFrame(rows)) if rows else {}
    return {replica: names[point.identity()] for replica, point in points.items()}


def _contents(state: TrainState) -> Contents:
    rest = state._replace(params=None, best_params=None)
    return Contents(last=state.params, best=state.best_params, rest=rest)


def _state(contents: Contents) -> TrainState:
    return contents.rest._replace(params=contents.last, best_params=contents.best)
