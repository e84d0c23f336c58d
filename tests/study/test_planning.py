"""What a study still has to train, given the checkpoints that are there."""

import dataclasses
from collections import Counter

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistopt.engine.checkpoint import Checkpoint, merge_records
from mnistopt.engine.devices import Lanes
from mnistopt.models.networks import multiply_adds
from mnistopt.points import replica_id
from mnistopt.study.grid import grid, make_point
from mnistopt.study.jobs import make_plan
from mnistopt.training.cohort import init_state

LANES = Lanes(1, 2)
SMALL = {"model": "mlp", "hidden": (4,)}
PARAMS = 784 * 4 + 4 + 4 * 10 + 10


@pytest.fixture(scope="module")
def plan(tiny):
    """A function that plans a grid of tiny networks."""

    def make(saved=(), seeds=2, lanes=LANES, **axes):
        points = grid(**{**SMALL, "lr": [0.1, 0.2], "epochs": 4} | axes)
        by_cohort = {point.program: lanes for point in points}
        return make_plan(points, range(seeds), tiny, saved, by_cohort)

    return make


@pytest.fixture(scope="module")
def train(tiny, make_record):
    """A function that does what a run would to the checkpoints; see below."""

    def carry_out(plan, saved=(), stop=None, save_every=1):
        """Carries out a plan, or its first `stop` epochs; returns the checkpoints.

        A writer may only go forward: Orbax skips what is older than what is there.
        """
        saved = list(saved)
        left = sum(job.epochs for job in plan.jobs) if stop is None else stop
        for job in plan.jobs:
            for epoch in range(job.start + 1, job.milestones[-1] + 1):
                if left == 0:
                    return saved
                left -= 1
                kept = epoch in job.milestones
                if not kept and epoch % save_every:
                    continue
                mine = [entry for entry in saved if entry.group == job.name]
                assert all(entry.epoch < epoch for entry in mine), "not forward"
                passing = [e for e in mine if e.epoch not in job.milestones]
                for entry in passing:
                    saved.remove(entry)
                records = []
                for record in job.records:
                    assert record.epochs_done == job.start
                    reached = [m for m in job.milestones if m <= epoch]
                    measured = (*record.measured, *reached)
                    records.append(
                        make_record(
                            record.point,
                            record.seed,
                            done=epoch,
                            measured=measured,
                            data=tiny.fingerprint,
                        )
                    )
                about = {
                    "records": [record.to_json() for record in records],
                    "replicas": [record.replica for record in records],
                }
                saved.append(Checkpoint(job.name, epoch, about))
        return saved

    return carry_out


def replicas(job):
    return {(record.point.hparams.lr, record.seed) for record in job.records}


# --- Plans ---


def test_without_checkpoints_all_is_trained_from_the_start(plan, tiny):
    found = plan()
    (job,) = found.jobs
    assert (found.asked, found.there) == (4, 0)
    assert replicas(job) == {(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)}
    assert (job.start, job.milestones, job.checkpoint) == (0, (4,), None)
    assert (job.lanes, job.epochs) == (LANES, 4)
    assert job.program == make_point(**SMALL).program
    assert found.images == 4 * 4 * 30 and found.compiles == 1
    assert found.examples == (30, 20, 25)
    # Images of a byte per pixel, labels of four bytes.
    assert found.data_bytes == (30 + 20 + 25) * (784 + 4)
    for record in job.records:
        assert record.epochs_done == 0 and record.params == PARAMS
        name = replica_id(record.point, record.seed, tiny.fingerprint)
        assert record.replica == name and record.point.epochs == 4


def test_where_all_is_there_nothing_is_trained(plan, train):
    saved = train(plan())
    found = plan(saved)
    assert (found.asked, found.there, found.jobs) == (4, 4, ())
    assert (found.images, found.compiles, found.seconds()) == (0, 0, 0.0)
    fewer = plan(saved, lr=[0.2], seeds=1)
    assert (fewer.asked, fewer.there, fewer.jobs) == (1, 1, ())


def test_one_more_lr_trains_its_own_replicas_only(plan, train):
    found = plan(train(plan()), lr=[0.1, 0.15, 0.2])
    (job,) = found.jobs
    assert (found.asked, found.there) == (6, 4)
    assert replicas(job) == {(0.15, 0), (0.15, 1)}
    assert (job.start, job.checkpoint) == (0, None)
    assert found.images == 2 * 4 * 30


def test_more_seeds_train_the_new_ones_only(plan, train):
    found = plan(train(plan()), seeds=4)
    (job,) = found.jobs
    assert (found.asked, found.there) == (8, 4)
    assert replicas(job) == {(0.1, 2), (0.1, 3), (0.2, 2), (0.2, 3)}


def test_more_epochs_go_on_from_the_last_checkpoint(plan, train):
    saved = train(plan())
    found = plan(saved, epochs=9)
    (job,) = found.jobs
    assert (found.asked, found.there) == (4, 0)
    assert (job.start, job.milestones, job.epochs) == (4, (9,), 5)
    assert job.checkpoint == saved[-1]
    assert found.images == 4 * 5 * 30
    for record in job.records:
        assert (record.epochs_done, record.measured) == (4, [4])
        assert record.point.epochs == 9
    both = plan(saved, epochs=[4, 9])
    assert (both.asked, both.there) == (8, 4)
    assert both.jobs == found.jobs


