"""What a field says: the probability of each value, over all ways to cut its ink.

Each candidate, a run of neighbouring pieces, is a digit or none, independently of the
others; a way to read the field is a row of candidates that do not overlap, the others
being none. Its weight is the product of the odds of its digits, and each value's
probability is the share of all ways that say it: the lattice of candidates of optical
character recognition (LeCun et al. 1998, section VII), summed rather than maximized.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from mnistopt.study.fields.rules import SLASH, Rule

# A class counts for at least so much, whatever a network says.
LEAST = 1e-5
# Symbols of a candidate that are `AWAY` times less likely than its best are left out.
AWAY = 1e-4
# Symbols of less weight than this are left out: they are surely none.
RARE = 1e-4
# Texts that are followed up at each place.
BEAM = 200
# The ink of a digit, of the square of the height of writing, is at least this.
DIGIT = 0.06
# The share of fields that hold what is not allowed: people write 12 of 10.
MISTAKEN = 0.01
# The share of fields that hold nothing, unless more is known.
EMPTY = 0.02


class Weights(NamedTuple):
    """Logarithms of what is known before the network is asked.

    Attributes:
        symbol: Of each symbol: what networks take for digits is none more often.
        cut: Of a place where ink was cut, if a symbol begins or ends there.
        joined: Of two pieces that make a symbol although they are apart.
        strange: Of two symbols in one cell, and of one across two.
        left: Of most of the ink of a cell that is none.
    """

    symbol: float = 0.0
    cut: float = -1.0
    joined: float = -0.5
    strange: float = -5.0
    left: float = -3.0


WEIGHTS = Weights()


class Lattice(NamedTuple):
    """The candidates of a field.

    Attributes:
        first: Their first pieces, int [N].
        last: Their last pieces, int [N].
        odds: Log-odds of each symbol against none, float [N, S].
        symbols: S names.
        pieces: P, the number of pieces.
        prior: Logarithms of what pieces say of each candidate, float [N].
        left: Logarithms of the weight of each piece that is none, float [P].
    """

    first: np.ndarray
    last: np.ndarray
    odds: np.ndarray
    symbols: Sequence[str]
    pieces: int
    prior: np.ndarray
    left: np.ndarray


class Guess(NamedTuple):
    """What may stand in a field.

    Attributes:
        value: In its usual form; "" for nothing.
        probability: How likely it is.
    """

    value: str
    probability: float


class Said(NamedTuple):
    """What a field says.

    Attributes:
        guesses: The allowed values, the likeliest first, with what is left over.
        other: The probability of all that is not allowed.
        text: The likeliest text, allowed or not.
    """

    guesses: list[Guess]
    other: float
    text: str


def log_odds(
    probabilities: np.ndarray, class_names: Sequence[str], symbols: Sequence[str]
) -> np.ndarray:
    """Returns the log-odds of symbols against all that is none, float [N, S].

    Args:
        probabilities: Of each class, [N, K].
        class_names: K names.
        symbols: S of them: those that a field may hold. Others are none of its.
    """
    index = {name: column for column, name in enumerate(class_names)}
    # A field without slashes has none; a comma in it may be a speck.
    strange = [index[SLASH]] if SLASH in index and SLASH not in symbols else []
    mine = probabilities[:, [index[symbol] for symbol in symbols]].astype(float)
    none = 1 - mine.sum(axis=1) - probabilities[:, strange].sum(axis=1)
    return np.log(np.maximum(mine, LEAST)) - np.log(np.maximum(none, LEAST))[:, None]


def priors(
    first: np.ndarray,
    last: np.ndarray,
    cut: np.ndarray,
    cells: np.ndarray | None,
    weights: Weights,
) -> np.ndarray:
    """Returns the logarithm of what pieces say of each candidate, float [N].

    Args:
        first: Their first pieces, int [N].
        last: Their last pieces, int [N].
        cut: Whether each piece begins where ink was cut, bool [P].
        cells: The cell of each piece, int [P]; None in a field without cells.
        weights: What is known.
    """
    prior = np.full(len(first), float(weights.symbol))
    if not len(first):
        return prior
    # Boundaries stand before each piece, and after the last; each has two sides.
    ends = np.stack([first, last + 1])
    if cells is None:
        cuts = np.append(cut, False)
        prior += weights.cut / 2 * cuts[ends].sum(axis=0)
        apart = np.cumsum(~cut)
        return prior + weights.joined * (apart[last] - apart[first])
    changes = np.append(True, np.diff(cells) != 0)
    same = np.append(~changes, False)
    prior += weights.strange / 2 * same[ends].sum(axis=0)
    changes = np.cumsum(changes)
    return prior + weights.strange * (changes[last] - changes[first])


def leaving(ink: np.ndarray, cells: np.ndarray | None, weights: Weights) -> np.ndarray:
    """Returns the logarithm of the weight of each piece that is none, float [P].

    Args:
        ink: Of each piece, of the square of the height of writing, float [P].
        cells: See `priors`.
        weights: What is known.
    """
    if cells is None or not len(ink):
        return np.zeros(len(ink))
    whole = np.bincount(cells, ink)[cells]
    # Pieces with most of a cell's ink, in cells with enough ink for a digit.
    return np.where((ink >= whole / 2) & (whole >= DIGIT), weights.left, 0.0)


def read(lattice: Lattice, rule: Rule) -> Said:
    """Returns what a field says.

    Args:
        lattice: Its candidates.
        rule: What it may hold.
    """
    texts = _texts(lattice, rule)
    free = _total(lattice)
    share = math.log((1 - MISTAKEN) * (1 - EMPTY) / rule.measure)
    stray = math.log(MISTAKEN / rule.longest)
    sums: dict[str, list[float]] = {}
    mass = [stray + free]
    for text, weight in texts.items():
        if not text:
            sums[""] = [math.log(EMPTY) + weight]
        elif (value := rule.value(text)) is not None:
            likely = share + math.log(rule.share(text))
            sums.setdefault(value, []).append(likely + weight)
    mass += [weight for weights in sums.values() for weight in weights]
    total = special.logsumexp(mass)
    found = [
        Guess(value, float(np.exp(special.logsumexp(weights) - total)))
        for value, weights in sums.items()
    ]
    found.sort(key=lambda guess: -guess.probability)
    return Said(found, float(np.exp(mass[0] - total)), _likeliest(lattice))


def _arcs(lattice: Lattice) -> list[list[tuple[int, list[tuple[str, float]]]]]:
    """Returns by first piece: the piece after, and each symbol with its weight."""
    arcs: list[list] = [[] for _ in range(lattice.pieces)]
    weights = lattice.odds + lattice.prior[:, None]
    best = weights.max(axis=1, initial=-np.inf, keepdims=True)
    kept = (weights >= best + math.log(AWAY)) & (weights >= math.log(RARE))
    for number in np.flatnonzero(kept.any(axis=1)):
        symbols = [
            (lattice.symbols[int(k)], float(weights[number, k]))
            for k in np.flatnonzero(kept[number])
        ]
        after = int(lattice.last[number]) + 1
        arcs[lattice.first[number]].append((after, symbols))
    return arcs


def _texts(lattice: Lattice, rule: Rule) -> dict[str, float]:
    """Returns the logarithm of the weight of each text that may be allowed."""
    arcs = _arcs(lattice)
    at: list[dict[str, float]] = [{} for _ in range(lattice.pieces + 1)]
    at[0][""] = 0.0
    for place in range(lattice.pieces):
        texts = sorted(at[place].items(), key=lambda item: -item[1])[:BEAM]
        for text, weight in texts:
            # The piece is none.
            _add(at[place + 1], text, weight + float(lattice.left[place]))
            for after, symbols in arcs[place]:
                for symbol, odds in symbols:
                    longer = text + symbol
                    if rule.begins(longer):
                        _add(at[after], longer, weight + odds)
    return at[-1]


def _add(weights: dict[str, float], text: str, weight: float) -> None:
    before = weights.get(text)
    if before is not None:
        high, low = max(before, weight), min(before, weight)
        weight = high + math.log1p(math.exp(low - high))
    weights[text] = weight


def _total(lattice: Lattice) -> float:
    """Returns the logarithm of the weight of all ways, allowed or not."""
    sums = np.full(lattice.pieces + 1, -np.inf)
    sums[0] = 0
    weights = special.logsumexp(lattice.odds, axis=1) + lattice.prior
    arcs: list[list[int]] = [[] for _ in range(lattice.pieces)]
    for number, first in enumerate(lattice.first):
        arcs[first].append(number)
    for place, numbers in enumerate(arcs):
        left = sums[place] + lattice.left[place]
        sums[place + 1] = np.logaddexp(sums[place + 1], left)
        for number in numbers:
            after = lattice.last[number] + 1
            sums[after] = np.logaddexp(sums[after], sums[place] + weights[number])
    return float(sums[-1])


def _likeliest(lattice: Lattice) -> str:
    """Returns the text of the likeliest way to read a field, allowed or not."""
    best: list[tuple[float, str]] = [(-math.inf, "")] * (lattice.pieces + 1)
    best[0] = 0.0, ""
    arcs = _arcs(lattice)
    for place in range(lattice.pieces):
        weight, text = best[place]
        left = weight + float(lattice.left[place])
        best[place + 1] = max(best[place + 1], (left, text))
        for after, symbols in arcs[place]:
            symbol, odds = max(symbols, key=lambda pair: pair[1])
            best[after] = max(best[after], (weight + odds, text + symbol))
    return best[-1][1]
