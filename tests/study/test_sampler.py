"""Optuna's samplers in batches: what they propose, and that it can be repeated."""

import itertools
import math

import optuna
import pytest

import mnistopt
from mnistopt.errors import InputError
from mnistopt.study.search.sampler import SAMPLERS, STARTUP, Sampler, Told
from mnistopt.study.search.space import Space

SPACE = Space(
    {
        "model": ["mlp", "cnn"],
        "hidden": [(64,), (128,)],
        "dense": [64, 128],
        "lr": mnistopt.log(1e-5, 1e-1),
        "dropout": mnistopt.uniform(0, 0.6),
        "batch_size": [32, 64],
    }
)
EPOCHS = 9


def value(params):
    """Is best near a learning rate of 0.001 without dropout, with an MLP."""
    distance = abs(math.log10(params["lr"]) + 3) + params["dropout"]
    return 1 / (1 + distance + (params["model"] == "cnn"))


def told(proposals, start):
    """Results, of which every third trial is pruned after an epoch."""
    return {
        start + i: Told({1: value(p.params)}, True)
        if i % 3 == 0
        else Told({1: value(p.params), EPOCHS: value(p.params)}, False)
        for i, p in enumerate(proposals)
    }


def batches(sampler, count, size=16, start=0):
    """Asks and tells; returns what was proposed, per batch."""
    found = []
    for _ in range(count):
        proposals = sampler.ask(size, size)
        sampler.tell(told(proposals, start))
        start += len(proposals)
        found.append(proposals)
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_setting_is_proposed_twice_nor_nearly_twice_in_a_batch(name):
    found = batches(Sampler(SPACE, name, 0), 3, 64)
    points = [SPACE.point(p.params) for batch in found for p in batch]
    assert len(points) == len(set(points)) == 3 * 64
    near = sum(
        SPACE.near(a.params, b.params)
        for batch in found[:2]
        for a, b in itertools.combinations(batch, 2)
    )
    # Asked for twenty times, one that has converged may stay near itself.
    assert near <= 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_that_is_made_again_proposes_the_same(name):
    wanted = batches(Sampler(SPACE, name, 3), 5)
    again = Sampler(SPACE, name, 3)
    for i, batch in enumerate(wanted[:3]):
        assert again.take(batch) == batch
        again.tell(told(batch, 16 * i))
    assert batches(again, 2, start=48) == wanted[3:]
    other = batches(Sampler(SPACE, name, 4), 1)
    assert other[0] != wanted[0]


def test_tpe_is_random_until_it_knows_enough_and_says_so():
    sampler = Sampler(SPACE, "tpe", 0)
    few = batches(sampler, 2, STARTUP - 1)
    assert {p.by for batch in few for p in batch} == {"random"}
    late = batches(sampler, 1, 16, start=2 * (STARTUP - 1))[0]
    assert {p.by for p in late} == {"tpe"}
    random_ones = batches(Sampler(SPACE, "random", 0), 2, STARTUP - 1)
    assert [[p.params for p in b] for b in random_ones] == [
        [p.params for p in b] for b in few
    ]


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_a_sampler_learns_from_what_it_is_told(name):
    for seed in range(3):
        learned = batches(Sampler(SPACE, name, seed), 8)
        blind = batches(Sampler(SPACE, "random", seed), 8)
        mean = [
            sum(value(p.params) for batch in found[4:] for p in batch)
            for found in (learned, blind)
        ]
        assert mean[0] > 1.2 * mean[1]


def test_sobol_fills_the_space_more_evenly_than_chance():
    def largest_gap(name):
        found = batches(Sampler(SPACE, name, 1), 2, 32)
        places = sorted(
            SPACE.axes["lr"].place(p.params["lr"]) for batch in found for p in batch
        )
        return max(b - a for a, b in itertools.pairwise([0, *places, 1]))

    assert largest_gap("sobol") < 0.04 < largest_gap("random")


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_space_of_lists_is_emptied_once(name):
    space = Space({"model": ["mlp"], "hidden": [(4,), (8,)], "lr": [0.1, 0.01, 0.001]})
    sampler = Sampler(space, name, 0)
    first, rest = sampler.ask(5, 5), sampler.ask(5, 5)
    assert (len(first), len(rest)) == (5, 1)
    assert len({space.point(p.params) for p in (*first, *rest)}) == 6
    wide = Space({"lr": [0.1 / i for i in range(1, 201)]})
    found = Sampler(wide, name, 0).ask(250, 250)
    assert len({wide.point(p.params) for p in found}) == len(found) == 200


def test_what_is_known_from_elsewhere_counts():
    sampler = Sampler(SPACE, "tpe", 0)
    for proposal in batches(Sampler(SPACE, "random", 5), 1)[0]:
        sampler.learn(proposal.params, Told({EPOCHS: value(proposal.params)}, False))
    assert {p.by for p in sampler.ask(4, 4)} == {"tpe"}


def test_it_tells_in_optuna_s_words():
    sampler = Sampler(SPACE, "random", 0)
    proposals = sampler.ask(6, 6)
    trials = sampler.tell(told(proposals, 0))
    states = [trial.state for trial in trials]
    complete, pruned = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
    assert states == [pruned, complete, complete] * 2
    for trial, proposal in zip(trials, proposals):
        assert trial.params == proposal.params
        assert trial.value == value(proposal.params)
        assert set(trial.intermediate_values) <= {1, EPOCHS}


def test_another_sampler_is_refused():
    with pytest.raises(InputError, match="choose one of tpe, random, sobol, cmaes"):
        Sampler(SPACE, "gp", 0)