def test_several_epoch_counts_are_milestones_of_one_run(plan):
    found = plan(epochs=[6, 2, 4])
    (job,) = found.jobs
    assert found.asked == 12
    assert (job.start, job.milestones, job.epochs) == (0, (2, 4, 6), 6)
    assert all(record.point.epochs == 6 for record in job.records)
    assert found.images == 4 * 6 * 30 and found.compiles == 1


def test_fewer_epochs_start_from_what_was_kept_before_them(plan, train):
    anew = plan(train(plan(epochs=6)), epochs=4)
    assert [(job.start, job.milestones) for job in anew.jobs] == [(0, (4,))]
    assert all(record.epochs_done == 0 for job in anew.jobs for record in job.records)

    saved = train(plan(epochs=[3, 6]))
    kept = plan(saved, epochs=4)
    (job,) = kept.jobs
    assert (job.start, job.milestones, job.checkpoint.epoch) == (3, (4,), 3)
    assert all(record.epochs_done == 3 for record in job.records)
    assert (kept.asked, kept.there) == (4, 0)


def test_a_killed_run_goes_on_from_its_newest_checkpoint(plan, train):
    saved = train(plan(epochs=9), stop=7, save_every=3)
    assert [entry.epoch for entry in saved] == [6]
    found = plan(saved, epochs=9)
    (job,) = found.jobs
    assert (found.there, job.start, job.milestones) == (0, 6, (9,))
    assert job.checkpoint == saved[0]
    assert all(record.epochs_done == 6 for record in job.records)
    again = plan(train(found, saved), epochs=9)
    assert (again.there, again.jobs) == (4, ())


def test_a_checkpoint_on_the_way_is_no_measurement_of_its_epoch(plan, train):
    """Only milestones are measured in full, so epoch 6 is to be reached once more."""
    saved = train(plan(epochs=9), stop=7, save_every=3)
    found = plan(saved, epochs=6)
    assert [(job.start, job.milestones) for job in found.jobs] == [(0, (6,))]
    again = plan(train(found, saved), epochs=6)
    assert (again.there, again.jobs) == (4, ())


def test_a_run_killed_before_its_first_checkpoint_begins_again(plan, train):
    saved = train(plan(), stop=3, save_every=4)
    assert saved == [] and plan(saved).jobs == plan().jobs


def test_a_killed_run_keeps_the_milestones_it_has_passed(plan, train):
    saved = train(plan(epochs=[2, 4, 6]), stop=5)
    found = plan(saved, epochs=[2, 4, 6])
    (job,) = found.jobs
    assert (found.asked, found.there) == (12, 8)
    assert (job.start, job.milestones) == (5, (6,))
    assert job.records[0].measured == [2, 4]


def test_replicas_that_stand_at_different_epochs_are_different_jobs(plan, train):
    saved = train(plan(lr=[0.1]))
    saved = train(plan(saved, lr=[0.2], epochs=2), saved)
    found = plan(saved, lr=[0.1, 0.2, 0.3], epochs=6)
    starts = {job.start: {lr for lr, _ in replicas(job)} for job in found.jobs}
    assert starts == {4: {0.1}, 2: {0.2}, 0: {0.3}}
    assert {job.milestones for job in found.jobs} == {(6,)}
    assert found.images == 2 * (2 + 4 + 6) * 30
    assert found.compiles == 1


def test_each_program_is_a_job_and_a_compile_of_its_own(plan):
    found = plan(
        batch_size=[5, 6], optimizer=["adam", "sgd"], dropout=[0.1, 0.2], seeds=1
    )
    assert found.asked == 16 and found.compiles == len(found.jobs) == 4
    for job in found.jobs:
        assert len(job.records) == 4
        assert {record.point.program for record in job.records} == {job.program}
        assert job.cohort.batch_size == job.program.recipe.batch_size
        assert job.cohort.optimizer == job.program.recipe.optimizer
    assert found.images == 16 * 4 * 30


def test_other_data_have_nothing_there(plan, train, tiny):
    saved = train(plan())
    other = dataclasses.replace(tiny, fingerprint="another")
    points = grid(**SMALL, lr=[0.1], epochs=4)
    found = make_plan(points, [0], other, saved, {points[0].program: LANES})
    assert (found.there, len(found.jobs)) == (0, 1)


# --- Names and sizes ---


def test_a_job_s_name_is_that_of_the_same_work_only(plan, train):
    (job,) = plan().jobs
    (same,) = plan(lr=[0.2, 0.1]).jobs
    assert same.name == job.name, "the order of the points is no difference"
    assert plan().jobs[0].name == job.name
    saved = train(plan())
    others = [
        plan(lr=[0.1]),
        plan(seeds=3),
        plan(epochs=5),
        plan(epochs=[2, 4]),
        plan(batch_size=7),
        plan(saved, epochs=6),
        plan(train(plan(), stop=2)),
    ]
    names = [other.jobs[0].name for other in others]
    assert len({job.name, *names}) == 1 + len(others)
    assert all(name.isalnum() for name in names)


