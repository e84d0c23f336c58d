"""Ranges of numbers, for a search."""

import dataclasses
import math
import re

from mnistopt.axes import show
from mnistopt.errors import InputError

# Significant digits of a proposed number: more would not be told apart by any study.
DIGITS = 4
_RANGE = re.compile(r"(log:)?(.*?)\.\.(.*)")


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether orders of magnitude are equally likely, rather than numbers.
    """

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        """As a person types it: log:1e-05..0.1."""
        return f"{'log:' * self.log}{show(self.low)}..{show(self.high)}"

    @property
    def middle(self) -> float:
        """The number in the middle."""
        if self.log:
            return math.sqrt(self.low * self.high)
        return (self.low + self.high) / 2

    def rounded(self, value: float) -> float:
        """Returns a number in the range, of few digits, near another."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def place(self, value: float) -> float:
        """Returns where in the range a number is, from 0 to 1."""
        low, high, number = (
            (math.log(v) if self.log else v) for v in (self.low, self.high, value)
        )
        return (number - low) / (high - low)


def uniform(low: float, high: float) -> Range:
    """Returns a range for `search`, in which all numbers are equally likely.

    Whole ones, of a hyper-parameter that takes those.
    """
    return Range(low, high)


def log(low: float, high: float) -> Range:
    """Returns a range for `search`: all orders of magnitude are equally likely."""
    return Range(low, high, log=True)


def typed_range(text: str) -> Range | None:
    """Reads a range as a person types it, 0..0.6 or log:1e-5..1e-1; else None.

    Raises:
        InputError: If it is one without numbers.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return Range(float(match[2]), float(match[3]), bool(match[1]))
    except ValueError:
        raise InputError(
            f"{text} is not a range: expected LOW..HIGH or log:LOW..HIGH, as in 0..0.6 "
            "or log:1e-5..1e-1"
        ) from None
