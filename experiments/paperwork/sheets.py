"""Empty forms: an exam's cover sheet, a bank's transfer form, and a cheque.

All lengths are in millimetres; a form is drawn at any number of pixels for each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.paperwork import clutter

# Students of the class whose exam it is.
STUDENTS = "students.csv"
# The most that each exercise of the exam is worth.
MOST = (10, 8, 12, 10, 15, 20)


class Form(NamedTuple):
    """A form.

    Attributes:
        layout: What layout.json says of it.
        printed: Draws its print into darkness [H, W] at pixels a millimetre.
    """

    layout: dict[str, Any]
    printed: Callable[[np.ndarray, float], None]


def _box(dark, box, scale, width=0.35, level=0.8, cells=0, comb=1.0) -> None:
    """Draws a box, and lines between its cells of a share of its height."""
    left, top, wide, tall = (scale * value for value in box)
    right, bottom = left + wide, top + tall
    for start, end in (
        ((left, top), (right, top)),
        ((left, bottom), (right, bottom)),
        ((left, top), (left, bottom)),
        ((right, top), (right, bottom)),
    ):
        clutter.line(dark, start, end, width * scale, level)
    for number in range(1, cells):
        x = left + wide * number / cells
        start = bottom - comb * tall
        clutter.line(dark, (x, start), (x, bottom), width * scale, level)


def _words(dark, words, left, top, height, scale, level=0.9) -> None:
    """Prints words, the middle of their left side at a place."""
    ink = clutter.text(words, height * scale)
    y = scale * top - ink.shape[0] / 2
    clutter.put(dark, level * ink, scale * left, y)


def exam() -> Form:
    """An exam's cover sheet: a student's number, six marks and their sum."""
    corners = [(12, 12), (198, 12), (198, 285), (12, 285)]
    number = {"name": "student", "box": [70, 52, 56, 10], "cells": 8}
    fields: list[dict[str, Any]] = [{**number, "list": STUDENTS}]
    for row, most in enumerate(MOST):
        box = [95, 90 + 20 * row, 28, 12]
        mark = {"name": f"exercise_{row + 1}", "box": box, "max": most, "step": 0.5}
        fields.append(mark)
    total = {"name": "sum", "box": [95, 215, 28, 12], "max": sum(MOST), "step": 0.5}
    fields.append(total)
    names = [field["name"] for field in fields[1:-1]]
    layout = {
        "page": [210, 297],
        "marks": [list(corner) for corner in corners],
        "fields": fields,
        "sums": [{"total": "sum", "of": names}],
    }

    def printed(dark: np.ndarray, scale: float) -> None:
        for place, (x, y) in enumerate(corners):
            side = 7.5 if place == 0 else 5
            a, b = (round(scale * (v - side / 2)) for v in (x, y))
            c, d = (round(scale * (v + side / 2)) for v in (x, y))
            dark[b:d, a:c] = 0.95
        _words(dark, "Mathematics, final exam", 60, 30, 5, scale)
        _words(dark, "Student's number", 25, 57, 3, scale)
        _box(dark, fields[0]["box"], scale, cells=8)
        for row, most in enumerate(MOST):
            _words(dark, f"Exercise {row + 1}", 30, 96 + 20 * row, 3.2, scale)
            _box(dark, fields[row + 1]["box"], scale)
            _words(dark, f"of {most}", 130, 96 + 20 * row, 3.2, scale)
        _words(dark, "Sum", 30, 221, 4, scale)
        _box(dark, total["box"], scale, width=0.6)
        _words(dark, "Examiner", 30, 262, 3, scale)
        clutter.line(
            dark, (60 * scale, 265 * scale), (140 * scale, 265 * scale), 2, 0.8
        )

    return Form(layout, printed)


def transfer() -> Form:
    """A bank's transfer form: everything in cells, most with check digits."""
    account = {"name": "iban", "box": [22, 34, 112, 8], "cells": 20}
    reference = {"name": "reference", "box": [12, 50, 61.6, 8], "cells": 11}
    euros = {"name": "euros", "box": [78, 66, 39.2, 8], "cells": 7, "max": 9_999_999}
    cents = {"name": "cents", "box": [121, 66, 11.2, 8], "cells": 2, "digits": 2}
    date = {"name": "date", "box": [12, 82, 44.8, 8], "cells": 8, "check": "date"}
    fields: list[dict[str, Any]] = [
        {**account, "check": {"iban": "DE"}},
        {**reference, "check": "luhn"},
        euros,
        cents,
        date,
    ]
    layout = {"page": [148, 105], "blank": "blank.png", "fields": fields}

    def printed(dark: np.ndarray, scale: float) -> None:
        _words(dark, "Transfer order", 12, 10, 4.5, scale)
        _words(dark, "For transfers in euros to banks of the area", 12, 17, 2.4, scale)
        labels = ("IBAN of the payee", "Reference", "Amount: euros", "cents", "Date")
        for field, words in zip(fields, labels):
            left, top, _, _ = field["box"]
            at = 12 if field["name"] == "iban" else left
            _words(dark, words, at, top - 2.2, 2.1, scale, 0.7)
            _box(dark, field["box"], scale, 0.25, 0.6, field["cells"], 0.45)
        _words(dark, "D E", 12.5, 38, 4, scale)
        _words(dark, ",", 118.4, 72.5, 3, scale)
        clutter.line(dark, (75 * scale, 92 * scale), (140 * scale, 92 * scale), 2, 0.7)
        _words(dark, "Signature", 76, 95, 2.1, scale, 0.7)

    return Form(layout, printed)


def cheque() -> Form:
    """A cheque: its amount stands on a line, and is written freely."""
    amount = {"name": "amount", "box": [96, 20, 52, 13]}
    fields = [{**amount, "max": 99999.99, "decimals": 2}]
    layout = {"page": [160, 70], "blank": "blank.png", "fields": fields}

    def printed(dark: np.ndarray, scale: float) -> None:
        _words(dark, "Savings Bank", 8, 9, 5, scale)
        _words(dark, "Pay against this cheque", 8, 18, 2.4, scale)
        for y in (28, 42, 52):
            end = 86 if y == 28 else 150
            clutter.line(
                dark, (8 * scale, y * scale), (end * scale, y * scale), 1.5, 0.6
            )
        _words(dark, "EUR", 87, 28, 3.4, scale)
        ends = (96 * scale, 31.5 * scale), (148 * scale, 31.5 * scale)
        clutter.line(dark, *ends, 2, 0.8)
        _words(dark, "Place, date", 8, 55, 2.1, scale, 0.7)
        _words(dark, "Signature of the issuer", 100, 55, 2.1, scale, 0.7)
        _words(
            dark, "No. 0004711   Account 532013000   Code 37040044", 8, 65, 2.8, scale
        )

    return Form(layout, printed)


FORMS: dict[str, Callable[[], Form]] = {
    form.__name__: form for form in (exam, transfer, cheque)
}
