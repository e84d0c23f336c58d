"""Reads scans of a form: what programs and notebooks call."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.data.scans import ink, pages
from mnistopt.data.scans.pages import Page
from mnistopt.errors import InputError
from mnistopt.study.fields import calibrated, sums
from mnistopt.study.fields.calibrated import Calibration, kind_of
from mnistopt.study.fields.layout import Layout, make_layout, read_layout
from mnistopt.study.fields.reader import Finder, Reader, Reading, Sheet
from mnistopt.study.fields.reject import Claim
from mnistopt.study.study import open_study

# Pages that are read at a time.
CHUNK = 16
# Of a field's pixels: where more are ink it is not writing, but something else.
FULL = 0.4
# Pages that say less than this in the mean may be upside down.
UNSURE = 0.5
# Fields with ink that it takes to tell: a lone 6 is a 9 upside down.
SEVERAL = 3


@dataclasses.dataclass(frozen=True)
class Value:
    """What a field is taken for.

    Attributes:
        page: The page's name.
        field: The field's name.
        value: Its value; "" where it is empty or cannot be read.
        probability: How likely that is right.
        accepted: Whether it is taken over unseen.
        why: Why not, in words; "" if it is.
        score: The probability before it is calibrated.
        kind: The kind of field that it is calibrated with; "" for a page without the
            form.
        reading: What was read, while `on_page` is called; then None.
    """

    page: str
    field: str
    value: str
    probability: float
    accepted: bool
    why: str
    score: float
    kind: str = ""
    reading: Reading | None = dataclasses.field(repr=False, default=None)


@dataclasses.dataclass(frozen=True)
class Read:
    """What scans say.

    Attributes:
        values: What each field of each page is taken for.
        pages: By name how the form was found on each page.
        skipped: By name why the form was not read on a page.
        claims: By kind of field, what can be claimed of those that are accepted.
        max_error: What was asked for.
    """

    values: list[Value]
    pages: dict[str, str]
    skipped: dict[str, str]
    claims: dict[str, Claim]
    max_error: float

    @property
    def table(self) -> pd.DataFrame:
        """A row per field: page, field, value, probability, accepted, why."""
        names = ["page", "field", "value", "probability", "accepted", "why"]
        rows = [[getattr(value, name) for name in names] for value in self.values]
        return pd.DataFrame(rows, columns=names)


def read(
    images: str | Path,
    layout: Any,
    workdir: str | Path,
    max_error: float = 0.005,
    on_page: Callable[[Sheet, list[Value]], None] | None = None,
) -> Read:
    """Reads the fields of a form on scans, and says which are to be looked at.

    Args:
        images: A picture, a PDF file, or a folder of them.
        layout: The path of layout.json, or what it holds, see docs/forms.md.
        workdir: The folder of a study whose networks read, see the recipe `reader`.
        max_error: The share of accepted fields that may be wrong, with 95 % confidence.
        on_page: Is called with each page, and what its fields are taken for.

    Returns:
        What the scans say. A page that cannot be read is named, and skipped.

    Raises:
        InputError: If an argument cannot be used.
    """
    study = open_study(workdir)
    found = read_layout(layout) if isinstance(layout, (str, Path)) else None
    form = found or make_layout(layout)
    reader = Reader(study)
    known = calibrated.read_calibration(study.workdir, reader.digest)
    session = Session(reader, form, known)
    return session.read(pages.find(images), max_error, on_page)


class Session:
    """A reader, a layout, and what is known of such readings."""

    def __init__(self, reader: Reader, layout: Layout, calibration: Calibration):
        """Prepares for a layout.

        Raises:
            InputError: If the picture of the empty form cannot be used.
        """
        blank = None
        if layout.blank:
            (first, *_) = pages.read(layout.blank)
            if first.grey is None:
                raise InputError(f"blank={layout.blank}: {first.why}")
            (first,) = _dark_on_light([first])
            blank = first.grey
        self.finder = Finder(layout, blank)
        self.reader, self.layout, self.calibration = reader, layout, calibration

    def read(
        self,
        files: Sequence[Path],
        max_error: float,
        on_page: Callable[[Sheet, list[Value]], None] | None = None,
    ) -> Read:
        """Reads files, see `read`."""
        if not 0 < max_error < 1:
            raise InputError(
                f"max_error={max_error} is not allowed: expected a share of errors "
                "between 0 and 1, as 0.005"
            )
        kinds = sorted({kind_of(field) for field in self.layout.fields})
        known, form = self.calibration, self.layout.digest
        claims = {kind: known.claim(form, kind, max_error) for kind in kinds}
        self._calibrators = {kind: known.calibrator(form, kind) for kind in kinds}
        answer = Read([], {}, {}, claims, max_error)
        # The empty form may lie beside those that are filled in.
        blank = self.layout.blank and self.layout.blank.resolve()
        files = [file for file in files if file.resolve() != blank]
        for sheets in _chunks(self._sheets(_pages(files)), CHUNK):
            for sheet, readings in self._read(sheets):
                values = self._values(sheet, readings, claims)
                # Pictures of all fields would not fit into the memory.
                kept = (dataclasses.replace(value, reading=None) for value in values)
                answer.values.extend(kept)
                if sheet.why:
                    answer.skipped[sheet.page.name] = sheet.why
                else:
                    answer.pages[sheet.page.name] = sheet.how
                if on_page:
                    on_page(sheet, values)
        return answer

    def _sheets(self, some: Iterator[Page]) -> Iterator[Sheet]:
        """Yields the form on each page; pages are looked at side by side."""
        with ThreadPoolExecutor() as pool:
            for chunk in _chunks(some, CHUNK):
                yield from pool.map(self.finder, _dark_on_light(chunk))

    def _read(self, sheets: Sequence[Sheet]) -> Iterator[tuple[Sheet, list[Reading]]]:
        """Yields what pages say, turned where they are upside down."""
        readings = list(self.reader.read(sheets))
        for sheet, found in zip(sheets, readings):
            sheet = _refused(sheet, found)
            grey = sheet.page.grey
            if grey is not None and self._may_be_turned(sheet, found):
                turned = Page(sheet.page.name, np.ascontiguousarray(grey[::-1, ::-1]))
                other = self.finder(turned)
                if not other.why:
                    (again,) = self.reader.read([other])
                    if _sureness(again) > max(2 * _sureness(found), UNSURE):
                        how = f"{other.how}, turned upside down"
                        sheet, found = dataclasses.replace(other, how=how), again
            yield sheet, found

    def _may_be_turned(self, sheet: Sheet, readings: list[Reading]) -> bool:
        # Marks and print tell by themselves what is up.
        blind = self.layout.page and not self.layout.marks and not self.layout.blank
        inked = sum(len(reading.spot.cut.boxes) > 0 for reading in readings)
        unsure = inked >= SEVERAL and _sureness(readings) < UNSURE
        return bool(blind and unsure and not sheet.why)

    def _values(
        self, sheet: Sheet, readings: list[Reading], claims: dict[str, Claim]
    ) -> list[Value]:
        """Returns what the fields of a page are taken for."""
        name = sheet.page.name
        if sheet.why:
            return [
                Value(name, field.name, "", 0.0, False, f"page: {sheet.why}", 0.0)
                for field in self.layout.fields
            ]
        guesses = self._summed(readings)
        values = []
        for reading, chances in zip(readings, guesses):
            field = reading.spot.field
            kind = kind_of(field)
            best = max(chances.items(), key=lambda pair: pair[1], default=("", 0.0))
            value, score = best
            said = reading.said
            if said.other > score or reading.spot.cut.crowded:
                value, score = "", 0.0
            probability = self._calibrators[kind](score)
            why = self._why(reading, chances, value, score, claims[kind])
            known = probability, not why, why, score, kind, reading
            values.append(Value(name, field.name, value, *known))
        return values

    def _why(self, reading, chances, value, score, claim: Claim) -> str:
        """Says why a value is not taken over; "" if it is."""
        if reading.spot.cut.crowded:
            return "more ink than can be read"
        if reading.said.other > score and reading.said.text:
            return f"reads {reading.said.text}, which the field may not hold"
        if not value:
            if not len(reading.spot.cut.boxes) and reading.spot.field.optional:
                return ""
            return "empty" if score > 0.5 else "nothing that can be read"
        if score >= claim.threshold:
            return ""
        if not claim.accepted:
            return "too few known fields to accept any"
        second = sorted(chances.items(), key=lambda pair: -pair[1])[1:2]
        if second and second[0][0] and second[0][1] > 0.01 * score:
            return f"unsure: {value} or {second[0][0]}"
        return "unsure"

    def _summed(self, readings: list[Reading]) -> list[dict[str, float]]:
        """Returns the probability of each value of each field, given its sums."""
        chances = {
            reading.spot.field.name: dict(reading.said.guesses) for reading in readings
        }
        rules = {field.name: field.rule for field in self.layout.fields}
        for held in self.layout.sums:
            parts = [chances[name] for name in held.of]
            totals = rules[held.total].count
            changed, total = sums.agree(parts, chances[held.total], totals)
            chances |= dict(zip(held.of, changed)) | {held.total: total}
        return [chances[reading.spot.field.name] for reading in readings]


def _pages(files: Sequence[Path]) -> Iterator[Page]:
    """Yields all pages of files."""
    for file in files:
        yield from pages.read(file)


def _dark_on_light(some: Sequence[Page]) -> list[Page]:
    """Returns pages dark on light; they decide together which way they are."""
    greys = [page.grey for page in some if page.grey is not None]
    if ink.is_light(greys):
        return list(some)
    return [
        page if page.grey is None else page._replace(grey=255 - page.grey)
        for page in some
    ]


def _chunks(some: Iterator, size: int) -> Iterator[list]:
    while chunk := list(itertools.islice(some, size)):
        yield chunk


def _sureness(readings: list[Reading]) -> float:
    """Returns the mean probability of what fields with ink say."""
    inked = [r for r in readings if len(r.spot.cut.boxes)]
    first = [r.said.guesses[0].probability for r in inked if r.said.guesses]
    return float(np.mean(first)) if first else 1.0


def _refused(sheet: Sheet, readings: list[Reading]) -> Sheet:
    """Returns a page, with why it cannot be read if its fields show so."""
    if sheet.why or not readings:
        return sheet
    shares = [float((reading.spot.cut.names > 0).mean()) for reading in readings]
    if np.median(shares) > FULL:
        why = "it does not look like the form: its fields are full of ink"
        return dataclasses.replace(sheet, why=why)
    if not any(len(reading.spot.cut.boxes) for reading in readings):
        return dataclasses.replace(sheet, why="it is empty: no field has any ink")
    return sheet
