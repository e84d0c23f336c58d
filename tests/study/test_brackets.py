"""Who goes on: the numbers of Hyperband's table, and how a bracket is cut short."""

import itertools

import pytest

from mnistopt.errors import InputError
from mnistopt.study.grid import grid
from mnistopt.study.search.brackets import (
    PRUNERS,
    Rung,
    brackets,
    climbing,
    hyperband,
    shortened,
)
from mnistopt.study.waves import Outcome

# Li et al. 2018, table 1: trials and epochs of each rung, of 81 epochs.
TABLE = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(27, 3), (9, 9), (3, 27), (1, 81)],
    [(9, 9), (3, 27), (1, 81)],
    [(6, 27), (2, 81)],
    [(5, 81)],
]


class Fake:
    """An outcome with an accuracy of its own."""

    def __init__(self, point, accuracy):
        self.point, self.accuracy = point, accuracy
        self.name = point.identity()


def climb(scheduler, points, accuracy):
    """Runs a scheduler on accuracies by learning rate; returns what it trained."""
    waves, found, asked = scheduler(points), None, []
    while True:
        try:
            found = waves.send(found)
        except StopIteration:
            return asked
        asked.append(found)
        found = [Fake(point, accuracy(point)) for point in found]


def points(count):
    return grid(lr=[0.001 * (i + 1) for i in range(count)])


def test_hyperband_has_the_numbers_of_its_paper():
    assert [list(map(tuple, bracket)) for bracket in hyperband(81)] == TABLE


@pytest.mark.parametrize("epochs", [1, 2, 5, 9, 10, 20, 27, 100])
def test_rungs_climb_to_the_last_epoch(epochs):
    for bracket in hyperband(epochs):
        assert bracket[-1].epochs == epochs
        for lower, upper in itertools.pairwise(bracket):
            assert lower.epochs < upper.epochs and lower.trials >= upper.trials


def test_the_best_of_a_rung_go_on_ties_by_content():
    bracket = (Rung(9, 1), Rung(3, 3), Rung(1, 9))
    given = points(9)
    asked = climb(climbing("halving")(bracket), given, lambda p: p.hparams.lr)
    assert [[p.epochs for p in wave] for wave in asked] == [[1] * 9, [3] * 3, [9]]
    rates = [round(p.hparams.lr, 3) for p in asked[1]]
    assert rates == [0.009, 0.008, 0.007] and asked[2][0].hparams.lr == 0.009
    # Of equals, whatever their order, the same go on.
    equal = [
        {
            p.until(1)
            for p in climb(climbing("halving")(bracket), some, lambda p: 0.5)[1]
        }
        for some in (given, given[::-1])
    ]
    assert equal[0] == equal[1]


def test_the_median_stops_what_is_below_all_that_came_before():
    make = climbing("median")
    bracket = (Rung(4, 1), Rung(4, 3))
    good = climb(make(bracket), points(4), lambda p: 1 + p.hparams.lr)
    assert len(good[1]) == 2
    bad = climb(make(bracket), points(4), lambda p: p.hparams.lr)
    assert len(bad) == 1, "all are below the median of those before"


@pytest.mark.parametrize("pruner", PRUNERS)
def test_all_trials_are_begun_and_no_more(pruner):
    for trials in (1, 2, 8, 9, 40):
        left, seen = trials, []
        for bracket in brackets(pruner, 9, None):
            if not left:
                break
            bracket = shortened(bracket, left)
            left -= bracket[0].trials
            seen.append(bracket)
        assert sum(bracket[0].trials for bracket in seen) == trials
        assert all(rung.trials >= 1 for bracket in seen for rung in bracket)


def test_several_brackets_at_a_time_are_as_many_whole_ones_as_fit():
    wide = next(brackets("hyperband", 9, 64))
    assert wide == (Rung(63, 1), Rung(21, 3), Rung(7, 9))
    assert next(brackets("none", 9, 64)) == (Rung(64, 9),)
    assert next(brackets("hyperband", 9, 3)) == (Rung(9, 1), Rung(3, 3), Rung(1, 9))


def test_another_pruner_is_refused():
    with pytest.raises(InputError, match="choose one of hyperband, halving, median"):
        next(brackets("asha", 9, None))


def test_a_point_with_a_diverged_seed_is_the_worst():
    (point,) = grid(lr=0.1)

    def record(correct, diverged_at):
        history = {"validation_correct": [correct], "validation_total": [10]}
        kind = type("Seed", (), {"history": history | {"diverged_at": [diverged_at]}})
        return kind()

    outcome = Outcome(point, (record(8, -1), record(9, 0)))
    assert outcome.accuracies == [0.8, 0.0] and outcome.accuracy == 0
