"""Ink is cut where digits touch, and candidates are placed as MNIST's digits."""

import numpy as np
import pytest

from experiments.paperwork import clutter, handwriting, practice
from mnistopt.data.load import load
from mnistopt.data.scans import ink, pieces
from mnistopt.data.scans.ink import Box

cv2 = pytest.importorskip("cv2")


def a_field(symbols, gap, seed=0):
    """A field with digits that are so far apart, as somebody writes them."""
    rng = np.random.default_rng(seed)
    hand = handwriting.Hand(40, 0.05, gap, 0.02, 0.0, 2.3, 0.8)
    written = handwriting.write(rng, symbols, hand)
    shape = 120, written.ink.shape[1] + 120
    owners = np.zeros((len(symbols), *shape), np.float32)
    for owner, mine in zip(owners, written.owners):
        clutter.put(owner, mine, 60, 80 - written.base)
    grey = np.rint(255 * (1 - 0.8 * owners.max(axis=0))).astype(np.uint8)
    box = Box(30, 30, shape[1] - 60, 60)
    names = [name for name, _ in symbols]
    return practice.Practice(grey, box, owners, names, 0, None)


def strings(count, length, seed=0):
    data, rng = load().test, np.random.default_rng(seed)
    rows = rng.permutation(len(data.labels))[: count * length].reshape(count, length)
    for some in rows:
        yield [(str(data.labels[k]), data.images[k, ..., 0]) for k in some]


def found(field):
    """The names of candidates that are whole digits."""
    strokes = ink.strokes(ink.darkness(field.grey), field.box)
    cut = pieces.cut(strokes, field.box)
    tried = pieces.candidates(cut)
    return cut, tried, practice.label(field, cut, tried)


@pytest.mark.parametrize(("gap", "share"), [(0.25, 0.99), (0.0, 0.9), (-0.03, 0.75)])
def test_every_digit_is_among_the_candidates(gap, share):
    """Apart, touching, and overlapping."""
    there, all_ = 0, 0
    for number, symbols in enumerate(strings(40, 3)):
        field = a_field(symbols, gap, number)
        names = found(field)[2]
        there += sum(name in names for name in field.symbols)
        all_ += len(symbols)
    assert there / all_ >= share


def test_pieces_are_all_of_the_ink_and_none_twice():
    for symbols in strings(10, 4, seed=1):
        field = a_field(symbols, -0.05)
        cut, tried, _ = found(field)
        mask = cut.ink > ink.FAINT
        assert ((cut.names > 0) <= mask).all()
        # Specks are left out.
        assert (cut.names > 0).sum() > 0.98 * mask.sum()
        for number, (top, bottom, left, right) in enumerate(cut.boxes, 1):
            rows, columns = np.nonzero(cut.names == number)
            assert (rows.min(), rows.max()) == (top, bottom)
            assert (columns.min(), columns.max()) == (left, right)
        assert (tried.first <= tried.last).all()
        assert set(range(len(cut.boxes))) <= set(tried.first)


def test_candidates_are_placed_as_mnists():
    """A digit of MNIST, written, found and placed, is nearly itself again."""
    errors = []
    for symbols in strings(30, 1, seed=2):
        _, tried, names = found(a_field(symbols, 0.2))
        (name, digit), *_ = symbols
        mine = [i for i, other in enumerate(names) if other == name]
        assert mine
        errors.append(
            min(
                np.abs(np.roll(tried.images[i], step, (0, 1)).astype(int) - digit).sum()
                / digit.sum()
                for i in mine
                for step in ((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
            )
        )
    assert np.mean(errors) < 0.35
    assert not len(
        pieces.candidates(pieces.cut(np.zeros((90, 90)), Box(9, 9, 60, 60))).first
    )


def test_what_is_around_a_candidate_is_seen_faintly():
    (symbols,) = strings(1, 2, seed=3)
    _, tried, names = found(a_field(symbols, 0.1))
    alone = a_field(symbols[:1], 0.1)
    image = tried.images[names.index(symbols[0][0])]
    _, lone, called = found(alone)
    by_itself = lone.images[called.index(symbols[0][0])]
    faint = round(255 * pieces.OTHERS) + 1
    beside = (image > 0) & (by_itself == 0)
    assert beside.any() and image[beside].max() <= faint


def test_ink_of_others_is_left_to_them():
    (symbols,) = strings(1, 3, seed=4)
    field = a_field(symbols, 0.3)
    strokes = ink.strokes(ink.darkness(field.grey), field.box)
    whole = pieces.cut(strokes, field.box)
    half = field.box._replace(width=field.box.width / 2)
    part = pieces.cut(strokes, half)
    assert 0 < len(part.boxes) < len(whole.boxes)
    assert part.boxes[:, 2].max() < half.left + half.width


def test_a_field_with_too_much_ink_is_said_to_be_crowded():
    """Nobody may be told the left half of it."""
    dark = np.zeros((120, 3000), np.float32)
    for k in range(70):
        cv2.circle(dark, (80 + 40 * k, 60), 12, 0.8, 3)
    box = Box(30, 30, 2940, 60)
    assert pieces.cut(ink.strokes(dark, box), box).crowded
    dark[:, 850:] = 0
    assert not pieces.cut(ink.strokes(dark, box), box).crowded
