"""Fields to practise on: what segmentation makes of them, and what each part is."""

import concurrent.futures
import multiprocessing
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from experiments.paperwork import clutter, handwriting
from experiments.paperwork.handwriting import a_hand
from mnistopt.data.scans import ink as inks
from mnistopt.data.scans import pieces
from mnistopt.data.scans.ink import Box
from mnistopt.files import replacing
from mnistopt.study.fields.reader import NONE
from mnistopt.study.fields.rules import COMMA, SLASH

# Names of what a reader tells apart.
CLASSES = (*map(str, range(10)), COMMA, SLASH, NONE)
# A candidate is a symbol if it has at least so much of what is left of its ink, and so
# little of other ink; it is none if it has less than `LESS` of it or more of others. Of
# a symbol at least `LEFT` has to be left.
MINE, OTHERS = 0.9, 0.1
LESS, MORE, LEFT = 0.75, 0.22, 0.6
# Of a field's height: how far its box is from where it is thought to be.
SHIFT = 0.03
# The share of forms of which the empty form is known, and of writers whose digits
# touch: more than on forms, as these are what is hard.
KNOWN, TOUCHING = 0.4, 0.5


class Practice(NamedTuple):
    """A field to practise on.

    Attributes:
        grey: The picture, uint8 [H, W].
        box: Where the field is in it.
        owners: Each symbol alone, as it stands in the picture: float32 [n, H, W].
        symbols: What each is, as text.
        cells: In how many cells they stand, 0 for none.
        printed: The form's print, if it is known, float32 [H, W].
    """

    grey: np.ndarray
    box: Box
    owners: np.ndarray
    symbols: list[str]
    cells: int
    printed: np.ndarray | None


def a_field(
    rng: np.random.Generator, symbols: list[tuple[str, np.ndarray | None]]
) -> Practice:
    """Returns a field with symbols written into it, and clutter around and across."""
    height = rng.uniform(34, 60)
    hand = a_hand(rng, height * rng.uniform(0.5, 0.85), TOUCHING)
    digits = bool(symbols) and not any(digit is None for _, digit in symbols)
    cells = digits and rng.random() < 0.3
    pitch = height * rng.uniform(0.55, 0.9) if cells else None
    if pitch is not None:
        hand = hand._replace(height=min(hand.height, 1.1 * pitch))
    written = handwriting.write(rng, symbols, hand, pitch)
    room = rng.uniform(0.1, 0.8) * height
    # Some cells stay empty.
    empty = int(rng.integers(0, 4)) if pitch and rng.random() < 0.4 else 0
    count = len(symbols) + empty
    if not symbols:
        width = rng.uniform(1, 5) * height
    else:
        width = count * pitch if pitch else written.ink.shape[1] + 2 * room
    margin = round(0.5 * height)
    shape = round(height) + 2 * margin, round(width) + 2 * margin
    box = Box(margin, margin, width, height)
    if pitch:
        left = margin + pitch * int(rng.integers(0, empty + 1))
    else:
        left = margin + room * rng.uniform(0.3, 1.7)
    base = margin + height * rng.uniform(0.78, 0.98)
    if pitch is not None:
        base = margin + (height + hand.height) / 2 + 0.05 * height * rng.normal()
    top = base - written.base
    owners = np.zeros((len(symbols), *shape), np.float32)
    for owner, mine in zip(owners, written.owners):
        clutter.put(owner, mine, left, top)
    dark = hand.ink * owners.max(axis=0, initial=0.0)
    # Ink is uneven along a stroke.
    uneven = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 3)
    dark *= 1 - rng.uniform(0, 0.3) * (uneven - uneven.min()) / np.ptp(uneven)
    printed = np.zeros_like(dark)
    _print(rng, printed, box, pitch)
    np.maximum(dark, printed, out=dark)
    _litter(rng, dark, box, hand.height)
    grey = clutter.photographed(rng, dark)
    # Forms are found on scans but for a little.
    aside = SHIFT * height * rng.standard_normal(2)
    box = box._replace(left=margin + aside[0], top=margin + aside[1])
    names = [symbol for symbol, _ in symbols]
    known = None
    if rng.random() < KNOWN:
        x, y = rng.normal(0, 0.8, 2)
        moved = np.array([[1, 0, x], [0, 1, y]])
        known = cv2.warpAffine(printed, moved, printed.shape[::-1])
    return Practice(grey, box, owners, names, count if pitch else 0, known)


