"""What a study still has to train, and what that takes."""

import collections
import dataclasses
import functools
import hashlib
import itertools
import math
import types
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import jax

from mnistopt.data.dataset import Dataset
from mnistopt.engine.checkpoint import Checkpoint, merge_records
from mnistopt.engine.devices import Lanes
from mnistopt.engine.memory import Capacity
from mnistopt.engine.record import Record
from mnistopt.engine.replicas import state_bytes, state_shapes
from mnistopt.models.networks import count_params, multiply_adds
from mnistopt.points import Point, replica_id
from mnistopt.results.tables import trial_id
from mnistopt.training.cohort import Cohort

# Of tracing and compiling, by the arrays of a network: 0.1 to 0.17 for MLPs, CNNs and
# light networks of 6 to 157 arrays (two cores of an AMD EPYC).
_SECONDS_PER_ARRAY = 0.13


@dataclasses.dataclass(frozen=True)
class Job:
    """Replicas of one cohort that start at the same epoch and train to the same one.

    Attributes:
        program: The cohort: the static part of the points.
        cohort: The static part, on which the compiled program depends.
        lanes: The lanes that one device computes side by side.
        records: The replicas, with their history up to `start`.
        start: Epochs done before.
        milestones: Epoch counts to measure on all splits and save for good, ascending.
        checkpoint: The checkpoint to resume from; None at epoch 0.
        in_full: Whether milestones are measured on all splits, or on validation only.
        names: What replicas are called in the checkpoint, of those that continue
            another one with other numbers.
    """

    program: Point
    cohort: Cohort
    lanes: Lanes
    records: tuple[Record, ...]
    start: int
    milestones: tuple[int, ...]
    checkpoint: Checkpoint | None
    in_full: bool = True
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """A folder name that only the same replicas, start and milestones share."""
        names = sorted(record.replica for record in self.records)
        content = repr((names, self.start, self.milestones))
        return hashlib.sha256(content.encode()).hexdigest()[:10]

    @property
    def traits(self) -> tuple[str, ...]:
        """What may tell it from other jobs of its network, in words; "" for nothing."""
        recipe = self.program.recipe
        batch, start = f"batch {recipe.batch_size}", f"from epoch {self.start}"
        how = recipe.optimizer, recipe.schedule, " ".join(self.cohort.stages)
        return batch, *how, start if self.start else ""

    @property
    def epochs(self) -> int:
        """Epochs to train."""
        return self.milestones[-1] - self.start

    def work(self, examples: tuple[int, int, int]) -> int:
        """Returns how many multiplications it takes, as an estimate.

        Args:
            examples: Numbers of training, validation and test examples.
        """
        train, validation, test = examples
        # Gradients take twice the work of the forward pass.
        images = self.epochs * (3 * train + validation)
        if self.in_full:
            images += len(self.milestones) * (train + 2 * test)
        return len(self.records) * images * self.image_work

    @functools.cached_property
    def image_work(self) -> int:
        """Multiplications of one image's forward pass."""
        return multiply_adds(self.cohort.model, self.cohort.image_shape)

    def state_bytes(self) -> int:
        """Bytes of all its replicas' states."""
        return len(self.records) * state_bytes(self.cohort)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is asked, what of it is there, and the jobs that do the rest.

    Attributes:
        points: The requested points; users' modules are named by what they do.
        lanes: Per cohort, by `Point.program`.
        asked: How many trials were asked for.
        there: How many of them have been trained already.
        jobs: The jobs that do the rest.
        groups: The jobs that train together, in the order in which they will run.
        partial: Whether a number changes before the end of what was asked for: jobs end
            there, and the rest is planned when they are done.
        dataset: The data.
        records: The workdir's record of each replica, by name.
        saved: All checkpoints of the workdir.
        needs: The memory and disk that the jobs take.
        available: The memory and disk that are available.
        crossing: Bytes that will cross a network, as `Pool.crossing` returns them.
        work_per_second: Multiplications per second to expect of the other cohorts.
        modules: Descriptions of users' modules for config.json.
        machine: Description of a device with the lanes of the first job, as
            `Device.describe` returns it.
    """

    points: Sequence[Point]
    lanes: Mapping[Point, Lanes]
    asked: int
    there: int
    jobs: tuple[Job, ...]
    dataset: Dataset
    records: Mapping[str, Record]
    saved: Sequence[Checkpoint] = ()
    groups: Sequence[Sequence[Job]] = ()
    partial: bool = False
    needs: Capacity = Capacity(0, 0, 0)
    available: Capacity = Capacity(0, 0, 0)
    crossing: Mapping[str, int] = dataclasses.field(default_factory=dict)
    work_per_second: float = math.inf
    modules: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    machine: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """By the name of a job its network, and what tells it from the others."""
        differ = [
            len(set(column)) > 1 for column in zip(*(j.traits for j in self.jobs))
        ]
        return {
            job.name: ", ".join(
                [
                    str(job.program.structure),
                    *filter(None, itertools.compress(job.traits, differ)),
                ]
            )
            for job in self.jobs
        }

    @property
    def wanted(self) -> frozenset[str]:
        """The names of the trials to train, now or after a number has changed."""
        return frozenset(
            trial_id(record.replica, epochs)
            for job in self.jobs
            for record in job.records
            for epochs in (*job.milestones, record.point.epochs)
        )

    @property
    def examples(self) -> tuple[int, int, int]:
        """How many there are in the training, validation and test splits."""
        splits = (self.dataset.train, self.dataset.validation, self.dataset.test)
        train, validation, test = (len(split.labels) for split in splits)
        return train, validation, test

    @property
    def data_bytes(self) -> int:
        """Bytes of the data on each device."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.dataset))

    @functools.cached_property
    def images_per_second(self) -> dict[str, float]:
        """What each cohort reached before, in this workdir, by its identity."""
        epochs: collections.Counter[str] = collections.Counter()
        seconds: dict[str, float] = {}
        for record in self.records.values():
            name = record.point.program.identity()
            took: list[float] = record.history.get("seconds", [])
            # Those that another replica was trained for took none.
            epochs[name] += sum(map(bool, took))
            seconds[name] = seconds.get(name, 0.0) + sum(took)
        train = self.examples[0]
        return {name: train * epochs[name] / s for name, s in seconds.items() if s}

    @property
    def images(self) -> int:
        """Training images to go through, over all replicas and epochs."""
        return sum(
            len(job.records) * job.epochs * self.examples[0] for job in self.jobs
        )

    @property
    def work(self) -> int:
        """Multiplications that all jobs take, as an estimate."""
        return sum(job.work(self.examples) for job in self.jobs)

    @property
    def compiles(self) -> int:
        """Cohorts to compile."""
        return len({(job.program, job.lanes) for job in self.jobs})

    @property
    def compile_seconds(self) -> float:
        """Estimates the seconds of compiling; none of what was compiled before."""
        new = {
            (job.program, job.lanes): job.cohort
            for job in self.jobs
            if job.program.identity() not in self.images_per_second
        }
        arrays = (
            jax.tree.leaves(state_shapes(cohort).variables) for cohort in new.values()
        )
        return sum(_SECONDS_PER_ARRAY * len(of_cohort) for of_cohort in arrays)

    @property
    def timed(self) -> bool:
        """Whether all cohorts have run before, so that `seconds` knows their speed."""
        speeds = self.images_per_second
        return all(job.program.identity() in speeds for job in self.jobs)

    def seconds(self) -> float:
        """Estimates the training time, by a factor of two where not `timed`."""
        total = 0.0
        for job in self.jobs:
            speed = self.images_per_second.get(job.program.identity())
            if speed is None:
                total += job.work(self.examples) / self.work_per_second
            else:
                total += len(job.records) * job.epochs * self.examples[0] / speed
        return total


