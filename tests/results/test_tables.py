"""The tables of a study, from hand-made records, and the files they are kept in."""

import dataclasses
import math
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from points import changed
from scipy import special, stats

from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.manifest import MANIFEST
from mnistopt.results.columns import network_name
from mnistopt.results.table_files import TABLES, read_table, write_tables
from mnistopt.results.tables import (
    MEASURED,
    best_trial,
    curves_table,
    summary_table,
    trial_id,
    trials_table,
)
from mnistopt.study.grid import make_point

COMMON = {"optimizer": "adam", "batch_size": 64, "dropout": 0.3, "epochs": 3}
MLP = make_point(model="mlp", hidden=(8, 4), lr=0.01, **COMMON)
CNN = make_point(model="cnn", channels=(2, 3), dense=5, lr=0.001, **COMMON)

AXES = (
    *("model", "hidden", "channels", "dense", "optimizer", "batch_size", "lr"),
    *("dropout", "weight_decay", "label_smoothing", "epochs"),
)

# Of the MLP's network; nothing is known of the others'.
COSTS = {
    network_name(MLP.structure): {
        **{"multiply_adds": 45, "bytes": 67},
        **{"latency_1_ms": 0.1, "latency_256_ms": 0.3},
    }
}


def at(lr, **changes):
    return changed(MLP, lr=lr, **changes)


def named(table):
    """The rows of a table by their lr."""
    return dict(zip(table["lr"], table.to_dict("records")))


@pytest.fixture
def records(make_record):
    """A bit of everything: two models, seeds, epoch counts, and both misfortunes."""
    rng = np.random.default_rng(0)
    found = []
    for point in (CNN, MLP, at(0.1), changed(CNN, dense=6)):
        for seed in range(3):
            columns = {
                f"{split}_{name}": (rng.random(3) * total).astype(kind).tolist()
                for split, total in (("validation", 50), ("test", 200))
                for name, kind in (("correct", int), ("loss_sum", float))
            }
            seconds = rng.random(3).tolist()
            found.append(
                make_record(point, seed, measured=(2, 3), seconds=seconds, **columns)
            )
    found.append(make_record(at(1e6), 0, diverged_at=[-1, 4, 4]))
    found.append(make_record(at(1e-3), 0, done=1, measured=()))
    return found


# --- Trials ---


@pytest.mark.parametrize(
    ("diverged_at", "epoch", "accuracy"),
    [([-1, -1, 4], 2, 0.6), ([0, 0, 0], None, None)],
)
def test_the_best_epoch_is_one_before_it_diverged(
    make_record, diverged_at, epoch, accuracy
):
    """As the weights are that are kept as the best ones."""
    correct = {"validation_correct": [20, 30, 45]}
    record = make_record(MLP, measured=(3,), diverged_at=diverged_at, **correct)
    (row,) = trials_table([record]).to_dict("records")
    assert row["status"] == "diverged" and row["validation_accuracy"] == 0.9
    found = (
        row["best_epoch"],
        row["best_validation_accuracy"],
        row["best_test_accuracy"],
    )
    if epoch is None:
        assert pd.isna([*found]).all() and pd.isna(row["convergence_epoch"])
    else:
        assert found == (epoch, accuracy, 0.5) and row["convergence_epoch"] == epoch


def test_a_trial_has_the_numbers_of_its_counts_exactly(make_record):
    record = make_record(
        MLP,
        seed=7,
        measured=(3,),
        validation_correct=[30, 45, 44],
        validation_loss_sum=[50.0, 25.0, 20.0],
        test_correct=[0, 0, 160],
        test_loss_sum=[0.0, 0.0, 30.0],
        best_test_correct=[0, 0, 151],
        train_correct=[0, 0, 97],
        train_loss_sum=[0.0, 0.0, 12.0],
        seconds=[0.5, 0.25, 0.125],
    )
    table = trials_table([record], COSTS)
    plain = table.astype(object).where(table.notna(), None)
    assert plain.to_dict("records") == [
        {
            "trial": f"{record.replica}-3",
            "replica": record.replica,
            "point": MLP.identity(),
            "model": "mlp",
            "hidden": "8x4",
            "channels": None,
            "dense": None,
            "optimizer": "adam",
            "batch_size": 64,
            "lr": 0.01,
            "dropout": 0.3,
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
            "epochs": 3,
            "seed": 7,
            "status": "finished",
            "cause": "",
            "epochs_done": 3,
            "params": 123,
            **COSTS[network_name(MLP.structure)],
            "train_accuracy": 0.97,
            "train_loss": 0.12,
            "validation_accuracy": 0.88,
            "validation_loss": 0.4,
            "test_accuracy": 0.8,
            "test_loss": 0.15,
            "overfitting": pytest.approx(0.17),
            "convergence_epoch": 2,
            "best_epoch": 2,
            "best_validation_accuracy": 0.9,
            "best_test_accuracy": 0.755,
            "seconds": 0.875,
            "machine": "here",
        }
    ]


