"""Digits from elsewhere, placed as MNIST's are: whatever their size, ink and paper."""

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mnistopt.data.load import load
from mnistopt.data.pictures import opaque
from mnistopt.data.place import BOX, place, which_is_ink


@pytest.fixture(scope="module")
def digits():
    """Digits 0 to 9, twice."""
    test = load().test
    first = [np.flatnonzero(test.labels == k)[:2] for k in range(10)]
    return test.images[np.concatenate(first), ..., 0]


def enlarged(digit, factor=3):
    side = 28 * factor
    return np.asarray(Image.fromarray(digit).resize((side, side), 2))


def difference(one, other, slack=1):
    """The least absolute difference, of the ink of the first.

    A digit may be a pixel aside: a centre of mass is rounded this way or that.
    """
    steps = range(-slack, slack + 1)
    moved = (np.roll(other, step, (0, 1)) for step in itertools.product(steps, steps))
    return min(np.abs(one.astype(float) - m).sum() for m in moved) / one.sum()


def test_mnists_digits_stay_nearly_as_they_are(digits):
    found = [difference(digit, place(digit), slack=0) for digit in digits]
    assert np.mean(found) < 0.05 and max(found) < 0.1
    # The measure tells: a digit is not near to another, nor to itself turned.
    assert difference(digits[0], digits[2]) > 0.8
    turned = [difference(digit, place(np.rot90(digit))) for digit in digits]
    assert np.mean(turned) > 0.8


def test_a_digit_shifted_enlarged_and_dark_on_light_comes_back(digits):
    for digit in digits:
        page = np.zeros((120, 150), np.uint8)
        page[31:115, 8:92] = enlarged(digit)
        assert difference(digit, place(255 - page)) < 0.4
        assert difference(place(page), place(255 - page)) < 0.01
        assert difference(place(enlarged(digit)), place(page)) < 0.02


def test_its_longer_side_is_20_and_its_centre_of_mass_in_the_middle(digits):
    for digit in digits:
        placed = place(enlarged(np.rot90(digit), 2))
        assert placed.shape == (28, 28) and placed.dtype == np.uint8
        rows, columns = (np.flatnonzero(placed.any(axis=a)) for a in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == BOX
        assert np.abs(np.array(ndimage.center_of_mass(placed)) - 14).max() <= 0.51
        assert placed.max() > 250


def on_paper(digit, ink=0.3):
    """A digit in dark ink on a page of 140 x 120 pixels, white 1."""
    page = np.ones((140, 120))
    page[30:114, 20:104] -= (1 - ink) * enlarged(digit) / 255
    return page


def shaded(page):
    return page * np.linspace(1, 0.5, page.shape[1])


def speckled(page):
    page = page.copy()
    page[6:8, 10:12] = page[130:132, 100:102] = page[10:12, 90:92] = 0.2
    return page


def framed(page):
    page = page.copy()
    page[:3] = page[-3:] = page[:, :3] = page[:, -3:] = 0.3
    return page


def grainy(page):
    return page + 0.02 * np.random.default_rng(0).standard_normal(page.shape)


def faint(page):
    return 0.8 + 0.2 * page


def coloured(page):
    return np.stack([page, page, np.ones_like(page)], axis=-1)


def transparent(page):
    clear = np.zeros((*page.shape, 4), np.uint8)
    clear[..., 3] = np.round(255 * (1 - page))
    return opaque(clear) / 255


@pytest.mark.parametrize(
    "change",
    [shaded, speckled, framed, grainy, faint, coloured, transparent],
    ids=lambda change: change.__name__,
)
def test_paper_light_and_pens_make_no_difference(digits, change):
    for digit in digits[::3]:
        page = on_paper(digit)
        changed = np.round(255 * np.clip(change(page), 0, 1)).astype(np.uint8)
        assert difference(place(page), place(changed)) < 0.25


def test_a_fine_pen_gets_the_width_of_mnists():
    rows, columns = np.indices((600, 600)) - 300
    page = (np.abs(np.hypot(rows, columns) - 200) > 1.5).astype(float)
    around = np.pi * (BOX - 2)
    assert 1.6 < place(page).sum() / 255 / around < 2.4


@pytest.mark.parametrize(
    "empty",
    [
        np.zeros((28, 28), np.uint8),
        np.full((9, 7, 3), 255, np.uint8),
        np.linspace(0.2, 0.9, 50)[:, None] * np.ones((50, 40)),
        0.9 + 0.01 * np.random.default_rng(0).standard_normal((60, 60)),
        opaque(np.zeros((5, 5, 4), np.uint8)),
        np.ones((1, 1)),
        # A blot as large as a digit, but as wide as it is long.
        (np.hypot(*(np.indices((40, 40)) - 20)) > 10).astype(float),
    ],
    ids=["black", "white", "shade", "noise", "transparent", "one pixel", "blot"],
)
def test_a_picture_without_ink_stays_empty(empty):
    assert not place(empty).any()


def cell(digit, offset=None, ink=60):
    """A digit on grey paper of 80 x 80, and a form's lines so many pixels inside."""
    page = np.full((80, 80), 210.0)
    if digit is not None:
        page[12:68, 12:68] -= 0.6 * enlarged(digit, 2)
    if offset is not None:
        lines = slice(offset, offset + 3)
        page[lines] = page[:, lines] = ink
    return page.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("offset", [0, 4, 8, 12])
def test_a_forms_lines_are_left_out_wherever_they_are(digits, offset):
    pairs = [(place(cell(digit)), place(cell(digit, offset))) for digit in digits]
    # Some digits are crossed by lines that are further inside, and lose a little.
    found = [difference(alone, ruled) for alone, ruled in pairs]
    assert np.mean(found) < 0.15 and np.mean(np.array(found) < 0.2) > 0.8
    assert not place(cell(None, offset)).any()


def test_a_digit_cut_to_its_box_keeps_the_strokes_that_cross_it(digits):
    for digit in digits:
        rows, columns = (np.flatnonzero((digit > 60).any(axis=a)) for a in (1, 0))
        box = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        large = np.asarray(Image.fromarray(box).resize((60, 80), 2))
        whole = np.pad(large, 40)
        assert difference(place(whole, 1), place(large, 1)) < 0.3


def test_pictures_that_are_mostly_ink_follow_those_beside_them(digits):
    """What is cut to its box with a thick pen does not say what is ink."""
    thick = []
    for digit in digits:
        mask = ndimage.binary_dilation(digit > 60, iterations=2)
        rows, columns = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        thick.append((255 * ~box).astype(np.uint8))
    plain = [255 - digit for digit in digits]
    assert which_is_ink([*thick, *plain]) == [-1] * 40
    assert which_is_ink([255 - page for page in (*thick, *plain)]) == [1] * 40
    # One that is sure needs no others, and may be unlike them.
    assert which_is_ink([digits[0], *plain])[:2] == [1, -1]


def test_what_is_no_digit_is_refused(digits):
    rng = np.random.default_rng(0)
    blurred = [
        ndimage.gaussian_filter(rng.random((120, 120)), spread)
        for spread in rng.uniform(3, 15, 40)
    ]
    photographs = [(x - x.min()) / np.ptp(x) for x in blurred]
    refused = [not place(photograph).any() for photograph in photographs]
    assert np.mean(refused) > 0.8
    halves = [cell(digit)[:, 14:66] for digit in digits]
    pairs = [np.hstack(pair) for pair in itertools.pairwise(halves)]
    assert np.mean([not place(pair).any() for pair in pairs]) > 0.85
    # A digit of two strokes is one.
    assert all(place(cell(digit)).any() for digit in digits)
