"""How a hyper-parameter is declared: what it may be, its default, the words for it."""

import contextlib
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from mnistopt.errors import InputError

# Nearest to 1 that a rate may come, well before float32 rounds it to 1.
_LARGEST_SHARE = 1 - 2**-16
# The smallest normal float32: what is smaller is computed as 0.
SMALLEST = 2.0**-126
_LARGEST = (2 - 2.0**-23) * 2.0**127  # The largest float32.
_MOST = 2**31 - 1  # The largest int32.
# What a comma within a number leaves behind it: 0,01 and 1,024 are two values each.
_AFTER_A_COMMA = re.compile(r"(?:^|x)[-+]?0\d")


class Typed(str):
    """A value as a person has typed it; what it means, its declaration says."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """The declaration of one hyper-parameter.

    Attributes:
        default: The value that is used if none is given.
        help: A description, for `--help`.
        rule: The values that are expected, for error messages.
        clean: Returns an allowed value as plain Python has it (numpy's numbers and
            whole floats come in too), and raises ValueError or TypeError for others.
        neutral: The value at which it does nothing and is in no identity and no table,
            so that adding an axis changes neither. None for those
            that always count.
        joined: Whether a tuple of whole numbers is one value: a layer structure.
        stage: The part of a training step that a value other than `neutral` brings
            in: points that do without it have a program without it.
        kind: The type of its values in tables: "number", "whole", "text" or "truth".
    """

    default: Any
    help: str
    rule: str
    clean: Callable[[Any], Any]
    neutral: Any = None
    joined: bool = False
    stage: str = ""
    kind: str = "number"

    def check(self, name: str, value: Any) -> Any:
        """Returns a value as plain Python has it.

        Raises:
            InputError: If it is not allowed; says what is.
        """
        try:
            return self.clean(self._read(value) if isinstance(value, Typed) else value)
        except (ValueError, TypeError, OverflowError) as error:
            own = isinstance(error, (OverflowError, InputError))
            more = f", {error}" if own else ""
            raise InputError(
                f"{name}={show(value)} is not allowed: {self.rule}{more}"
            ) from None

    def _read(self, text: str) -> Any:
        """Returns what a person has typed as the kind of value that is declared."""
        if self._has_digits and _AFTER_A_COMMA.search(text):
            raise InputError("without a 0 before its digits")
        if self.joined or not self._has_digits:
            return str(text)
        with contextlib.suppress(ValueError):
            return int(text)
        return float(text)

    @property
    def _has_digits(self) -> bool:
        return self.joined or self.kind in ("number", "whole")

    def values(self, name: str, given: Any) -> list[Any]:
        """Returns the values of an axis: what was given, or all that is in it.

        Args:
            name: The hyper-parameter's name.
            given: A value, or a list, tuple, range, array or the like of values.

        Raises:
            InputError: If there is none, or one is not allowed.
        """
        single_value = (
            self.joined and isinstance(given, tuple) and all(map(_is_whole, given))
        )
        values = [given] if single_value else as_list(given)
        if not values:
            raise InputError(f"{name} has no values; give at least one")
        try:
            checked = [self.check(name, value) for value in values]
        except InputError as error:
            typed = len(values) > 1 and isinstance(values[0], Typed)
            if not (typed and self._has_digits):
                raise
            raise InputError(
                f"{error}. A comma separates values: if a decimal comma was meant, "
                "write a point, as in 0.01"
            ) from None
        if self.joined and len(set(checked)) < len(checked):
            layers = "x".join(map(show, checked))
            raise InputError(
                f"{name}={','.join(map(show, checked))} has a value twice: x joins "
                f"the layers of a network, as in {layers}; a comma separates networks"
            )
        return checked


def kind_of(value: Any) -> str:
    """Returns the kind of a plain value, as `Axis.kind`."""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole"
    return "number" if isinstance(value, float) else "text"


def as_list(given: Any) -> list[Any]:
    """Returns what is in a list, tuple, range, array or the like; else [given]."""
    single = isinstance(given, (str, bytes, dict)) or getattr(given, "shape", 1) == ()
    return list(given) if isinstance(given, Iterable) and not single else [given]


# Decimal digits that distinguish every float32, and those of "%g".
_EXACT, _SHORT = 9, 6


def show(value: Any, digits: int = _EXACT) -> str:
    """Writes a value as a person would type it: (32, 64) as 32x64, 0.001 as 0.001.

    Args:
        value: A value of a hyper-parameter.
        digits: Most of a float; by default those that make the same float32 again.
    """
    if isinstance(value, (tuple, list)):
        return "x".join(map(str, value))
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def plural(count: int, noun: str) -> str:
    """Writes a count with its noun: 1 seed, 3 seeds."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def tell_apart(values: Iterable[Any]) -> dict[Any, str]:
    """Returns values as a person writes them, as short as keeps them distinct.

    Args:
        values: Values of one hyper-parameter; hashable.
    """
    values = set(values)
    for digits in range(_SHORT, 18):  # 17 distinguish every float64
        texts = {value: show(value, digits) for value in values}
        if len(set(texts.values())) == len(values):
            break
    return texts