def test_the_best_epoch_is_the_first_of_equals(make_record):
    record = make_record(
        MLP, validation_correct=[40, 45, 45], best_test_correct=[0, 0, 100]
    )
    (row,) = trials_table([record]).to_dict("records")
    assert (row["best_epoch"], row["best_test_accuracy"]) == (2, 0.5)


def test_a_replica_has_a_trial_for_each_epoch_count_that_was_asked_for(make_record):
    curve = [10, 50, 20, 30, 40]
    point = dataclasses.replace(MLP, epochs=5)
    whole = make_record(point, measured=(1, 3, 5), validation_correct=curve)
    table = trials_table([whole])
    assert table["epochs"].tolist() == [1, 3, 5]
    assert table["trial"].tolist() == [trial_id(whole.replica, n) for n in (1, 3, 5)]
    assert table["point"].nunique() == 3
    assert table["validation_accuracy"].tolist() == [0.2, 0.4, 0.8]
    assert table["seconds"].tolist() == [1.0, 3.0, 5.0]
    # Each is what a record would give that had ended there.
    for epochs in (1, 3):
        ended = dataclasses.replace(
            whole.until(epochs), point=dataclasses.replace(point, epochs=epochs)
        )
        same = table[table["epochs"] <= epochs].reset_index(drop=True)
        assert_frame_equal(trials_table([ended]), same)


def test_a_replica_that_stopped_has_a_row_for_every_asked_count(make_record):
    point = make_point(model="mlp", hidden=(8,), epochs=9, patience=2)
    correct = [20, 30, 30, 29]  # nothing above the second: it stops after the fourth
    record = make_record(
        point, done=4, measured=(2, 4), validation_correct=correct
    ).asking([2, 4, 6, 9])
    table = trials_table([Record.from_json(record.to_json())])
    assert table["epochs"].tolist() == [2, 4, 6, 9]
    assert table["epochs_done"].tolist() == [2, 4, 4, 4]
    assert set(table["status"]) == {"finished"}
    assert table["validation_accuracy"].tolist() == [0.6, 0.58, 0.58, 0.58]
    assert table["trial"].is_unique


def test_an_unfinished_trial_has_a_row_without_results(make_record):
    stopped = make_record(dataclasses.replace(MLP, epochs=5), done=4, measured=(2,))
    fresh = make_record(CNN, done=0, measured=())
    table = trials_table([stopped, fresh])
    assert table["status"].tolist() == ["unfinished", "finished", "unfinished"]
    assert table["epochs"].tolist() == [3, 2, 5]
    assert table["epochs_done"].tolist() == [0, 2, 4]
    assert table["seconds"].tolist() == [0.0, 2.0, 4.0]
    unfinished = table[table["status"] == "unfinished"]
    assert unfinished[list(MEASURED)].isna().all(axis=None)
    assert unfinished["best_epoch"].isna().all()


def test_a_trial_that_diverged_later_had_finished_before(make_record):
    point = dataclasses.replace(MLP, epochs=4)
    record = make_record(point, measured=(2, 4), diverged_at=[-1, -1, 9, 9])
    assert trials_table([record])["status"].tolist() == ["finished", "diverged"]


