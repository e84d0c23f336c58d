"""Fills forms in, and scans or photographs them."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from experiments.paperwork import clutter
from experiments.paperwork.handwriting import Hand, a_hand, write
from experiments.paperwork.sheets import MOST, Form
from mnistopt.study.fields.rules import COMMA, iban, luhn

# Pixels a millimetre: 150 to 200 dots an inch.
SCALES = 5.9, 7.9
# The share of writers whose digits touch, of forms with a stamp, with a stroke through
# a field, and of those that are photographed; the others are scanned.
TOUCHING, STAMPED, STRUCK, PHOTOGRAPHED = 0.3, 0.15, 0.03, 0.4
# Of a field's height: where the base line of what is written freely is.
BASE = 0.74, 0.9
# Degrees by which scans are tilted at most; photographs by half more.
TILT = 3.0


class Digits(NamedTuple):
    """Somebody's digits: images uint8 [N, 28, 28], and labels [N]."""

    images: np.ndarray
    labels: np.ndarray


class Filled(NamedTuple):
    """A form that was filled in.

    Attributes:
        grey: Its picture, uint8 [H, W].
        values: What stands in each field, by name, as `read` would say it.
    """

    grey: np.ndarray
    values: Mapping[str, str]


class Supply:
    """Digits of each class in an order at random, none twice before all were used."""

    def __init__(self, digits: Digits, rng: np.random.Generator):
        self._images = digits.images
        self._rows = {}
        for label in range(10):
            rows = np.flatnonzero(digits.labels == label)
            self._rows[str(label)] = itertools.cycle(rng.permutation(rows))

    def symbols(self, text: str) -> list[tuple[str, np.ndarray | None]]:
        """Returns a text's symbols, each digit with an image."""
        return [
            (
                symbol,
                self._images[next(self._rows[symbol])] if symbol.isdigit() else None,
            )
            for symbol in text
        ]


def students(rng: np.random.Generator, count: int = 120) -> list[str]:
    """Returns the numbers of a class, of eight digits: years 2021 to 2026."""
    years = rng.integers(2021, 2027, count)
    numbers = rng.choice(10_000, count, replace=False)
    return [f"{year}{number:04}" for year, number in zip(years, numbers)]


def _mark(rng: np.random.Generator, halves: int) -> tuple[str, str]:
    """Returns what is written for a number of halves, and its value."""
    whole, half = divmod(int(halves), 2)
    value = f"{whole}.5" if half else str(whole)
    return (f"{whole},5" if half else str(whole)), value


def contents(
    kind: str, rng: np.random.Generator, numbers: list[str]
) -> dict[str, tuple[str, str]]:
    """Returns what is written into each field, and its value."""
    if kind == "exam":
        number = str(rng.choice(numbers))
        halves = [int(rng.integers(0, 2 * most + 1)) for most in MOST]
        marks = {f"exercise_{k + 1}": _mark(rng, h) for k, h in enumerate(halves)}
        return {"student": (number, number), **marks, "sum": _mark(rng, sum(halves))}
    if kind == "transfer":
        fields = {"iban": _iban(rng), "reference": _reference(rng)}
        euros = str(int(10 ** rng.uniform(0, 7)))
        fields |= {"euros": euros, "cents": f"{int(rng.integers(0, 100)):02}"}
        day, month = rng.integers(1, 29), rng.integers(1, 13)
        fields["date"] = f"{day:02}{month:02}{rng.integers(2020, 2030)}"
        return {name: (text, text) for name, text in fields.items()}
    cents = int(10 ** rng.uniform(2, 7))
    whole, rest = divmod(cents, 100)
    written = str(whole)
    if whole >= 1000 and rng.random() < 0.3:
        written = f"{whole // 1000},{whole % 1000:03}"
    value = f"{whole}.{rest:02}".rstrip("0").rstrip(".")
    return {"amount": (f"{written}{COMMA}{rest:02}", value)}


def _iban(rng: np.random.Generator) -> str:
    account = "".join(map(str, rng.integers(0, 10, 18)))
    check = iban("DE")
    return next(f"{k:02}{account}" for k in range(2, 99) if check(f"{k:02}{account}"))


def _reference(rng: np.random.Generator) -> str:
    digits = "".join(map(str, rng.integers(0, 10, 10)))
    return next(f"{digits}{k}" for k in range(10) if luhn(f"{digits}{k}"))


