"""The answer and the curves, of reproductions whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from synthetic import CELLS, synthetic, timed

from mnistopt.paper.answer import best_rows, five_sentences, headline
from mnistopt.paper.curves import COMPARISONS, runs_frame
from mnistopt.paper.differences import make_differences
from mnistopt.paper.findings import Findings, make_summary
from mnistopt.paper.frames import make_table
from mnistopt.paper.judge import judge
from mnistopt.paper.learning import collect_learning, find_runs
from mnistopt.paper.tables import TABLES, mlp, tuned
from mnistopt.paper.times import make_times

SPEEDS = timed()
TIMES = pd.DataFrame(
    {"replicas": [7], "seconds": [600.0], "compile_seconds": [1.0]}
).assign(alone_seconds=1200.0)


def found_in(seeds, numbers=tuple(TABLES)):
    """Returns what follows from a table of seeds."""
    cells = [cell for cell in CELLS if cell.table in numbers]
    seeds = seeds[seeds["table"].isin(numbers)]
    tables = {number: make_table(number, cells, seeds, SPEEDS) for number in numbers}
    claims = judge(seeds, SPEEDS, lambda point: point)
    right = np.array([True, False])
    return Findings(
        cells=cells,
        tables=tables,
        differences=make_differences(tables, cells, seeds, lambda cell: right),
        claims=claims,
        times=TIMES,
        learning=pd.DataFrame(),
        summary=make_summary(tables, claims, seeds),
    )


def dropout_matters(point):
    """0.4 is best, and each tenth from it costs 0.3 points; CNNs are ahead."""
    ahead = 0.01 * (point.structure.model == "cnn")
    return 0.97 + ahead - 0.03 * abs(point.hparams.dropout - 0.4)


def test_five_questions_are_answered_by_what_is_true():
    found = found_in(synthetic(accuracy=dropout_matters, noise=1e-5))
    text = five_sentences(found, "a machine")
    model, dropout, recipe, sure, right = text.splitlines()
    # The best of all is the CNN of Table 4 with dropout 0.4.
    assert "Take CNN 32x64x64/128, dropout 0.4, 50 epochs" in model
    assert "98.00 [" in model and "97.00 [" in model and "+1.00 [" in model
    for model in ("For the MLP", "for the CNN"):
        assert f"{model} on 100 digits 0.4 by validation" in dropout
    assert dropout.count("tied with it: none; it is ahead of none by +1.20 [") == 2
    assert "rate 0.001 is ahead of 0.01 by" in recipe and "100 of 80 by" in recipe
    assert "n = 5 seeds" in sure
    assert "7 networks took 10.0 minutes of training on a machine" in sure
    assert "would have taken 20.0 one at a time" in sure
    assert "it is right that the CNN recognizes more digits than the MLP" in right


def test_what_was_not_trained_is_not_answered():
    text = five_sentences(found_in(synthetic(), numbers=(2,)), "a machine")
    assert "Which model?" in text and "Which dropout?" not in text
    assert "Which learning rate" not in text


def test_the_headline_has_the_papers_networks_and_the_best_here():
    found = found_in(synthetic(accuracy=dropout_matters, noise=1e-5))
    text = headline(found, "a machine")
    assert "7 networks took 10.0 minutes of training on a machine" in text
    bold = [line for line in text.splitlines() if line.startswith("| **")]
    assert len(bold) == 2 and all("dropout 0.4" in line for line in bold)
    assert "| MLP 128x128, dropout 0, 50 epochs | 100 | 5 | 95.80 [" in text
    assert "| 98.6 % |" in text
    counts = found.claims.drop_duplicates("claim")["claim_verdict"].value_counts()
    assert f"{counts['supported']} are supported" in text


def test_the_best_of_a_model_is_taken_where_it_has_most_digits():
    seeds = synthetic()
    small = seeds["point"] == mlp(64).identity()
    seeds.loc[small, "validation_accuracy"] = 0.99
    seeds.loc[small, "test_accuracy"] = 0.5
    found = found_in(seeds, numbers=(2,))
    cell, _ = best_rows(found)["mlp"]
    assert cell.row.point == mlp(64)  # by validation
    found.tables[2].loc[1, "train_examples"] = 200
    cell, _ = best_rows(found)["mlp"]
    assert cell.row.point == mlp(128)


def test_rows_that_share_replicas_are_one_run():
    runs = find_runs(CELLS, synthetic())
    found = {
        (run.point.hparams.lr, run.point.recipe.batch_size): run.point.epochs
        for run in runs
        if run.point.structure == tuned().structure and run.point.hparams.dropout == 0.3
    }
    assert found == {(1e-3, 64): 100, (1e-3, 32): 80, (1e-4, 64): 80, (1e-2, 64): 80}
    assert len({run.name for run in runs}) == len(runs)


def test_who_learns_nothing_is_counted_and_left_out_of_the_means():
    seeds = synthetic(n=4)
    run = next(run for run in find_runs(CELLS, seeds) if run.point == mlp(64))
    curves = pd.concat(
        pd.DataFrame(
            {
                "part": "all",
                "replica": replica,
                "epoch": range(1, 51),
                "validation_accuracy": accuracy,
                "validation_loss": [2.0, 1.0, *[1.5] * 48],
            }
        )
        for replica, accuracy in zip(run.replicas, (0.9, 0.8, 0.1, 0.1))
    )
    fell = (curves["replica"] == run.replicas[0]) & (curves["epoch"] == 40)
    curves.loc[fell, "validation_accuracy"] = 0.87
    seeds.loc[seeds["replica"] == run.replicas[3], "status"] = "diverged"
    seeds.loc[seeds["replica"] == run.replicas[2], "test_accuracy"] = 0.1
    (row,) = collect_learning([run], seeds, curves).to_dict("records")
    assert (row["replicas"], row["diverged"], row["dead"]) == (4, 1, 1)
    assert row["lowest_epoch"] == 2
    assert (row["lowest_loss"], row["last_loss"]) == (1.0, 1.5)
    assert row["test_accuracy"] == pytest.approx(0.97, abs=1e-3)
    assert row["largest_fall"] == pytest.approx(0.03)


def test_curves_are_compared_by_what_differs_best_first():
    runs = find_runs(CELLS, synthetic(n=2))
    # The lower the rate the better, in the end; the batch of 32 is none of them.
    curves = pd.concat(
        pd.DataFrame(
            {
                "part": "all",
                "replica": replica,
                "epoch": range(1, run.point.epochs + 1),
                "validation_accuracy": 0.9 - run.point.hparams.lr,
                "validation_loss": 0.1,
            }
        )
        for run in runs
        for replica in run.replicas
    )
    rates, *dropouts = COMPARISONS
    frame = runs_frame(rates, rates.find(runs), curves)
    best_first = [f"learning rate {lr}" for lr in ("0.0001", "0.001", "0.01")]
    assert frame["label"].unique().tolist() == best_first
    assert (frame["n"] == 2).all() and frame["epoch"].max() == 80
    for one in dropouts:
        found = runs_frame(one, one.find(runs), curves)
        assert found["label"].nunique() == 5 and found["epoch"].max() == 50
    assert not rates.find(runs[:2])


def test_a_study_that_was_not_one_at_a_time_says_what_that_would_take():
    """A replica alone takes 3 times its share: so would all of them."""
    from mnistopt.paper.plan import Options, make_parts

    seeds = synthetic(n=2).assign(seconds=10.0)
    speeds = pd.concat([SPEEDS, SPEEDS.assign(alone=True, seconds=3.0)])
    speeds.loc[~speeds["alone"], "seconds"] = 1.0
    parts = make_parts(CELLS, Options(seeds=2))
    times = make_times(parts, seeds, {"all": 5.0}, speeds)
    assert times["replicas"].sum() == seeds["replica"].nunique()
    assert times["seconds"].sum() == 10 * seeds["replica"].nunique()
    assert times["compile_seconds"].tolist() == [5.0, 0.0]
    assert (times["alone_seconds"] == 3 * times["seconds"]).all()
