"""The pages on which a layout is drawn, and doubted fields are typed."""

import base64
import csv
import json

import pytest

from mnistopt.study.fields.layout import make_layout
from mnistopt.study.fields.output import page
from tests.browsing import MARKS, chromium, watched

cv2 = pytest.importorskip("cv2")
pytestmark = MARKS


def picture(width=600, height=400):
    import numpy as np

    grey = np.full((height, width), 240, np.uint8)
    coded = cv2.imencode(".png", grey)[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(coded).decode()


def test_fields_are_typed_one_by_one_and_kept(tmp_path):
    names = "page", "field", "value", "accepted", "why", "picture"
    rows = [
        ("a.png", "one", "7.5", True, "", ""),
        ("a.png", "two", "3", False, "unsure: 3 or 8", picture()),
        ("b,c.png", "one", "", False, "empty </script>", picture()),
        ("b,c.png", "two", "12", False, "unsure", picture()),
        ("d.png", "one", "", False, "page: not found", ""),
        ("e.png", "one", "", False, "page: no picture", ""),
    ]
    given = [dict(zip(names, row)) for row in rows]
    pages = {"d.png": picture(900, 1300)}
    (tmp_path / "type.html").write_text(page("type", rows=given, pages=pages))
    with chromium() as browser:
        context = browser.new_context(accept_downloads=True)
        shown = watched(context, (tmp_path / "type.html").as_uri())
        about, answer = shown.locator("#about"), shown.locator("#answer")
        assert about.inner_text().startswith("0 of 4 typed")
        assert answer.input_value() == "3"
        shown.keyboard.press("Enter")  # as it was read
        assert "empty </script>" in shown.locator("#why").inner_text()
        shown.keyboard.type("7,5")
        shown.keyboard.press("Enter")
        # What was typed is there when the page is opened again.
        again = watched(context, (tmp_path / "type.html").as_uri())
        assert again.locator("#about").inner_text().startswith("2 of 4 typed")
        again.keyboard.press("ArrowUp")
        assert again.locator("#answer").input_value() == "7.5"
        again.keyboard.press("Enter")
        again.keyboard.press("Escape")
        # A page on which the form was not found is shown as a whole.
        assert again.locator("#picture").bounding_box()["height"] > 400
        again.keyboard.type("9")
        again.keyboard.press("Enter")
        assert again.locator("#about").inner_text().startswith("4 of 4 typed")
        with again.expect_download() as saved:
            again.click("#save")
        saved.value.save_as(tmp_path / "saved.csv")
        assert not shown.complaints and not again.complaints
    with open(tmp_path / "saved.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["value"] for row in table] == ["7.5", "3", "7.5", "", "9", ""]
    assert [row["by"] for row in table] == ["read", *["typed"] * 4, "open"]
    assert table[2]["page"] == "b,c.png"


def test_a_layout_is_drawn_on_a_scan(tmp_path):
    (tmp_path / "layout.html").write_text(page("layout", picture=picture()))
    with chromium() as browser:
        tall = {"width": 1100, "height": 1100}
        context = browser.new_context(accept_downloads=True, viewport=tall)
        shown = watched(context, (tmp_path / "layout.html").as_uri())
        box = shown.locator("canvas").bounding_box()
        scale = box["width"] / 600

        def to(x, y):
            shown.mouse.move(box["x"] + scale * x, box["y"] + scale * y)

        for x in (50, 300):
            to(x, 60)
            shown.mouse.down()
            # Who drags beyond the sheet means its edge.
            to(x + 120 if x == 50 else 700, 100)
            shown.mouse.up()
        first, second = shown.locator("#fields tr").all()
        first.get_by_label("name").fill("mark")
        first.get_by_label("kind").select_option("number")
        first.get_by_label("most").fill("12")
        first.get_by_label("step").fill("0.5")
        second.get_by_label("cells").fill("4")
        second.get_by_label("optional").check()
        shown.get_by_label("corner marks").check()
        shown.evaluate("scrollTo(0, 0)")
        box = shown.locator("canvas").bounding_box()
        for x, y in ((10, 10), (590, 10), (590, 390), (10, 390)):
            shown.mouse.click(box["x"] + scale * x, box["y"] + scale * y)
        with shown.expect_download() as saved:
            shown.click("#save")
        saved.value.save_as(tmp_path / "layout.json")
        assert not shown.complaints
    layout = make_layout(json.loads((tmp_path / "layout.json").read_text()))
    mark, other = layout.fields
    assert layout.page == (600, 400) and len(layout.marks) == 4
    assert mark.name == "mark" and mark.box == pytest.approx((50, 60, 120, 40), abs=2)
    assert mark.rule.value("7,5") == "7.5" and mark.rule.value("12,5") is None
    assert other.cells == 4 and other.optional and other.rule.digits == (4, 4)
    assert other.box == pytest.approx((300, 60, 300, 40), abs=2)
    assert layout.marks[2] == pytest.approx((590, 390), abs=2)
