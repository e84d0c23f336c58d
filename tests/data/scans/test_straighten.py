"""Forms are found on scans however they lie, and refused where they are not."""

import numpy as np
import pytest

from experiments.paperwork.sheets import FORMS
from mnistopt.data.scans import ink, straighten
from mnistopt.data.scans.straighten import NotFound

cv2 = pytest.importorskip("cv2")
SCALE = 4.5
# Of a form's width: where a point is found is so far from where it is at most.
EXACT = 0.004


def drawn(kind):
    """An empty form, as darkness, and what its layout says of it."""
    form = FORMS[kind]()
    page = np.array(form.layout["page"], float)
    width, height = np.rint(SCALE * page).astype(int)
    dark = np.zeros((height, width), np.float32)
    form.printed(dark, SCALE)
    return 0.85 * dark, form.layout, page


def lying(dark, tilt, around=0.0, pull=0.0):
    """A picture of a form that is turned by degrees; and where its points are on it."""
    height, width = dark.shape
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [width, height]
    turn = np.deg2rad(tilt)
    turn = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    there = corners @ turn.T
    there[0] += pull * width
    there -= there.min(axis=0) - 30
    size = [int(side) + 30 for side in np.ceil(there.max(axis=0))]
    ends = corners.astype(np.float32), there.astype(np.float32)
    matrix = cv2.getPerspectiveTransform(*ends)
    seen = cv2.warpPerspective(dark, matrix, size, borderValue=around)
    return np.rint(245 * (1 - seen)).astype(np.uint8), matrix @ np.diag(
        [SCALE] * 2 + [1]
    )


def error(found, truth, page):
    """How far the middle points of a form are found from where they are."""
    shares = np.array([[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.5, 0.5]])
    points = np.column_stack([shares * page, np.ones(5)])
    one, other = ((points @ m.T) for m in (found, truth))
    one, other = one[:, :2] / one[:, 2:], other[:, :2] / other[:, 2:]
    return np.linalg.norm(one - other, axis=1).max() / (SCALE * page[0])


@pytest.mark.parametrize("pull", [0.0, 0.03], ids=["flat", "perspective"])
@pytest.mark.parametrize("tilt", [0, 3, -8, 90, 178])
def test_marks_say_where_a_form_is_and_what_is_up(tilt, pull):
    dark, layout, page = drawn("exam")
    grey, truth = lying(dark, tilt, 0.6, pull)
    found = straighten.by_marks(ink.darkness(grey), np.array(layout["marks"]), page)
    assert error(found.matrix, truth, page) < EXACT
    turned = {90: ", turned by a quarter", 178: ", turned upside down"}.get(tilt, "")
    assert found.how == "corner marks" + turned


@pytest.mark.parametrize("kind", ["transfer", "cheque"])
@pytest.mark.parametrize("tilt", [0, 3, -8, 180])
def test_an_empty_form_is_found_by_its_print(kind, tilt):
    dark, _, page = drawn(kind)
    blank = np.rint(255 * (1 - dark)).astype(np.uint8)
    grey, truth = lying(dark, tilt)
    matrix = straighten.Blank(blank).find(grey) @ np.diag([SCALE] * 2 + [1])
    assert error(matrix, truth, page) < EXACT


def test_a_sheet_on_a_table_is_found_by_its_border():
    dark, _, page = drawn("transfer")
    for tilt, pull in ((2, 0.0), (-7, 0.02)):
        grey, truth = lying(dark, tilt, 0.7, pull)
        found = straighten.by_border(grey, ink.darkness(grey), page)
        assert found.how == "the sheet's border"
        assert error(found.matrix, truth, page) < 2 * EXACT


def test_a_page_that_fills_its_scan_is_levelled():
    dark, _, page = drawn("transfer")
    height, width = dark.shape
    for tilt in (0, 2.4, -4):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -tilt, 1)
        seen = cv2.warpAffine(dark, matrix, (width, height))
        grey = np.rint(245 * (1 - seen)).astype(np.uint8)
        found = straighten.by_border(grey, ink.darkness(grey), page)
        truth = np.vstack([matrix, [0, 0, 1]]) @ np.diag([SCALE] * 2 + [1])
        assert error(found.matrix, truth, page) < 2 * EXACT


def not_the_form():
    """A photograph of something, another form, an empty sheet, marks that are cut."""
    rng = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(rng.random((500, 400)).astype(np.float32), (0, 0), 9)
    photo = 255 * (blobs - blobs.min()) / np.ptp(blobs)
    other, _, _ = drawn("cheque")
    exam, _, _ = drawn("exam")
    yield photo.astype(np.uint8)
    yield np.rint(245 * (1 - other)).astype(np.uint8)
    yield np.full((600, 420), 240, np.uint8)
    yield np.rint(245 * (1 - exam)).astype(np.uint8)[: exam.shape[0] // 2]


@pytest.mark.parametrize("number", range(4))
def test_what_is_not_the_form_is_refused(number):
    grey = list(not_the_form())[number]
    _, layout, page = drawn("exam")
    with pytest.raises(NotFound, match="corner marks"):
        straighten.by_marks(ink.darkness(grey), np.array(layout["marks"]), page)
    blank = np.rint(255 * (1 - drawn("transfer")[0])).astype(np.uint8)
    with pytest.raises(NotFound, match="the form's print"):
        straighten.Blank(blank).find(grey)