def test_trials_are_sorted_by_hyper_parameters_and_seed(records):
    table = trials_table(records)
    rows = table[["model", "dense", "lr", "epochs", "seed"]].to_dict("split")["data"]
    cnns = [["cnn", d, 1e-3, n, s] for d in (5, 6) for n in (2, 3) for s in range(3)]
    assert rows[:12] == cnns
    assert [row[2:] for row in rows[12:]] == [
        [1e-3, 3, 0],
        *([lr, n, s] for lr in (0.01, 0.1) for n in (2, 3) for s in range(3)),
        [1e6, 3, 0],
    ]


# --- Curves ---


def test_curves_have_a_row_per_epoch_with_the_counts_of_training(make_record):
    record = make_record(
        CNN,
        seed=2,
        done=2,
        running_correct=[45, 80],
        running_loss_sum=[180.0, 9.0],
        validation_correct=[10, 20],
        validation_loss_sum=[100.0, 25.0],
        test_correct=[0, 150],
        test_loss_sum=[0.0, 20.0],
        seconds=[3.0, 2.0],
    )
    table = curves_table([record])
    # Only the last epoch was asked for.
    assert table[["test_accuracy", "test_loss"]].isna().all(axis=1).tolist() == [1, 0]
    shown = table.drop(columns=["test_accuracy", "test_loss"]).astype(object)
    first, second = shown.where(shown.notna(), None).to_dict("records")
    assert table["test_accuracy"].iloc[1] == 0.75 and table["test_loss"].iloc[1] == 0.1
    point = {
        "replica": record.replica,
        **{"model": "cnn", "hidden": None, "channels": "2x3", "dense": 5},
        **{
            "optimizer": "adam",
            "batch_size": 64,
            "lr": 0.001,
            "dropout": 0.3,
            "weight_decay": 0.0,
        },
        **{"label_smoothing": 0.0, "seed": 2},
    }
    assert first == point | {
        "epoch": 1,
        **{"train_accuracy": 0.5, "train_loss": 2.0},
        **{"validation_accuracy": 0.2, "validation_loss": 2.0},
        "seconds": 3.0,
    }
    assert second == point | {
        "epoch": 2,
        **{"train_accuracy": 80 / 90, "train_loss": 0.1},
        **{"validation_accuracy": 0.4, "validation_loss": 0.5},
        "seconds": 2.0,
    }


def test_curves_have_all_epochs_of_all_replicas(records):
    table = curves_table(records)
    assert len(table) == sum(record.epochs_done for record in records) == 40
    assert not table.duplicated(["replica", "epoch"]).any()


# --- Summary ---


def test_summary_is_what_pandas_and_scipy_say(records):
    trials = trials_table(records)
    summary = summary_table(trials).set_index("point")
    assert len(summary) == trials["point"].nunique() == 10
    finished = trials[trials["status"] == "finished"].groupby("point")
    for name in MEASURED:
        values = finished[name]
        half = values.sem() * stats.t.ppf(0.975, 2)
        half = half.where(half > 0)  # equal seeds do not know their spread
        rows = summary.loc[half.index]
        for kind, wanted in (("mean", values.mean()), ("std", values.std())):
            found = rows[f"{name}_{kind}"].astype(float)
            np.testing.assert_allclose(found, wanted.astype(float), rtol=1e-9)
        ends = [rows[f"{name}_{end}"].astype(float) for end in ("low", "high")]
        np.testing.assert_allclose(rows[f"{name}_ci95"], (ends[1] - ends[0]) / 2)
        if name.endswith("_accuracy"):
            mean = values.mean()
            ends = [special.logit(end) for end in ends]
            half = half / (mean * (1 - mean))
        elif name.endswith(("_loss", "convergence_epoch")):
            ends, half = [np.log(end) for end in ends], half / values.mean()
        np.testing.assert_allclose((ends[1] - ends[0]) / 2, half, rtol=1e-9, atol=1e-9)
    everything = trials.groupby("point")
    np.testing.assert_allclose(
        summary["seconds"], everything["seconds"].sum()[summary.index]
    )
    for status, column in (
        ("finished", "n"),
        ("diverged", "diverged"),
        ("unfinished", "unfinished"),
    ):
        counts = (trials["status"] == status).groupby(trials["point"]).sum()
        assert summary[column].to_dict() == counts.to_dict()
    assert (
        (summary["n"] + summary["diverged"] + summary["unfinished"]).isin([1, 3]).all()
    )