def fill(
    kind: str,
    form: Form,
    supply: Supply,
    rng: np.random.Generator,
    numbers: list[str],
) -> Filled:
    """Fills a form in, and takes its picture.

    Args:
        kind: Which form it is, by its name.
        form: The form.
        supply: Digits to write with.
        rng: Draws what is written, who writes it, and what happens to it.
        numbers: Of the students of a class.
    """
    scale = rng.uniform(*SCALES)
    width, height = (round(scale * side) for side in form.layout["page"])
    dark = np.zeros((height, width), np.float32)
    form.printed(dark, scale)
    dark *= rng.uniform(0.7, 1.0)
    hand = a_hand(rng, scale * rng.uniform(4.2, 6.0), TOUCHING)
    written = contents(kind, rng, numbers)
    for field in form.layout["fields"]:
        symbols = supply.symbols(written[field["name"]][0])
        _write(dark, field, symbols, hand, scale, rng)
    _happen(dark, form, scale, rng)
    values = {name: value for name, (_, value) in written.items()}
    return Filled(_taken(dark, scale, rng), values)


def _write(
    dark: np.ndarray,
    field: Mapping[str, Any],
    symbols: list,
    hand: Hand,
    scale: float,
    rng: np.random.Generator,
) -> None:
    """Writes symbols into a field's box."""
    left, top, wide, tall = (scale * value for value in field["box"])
    pitch = wide / field["cells"] if "cells" in field else None
    most = 0.85 * tall if pitch is None else min(0.85 * tall, 1.1 * pitch)
    hand = hand._replace(height=min(hand.height, most))
    written = write(rng, symbols, hand, pitch)
    room = wide - written.ink.shape[1]
    if pitch is not None:
        # Amounts end in the last cell, whatever they begin in.
        x = left + (field["cells"] - len(symbols)) * pitch
        base = top + (tall + hand.height) / 2 + 0.04 * tall * rng.standard_normal()
    elif room < 0:
        x, base = left + room / 2, top + rng.uniform(*BASE) * tall
    else:
        x = left + rng.uniform(0.1, 0.9) * room
        base = top + rng.uniform(*BASE) * tall
    owner = np.zeros_like(dark)
    clutter.put(owner, hand.ink * written.ink, x, base - written.base)
    np.maximum(dark, owner, out=dark)


def _happen(dark: np.ndarray, form: Form, scale: float, rng) -> None:
    """Draws what happens to forms: a stamp, a stroke through a field, specks."""
    height, width = dark.shape
    if rng.random() < STAMPED:
        ink = clutter.stamp(rng, 6 * scale)
        x, y = rng.uniform(0, 0.8) * width, rng.uniform(0, 0.8) * height
        clutter.put(dark, rng.uniform(0.15, 0.5) * ink, x, y)
    if rng.random() < STRUCK:
        fields = form.layout["fields"]
        box = fields[int(rng.integers(len(fields)))]["box"]
        left, top, wide, tall = (scale * value for value in box)
        start = left + rng.uniform(-0.1, 0.3) * wide, top + rng.uniform(0, 1) * tall
        end = left + rng.uniform(0.7, 1.1) * wide, top + rng.uniform(0, 1) * tall
        clutter.line(dark, start, end, rng.uniform(1.5, 3), rng.uniform(0.4, 0.9))
    for _ in range(rng.poisson(15)):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(dark, (x, y), int(rng.integers(1, 3)), rng.uniform(0.3, 1.0), -1)


def _taken(dark: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the picture of a form: tilted, and photographed now and then."""
    height, width = dark.shape
    photo = rng.random() < PHOTOGRAPHED
    margin = round(scale * rng.uniform(3, 10))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [width, height]
    tilt = np.deg2rad(rng.uniform(-TILT, TILT) * (1.5 if photo else 1))
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    there = (corners - [width / 2, height / 2]) @ turn.T
    if photo:
        there += rng.uniform(-0.02, 0.02, (4, 2)) * [width, height]
    there -= there.min(axis=0) - margin
    size = np.ceil(there.max(axis=0)).astype(int) + margin
    ends = corners.astype(np.float32), there.astype(np.float32)
    matrix = cv2.getPerspectiveTransform(*ends)
    # A table is dark, a scanner's lid is light.
    around = rng.uniform(0.35, 0.8) if photo else rng.uniform(0.0, 0.04)
    warped = cv2.warpPerspective(
        dark, matrix, [int(side) for side in size], borderValue=around
    )
    roughness = 1.0 if photo else 0.5
    return clutter.photographed(rng, warped, roughness)
