"""What a field may hold: digits, numbers, one of a list, with check digits."""

import bisect
import calendar
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Sequence
from decimal import Decimal

# What is written between whole and decimal digits, and before the most that can be had.
COMMA, SLASH = ",", "/"
DIGITS = tuple("0123456789")
# The share of amounts, which have a fixed number of decimals, written without any.
PLAIN = 0.02
# Numbers are counted one by one up to so many.
MANY = 10_000


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a field may hold.

    Attributes:
        digits: How many, at least and at most.
        number: Whether they are a number, without zeros before it, or a string.
        decimals: How many there may be after a comma.
        exact: Whether there are so many, if there is a comma.
        low: The least number, None for 0.
        high: The largest number, None for any.
        step: Numbers are multiples of it.
        out_of: Whether a slash and `high` may follow: 7/10.
        among: What it may hold and nothing else, sorted; None for anything.
        check: Says whether digits have the right check digit; None for any.
        passing: The share of all digits that `check` lets pass.
    """

    digits: tuple[int, int]
    number: bool = False
    decimals: int = 0
    low: Decimal | None = None
    high: Decimal | None = None
    step: Decimal | None = None
    out_of: bool = False
    among: tuple[str, ...] | None = None
    check: Callable[[str], bool] | None = None
    passing: float = 1.0
    exact: bool = False

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it is written with."""
        marks = (COMMA,) * bool(self.decimals) + (SLASH,) * self.out_of
        return DIGITS + marks

    @property
    def longest(self) -> int:
        """Symbols of the longest text."""
        return self.digits[1] + bool(self.decimals)

    def begins(self, text: str) -> bool:
        """Says whether a text may be the beginning of something allowed."""
        if self.among is not None:
            place = bisect.bisect_left(self.among, text)
            return place < len(self.among) and self.among[place].startswith(text)
        number, slash, most = text.partition(SLASH)
        if slash and not (self._ends and number and self._ends.startswith(most)):
            return False
        whole, *groups = number.split(COMMA)
        if len(whole) + sum(map(len, groups)) > self.digits[1]:
            return False
        if groups and not (self.decimals and whole):
            return False
        return not (self.number and len(whole) > 1 and whole[0] == "0")

    def share(self, text: str) -> float:
        """Returns how often such a text is written where it is allowed."""
        return PLAIN if self.exact and COMMA not in text else 1.0

    @functools.cached_property
    def _ends(self) -> str:
        """What follows a slash."""
        return plain(self.high) if self.out_of and self.high is not None else ""

    def value(self, text: str) -> str | None:
        """Returns what a text says, in its usual form; None for what is not allowed."""
        if self.among is not None:
            return text if self._among_at(text) else None
        number, slash, most = text.partition(SLASH)
        if slash and (most != self._ends or not most):
            return None
        if not self.number:
            right = self.digits[0] <= len(number) <= self.digits[1] and number.isdigit()
            return number if right and (not self.check or self.check(number)) else None
        parsed = self._parsed(number)
        if parsed is None or not self._fits(parsed):
            return None
        return plain(parsed)

    def typed(self, text: str) -> str:
        """Returns what somebody typed in its usual form; as it is, if it is none."""
        text = text.strip()
        if self.number and re.fullmatch(r"\d+([.,]\d+)?", text):
            return plain(Decimal(text.replace(",", ".")))
        return text

    def _among_at(self, text: str) -> bool:
        among = self.among or ()
        place = bisect.bisect_left(among, text)
        return place < len(among) and among[place] == text

    def _parsed(self, text: str) -> Decimal | None:
        """Returns the number that a text is; None if it is none."""
        if self.decimals and COMMA in text:
            whole, decimals = text.rsplit(COMMA, 1)
            if (
                not (self.decimals if self.exact else 1)
                <= len(decimals)
                <= self.decimals
            ):
                return None
        else:
            whole, decimals = text, ""
        # Thousands may be apart.
        if not re.fullmatch(r"(0|[1-9]\d*)|[1-9]\d{0,2}(,\d{3})+", whole):
            return None
        if not self.digits[0] <= len(whole.replace(COMMA, "")) + len(decimals):
            return None
        return Decimal(f"{whole.replace(COMMA, '')}.{decimals or 0}")

    def _fits(self, number: Decimal) -> bool:
        if self.high is not None and number > self.high:
            return False
        if self.low is not None and number < self.low:
            return False
        return self.step is None or not number % self.step

    @functools.cached_property
    def _numbers(self) -> tuple[Decimal, Decimal, int]:
        """Returns the least number, the step to the next, and how many there are."""
        step = self.step or Decimal(1).scaleb(-self.decimals)
        high, low = self.high, self.low or Decimal(0)
        if high is None:
            high = Decimal(10) ** (self.digits[1] - self.decimals) - step
        return low, step, int((high - low) / step) + 1

    @property
    def count(self) -> float:
        """How many values there are."""
        if self.among is not None:
            return len(self.among)
        if self.number:
            return self._numbers[2]
        return self.passing * sum(
            10.0**size for size in range(self.digits[0], self.digits[1] + 1)
        )

    @functools.cached_property
    def measure(self) -> float:
        """The sum over all allowed texts of a tenth to the power of their digits.

        How likely it is that digits at random, of a length at random, are allowed; up
        to the number of lengths.
        """
        if self.among is not None:
            return sum(10.0 ** -len(text) for text in self.among)
        if not self.number:
            return self.passing * (self.digits[1] - self.digits[0] + 1)
        low, step, count = self._numbers
        if count > MANY:
            # Nine tenths of all texts of each length do not begin with 0.
            share = float(Decimal(1).scaleb(-self.decimals) / step)
            return 0.9 * self.digits[1] * share
        numbers = (low + step * k for k in range(count))
        return sum(10.0 ** -sum(map(str.isdigit, plain(number))) for number in numbers)


def plain(number: Decimal) -> str:
    """Writes a number as people do: 7, 7.5."""
    text = f"{number.normalize():f}"
    return text if text != "-0" else "0"


def luhn(digits: str) -> bool:
    """Says whether the last digit is Luhn's (ISO/IEC 7812-1, annex B)."""
    return weighted((1, 2), 10, 0, True)(digits)


def weighted(
    weights: Sequence[int], modulus: int, remainder: int = 0, crossed: bool = False
) -> Callable[[str], bool]:
    """Returns a check of the weighted sum of digits.

    Args:
        weights: Of the last digit, the one before it, and so on, again and again.
        modulus: What the sum is divided by.
        remainder: What must remain.
        crossed: Whether products of two digits count as the sum of these.
    """

    def check(digits: str) -> bool:
        products = [
            int(d) * w for d, w in zip(reversed(digits), itertools.cycle(weights))
        ]
        if crossed:
            products = [sum(divmod(product, 10)) for product in products]
        return sum(products) % modulus == remainder

    return check


def date(digits: str) -> bool:
    """Says whether eight digits are a day, a month and a year, from 1900 to 2099."""
    if len(digits) != 8:
        return False
    day, month, year = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if not (1900 <= year < 2100 and 1 <= month <= 12):
        return False
    return 1 <= day <= calendar.monthrange(year, month)[1]


# The share of all eight digits that are a date.
DATES = 73_049 / 10**8


def iban(country: str) -> Callable[[str], bool]:
    """Returns the check of an IBAN of a country (ISO 13616), without its letters."""
    letters = "".join(str(ord(letter) - ord("A") + 10) for letter in country)

    def check(digits: str) -> bool:
        return len(digits) > 2 and int(digits[2:] + letters + digits[:2]) % 97 == 1

    return check
