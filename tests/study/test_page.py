"""The page to draw on, in a browser; skipped where there is no Chromium."""

import contextlib
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

import mnistopt
from mnistopt.data.place import place
from mnistopt.study.export.page import page as page_of
from mnistopt.study.export.saved import read_export
from tests.browsing import MARKS, chromium, watched
from tests.exporting import SETTINGS, classifier, digits

pytestmark = MARKS
COUNT = 200
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}
DESK = {"viewport": {"width": 1280, "height": 900}}


def arc(x, y, wide, high, first, last):
    """Points of an ellipse, from an angle to another; 270 degrees are on top."""
    angles = np.radians(np.linspace(first, last, 16))
    return [(x + wide * math.cos(a), y + high * math.sin(a)) for a in angles]


# The strokes of each digit, from 0 to 1 of the pad.
STROKES = {
    "0": [arc(0.5, 0.5, 0.19, 0.29, -90, 270)],
    "1": [[(0.54, 0.2), (0.48, 0.8)]],
    "2": [[*arc(0.49, 0.35, 0.18, 0.16, 185, 395), (0.3, 0.8), (0.7, 0.79)]],
    "3": [
        [*arc(0.47, 0.34, 0.17, 0.15, 200, 450), *arc(0.46, 0.66, 0.2, 0.17, 270, 520)]
    ],
    "4": [[(0.4, 0.2), (0.3, 0.54), (0.7, 0.52)], [(0.6, 0.22), (0.56, 0.82)]],
    "5": [[(0.38, 0.22), (0.36, 0.47), *arc(0.47, 0.62, 0.18, 0.18, 235, 500)],
          [(0.38, 0.22), (0.66, 0.2)]],
    "6": [[(0.6, 0.18), (0.46, 0.32), (0.37, 0.5), (0.35, 0.66),
           *arc(0.5, 0.67, 0.15, 0.14, 180, 530)]],
    "7": [[(0.3, 0.23), (0.68, 0.21), (0.45, 0.82)]],
    "8": [[*arc(0.5, 0.34, 0.14, 0.14, 90, 450),
           *arc(0.5, 0.65, 0.17, 0.17, 270, -90)]],
    "9": [[*arc(0.5, 0.36, 0.15, 0.15, 0, 360), (0.64, 0.55), (0.6, 0.82)]],
}  # fmt: skip
_RNG = np.random.default_rng(0)
SCRIBBLE = [[tuple(point) for point in _RNG.uniform(0.1, 0.9, (60, 2))]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The page of a small CNN, and the same classifier in NumPy."""
    study = mnistopt.run(
        model="cnn", channels=(16, 16), dense=32, lr=3e-3, dropout=0.2, shift=1,
        rotate=8, epochs=6, workdir=tmp_path_factory.mktemp("drawn"),
    )  # fmt: skip
    made = study.export("html")
    return made["path"], read_export(study.export("npz", int8=True)["path"])


@pytest.fixture(scope="module")
def browser(trained):
    with chromium() as found:
        yield found


@pytest.fixture
def open_page(browser, trained):
    """A function that opens a page."""
    with contextlib.ExitStack() as stack:

        def open_(path=None, **options):
            context = browser.new_context(**(options or DESK))
            stack.callback(context.close)
            return watched(context, f"file://{path or trained[0]}")

        yield open_


def asked(page, images):
    """Returns the classes and confidences that a page finds."""
    found = page.evaluate(
        "images => images.map(image => classifier.classify(Uint8Array.from(image)))",
        images.reshape(len(images), -1).tolist(),
    )
    classes = [one["class"] for one in found]
    return np.array(classes), np.array([one["confidence"] for one in found])


def points(page, stroke):
    box = page.locator("#pad").bounding_box()
    return [
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke
    ]


def settle(page):
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => "
                  "requestAnimationFrame(done)))")  # fmt: skip


def until(page, condition):
    """Waits for a condition; Playwright's own way is what the page forbids."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(condition)


def draw(page, strokes, touch=False):
    """Draws by real events, from nothing; returns what the page says."""
    page.evaluate("document.getElementById('clear').disabled || "
                  "document.getElementById('clear').click()")  # fmt: skip
    client = page.context.new_cdp_session(page) if touch else None
    for stroke in strokes:
        first, *others = points(page, stroke)
        if client is None:
            page.mouse.move(*first)
            page.mouse.down()
            for point in others:
                page.mouse.move(*point, steps=2)
            page.mouse.up()
            continue
        events = [("touchStart", first), *(("touchMove", point) for point in others)]
        for kind, some in [*events, ("touchEnd", None)]:
            touched = [] if some is None else [{"x": some[0], "y": some[1]}]
            client.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched}
            )
    settle(page)
    return page.inner_text("#class").strip()


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_a_page_says_what_numpy_says_to_the_bit(number, open_page, tmp_path):
    found = classifier(number)
    images = digits().test.images[:COUNT]
    path = tmp_path / "page.html"
    path.write_text(page_of(found, images[:10]))
    page = open_page(path)
    for mine, theirs in zip(found(images), asked(page, images)):
        np.testing.assert_array_equal(mine, theirs)
    assert page.complaints == []


@pytest.mark.full
def test_page_and_numpy_agree_on_all_digits(open_page, trained):
    images = digits().test.images
    for mine, theirs in zip(trained[1](images), asked(open_page(), images)):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("options", "touch"), [(DESK, False), (PHONE, True)])
