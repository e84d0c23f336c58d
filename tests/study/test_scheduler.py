"""Replicas are dropped, added and copied midway, and the others' bits stay."""

import re
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from mnistopt.engine.devices import local_devices
from mnistopt.engine.pool import LocalPool
from mnistopt.engine.queue import Queue
from mnistopt.engine.record import Record
from mnistopt.engine.replicas import Program, put_splits
from mnistopt.engine.rounds import Member, make_rounds
from mnistopt.results.table_files import read_table
from mnistopt.study.loop import Changes, Loop, Run, Scheduler, ToTheEnd
from mnistopt.study.plan import plan_run
from mnistopt.study.progress import Stopwatch
from mnistopt.study.request import Request
from mnistopt.study.workdir import Workdir

GUIDE = Path(__file__).parents[2] / "docs" / "engine.md"
GRID = {"model": "mlp", "hidden": (8,), "lr": [0.001, 0.01, 0.1], "epochs": 4,
        "train_examples": 200}  # fmt: skip


class At2(ToTheEnd):
    """Makes some changes after two epochs of four."""

    def __init__(self, change):
        super().__init__([2, 4])
        self.change = change
        self.met = []

    def decide(self, epoch, records):
        self.met.append((epoch, sorted(records)))
        assert all(epoch in record.measured for record in records.values())
        assert all(record.epochs_done == epoch for record in records.values())
        return self.change(records) if epoch == 2 else Changes()


@pytest.fixture
def train(tmp_path):
    """A function that trains the grid, some change made midway."""

    def make(name, seeds=2, change=lambda records: Changes(), scheduler=None):
        asked = {"workdir": tmp_path / name, "seeds": seeds, "lanes": (1, 2)}
        request = Request.of(**asked, **GRID)
        workdir = Workdir(request.workdir, request.about)
        pool = LocalPool(None, request.cache)
        plan = plan_run(request, workdir, pool, measured=False)
        scheduler = scheduler or At2(change)
        run = Run(request, workdir, pool, Stopwatch(), lambda _: None)
        Loop(plan, run, lambda _: scheduler).run()
        return workdir, plan, scheduler

    return make


def curves(workdir):
    return read_table(workdir.folder, "curves").drop(columns="seconds")


def weights(workdir, replica, epoch):
    (there,) = [
        one
        for one in workdir.store.saved()
        if one.epoch == epoch and replica in one.about["replicas"]
    ]
    return workdir.store.load_part(there, [replica], "weights/last")[replica]


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_dropped_replicas_change_no_bit_of_the_others(train):
    whole, _, seen = train("whole")
    assert [epoch for epoch, _ in seen.met] == [2, 4]
    names = seen.met[0][1]
    dropped = names[1:4]
    some, _, seen = train("some", change=lambda records: Changes(drop=dropped))
    assert seen.met == [(2, names), (4, sorted(set(names) - set(dropped)))]
    wanted, found = curves(whole), curves(some)
    gone = wanted["replica"].isin(dropped) & (wanted["epoch"] > 2)
    pd.testing.assert_frame_equal(
        found, wanted[~gone].reset_index(drop=True), check_exact=True
    )
    for name in names:
        last = 2 if name in dropped else 4
        assert_same_bits(weights(some, name, last), weights(whole, name, last))
    # Those that were dropped cost nothing more.
    assert (found[found["replica"].isin(dropped)].groupby("replica").size() == 2).all()


def test_when_all_are_dropped_the_job_ends(train):
    workdir, _, seen = train("none", change=lambda records: Changes(drop=list(records)))
    assert [epoch for epoch, _ in seen.met] == [2]
    assert set(curves(workdir)["epoch"]) == {1, 2}


def test_the_guide_s_halving_trains_the_better_half_on(train):
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    known = {"Changes": Changes, "Scheduler": Scheduler}
    exec(block, known)  # noqa: S102 - our own guide
    workdir, _, _ = train("halved", scheduler=known["Halving"](last=4))
    table = curves(workdir)
    done = table.groupby("replica")["epoch"].max()
    assert sorted(done) == [1, 1, 1, 2, 4, 4]
    for epoch in (1, 2):
        there = table[table["epoch"] == epoch].set_index("replica")
        on = done[there.index] > epoch
        ranks = there["validation_accuracy"]
        assert ranks[on].min() >= ranks[~on].max()


def test_added_replicas_get_their_own_bits_and_change_no_other(train):
    whole, plan, _ = train("whole", seeds=3)
    late = [record for record in plan.jobs[0].records if record.seed == 2]
    fresh = [Record(one.replica, one.point, one.seed, one.params) for one in late]
    fewer, _, seen = train("fewer", change=lambda records: Changes(add=fresh))
    assert {one.replica for one in late} <= set(seen.met[1][1])
    wanted, found = curves(whole), curves(fewer)
    # They were not there at the first meeting, where the others were measured.
    absent = (wanted["seed"] == 2) & (wanted["epoch"] == 2)
    wanted.loc[absent, ["test_accuracy", "test_loss"]] = np.nan
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    for name in seen.met[1][1]:
        assert_same_bits(weights(fewer, name, 4), weights(whole, name, 4))


def test_a_copied_replica_goes_on_from_the_other_s_state(train):
    def change(records):
        by_lr = {one.point.hparams.lr: name for name, one in records.items()}
        return Changes(copy={by_lr[0.1]: by_lr[0.001]})

    workdir, plan, _ = train("copied", seeds=1, change=change)
    (job,) = plan.jobs
    by_lr = {one.point.hparams.lr: one.replica for one in job.records}
    whole, _, _ = train("whole", seeds=1)
    for lr in (0.001, 0.01):
        name = by_lr[lr]
        assert_same_bits(weights(workdir, name, 4), weights(whole, name, 4))
    # By hand: two epochs at lr 0.001, and then two at 0.1.
    program = Program(
        job.cohort, job.lanes, put_splits(plan.dataset, local_devices()[:1])
    )
    state = None
    for start, lr in ((0, 0.001), (2, 0.1)):
        hparams = job.records[0].point.hparams._replace(lr=lr)
        member = Member("by hand", 0, hparams, state)
        queue = Queue(program, dict.fromkeys(make_rounds(job.lanes, [member]), start))
        list(queue.train(start + 2))
        state = queue.states()["by hand"]
    assert_same_bits(weights(workdir, by_lr[0.1], 4), state.variables)
