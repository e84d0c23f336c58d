"""Ink is what is left of a page without paper, shadows, lines and leaders."""

import numpy as np
import pytest

from experiments.paperwork import clutter, handwriting
from mnistopt.data.load import load
from mnistopt.data.scans import ink, pieces
from mnistopt.data.scans.ink import Box

cv2 = pytest.importorskip("cv2")
# A field of 60 x 300 pixels, with 30 around it.
BOX = Box(30, 30, 300, 60)
SHAPE = 120, 360


@pytest.fixture(scope="module")
def digits():
    """Ten strings of four digits, as darkness in a field's middle."""
    data, rng = load().test, np.random.default_rng(0)
    hand = handwriting.Hand(42, 0.05, 0.2, 0.03, 0.0, 2.3, 1.0)
    strings = []
    for rows in rng.permutation(len(data.labels))[:40].reshape(10, 4):
        symbols = [(str(data.labels[k]), data.images[k, ..., 0]) for k in rows]
        written = handwriting.write(rng, symbols, hand)
        dark = np.zeros(SHAPE, np.float32)
        clutter.put(dark, written.ink, 60, 80 - written.base)
        strings.append(0.8 * dark)
    return strings


def scanned(dark, light=1.0):
    return np.rint(255 * light * (1 - dark) * 0.9).astype(np.uint8)


def strokes(dark, light=1.0, cells=0, printed=None):
    found = ink.darkness(scanned(dark, light))
    return ink.strokes(found, BOX, cells, printed)


def boxed():
    dark = np.zeros(SHAPE, np.float32)
    for y in (30, 90):
        clutter.line(dark, (30, y), (330, y), 3, 0.7)
    for x in (30, 330):
        clutter.line(dark, (x, 30), (x, 90), 3, 0.7)
    return dark


def cells():
    dark = boxed()
    for x in (105, 180, 255):
        clutter.line(dark, (x, 65), (x, 90), 2, 0.7)
    return dark


def ruled():
    dark = np.zeros(SHAPE, np.float32)
    clutter.line(dark, (20, 84), (340, 87), 2.5, 0.9)
    return dark


def dotted():
    dark = np.zeros(SHAPE, np.float32)
    clutter.leader(dark, (30, 86), (330, 86), 8, 2.5, 0.8)
    return dark


FORMS = {form.__name__: form for form in (boxed, cells, ruled, dotted)}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_without_writing_is_empty(form):
    found = strokes(form(), cells=4 * (form is cells))
    assert not len(pieces.cut(found, BOX).boxes)


@pytest.mark.parametrize("known", [False, True], ids=["guessed", "known"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_digits_stay_when_lines_go(digits, form, known):
    """At most a tenth of their ink is lost, and next to none of the form's stays."""
    lost, stayed, whole = 0.0, 0.0, 0.0
    printed = form() if known else None
    for dark in digits:
        alone = strokes(dark)
        beside = strokes(np.maximum(dark, form()), 1.0, 4 * (form is cells), printed)
        mask = alone > ink.FAINT
        around = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0
        whole += mask.sum()
        lost += (mask & (beside <= ink.FAINT)).sum()
        stayed += ((beside > ink.FAINT) & ~around).sum()
    assert lost / whole < 0.1
    assert stayed / whole < 0.1


def test_shadows_change_no_ink(digits):
    x = np.linspace(0, 1, SHAPE[1])
    for shadow in (1 - 0.5 * x, np.where(x < 0.5, 1.0, 0.6)):
        for dark in digits[:4]:
            plain, shaded = strokes(dark) > ink.FAINT, strokes(dark, shadow) > ink.FAINT
            assert (plain != shaded).mean() < 0.01


def test_grain_is_no_ink():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, SHAPE).astype(np.float32)
    assert not strokes(np.clip(noise, 0, 1)).any()
    assert not ink.strokes(np.zeros(SHAPE, np.float32), BOX).any()


def test_known_print_may_lie_a_little_aside(digits):
    dark = np.maximum(digits[0], boxed())
    for x, y in ((0, 0), (4, -3), (-5, 5)):
        printed = np.roll(boxed(), (y, x), (0, 1))
        moved, shift = ink.aligned(printed, ink.darkness(scanned(dark)), 7)
        assert shift == (-x, -y)
        assert np.abs(moved - boxed()).mean() < 0.01
    blank = np.zeros(SHAPE, np.float32)
    assert ink.aligned(blank, dark, 7)[1] == (0, 0)


def test_pages_say_whether_they_are_dark_on_light(digits):
    page = scanned(np.maximum(digits[0], boxed()))
    assert ink.is_light([page]) and not ink.is_light([255 - page])
    # Nor does a shadow, in which there is more of the page than ink.
    shaded = np.where(np.arange(SHAPE[1]) < 250, 0.7, 1.0)
    assert ink.is_light([scanned(digits[0], shaded)])
    # One that is nearly all ink is outvoted by those of its kind.
    full = scanned(np.ones(SHAPE, np.float32) * 0.8)
    assert ink.is_light([full, page, page])