def _print(rng, dark: np.ndarray, box: Box, pitch: float | None) -> None:
    """Draws a form's print: a box, cells, a line or dots to write on, labels."""
    left, top, width, height = box
    right, bottom = left + width, top + height
    level, thick = rng.uniform(0.3, 1.0), rng.uniform(1, 3)
    tilt = rng.normal(0, 0.006) * width
    kind = rng.choice(["cells"] if pitch else ["box", "line", "dots", "nothing"])
    if kind in ("box", "cells"):
        for y in (top, bottom):
            clutter.line(dark, (left, y - tilt), (right, y + tilt), thick, level)
        for x in (left, right):
            clutter.line(dark, (x, top), (x, bottom), thick, level)
    if kind == "cells" and pitch:
        start = top if rng.random() < 0.6 else bottom - 0.3 * height
        for x in np.arange(left + pitch, right - 1, pitch):
            clutter.line(dark, (x, start), (x, bottom), thick, level)
    base = bottom - height * rng.uniform(0.02, 0.15)
    if kind == "line":
        clutter.line(dark, (left, base - tilt), (right, base + tilt), thick, level)
    if kind == "dots":
        step = rng.uniform(0.08, 0.2) * height
        ends = (left, base - tilt), (right, base + tilt)
        clutter.leader(dark, *ends, step, rng.uniform(1.5, 3), level)
    if rng.random() < 0.2:
        words = clutter.text(str(rng.choice(clutter.WORDS)), 0.45 * height)
        x = left - words.shape[1] - rng.uniform(-0.1, 0.3) * height
        clutter.put(dark, level * words, x, bottom - 0.7 * height)
    if rng.random() < 0.3:
        words = clutter.text(str(rng.choice(clutter.WORDS)), 0.3 * height)
        y = top - rng.uniform(0.1, 0.6) * height
        clutter.put(dark, level * words, left + rng.uniform(0, 0.5) * width, y)


def _litter(rng, dark: np.ndarray, box: Box, height: float) -> None:
    """Draws what is no digit: letters, scribbles, strokes through, stamps, specks."""
    left, top, width, tall = box
    if rng.random() < 0.12:
        ink = clutter.scribble(rng, height)
        where = left + rng.uniform(0, 1) * width, top + rng.uniform(0, 0.6) * tall
        clutter.put(dark, rng.uniform(0.4, 0.95) * ink, *where)
    if rng.random() < 0.15:
        ink = clutter.letter(rng, height * rng.uniform(0.6, 1.1))
        where = left + rng.uniform(0, 1) * width, top + rng.uniform(0, 0.4) * tall
        clutter.put(dark, rng.uniform(0.4, 0.95) * ink, *where)
    if rng.random() < 0.06:
        y = rng.uniform(0.2, 0.8, 2) * tall + top
        ends = (left + rng.uniform(0, 0.3) * width, y[0])
        other = (left + rng.uniform(0.6, 1) * width, y[1])
        clutter.line(dark, ends, other, rng.uniform(1.5, 4), rng.uniform(0.4, 0.9))
    if rng.random() < 0.08:
        ink = clutter.stamp(rng, height)
        x, y = rng.uniform(-0.3, 0.8) * width + left, rng.uniform(-1.5, 0.3) * tall
        clutter.put(dark, rng.uniform(0.15, 0.6) * ink, x, top + y)
    for _ in range(rng.poisson(0.8)):
        x, y = left + rng.uniform(0, 1) * width, top + rng.uniform(0, 1) * tall
        size = rng.uniform(0.02, 0.09) * height
        cv2.circle(
            dark, (round(x), round(y)), max(1, round(size)), rng.uniform(0.3, 1), -1
        )


# A field holds at most so many digits; of all fields so many hold none, a comma, a
# slash; and of what is no symbol so many are kept.
_MOST, _EMPTY, _COMMAS, _SLASHES, _KEPT = 7, 0.06, 0.35, 0.15, 0.12
# Fields that are made at a time.
_CHUNK = 500