def test_drawn_digits_are_read_and_scribbles_refused(options, touch, open_page):
    page = open_page(**options)
    assert page.inner_text("#class").strip() == ""
    said = {digit: draw(page, strokes, touch) for digit, strokes in STROKES.items()}
    assert said == {digit: digit for digit in STROKES}
    assert draw(page, SCRIBBLE, touch) == "no digit"
    assert page.get_attribute("body", "class") == "refused"
    # A dot, and nothing.
    assert draw(page, [[(0.5, 0.5), (0.51, 0.5)]], touch) == "no digit"
    assert draw(page, [], touch) == ""
    # Drawing scrolls nothing.
    assert page.evaluate("scrollY") == 0
    assert page.complaints == []


@pytest.mark.parametrize("options", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(options, scheme, open_page):
    page = open_page(**options, color_scheme=scheme)
    draw(page, STROKES["3"])
    width = options["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Pad and answer are seen together.
    pad, answer = (page.locator(name).bounding_box() for name in ("#pad", "#said"))
    assert answer["y"] + answer["height"] <= options["viewport"]["height"]
    assert pad["width"] == pytest.approx(pad["height"], abs=1)


def test_strokes_are_taken_back_and_cleared(open_page):
    page = open_page()
    assert page.is_disabled("#undo") and page.is_disabled("#clear")
    assert draw(page, STROKES["4"]) == "4"
    ink = "answer.image.reduce((a, b) => a + b)"
    whole = page.evaluate(ink)
    page.click("#undo")
    settle(page)
    assert 0 < page.evaluate(ink) < whole
    page.click("#clear")
    settle(page)
    assert page.inner_text("#class").strip() == "" and page.is_disabled("#clear")


def test_digits_are_drawn_by_keys(open_page):
    page = open_page()
    page.focus("#pad")
    for key in [*["ArrowUp"] * 8, " ", *["ArrowDown"] * 14]:
        page.keyboard.press(key)
    settle(page)
    assert page.inner_text("#class").strip() == "1"
    page.keyboard.press("z")
    settle(page)
    assert page.inner_text("#class").strip() == ""


def test_everything_has_a_name_for_a_screen_reader(open_page):
    page = open_page()
    assert page.locator("#said[role=status][aria-live]").count() == 1
    for button in page.locator("button, canvas[role], ol").all():
        label = button.get_attribute("aria-label") or button.inner_text()
        assert label.strip()
    assert page.locator("#examples button").count() == 10
    for digit in range(10):
        page.get_by_label(f"Example of {digit}").click()
        settle(page)
        answer = page.evaluate("answer")
        assert answer["image"] != [0] * 784
    assert page.locator("#bars li").count() == 10


def test_a_digit_is_placed_as_ours_are(open_page, trained, tmp_path):
    """What is drawn, as a picture, is placed alike by the page and by `place`."""
    page = open_page()
    likeness = []
    for digit, strokes in STROKES.items():
        assert draw(page, strokes) == digit
        drawn = np.array(list(page.evaluate("Array.from(answer.image)"))).reshape(
            28, 28
        )
        picture = tmp_path / f"{digit}.png"
        page.locator("#pad").screenshot(path=picture)
        pixels = np.asarray(Image.open(picture).convert("L"))
        ours = place(pixels[4:-4, 4:-4]).astype(float)
        likeness.append(np.corrcoef(ours.ravel(), drawn.ravel())[0, 1])
        # And the page reads the picture.
        page.set_input_files("#file", picture)
        until(page, "!document.getElementById('undo').disabled")
    assert min(likeness) > 0.8


@pytest.mark.parametrize("turned", [False, True])
def test_a_picture_is_read_dark_on_light_or_light_on_dark(turned, open_page, tmp_path):
    page, wrong = open_page(), 0
    test = digits().test
    for i in range(0, 1000, 100):
        image = np.full((60, 50), 20, np.uint8)
        image[20:48, 9:37] = np.maximum(image[20:48, 9:37], test.images[i, ..., 0])
        file = tmp_path / "digit.png"
        Image.fromarray(255 - image if turned else image).resize((150, 180)).save(file)
        page.evaluate("globalThis.answer = null")
        page.set_input_files("#file", file)
        until(page, "globalThis.answer !== null")
        wrong += page.evaluate("answer.class") != test.labels[i]
    assert wrong <= 1
    (tmp_path / "none.png").write_bytes(b"nothing")
    page.set_input_files("#file", tmp_path / "none.png")
    until(page, "document.getElementById('class').textContent === 'not a picture'")
    assert "none.png cannot be read" in page.inner_text("#sure")


def test_a_damaged_page_says_so(open_page, trained, tmp_path):
    with open(trained[0], encoding="utf-8") as file:
        text = file.read()
    content = json.loads(re.search(r'json">(.*?)</script>', text).group(1))
    kernel = content["members"][0][0]["kernel"]
    damaged = text.replace(kernel, ("A" if kernel[0] != "A" else "B") + kernel[1:])
    assert damaged != text
    path = tmp_path / "page.html"
    path.write_text(damaged)
    page = open_page(path)
    assert page.inner_text("#class") == "This file cannot be used"
    assert "damaged" in page.inner_text("#sure")


def test_the_page_is_small_and_needs_nothing(trained):
    with open(trained[0], encoding="utf-8") as file:
        text = file.read()
    assert len(text) < 1_000_000
    assert not re.search(r"(src|href)=\"?http|import\(|fetch\(|WebAssembly", text)