def make_plan(
    points: Sequence[Point],
    seeds: Sequence[int],
    dataset: Dataset,
    saved: Sequence[Checkpoint],
    lanes: Mapping[Point, Lanes],
    lost: Mapping[str, Set[int]] = types.MappingProxyType({}),
    in_full: bool = True,
) -> Plan:
    """Returns the jobs that train what is asked for and not there yet.

    Args:
        points: The asked points.
        seeds: The asked seeds.
        dataset: The data.
        saved: All checkpoints of the workdir.
        lanes: Per cohort.
        lost: Epochs that replicas were measured at, of which no checkpoint knows any
            more: those of replicas that are asked for are trained again on the way.
        in_full: Whether they are to be measured on all splits, or only on validation,
            which is measured after each epoch anyway.
    """
    records = merge_records(saved)
    holders: dict[str, list[Checkpoint]] = {}
    for checkpoint in saved:
        for name in checkpoint.replicas:
            holders.setdefault(name, []).append(checkpoint)
    there = 0
    origins: dict[str, str] = {}
    partial = False
    groups: dict[tuple, list[Record]] = {}
    sources: dict[tuple, Checkpoint | None] = {}
    cohorts: dict[Point, Cohort] = {}
    params: dict[Point, int] = {}
    for (point, seed), counts in _asked(points, seeds).items():
        program = point.program
        if program not in params:
            cohort = cohorts[program] = Cohort.of(program, dataset)
            params[program] = count_params(cohort.model, cohort.image_shape)
        name = replica_id(point, seed, dataset.identity)
        record = records.get(name) or Record(name, point, seed, params[program])
        if not record.epochs_done and point.changes:
            record, origin = _inherited(record, records, dataset.identity)
            holders[name] = [
                saved
                for saved in holders.get(origin, ())
                if saved.epoch <= record.epochs_done
            ]
            origins[name] = origin
            if record.epochs_done:
                records[name] = record
        record = record.asking(counts) if in_full else record.asking(rungs=counts)
        if record.stopped:
            most = max(record.point.epochs, *counts)
            records[name] = record.training_to(most)
        kept = {checkpoint.epoch for checkpoint in holders.get(name, ())}
        missing = _missing(record, counts, kept, lost.get(name, set()), in_full)
        there += len(counts - set(missing))
        if not missing:
            continue
        # The newest checkpoint from before what is missing.
        before = [
            checkpoint
            for checkpoint in holders.get(name, ())
            if checkpoint.epoch < missing[0]
        ]
        source = max(before, key=lambda checkpoint: checkpoint.epoch, default=None)
        start = source.epoch if source else 0
        record = record.until(start).training_to(missing[-1])
        folder, full = source.group if source else None, in_full
        if later := [epoch for epoch in record.point.parts if epoch > start]:
            # With the numbers from there on, it goes on from there.
            ahead = tuple(count for count in missing if count <= later[0])
            partial, full = True, in_full and bool(ahead)
            missing = ahead or (later[0],)
        group = (program, start, missing, folder, full)
        groups.setdefault(group, []).append(record)
        sources[group] = source
    jobs = []
    for group, members in groups.items():
        program, start, missing, _, full = group
        static = program, cohorts[program], lanes[program]
        source = sources[group]
        names = {r.replica: origins.get(r.replica, r.replica) for r in members}
        resumed = start, missing, source
        jobs.append(Job(*static, tuple(members), *resumed, full, names))
    asked = len(points) * len(seeds)
    known = dataset, records, saved, (), partial
    return Plan(points, lanes, asked, there, tuple(jobs), *known)