def practise(
    images: np.ndarray, labels: np.ndarray, seed: int, passes: int = 3, workers: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what segmentation makes of strings of digits.

    Args:
        images: Digits, uint8 [N, 28, 28], each written once in each pass.
        labels: What they are, [N].
        seed: Of all that is drawn.
        passes: How often.
        workers: Processes that work at it.

    Returns:
        Images uint8 [M, 28, 28], and labels int [M], positions in `CLASSES`.
    """
    rng = np.random.default_rng(seed)
    tasks = []
    for _ in range(passes):
        order = rng.permutation(len(images))
        for start in range(0, len(order), 4 * _CHUNK):
            rows = order[start : start + 4 * _CHUNK]
            tasks.append((images[rows], labels[rows], int(rng.integers(2**31))))
    # Not by forking, which takes threads' locks along.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, spawn) as pool:
        parts = list(pool.map(_practise, *zip(*tasks)))
    images, labels = (np.concatenate(column) for column in zip(*parts))
    return images, labels


def _practise(images, labels, seed) -> tuple[np.ndarray, np.ndarray]:
    """Returns the examples of some digits, each written once."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    found, names, start = [], [], 0
    while start < len(images):
        count = 0 if rng.random() < _EMPTY else int(rng.integers(1, _MOST + 1))
        rows = range(start, min(start + count, len(images)))
        symbols = [(str(labels[row]), images[row]) for row in rows]
        start += count
        for mark, share in ((COMMA, _COMMAS), (SLASH, _SLASHES)):
            if symbols and rng.random() < share:
                symbols.insert(int(rng.integers(1, len(symbols) + 1)), (mark, None))
        some, called = examples_of(a_field(rng, symbols))
        for image, name in zip(some, called):
            if name != NONE or rng.random() < _KEPT:
                found.append(image)
                names.append(CLASSES.index(name))
    return np.stack(found), np.array(names, np.int32)


def examples_of(practice: Practice) -> tuple[np.ndarray, list[str]]:
    """Returns the candidates of a field, uint8 [N, 28, 28], and what each is.

    Candidates that are nearly a symbol are left out.
    """
    dark = inks.darkness(practice.grey)
    ink = inks.strokes(dark, practice.box, practice.cells, practice.printed)
    found = pieces.cut(ink, practice.box)
    tried = pieces.candidates(found)
    names = label(practice, found, tried)
    kept = [i for i, name in enumerate(names) if name]
    return tried.images[kept], [names[i] for i in kept]


def label(practice: Practice, found: pieces.Pieces, tried: pieces.Candidates):
    """Returns what each candidate is: a symbol's name, `NONE`, or "" for nearly one."""
    count = len(found.boxes) + 1
    drawn = practice.owners > 0.5
    # Blur and sharpening move the edge of a stroke by a pixel.
    around = [cv2.dilate(one.astype(np.uint8), np.ones((5, 5))) > 0 for one in drawn]
    pixels = np.bincount(found.names.ravel(), minlength=count)[1:]
    sizes = [one.sum() for one in drawn]
    names = []
    own = [np.bincount(found.names[one], minlength=count)[1:] for one in drawn]
    near = [np.bincount(found.names[one], minlength=count)[1:] for one in around]
    left = [one.sum() for one in own]
    for first, last in zip(tried.first, tried.last):
        part = slice(first, last + 1)
        shares = [
            (mine[part].sum() / max(all_, 1), some[part].sum(), number)
            for number, (mine, some, all_) in enumerate(zip(own, near, left))
        ]
        has, belongs, number = max(shares, default=(0.0, 0.0, -1))
        alien = 1 - belongs / pixels[part].sum()
        if has < LESS or alien > MORE:
            names.append(NONE)
        elif has >= MINE and alien <= OTHERS and left[number] > LEFT * sizes[number]:
            names.append(practice.symbols[number])
        else:
            names.append("")
    return names


def write(path: Path, digits: Any) -> None:
    """Writes what networks practise on, as `mnistopt.Dataset.from_file` takes it.

    Args:
        path: An .npz file.
        digits: A dataset of digits; those of its validation part stay out.
    """
    train, test = digits.train, digits.test
    images, labels = practise(train.images[..., 0], train.labels, 0)
    others, known = practise(test.images[..., 0], test.labels, 1, passes=1)
    with replacing(path) as part, open(part, "wb") as file:
        np.savez_compressed(
            file,
            images=images,
            labels=labels,
            test_images=others,
            test_labels=known,
            class_names=np.array(CLASSES),
        )