def test_a_point_with_fewer_seeds_is_shown_and_not_announced(make_record):
    """One lucky seed does not outrank three of another point."""
    lucky, solid = changed(MLP, lr=0.5), MLP
    records = [make_record(lucky, 0, validation_correct=[0, 0, 49])]
    records += [
        make_record(solid, seed, validation_correct=[0, 0, 45 + seed])
        for seed in range(3)
    ]
    trials = trials_table(records)
    summary = summary_table(trials)
    assert summary["n"].tolist() == [3, 1]
    assert summary["choice"].tolist() == ["", "fewer seeds"]
    means = summary["validation_accuracy_mean"].tolist()
    assert means == pytest.approx([0.92, 0.98])
    assert best_trial(trials) == f"{records[3].replica}-3"


def test_points_that_cannot_be_told_from_the_best_are_tied_with_it(make_record):
    curves = {1e-2: (41, 43, 42, 44), 1e-3: (42, 42, 43, 42), 1e-4: (30, 33, 31, 33)}
    records = [
        make_record(changed(MLP, lr=lr), seed, validation_correct=[0, 0, count])
        for lr, counts in curves.items()
        for seed, count in enumerate(counts)
    ]
    summary = summary_table(trials_table(records)).set_index("lr")
    assert summary["choice"].to_dict() == {1e-2: "best", 1e-3: "tied", 1e-4: ""}


def test_where_all_have_diverged_there_is_no_best(make_record):
    records = [make_record(MLP, seed, diverged_at=[0, 0, 0]) for seed in (0, 1)]
    with pytest.raises(InputError, match="all 2 trials have diverged"):
        best_trial(trials_table(records))


def test_diverged_and_unfinished_seeds_have_no_part_in_the_means(make_record):
    right, broken = [50] * 3, [5] * 3
    records = [
        make_record(MLP, 0, validation_correct=right),
        make_record(MLP, 1, validation_correct=broken, diverged_at=[0, 0, 0]),
        make_record(MLP, 2, validation_correct=broken[:2], done=2, measured=()),
    ]
    (row,) = summary_table(trials_table(records)).to_dict("records")
    assert (row["n"], row["diverged"], row["unfinished"]) == (1, 1, 1)
    assert row["validation_accuracy_mean"] == 1.0
    assert math.isnan(row["validation_accuracy_std"])
    assert math.isnan(row["validation_accuracy_ci95"])
    assert row["seconds"] == 8.0


def test_points_are_ranked_by_validation_and_by_trouble(make_record):
    def make(lr, accuracies, losses=(1.0, 1.0), broken=False, done=3):
        records = []
        for seed, (accuracy, loss) in enumerate(zip(accuracies, losses)):
            columns = {
                "validation_correct": [round(50 * accuracy)] * done,
                "validation_loss_sum": [50 * loss] * done,
                "diverged_at": [2 if broken and seed else -1] * done,
            }
            measured = () if done < 3 else (3,)
            records.append(
                make_record(at(lr), seed, done=done, measured=measured, **columns)
            )
        return records

    records = [
        *make(1.0, (0.8, 0.8)),
        *make(2.0, (0.9, 0.9), losses=(0.3, 0.5)),
        *make(3.0, (0.88, 0.92), losses=(0.1, 0.5)),  # a tie but for the loss
        *make(4.0, (0.98, 0.98), broken=True),
        *make(5.0, (0.2, 0.2)),
        *make(6.0, (0.99, 0.99), done=2),
        make_record(at(7.0), 0, diverged_at=[0, 0, 0]),
    ]
    ranked = summary_table(trials_table(records))["lr"].tolist()
    assert ranked[:5] == [3.0, 2.0, 1.0, 5.0, 4.0]
    assert set(ranked[5:]) == {6.0, 7.0}


