"""Fields that hold the sum of others: each says something of the others.

Either the total is the sum, or somebody has added up wrongly, and then it may be
anything. The probabilities of all fields are those given both.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

# The share of sums that are added up wrongly.
WRONG = 0.02
# Values of less probability are left out.
LEAST = 1e-7

Chances = Mapping[str, float]


def agree(
    parts: Sequence[Chances], total: Chances, totals: float
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Returns the probabilities of parts and their total, given that they add up.

    Args:
        parts: Of each part, the probability of each value; what is missing of 1 is
            something else. An empty part is 0.
        total: Those of the total.
        totals: How many values the total may have: a sum agrees by chance that rarely.

    Returns:
        The same, of `parts` and `total`.
    """
    # Of a total that is no sum everything stays as it was.
    numbers = [_numbers(part) for part in parts]
    ahead, behind = _running(numbers), _running(numbers[::-1])[::-1]
    aims = {Decimal(value): chance for value, chance in total.items() if value}
    right = (1 - WRONG) * totals
    all_ = ahead[-1]
    agreed = {
        value: right * all_.get(Decimal(value), 0.0) if value else 0.0
        for value in total
    }
    changed_total = {
        value: chance * (WRONG + agreed[value]) for value, chance in total.items()
    }
    rest = 1 - sum(total.values())
    mass = sum(changed_total.values()) + WRONG * rest
    changed = []
    for number, part in enumerate(parts):
        others = _added(ahead[number], behind[number + 1])
        # What is still missing to each total, and how likely that is.
        missing: dict[Decimal, float] = {}
        for aim, chance in aims.items():
            for other, likely in others.items():
                if aim >= other:
                    gap = aim - other
                    missing[gap] = missing.get(gap, 0.0) + chance * likely
        changed.append(
            {
                value: chance
                * (WRONG + right * missing.get(Decimal(value or 0), 0.0))
                / mass
                for value, chance in part.items()
            }
        )
    return changed, {value: chance / mass for value, chance in changed_total.items()}


def _numbers(part: Chances) -> dict[Decimal, float]:
    """Returns the probability of each number; an empty field is 0."""
    numbers: dict[Decimal, float] = {}
    for value, chance in part.items():
        if chance >= LEAST:
            number = Decimal(value or 0)
            numbers[number] = numbers.get(number, 0.0) + chance
    return numbers


def _running(parts: Sequence[Mapping[Decimal, float]]) -> list[dict[Decimal, float]]:
    """Returns the probability of each sum of the first 0, 1, ... parts."""
    sums: list[dict[Decimal, float]] = [{Decimal(0): 1.0}]
    for part in parts:
        sums.append(_added(sums[-1], part))
    return sums


def _added(
    one: Mapping[Decimal, float], other: Mapping[Decimal, float]
) -> dict[Decimal, float]:
    added: dict[Decimal, float] = {}
    for first, chance in one.items():
        for second, likely in other.items():
            if chance * likely >= LEAST:
                number = first + second
                added[number] = added.get(number, 0.0) + chance * likely
    return added