def test_state_bytes_are_those_of_the_arrays(plan):
    (job,) = plan().jobs
    state = init_state(job.cohort, 0)
    one = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert job.state_bytes() == 4 * one
    # Parameters, the best ones, and Adam's two moments.
    assert one > 4 * 4 * PARAMS


# --- Time ---


def test_the_time_is_estimated_from_what_ran_before(plan, train):
    """Each record says one second an epoch: 30 images a second."""
    fresh = dataclasses.replace(plan(), work_per_second=1e6)
    assert fresh.seconds() == pytest.approx(fresh.work / 1e6)
    saved = train(plan())
    found = plan(saved, epochs=9)
    assert found.images_per_second == {found.jobs[0].program.identity(): 30.0}
    assert found.seconds() == pytest.approx(found.images / 30)
    # A cohort that has not run is estimated by its work.
    other = plan(saved, batch_size=[32, 5], epochs=9)
    (new,) = (job for job in other.jobs if job.checkpoint is None)
    both = dataclasses.replace(other, work_per_second=1e6).seconds()
    known = (other.images - len(new.records) * 9 * 30) / 30
    assert 0 < known < other.images / 30
    assert both == pytest.approx(known + new.work(other.examples) / 1e6)


def test_jobs_are_named_by_what_tells_them_apart(plan):
    assert list(plan().labels.values()) == ["mlp 4"]
    several = plan(
        hidden=[(4,), (5,)], lr=[0.1], optimizer=["adam", "sgd"], rotate=[0, 9]
    )
    assert len(set(several.labels.values())) == len(several.jobs) == 8
    assert "mlp 5, sgd, affine" in several.labels.values()


def test_compiling_is_estimated_by_arrays_and_for_what_is_new(plan, train):
    # Two arrays for each layer; the second network has one layer more.
    two = plan(hidden=[(4,), (4, 4)])
    assert two.compile_seconds == pytest.approx(plan().compile_seconds * 10 / 4)
    assert plan(train(plan()), lr=[0.3]).compile_seconds == 0


def test_work_counts_training_three_times_and_the_rest_once(plan):
    """30 training, 20 validation and 25 test examples; 4 replicas of 3 epochs."""
    found = plan(epochs=[2, 3])
    (job,) = found.jobs
    passes = 3 * (3 * 30 + 20) + 2 * (30 + 2 * 25)
    assert found.work == 4 * passes * multiply_adds(job.cohort.model)


# --- Records ---


def test_checkpoints_together_know_what_each_knows(plan, train, tiny):
    saved = train(plan(epochs=6))
    saved = train(plan(saved, epochs=[2, 4]), saved)
    records = merge_records(saved)
    assert merge_records(reversed(saved)) == records
    assert len(records) == 4
    for name, record in records.items():
        assert name == replica_id(record.point, record.seed, tiny.fingerprint)
        assert (record.epochs_done, record.measured) == (6, [2, 4, 6])
    assert merge_records([]) == {}


requests = st.fixed_dictionaries(
    {
        "lr": st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1, unique=True),
        "epochs": st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True),
        "seeds": st.integers(1, 2),
        "stop": st.none() | st.integers(0, 9),
        "save_every": st.integers(1, 3),
    }
)


@settings(max_examples=40)
@given(st.lists(requests, min_size=1, max_size=4))
def test_whatever_was_asked_before_the_rest_is_trained_and_nothing_twice(
    plan, train, history
):
    saved = []
    for request in history:
        stop, save_every = request["stop"], request["save_every"]
        asked = {name: request[name] for name in ("lr", "epochs", "seeds")}
        before = merge_records(saved)
        found = plan(saved, **asked)
        seen = Counter(record.replica for job in found.jobs for record in job.records)
        assert set(seen.values()) <= {1}, "a replica is in two jobs"
        missing = 0
        for job in found.jobs:
            assert 0 <= job.start < job.milestones[0]
            assert list(job.milestones) == sorted(set(job.milestones))
            assert (job.checkpoint is None) == (job.start == 0)
            if job.checkpoint:
                assert job.checkpoint in saved and job.checkpoint.epoch == job.start
            for record in job.records:
                missing += len(job.milestones)
                assert record.point.epochs == job.milestones[-1]
                if job.checkpoint:
                    assert record.replica in job.checkpoint.about["replicas"]
                usable = [
                    entry.epoch
                    for entry in saved
                    if entry.epoch < job.milestones[0]
                    and record.replica in entry.about["replicas"]
                ]
                assert job.start == max(usable, default=0)
                known = before.get(record.replica)
                assert not known or not set(job.milestones) & set(known.measured)
        assert found.asked == found.there + missing
        saved = train(found, saved, stop, save_every)
        # A run that is left alone finishes what was asked, and for good.
        finished = plan(train(plan(saved, **asked), saved), **asked)
        assert finished.jobs == () and finished.there == finished.asked