@given(
    counts=st.lists(st.integers(300, 500), min_size=2, max_size=7),
    moved=st.integers(1, 60),
    losses=st.permutations((1.0, 2.0)),
)
def test_equally_many_right_answers_are_ranked_by_loss(
    make_record, counts, moved, losses
):
    """However they are spread over the seeds: means of floats would decide by bits."""
    other = [counts[0] - moved, *counts[1:-1], counts[-1] + moved]
    records = [
        make_record(
            at(lr),
            seed,
            validation_total=[577] * 3,
            validation_correct=[count] * 3,
            validation_loss_sum=[577 * lr] * 3,
        )
        for lr, spread in zip(losses, (counts, other))
        for seed, count in enumerate(spread)
    ]
    summary = summary_table(trials_table(records))
    assert summary["lr"].tolist() == [1.0, 2.0]
    assert summary["choice"].tolist() == ["best", "tied"]


def test_the_best_trial_is_the_best_of_the_best_point(make_record):
    def make(lr, seed, correct, loss):
        columns = {"validation_correct": [correct] * 3}
        columns["validation_loss_sum"] = [float(loss)] * 3
        return make_record(at(lr), seed, **columns)

    good = [make(1.0, 0, 45, 9), make(1.0, 1, 46, 9), make(1.0, 2, 46, 8)]
    lucky = [make(2.0, 0, 50, 1), make(2.0, 1, 30, 9), make(2.0, 2, 30, 9)]
    again = make(1.0, 3, 46, 8)
    table = trials_table([*lucky, *good, again])
    assert best_trial(table) == trial_id(good[2].replica, 3)
    # A diverged seed is never chosen, whatever it reached.
    broken = make(1.0, 4, 50, 0)
    broken.history["diverged_at"] = [2, 2, 2]
    alone = trials_table([*good, again, broken])
    assert best_trial(alone) == trial_id(good[2].replica, 3)


def test_without_a_finished_trial_there_is_no_best(make_record):
    records = [
        make_record(at(1.0), done=2, measured=()),
        make_record(at(2.0), diverged_at=[0, 0, 0]),
    ]
    for some in (records, []):
        with pytest.raises(InputError, match="no trial has finished"):
            best_trial(trials_table(some))


@pytest.mark.parametrize("seed", range(3))
def test_the_test_split_has_no_say_in_order_and_choice(records, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(records))
    changed = []
    for record, other in zip(records, [records[i] for i in order]):
        done = record.epochs_done
        history = dict(record.history)
        for name in ("test_correct", "test_loss_sum"):
            history[name] = (other.history[name] * 3)[:done][::-1]
        changed.append(dataclasses.replace(record, history=history))
    one, two = trials_table(records), trials_table(changed)
    assert not one["test_accuracy"].equals(two["test_accuracy"])
    assert best_trial(one) == best_trial(two)
    assert summary_table(one)["point"].tolist() == summary_table(two)["point"].tolist()
    for name in ("best_epoch", "convergence_epoch", "status", "trial"):
        assert one[name].equals(two[name])


# --- Order, and files ---


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(14)))
def test_tables_do_not_depend_on_the_order_of_the_records(records, order):
    shuffled = [records[i] for i in order]
    one, two = trials_table(records), trials_table(shuffled)
    assert_frame_equal(one, two, check_exact=True)
    assert_frame_equal(summary_table(one), summary_table(two), check_exact=True)
    curves = curves_table(records), curves_table(shuffled)
    assert_frame_equal(*curves, check_exact=True)


def test_tables_are_read_as_they_were_written_to_the_bit(records, tmp_path):
    odd = [math.nan, math.inf, 1e-310]
    (diverged,) = (record for record in records if record.point.hparams.lr == 1e6)
    diverged.history["validation_loss_sum"] = odd
    diverged.history["test_loss_sum"] = odd[::-1]
    write_tables(tmp_path, iter(records), COSTS)
    trials = trials_table(records, COSTS)
    wanted = trials, curves_table(records), summary_table(trials)
    for name, table in zip(TABLES, wanted):
        found = read_table(tmp_path, name)
        assert_frame_equal(found, table, check_exact=True)
        for column in table.select_dtypes("float"):
            bits = [frame[column].to_numpy().tobytes() for frame in (found, table)]
            assert bits[0] == bits[1], column
    # And the copies rank and choose as the originals do.
    assert best_trial(read_table(tmp_path, "trials")) == best_trial(trials)
    again = summary_table(read_table(tmp_path, "trials"))
    assert_frame_equal(again, wanted[2], check_exact=True)


