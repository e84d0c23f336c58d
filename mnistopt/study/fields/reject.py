"""Which fields are taken over unseen: those above a probability that bounds the errors.

The bound is a claim with 95 % confidence, made on fields of known value that chose
nothing else: thresholds are tested from high to low in a fixed order, and the last one
before the first that fails is taken, so that choosing it costs no confidence
(Angelopoulos et al. 2021, "Learn then Test", arXiv:2110.01052, section 4.2).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

CONFIDENCE = 0.95
# The first threshold that is tested takes over this share of fields, or as many as can
# claim anything.
FIRST = 0.5
# Steps from there to all fields.
STEPS = 50


class Claim(NamedTuple):
    """What can be claimed of a threshold.

    Attributes:
        threshold: Fields of at least this probability are accepted; above 1 for none.
        known: Known fields.
        accepted: How many of them are accepted.
        wrong: How many of these are wrong.
        bound: Of those accepted at most this share is wrong, with `CONFIDENCE`.
    """

    threshold: float
    known: int
    accepted: int
    wrong: int
    bound: float


def upper(wrong: int, count: int) -> float:
    """Returns Clopper and Pearson's upper end of a share of errors, one-sided.

    Args:
        wrong: Errors.
        count: Of how many.
    """
    if wrong >= count:
        return 1.0
    return float(special.betaincinv(wrong + 1, count - wrong, CONFIDENCE))


def needed(max_error: float) -> int:
    """Returns how many fields without an error it takes to claim a share of errors."""
    return int(np.ceil(np.log(1 - CONFIDENCE) / np.log1p(-max_error)))


def claim(probabilities: np.ndarray, right: np.ndarray, max_error: float) -> Claim:
    """Returns the lowest threshold that holds the errors among accepted fields.

    Args:
        probabilities: Of the values of known fields, float [N].
        right: Whether they are right, bool [N].
        max_error: The share of accepted fields that may be wrong.
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked, wrong = probabilities[order], np.cumsum(~right[order])
    found = Claim(np.inf, len(order), 0, 0, 1.0)
    # Fewer can claim nothing, whatever they are.
    first = max(FIRST, needed(max_error) / max(len(order), 1))
    if first > 1:
        return found
    for share in np.linspace(first, 1, STEPS + 1):
        count = min(int(np.ceil(share * len(order))), len(order))
        # Fields of the same probability are accepted together.
        threshold = float(ranked[count - 1])
        count = int(np.searchsorted(-ranked, -threshold, side="right"))
        bound = upper(int(wrong[count - 1]), count)
        if bound > max_error:
            break
        found = Claim(threshold, len(order), count, int(wrong[count - 1]), bound)
    return found


def curve(probabilities: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Returns the risk of accepting more and more fields, the surest first.

    Returns:
        A row per number of fields at which the threshold changes: `threshold`,
        `coverage` (the share accepted), `risk` (the share of these that is wrong), and
        `low` and `high`, Clopper and Pearson's 95 % interval of it, two-sided.
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked, wrong = probabilities[order], np.cumsum(~right[order])
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    count, errors = last + 1, wrong[last]
    side = (1 - CONFIDENCE) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(errors, special.betaincinv(errors, count - errors + 1, side), 0)
        high = special.betaincinv(errors + 1, count - errors, 1 - side)
    return pd.DataFrame(
        {
            "threshold": ranked[last],
            "coverage": count / len(order),
            "risk": errors / count,
            "low": low,
            "high": np.where(errors < count, high, 1.0),
        }
    )
