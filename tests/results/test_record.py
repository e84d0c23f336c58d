"""The record of a replica: growing, cutting, merging, and its JSON."""

import copy
import json
import math

import numpy as np
import pytest

from mnistopt.engine.record import Record
from mnistopt.study.grid import make_point
from mnistopt.training.metrics import Metrics
from mnistopt.training.train import EpochMetrics

POINT = make_point(model="mlp", hidden=(8, 4), epochs=5)


def metrics(epoch, in_full):
    """An epoch's metrics as they come from a device; a number tells where it was."""

    def one(start):
        return Metrics(
            np.int32(start + epoch), np.int32(epoch), np.float32(start / (1 + epoch))
        )

    nothing = Metrics(np.int32(0), np.int32(0), np.float32(0))
    rest = [one(start) if in_full else nothing for start in (300, 400, 500)]
    return EpochMetrics(one(100), one(200), *rest)


def test_epochs_are_added_as_plain_numbers():
    record = Record("name", POINT, seed=3, params=7)
    assert (record.epochs_done, record.measured) == (0, [])
    record.append(metrics(1, in_full=False), np.int32(-1), 0.5, "", "a")
    record.append(metrics(2, in_full=True), np.int32(12), 0.25, "loss", "b")
    assert (record.epochs_done, record.measured) == (2, [2])
    assert record.history == {
        "running_total": [101, 102],
        "running_correct": [1, 2],
        "running_loss_sum": [50.0, float(np.float32(100 / 3))],
        "validation_total": [201, 202],
        "validation_correct": [1, 2],
        "validation_loss_sum": [100.0, float(np.float32(200 / 3))],
        "train_total": [0, 302],
        "train_correct": [0, 2],
        "train_loss_sum": [0.0, 100.0],
        "test_total": [0, 402],
        "test_correct": [0, 2],
        "test_loss_sum": [0.0, float(np.float32(400 / 3))],
        "best_test_total": [0, 502],
        "best_test_correct": [0, 2],
        "best_test_loss_sum": [0.0, float(np.float32(500 / 3))],
        "diverged_at": [-1, 12],
        "seconds": [0.5, 0.25],
        "cause": ["", "loss"],
        "machine": ["a", "b"],
    }
    for values in record.history.values():
        assert {type(value) for value in values} <= {int, float, str}
    assert (record.machine(1), record.machine(2)) == ("a", "a+b")


def test_a_record_comes_through_json_as_it_was(make_record):
    odd = [0.1 + 0.2, math.nan, math.inf, 1e-320]
    record = make_record(POINT, 3, done=4, measured=(2, 4), test_loss_sum=odd)
    again = Record.from_json(json.loads(json.dumps(record.to_json())))
    assert repr(again) == repr(record)
    assert again.point == POINT and again.measured == [2, 4]
    fresh = Record("name", POINT, 0, 9)
    assert Record.from_json(json.loads(json.dumps(fresh.to_json()))) == fresh


@pytest.mark.parametrize("epochs", [0, 1, 3, 5, 9])
def test_a_record_is_cut_to_what_it_was(make_record, epochs):
    record = make_record(POINT, measured=(2, 5), seconds=[1.0, 2.0, 3.0, 4.0, 5.0])
    before = copy.deepcopy(record)
    cut = record.until(epochs)
    assert cut.epochs_done == min(epochs, 5)
    assert cut.measured == [epoch for epoch in (2, 5) if epoch <= epochs]
    assert cut.history["seconds"] == [1.0, 2.0, 3.0, 4.0, 5.0][:epochs]
    # What is added to the cut one does not come back to the record.
    cut.append(metrics(1, in_full=True), -1, 9.0, "", "here")
    assert record == before


def test_merging_takes_the_longer_history_and_all_measurements(make_record):
    short = make_record(POINT, measured=(2, 3), done=3, train_correct=[0, 20, 30])
    long = make_record(POINT, measured=(5,), train_correct=[0, 0, 0, 0, 50])
    before = copy.deepcopy((short, long))
    for merged in (short.merged(long), long.merged(short)):
        assert merged.measured == [2, 3, 5]
        assert merged.history["train_correct"] == [0, 20, 30, 0, 50]
        assert merged.history["train_total"] == [0, 100, 100, 0, 100]
        assert merged.history["train_loss_sum"] == [0.0, 100.0, 100.0, 0.0, 100.0]
        for split in ("test", "best_test"):
            assert merged.history[f"{split}_total"] == [0, 200, 200, 0, 200]
        # An epoch is of one run: that which measured it in full.
        wanted = [*long.history["seconds"]]
        wanted[1:3] = short.history["seconds"][1:3]
        assert merged.history["seconds"] == wanted
        assert merged.point.epochs == 5
    assert (short, long) == before


def test_merging_with_a_record_that_has_not_begun(make_record):
    record = make_record(POINT, measured=(2, 5))
    fresh = Record(record.replica, POINT, 0, record.params)
    cut = record.until(0)
    for empty in (fresh, cut):
        assert record.merged(empty) == record and empty.merged(record) == record