def test_tables_of_one_model_are_read_as_they_were_written(make_record, tmp_path):
    """A column of nothing but gaps is a gap in the file, too."""
    for point in (CNN, MLP):
        records = [make_record(point), make_record(point, 1, done=0, measured=())]
        write_tables(tmp_path, records)
        trials, curves = (read_table(tmp_path, name) for name in ("trials", "curves"))
        wanted = trials_table(records)
        assert_frame_equal(trials, wanted, check_exact=True, check_dtype=False)
        assert_frame_equal(curves, curves_table(records), check_exact=True)


def test_column_names_are_the_documented_ones(records, tmp_path):
    """Other programs read these tables: add columns, but change none."""
    write_tables(tmp_path, records)
    assert tuple(read_table(tmp_path, "trials")) == (
        *("trial", "replica", "point", *AXES, "seed", "status", "cause"),
        *("epochs_done", "params", "multiply_adds", "bytes", "latency_1_ms"),
        *("latency_256_ms", "train_accuracy", "train_loss", "validation_accuracy"),
        *("validation_loss", "test_accuracy", "test_loss", "overfitting"),
        *("convergence_epoch", "best_epoch", "best_validation_accuracy"),
        *("best_test_accuracy", "seconds", "machine"),
    )
    assert tuple(read_table(tmp_path, "curves")) == (
        *("replica", *AXES[:-1], "seed", "epoch", "train_accuracy", "train_loss"),
        *("validation_accuracy", "validation_loss", "test_accuracy", "test_loss"),
        "seconds",
    )
    assert tuple(read_table(tmp_path, "summary")) == (
        *("point", *AXES, "params", "multiply_adds", "bytes", "latency_1_ms"),
        *("latency_256_ms", "n", "diverged", "unfinished"),
        *(
            f"{name}_{kind}"
            for name in MEASURED
            for kind in ("mean", "std", "ci95", "low", "high")
        ),
        *("seconds", "choice"),
    )


def test_a_study_that_has_just_begun_can_be_read(make_record, tmp_path):
    fresh = [make_record(point, done=0, measured=()) for point in (CNN, MLP)]
    write_tables(tmp_path, fresh)
    assert read_table(tmp_path, "trials")["status"].tolist() == ["unfinished"] * 2
    assert read_table(tmp_path, "summary")["n"].tolist() == [0, 0]
    curves = read_table(tmp_path, "curves")
    assert curves.empty and "validation_loss" in curves


def test_a_table_is_replaced_in_one_step(records, tmp_path, monkeypatch):
    write_tables(tmp_path, records[:4])
    before = (tmp_path / "trials.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            write_tables(tmp_path, records)
    assert (tmp_path / "trials.csv").read_bytes() == before
    write_tables(tmp_path, records)
    assert (tmp_path / "trials.csv").read_bytes() != before
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [MANIFEST, "curves.csv", "summary.csv", "trials.csv"]


def test_a_table_that_has_not_changed_is_not_touched(records, tmp_path):
    write_tables(tmp_path, records)
    paths = [tmp_path / f"{name}.csv" for name in TABLES]
    for path in paths:
        os.utime(path, (1, 1))
    write_tables(tmp_path, records[::-1])
    assert [path.stat().st_mtime for path in paths] == [1, 1, 1]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\x89PNG\r\n\x1a\n\xff\xfe",
        b'trial,seed\n"open',
        b"trial,seed\na,1\nb,2,3,4\n",
    ],
    ids=["missing", "empty", "picture", "open quote", "ragged"],
)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_cannot_be_read_is_named(tmp_path, name, content):
    path = tmp_path / f"{name}.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read") as refusal:
        read_table(tmp_path, name)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [b"trial,dense,seed\na,many,1\n", b"trial,dense,seed\na,1.5,1\n", b"a,b\n1,2\n"],
    ids=["a word for a number", "half a unit", "another table"],
)
def test_a_table_that_is_none_of_ours_is_named(tmp_path, content):
    (tmp_path / "trials.csv").write_bytes(content)
    with pytest.raises(InputError):
        read_table(tmp_path, "trials")
