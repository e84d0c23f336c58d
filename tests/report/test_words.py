import dataclasses

import numpy as np
import pandas as pd
import pytest

from mnistopt.points import ALWAYS as AXES
from mnistopt.report.charts.pictures import Results
from mnistopt.report.words import count_facts, headline, listed, notice, sentences
from mnistopt.results.columns import labelled
from mnistopt.results.predictions import Predictions
from mnistopt.results.tables import summary_table, trials_table
from mnistopt.study.grid import grid
from tests.configs import make_config

POINTS = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2, 0.3], epochs=2)


def config_of(points, seeds):
    rows = [point.row() for point in points]
    asked = {name: list(dict.fromkeys(row[name] for row in rows)) for name in AXES}
    asked["seeds"] = seeds
    return make_config({"train": 3500}, asked=asked, compile_seconds={"mlp": 2.0})


def words_of(records, seeds=3, predictions=None):
    trials = trials_table(records)
    summary = labelled(summary_table(trials))
    config = config_of([record.point for record in records], seeds)
    nothing = pd.DataFrame()
    read = config, trials, nothing, summary, predictions or {}, nothing, nothing
    facts = count_facts(Results(*read))
    return facts, notice(facts), " ".join(sentences(facts, Results(*read)))


def record_of(make_record, point, seed, correct, test=190):
    return make_record(
        point, seed, validation_correct=[0, correct], test_correct=[0, test]
    )


def test_a_clear_winner_is_named_with_its_interval(make_record):
    records = [
        record_of(
            make_record, point, seed, 48 - 10 * rank - seed * rank % 3, 190 - seed
        )
        for rank, point in enumerate(POINTS)
        for seed in range(5)
    ]
    facts, warning, text = words_of(records, 5)
    assert warning == ""
    assert "The best setting by validation is lr 0.1. It classifies 94.00 %" in text
    assert "mean of 5 seeds, 95 % interval" in text
    assert "All others are below it at 5 %" in text
    assert facts["tied"] == 0 and facts["finished"] == 15
    # 15 replicas, 2 epochs of 3,500 images, 2 seconds each.
    assert facts["train_seconds"] == 30 and facts["images_per_second"] == 3500


def test_ties_are_named_and_more_seeds_advised(make_record):
    rng = np.random.default_rng(0)
    records = [
        record_of(make_record, point, seed, int(rng.integers(40, 50)))
        for point in POINTS
        for seed in range(3)
    ]
    _, _, text = words_of(records)
    assert "These settings cannot be distinguished from it at 5 %" in text
    assert "More seeds would separate more" in text


def test_one_seed_says_nothing_of_chance(make_record):
    _, _, text = words_of([record_of(make_record, p, 0, 40) for p in POINTS], 1)
    assert "with one seed" in text and "five seeds" in text
    assert "seeds, 95 % interval" not in text


def test_one_setting_is_not_the_best_of_anything(make_record):
    _, _, text = words_of([record_of(make_record, POINTS[0], s, 40) for s in range(3)])
    assert text.startswith("It classifies 95.00 %")
    assert "best" not in text and "distinguished" not in text


def test_what_diverged_is_told(make_record):
    records = [record_of(make_record, POINTS[0], s, 40) for s in range(2)]
    records += [
        make_record(POINTS[1], seed, diverged_at=[-1, 5], **{
            "validation_correct": [5, 5]}) for seed in range(2)
    ]  # fmt: skip
    _, _, text = words_of(records, 2)
    assert "2 replicas diverged and were stopped: lr 0.2." in text


def test_a_running_study_says_so_first(make_record):
    records = [record_of(make_record, POINTS[0], 0, 40)]
    records.append(make_record(dataclasses.replace(POINTS[1], epochs=9), 0, done=2,
                               measured=()))  # fmt: skip
    _, warning, _ = words_of(records, 1)
    assert (
        "not finished: 1 replica still has epochs to train, 1 has finished" in warning
    )
    _, warning, text = words_of(records[1:], 1)
    assert "not finished" in warning and text == "No setting has finished yet."


def test_the_commonest_mistake_is_that_of_the_seeds(make_record):
    labels = np.array([4] * 10 + [8] * 10, np.uint8)
    classes = np.stack([labels, labels])
    classes[0, :3] = 9  # a 4 taken for a 9: 3 and 1 times
    classes[1, :1] = 9
    classes[0, 12] = 3
    probabilities = np.eye(10, dtype=np.float16)[classes[1]]
    seen = labels, classes, probabilities, classes[1]
    one = Predictions(np.arange(2), *seen, tuple("0123456789"))
    records = [record_of(make_record, POINTS[0], s, 40) for s in range(2)]
    point = POINTS[0].identity()
    facts, _, text = words_of(records, 2, {point: one})
    assert "Most often a 4 is taken for a 9: 2 times per seed" in text
    assert "The vote of its seeds is right on 95.00 %" in text
    assert facts["most_confused_count"] == 2


def test_the_headline_says_what_was_asked(make_record):
    records = [make_record(point) for point in reversed(POINTS)]
    summary = summary_table(trials_table(records))
    title, lead = headline(config_of(POINTS, 3), summary)
    assert title == "3 settings of MLPs on mnist_5k"
    assert lead.startswith("Grid: lr 0.1, 0.2, 0.3. Trained on 3,500 images for 2")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a; b; and c"),
        (list("abcdef"), "a; b; c; d; and 2 more"),
    ],
)
def test_names_are_listed(names, wanted):
    assert listed(names) == wanted


def test_facts_are_numbers(make_record):
    facts, _, _ = words_of([record_of(make_record, POINTS[0], s, 40) for s in range(2)])
    assert isinstance(facts, pd.Series) and facts.dtype == float
