"""What a field says, against all ways to read it, counted one by one."""

import itertools
import math
from decimal import Decimal

import numpy as np
import pytest

from mnistopt.study.fields import lattice
from mnistopt.study.fields.lattice import (
    Lattice,
    Weights,
    leaving,
    log_odds,
    priors,
    read,
)
from mnistopt.study.fields.rules import Rule

CLASSES = (*"0123456789", ",", "/", "none")


def a_lattice(seed, count=4, symbols="0123456789"):
    """Candidates of up to three pieces, with odds at random."""
    rng = np.random.default_rng(seed)
    ends = [(a, b) for a in range(count) for b in range(a, min(a + 3, count))]
    first, last = np.array(ends).T
    odds = rng.normal(-1, 3, (len(ends), len(symbols)))
    prior = rng.normal(0, 1, len(ends))
    left = -rng.random(count)
    return Lattice(first, last, odds, tuple(symbols), count, prior, left)


def ways(given):
    """Yields each way to read a lattice: its text, and the logarithm of its weight."""
    arcs = list(zip(given.first, given.last, range(len(given.first))))
    for size in range(given.pieces + 1):
        for chosen in itertools.combinations(arcs, size):
            if any(a[1] >= b[0] for a, b in itertools.pairwise(chosen)):
                continue
            taken = {k for first, last, _ in chosen for k in range(first, last + 1)}
            left = sum(given.left[k] for k in range(given.pieces) if k not in taken)
            for symbols in itertools.product(range(len(given.symbols)), repeat=size):
                weight = sum(
                    given.odds[arc[2], k] + given.prior[arc[2]]
                    for arc, k in zip(chosen, symbols)
                )
                yield "".join(given.symbols[k] for k in symbols), weight + left


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "rule",
    [
        Rule((1, 4)),
        Rule((2, 2)),
        Rule((1, 3), number=True, high=Decimal(20)),
        Rule((2, 3), among=("01", "10", "112", "22")),
    ],
    ids=["any", "two", "most", "list"],
)
def test_probabilities_are_the_shares_of_all_ways(seed, rule, monkeypatch):
    # Three digits, so that all ways can be counted; and nothing is left out.
    given = a_lattice(seed, symbols="012")
    for name in ("AWAY", "RARE"):
        monkeypatch.setattr(lattice, name, 1e-300)
    weights, free = {}, 0.0
    for text, weight in ways(given):
        free += math.exp(weight)
        if not text:
            key, share = "", lattice.EMPTY
        else:
            key = rule.value(text)
            share = (1 - lattice.MISTAKEN) * (1 - lattice.EMPTY) / rule.measure
        if key is not None:
            weights[key] = weights.get(key, 0) + share * math.exp(weight)
    other = lattice.MISTAKEN / rule.longest * free
    total = sum(weights.values()) + other
    said = read(given, rule)
    assert said.other == pytest.approx(other / total)
    assert {guess.value for guess in said.guesses} == set(weights)
    for value, probability in said.guesses:
        assert probability == pytest.approx(weights[value] / total)
    assert said.other + sum(guess.probability for guess in said.guesses) == (
        pytest.approx(1)
    )


def test_the_likeliest_text_need_not_be_allowed():
    given = a_lattice(5, symbols="012")
    text, _ = max(ways(given), key=lambda way: way[1])
    assert read(given, Rule((1, 9))).text == text
    assert read(given, Rule((1, 1))).text == text


def test_a_field_without_pieces_is_empty():
    nothing = Lattice(
        *np.zeros((2, 0), int), np.zeros((0, 10)), (), 0, np.zeros(0), np.zeros(0)
    )
    said = read(nothing, Rule((1, 3)))
    assert said.guesses[0].value == "" and said.guesses[0].probability > 0.5


def test_an_impossible_mark_is_not_bent_into_a_possible_one():
    """12 of 10, plainly written."""
    odds = np.full((2, 10), -12.0)
    odds[0, 1] = odds[1, 2] = 10
    given = Lattice(
        *np.array([[0, 1]] * 2), odds, tuple("0123456789"), 2, *np.zeros((2, 2))
    )
    said = read(given, Rule((1, 2), number=True, high=Decimal(10)))
    assert said.text == "12" and said.other > 0.9


def test_a_class_list_settles_a_doubtful_digit():
    odds = np.full((3, 10), -12.0)
    odds[0, 3] = odds[1, 1] = 10
    odds[2, 7], odds[2, 1] = 3.0, 2.5
    ends = np.arange(3)
    rest = 3, *np.zeros((2, 3))
    given = Lattice(ends, ends, odds, tuple("0123456789"), *rest)
    assert read(given, Rule((3, 3))).guesses[0].probability < 0.7
    known = Rule((3, 3), among=("311", "405", "999"))
    assert read(given, known).guesses[0] == ("311", pytest.approx(1, abs=0.01))


def test_odds_are_against_all_that_a_field_does_not_hold():
    probabilities = np.full((1, 13), 0.01)
    probabilities[0, 10] = 0.88
    digits = log_odds(probabilities, CLASSES, tuple("0123456789"))
    assert digits[0] == pytest.approx(math.log(0.01 / 0.89))
    marks = log_odds(probabilities, CLASSES, (*"0123456789", ","))
    assert marks[0, 10] == pytest.approx(math.log(0.88 / 0.01))


def test_cells_hold_a_digit_each():
    first, last = np.array([[0, 0], [1, 1], [2, 2], [0, 1], [1, 2]]).T
    cut, cells = np.array([False, True, False]), np.array([0, 0, 1])
    w = Weights(symbol=0, cut=-2, joined=-3, strange=-6)
    # The first two were one; the third stands apart.
    assert priors(first, last, cut, None, w).tolist() == [-1, -1, 0, 0, -4]
    # Whatever was one: the first two stand in one cell.
    assert priors(first, last, cut, cells, w).tolist() == [-3, -3, 0, 0, -9]


def test_the_ink_of_a_cell_is_hardly_none():
    w = Weights(left=-3)
    ink, cells = np.array([0.2, 0.01, 0.03, 0.1, 0.11]), np.array([0, 0, 1, 2, 2])
    # A digit, a speck beside it, a speck alone, and two halves, of which one is more.
    assert leaving(ink, cells, w).tolist() == [-3, 0, 0, 0, -3]
    assert not leaving(ink, None, w).any()
