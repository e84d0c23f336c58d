"""Population-based training: who goes on from whom, and the schedule that is found."""

import jax
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.errors import InputError
from mnistopt.hparams import read_changes
from mnistopt.results.ledger import read_ledger
from tests.study.test_search import SPACE

ASKED = {**SPACE, "trials": 8, "epochs": 5, "seeds": 1, "confirm": 2, "pbt": 2}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return mnistopt.search(**ASKED, workdir=tmp_path_factory.mktemp("done"))


@pytest.fixture(scope="module")
def lineage(done):
    return read_ledger(done.workdir).lineage


def test_the_worst_quarter_goes_on_from_the_best(lineage):
    assert [step["epoch"] for step in lineage] == [2, 4, 5]
    for before, after in zip(lineage, lineage[1:]):
        accuracies = [member["accuracy"] for member in before["members"]]
        order = np.argsort(accuracies)
        replaced = {
            place: member["from"]
            for place, member in enumerate(after["members"])
            if member["from"] != place
        }
        assert len(replaced) == 2
        ends = sorted(accuracies)
        assert all(accuracies[place] <= ends[1] for place in replaced)
        assert all(accuracies[source] >= ends[-2] for source in replaced.values())
        assert len(order) == 8


def test_numbers_are_perturbed_within_their_ranges(lineage):
    seen = set()
    for before, after in zip(lineage, lineage[1:]):
        for place, member in enumerate(after["members"]):
            source = before["members"][member["from"]]
            assert 1e-4 <= member["numbers"]["lr"] <= 1.0
            assert 0 <= member["numbers"]["dropout"] <= 0.6
            if member["from"] == place:
                assert member["numbers"] == source["numbers"]
                continue
            (*earlier, last) = read_changes(member["changes"])
            assert tuple(earlier) == read_changes(source["changes"])
            assert last.epoch == before["epoch"]
            for name, value in member["numbers"].items():
                factor = value / source["numbers"][name]
                seen.add(round(factor, 2))
    assert seen <= {0.8, 1.2, 1.0} and len(seen) > 1


def test_what_was_found_is_a_schedule_that_trains_again_to_the_bit(
    done, lineage, tmp_path
):
    best = max(lineage[-1]["members"], key=lambda member: member["accuracy"])
    params = done.best_params
    assert params.get("changes", "") == best["changes"]
    again = mnistopt.run(**params, seeds=3, train_examples=200, workdir=tmp_path)
    # The member's seed, and the fresh ones that confirm it.
    trials, found = again.trials, done.trials
    both = trials.merge(found, on=["replica", "epochs"], suffixes=("", "_found"))
    assert sorted(both["seed"]) == [0, 1, 2]
    assert (both["validation_loss"] == both["validation_loss_found"]).all()
    for trial in both["trial"]:
        jax.tree.map(
            np.testing.assert_array_equal, again.variables(trial), done.variables(trial)
        )
    assert list(found["seed"][found["test_accuracy"].notna()]) == [1, 2]


@pytest.mark.parametrize("epochs", [5, 25])
def test_a_population_that_was_stopped_goes_on(done, tmp_path, epochs):
    seen = []

    def stop(rows):
        seen.append(rows)
        if len(seen) == epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mnistopt.search(**ASKED, workdir=tmp_path, on_epoch=stop)
    again = mnistopt.search(**ASKED, workdir=tmp_path)
    assert read_ledger(tmp_path) == read_ledger(done.workdir)
    columns = ["replica", "epoch", "train_loss", "validation_loss"]
    pd.testing.assert_frame_equal(
        again.curves[columns], done.curves[columns], check_exact=True
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"pbt": 5}, "replaces nothing within 5 epochs"),
        ({"trials": 3}, "a population of 4 `trials`"),
        ({"lr": [0.1, 0.01], "dropout": [0.1, 0.2]}, "no number to perturb"),
        ({"pbt": 0}, "pbt=0 is not allowed"),
        ({"changes": "2:lr=0.1"}, "leave changes out"),
    ],
)
def test_what_cannot_be_is_refused(asked, words, tmp_path):
    with pytest.raises(InputError, match=words):
        mnistopt.search(**{**ASKED, **asked}, workdir=tmp_path)