def _missing(
    record: Record, counts: Set[int], kept: Set[int], lost: Set[int], in_full: bool
) -> tuple[int, ...]:
    """Returns the epoch counts that a replica is still to be trained for, ascending.

    Args:
        record: What is known of it.
        counts: The epoch counts that are asked for.
        kept: The epochs of its checkpoints.
        lost: See `make_plan`.
        in_full: See `make_plan`.
    """
    measured, stopped = set(record.measured), record.stopped
    if in_full:
        wanted = counts | lost | (measured - {stopped})
        there = measured & kept
    else:
        # Its history has them, whatever checkpoint it is in.
        wanted = set(counts)
        there = {count for count in counts if count <= record.epochs_done}
    if stopped and in_full and stopped not in measured:
        # A search has stopped it, and did not measure it on all splits.
        wanted = {count for count in wanted if count < stopped} | {stopped}
    elif stopped and stopped in kept:
        # What it would come to later is what it came to then.
        there |= {count for count in wanted if count >= stopped}
    return tuple(sorted(wanted - there))


def _inherited(
    record: Record, records: Mapping[str, Record], fingerprint: str
) -> tuple[Record, str]:
    """Returns a record with what another replica has been trained before it parted.

    Returns:
        The record, whose inherited epochs took no time, and the other's name; its own
        where there is none.
    """
    point, epochs = record.point, math.inf
    while earlier := point.before_last_change():
        point, epochs = earlier[0], min(epochs, earlier[1])
        name = replica_id(point, record.seed, fingerprint)
        alike = point.program == record.point.program
        if alike and (other := records.get(name)) and other.epochs_done:
            return record.following(other.until(int(epochs))), name
    return record, record.replica


def _asked(
    points: Iterable[Point], seeds: Iterable[int]
) -> dict[tuple[Point, int], set[int]]:
    """Returns the asked numbers of epochs per point (its own set aside) and seed."""
    asked: dict[tuple[Point, int], set[int]] = {}
    for point in points:
        for seed in seeds:
            replica = dataclasses.replace(point, epochs=1), seed
            asked.setdefault(replica, set()).add(point.epochs)
    return asked
