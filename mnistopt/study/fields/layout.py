"""A form's layout: where its fields are, and what each may hold."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from mnistopt.errors import InputError, meant
from mnistopt.files import check_path
from mnistopt.study.fields import rules
from mnistopt.study.fields.rules import Rule

# Digits of a field of which nothing is known, and of any.
MOST_DIGITS, LONGEST = 12, 40
# Numbers of a layout are below this, and no NaN.
LARGEST = 1e7
_OF_LAYOUT = {"page", "marks", "blank", "fields", "sums"}
_OF_FIELD = {
    *("name", "box", "cells", "digits", "decimals", "min", "max", "step", "out_of"),
    *("list", "check", "optional"),
}
_CHECKS = (
    '"luhn", "date", {"iban": "DE"} or {"weights": [...], "modulus": M, "remainder": R}'
)


@dataclasses.dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: Its name.
        box: Left, top, width and height, in the layout's unit; None for all of a page.
        cells: In how many cells of one width digits stand, 0 for none.
        rule: What it may hold.
        optional: Whether it may be empty.
    """

    name: str
    box: tuple[float, float, float, float] | None
    cells: int
    rule: Rule
    optional: bool


@dataclasses.dataclass(frozen=True)
class Sum:
    """A field that holds the sum of others: `total`, and the names `of` these."""

    total: str
    of: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A form's layout.

    Attributes:
        fields: Its fields, with different names.
        page: Width and height of the page, in the unit of all boxes; None for pixels
            of each picture.
        marks: The middles of four corner marks, clockwise from the top left; or None.
        blank: A picture of the empty form, or None.
        sums: Fields that hold the sum of others.
        digest: Of all that its file says: what is known of a form is not of others.
    """

    fields: tuple[Field, ...]
    page: tuple[float, float] | None = None
    marks: tuple[tuple[float, float], ...] | None = None
    blank: Path | None = None
    sums: tuple[Sum, ...] = ()
    digest: str = ""


def read_layout(path: str | Path) -> Layout:
    """Reads layout.json.

    Raises:
        InputError: If it cannot be read or used; says where.
    """
    path = check_path("layout", path) or Path()
    try:
        given = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except FileNotFoundError as error:
        raise InputError(
            f"layout={path} is not there; draw one by --draw_layout on a scan"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"layout={path} cannot be read as JSON ({error})") from error
    return make_layout(given, path.parent, str(path))


def make_layout(given: Any, folder: Path = Path(), where: str = "layout") -> Layout:
    """Returns a layout of what layout.json holds.

    Args:
        given: As JSON has it.
        folder: Paths of files are relative to it.
        where: What it is called in errors.

    Raises:
        InputError: If it cannot be used; says where.
    """
    given = _mapping(given, _OF_LAYOUT, where)
    entries = given.get("fields")
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise InputError(f"{where} has no fields: expected a list of at least one")
    page = _numbers(given.get("page"), 2, f"{where}: page", least=1)
    fields = tuple(
        _field(entry, folder, f"{where}: fields[{number}]")
        for number, entry in enumerate(entries)
    )
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where} has two fields called {name!r}: rename one")
    for field in fields:
        if page and field.box and not _within(field.box, page):
            raise InputError(
                f"{where}: the box of {field.name} is {_shown(field.box)} and lies "
                f"outside of the page, {_shown(page)}: boxes are [left, top, width, "
                "height] in the page's unit"
            )
    marks = given.get("marks")
    if marks is not None:
        if page is None:
            raise InputError(f"{where}: marks need the page's [width, height] as page")
        if not isinstance(marks, Sequence) or len(marks) != 4:
            raise InputError(f"{where}: marks are four points, clockwise from top left")
        marks = tuple(_numbers(mark or (), 2, f"{where}: marks") for mark in marks)
    blank = given.get("blank")
    if blank is not None:
        if page is None:
            raise InputError(
                f"{where}: blank needs the page's [width, height] as page, in the unit "
                "of its boxes"
            )
        if not (folder / str(blank)).is_file():
            raise InputError(f"{where}: blank={blank} is no file in {folder}")
        blank = folder / str(blank)
    entries = given.get("sums", ())
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise InputError(f"{where}: sums is {entries!r}; expected a list")
    sums = tuple(_sum(entry, names, where) for entry in entries)
    said = json.dumps(given, sort_keys=True, default=float)
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return Layout(fields, page, marks, blank, sums, digest)


def _mapping(given: Any, known: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is {given!r}; expected an object")
    for name in given:
        if name not in known:
            close = meant(name, known)
            hint = f"did you mean {close}?" if close else f"known: {sorted(known)}"
            raise InputError(f"{where} has an unknown {name!r}; {hint}")
    return given


def _numbers(given: Any, count: int, where: str, least: float | None = None) -> Any:
    """Returns a tuple of finite numbers, or None for None."""
    if given is None:
        return None
    right = isinstance(given, Sequence) and len(given) == count
    right = right and all(
        isinstance(one, (int, float, Decimal))
        and not isinstance(one, bool)
        and -LARGEST < one < LARGEST
        for one in given
    )
    numbers: tuple[float, ...] = tuple(map(float, given)) if right else ()
    if not right or (least is not None and min(numbers) < least):
        raise InputError(f"{where} is {given!r}; expected {count} numbers")
    return numbers


def _shown(numbers: Sequence[float]) -> str:
    return f"[{', '.join(f'{number:g}' for number in numbers)}]"


def _within(box: Sequence[float], page: Sequence[float]) -> bool:
    left, top, width, height = box
    inside = left >= 0 and top >= 0 and width > 0 and height > 0
    return inside and left + width <= page[0] + 1 and top + height <= page[1] + 1


def _field(given: Any, folder: Path, where: str) -> Field:
    given = _mapping(given, _OF_FIELD, where)
    name = given.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where} has no name")
    where = f"{where} ({name})"
    box = _numbers(given.get("box"), 4, f"{where}: box")
    if box and min(box[2:]) <= 0:
        raise InputError(f"{where}: box {_shown(box)} has no size")
    cells = _whole(given.get("cells", 0), f"{where}: cells")
    optional = given.get("optional", False)
    for flag in ("optional", "out_of"):
        if not isinstance(given.get(flag, False), bool):
            raise InputError(f"{where}: {flag} is true or false")
    return Field(name, box, cells, _rule(given, cells, folder, where), optional)


def _whole(given: Any, where: str) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise InputError(f"{where} is {given!r}; expected a whole number from 0")
    return given


def _decimal(given: Any, where: str) -> Decimal | None:
    if given is None:
        return None
    try:
        number = Decimal(str(given))
    except InvalidOperation as error:
        raise InputError(f"{where} is {given!r}; expected a number") from error
    if not number.is_finite() or not 0 <= number < 10**LONGEST:
        raise InputError(f"{where} is {given!r}; expected a number from 0")
    return number


def _rule(given: Mapping[str, Any], cells: int, folder: Path, where: str) -> Rule:
    decimals = _whole(given.get("decimals", 0), f"{where}: decimals")
    low, high, step = (
        _decimal(given.get(name), f"{where}: {name}") for name in ("min", "max", "step")
    )
    if step is not None and not step:
        raise InputError(f"{where}: step is 0; expected a number above it")
    if high is not None and low is not None and low > high:
        raise InputError(f"{where}: min={low} is above max={high}")
    for kept in (low, high, step):
        if kept is not None:
            decimals = max(decimals, -int(kept.normalize().as_tuple().exponent))
    number = bool(decimals) or (low, high, step) != (None, None, None)
    out_of = bool(given.get("out_of", False))
    if out_of and high is None:
        raise InputError(f"{where}: out_of needs a max, which stands after the slash")
    among = _list(given.get("list"), folder, where)
    digits = _digits(given.get("digits"), cells, number, high, decimals, where)
    if among:
        sizes = [len(text) for text in among]
        digits = min(sizes), max(sizes)
    check, passing = _check(given.get("check"), where)
    if check and number:
        raise InputError(f"{where}: check digits are of digits, not of a number")
    if among and (number or check):
        raise InputError(f"{where}: a list says all: leave max, step, check out")
    limits = low, high, step, out_of, among, check, passing
    # Amounts have their decimals; marks by halves may have one.
    exact = bool(given.get("decimals")) and step is None
    rule = Rule(digits, number, decimals, *limits, exact)
    if rule.measure <= 0 or rule.count < 1:
        raise InputError(
            f"{where}: nothing is allowed by its min, max, step and digits"
        )
    return rule


def _digits(given, cells, number, high, decimals, where) -> tuple[int, int]:
    """Returns how many digits a field may hold, at least and at most."""
    if given is None:
        if number:
            whole = len(str(int(high))) if high is not None else 8
            most = whole + decimals
            return 1, min(most, cells) if cells else most
        return (cells, cells) if cells else (1, MOST_DIGITS)
    if isinstance(given, int) and not isinstance(given, bool):
        given = given, given
    ends = _numbers(given, 2, f"{where}: digits", least=1)
    if ends[0] > ends[1] or ends[1] > LONGEST or any(end % 1 for end in ends):
        raise InputError(
            f"{where}: digits is {given!r}; expected a whole number to {LONGEST}, or "
            "[least, most]"
        )
    return int(ends[0]), int(ends[1])


def _list(given: Any, folder: Path, where: str) -> tuple[str, ...] | None:
    """Returns a sorted list, from layout.json or a text file with one per line."""
    if given is None:
        return None
    if isinstance(given, str):
        try:
            text = (folder / given).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{where}: list={given} cannot be read ({error})"
            ) from error
        # Tables come with commas, semicolons or tabs, and with quotes.
        firsts = [re.split("[,;\t]", line)[0] for line in text.splitlines()]
        entries = [first.strip().strip("\"'") for first in firsts if first.strip()]
        # The first line may be a heading.
        if entries and not entries[0].isdigit():
            entries = entries[1:]
    elif isinstance(given, Sequence):
        entries = [str(entry) for entry in given]
    else:
        entries = []
    if not entries or not all(entry.isdigit() and entry.isascii() for entry in entries):
        raise InputError(
            f"{where}: list={given!r} holds no numbers; expected a list of them, or a "
            "text file that begins each line with one"
        )
    return tuple(sorted(set(entries)))


def _check(given: Any, where: str):
    """Returns a check of digits, or None, and the share that it lets pass."""
    if given is None:
        return None, 1.0
    if given == "luhn":
        return rules.luhn, 0.1
    if given == "date":
        return rules.date, rules.DATES
    if isinstance(given, Mapping):
        if set(given) == {"iban"} and str(given["iban"]).isalpha():
            return rules.iban(str(given["iban"]).upper()), 1 / 97
        weights = given.get("weights")
        listed = isinstance(weights, Sequence) and not isinstance(weights, str)
        if set(given) <= {"weights", "modulus", "remainder"} and listed and weights:
            modulus = _whole(given.get("modulus", 10), f"{where}: modulus")
            rest = _whole(given.get("remainder", 0), f"{where}: remainder")
            factors = [_whole(one, f"{where}: weights") for one in weights]
            if modulus > 1:
                return rules.weighted(factors, modulus, rest), 1 / modulus
    raise InputError(f"{where}: check is {given!r}; expected {_CHECKS}")


def _sum(given: Any, names: Sequence[str], where: str) -> Sum:
    given = _mapping(given, {"total", "of"}, f"{where}: sums")
    total, parts = given.get("total"), given.get("of")
    if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
        raise InputError(f"{where}: a sum has a total and is of a list of fields")
    if total in parts:
        raise InputError(f"{where}: {total!r} cannot be a part of its own sum")
    for name in (total, *parts):
        if name not in names:
            raise InputError(f"{where}: a sum names {name!r}, which is no field")
    return Sum(str(total), tuple(parts))