@functools.lru_cache(maxsize=None, typed=True)
def single(number: float) -> float:
    """Returns the shortest decimal number that is the same float32.

    Training computes in float32, in which 0.3 and 0.30000000000000004 are one number:
    by this they are one point, with one name.

    Args:
        number: Within float32's range; a whole one stays as it is.
    """
    if isinstance(number, int):
        return number
    import numpy as np  # not above: `--help` does without

    return float(str(np.float32(number)))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> float:
    """Returns a finite number as a float; float32's 0.001 as 0.001."""
    if isinstance(value, (bool, str, bytes)) or getattr(value, "shape", ()) != ():
        raise TypeError
    number = float(str(value)) if hasattr(value, "dtype") else float(value)
    if not math.isfinite(number):
        raise ValueError
    if abs(number) > _LARGEST:
        raise OverflowError(f"within {_LARGEST:g}, the largest float32")
    return number + 0.0  # so that -0.0 and 0.0 are one value, with one identity


def _whole(value: Any) -> int:
    number = value if _is_whole(value) else _number(value)
    if number != int(number):
        raise ValueError
    if abs(number) > _MOST:
        raise OverflowError(f"within {_MOST:,}, the largest int32")
    return int(number)


def _within(
    read: Callable[[Any], Any], least: float, most: float = math.inf
) -> Callable[[Any], Any]:
    """Returns what reads a number and raises ValueError beyond its bounds."""

    def clean(value):
        if not least <= (number := read(value)) <= most:
            raise ValueError
        return number

    return clean


_count = _within(_whole, 1)


def _layers(value: Any) -> tuple[int, ...]:
    """Returns a layer structure; "32x64" is (32, 64)."""
    if isinstance(value, str):
        value = value.strip().split("x")
        if not all(map(str.isdecimal, value)):
            raise ValueError
        value = list(map(int, value))
    sizes = tuple(map(_count, as_list(value)))
    if not sizes:
        raise ValueError
    return sizes


_COUNT = "expected a whole number of at least 1"
_LAYERS = "expected whole numbers of at least 1, joined by x as in 32x64"


def whole(default: int | None, help: str) -> Axis:
    """Declares a whole number."""
    return Axis(default, help, "expected a whole number", _whole, kind="whole")


def count(default: int | None, help: str) -> Axis:
    """Declares a whole number of at least 1."""
    return Axis(default, help, _COUNT, _count, kind="whole")


def layers(default: tuple[int, ...] | None, help: str) -> Axis:
    """Declares whole numbers of at least 1, one per layer."""
    return Axis(default, help, _LAYERS, _layers, joined=True, kind="text")


def choice(
    default: Any, help: str, options: Iterable[Any], neutral: Any = None
) -> Axis:
    """Declares one of some words, or of some whole numbers."""
    options = tuple(options)

    def clean(value):
        option = value if isinstance(value, str) else _whole(value)
        if option not in options:
            raise ValueError
        return option

    rule = f"choose one of {', '.join(map(str, options))}"
    kind = "text" if isinstance(options[0], str) else "whole"
    return Axis(default, help, rule, clean, neutral, kind=kind)


def limit(help: str) -> Axis:
    """Declares a whole number of at least 0, which does nothing at 0."""
    rule = "expected a whole number of at least 0"
    return Axis(0, help, rule, _within(_whole, 0), neutral=0, kind="whole")


def number(
    default: float,
    help: str,
    least: float = -math.inf,
    rule: str = "expected a number",
    neutral: float | None = None,
) -> Axis:
    """Declares a finite number of at least `least`, which `rule` says in words."""
    return Axis(default, help, rule, _within(_number, least), neutral)


def share(
    default: float, help: str, neutral: float | None = None, stage: str = ""
) -> Axis:
    """Declares a number of at least 0 and below 1."""
    rule = "expected a number of at least 0 and below 1"
    clean = _within(_number, 0, _LARGEST_SHARE)
    return Axis(default, help, rule, clean, neutral, stage=stage)


def strength(help: str, stage: str = "", most: float = math.inf) -> Axis:
    """Declares a number of at least 0, which does nothing at 0."""
    rule = "expected a number of at least 0"
    rule += f" and at most {most:g}" if most < math.inf else ""
    return Axis(0.0, help, rule, _within(_number, 0, most), neutral=0.0, stage=stage)
