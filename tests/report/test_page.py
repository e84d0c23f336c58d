import base64
import gzip
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup
from PIL import Image

from mnistopt.report.charts.curves import curves_frame, error_chart
from mnistopt.report.charts.pictures import Picture, write_picture
from mnistopt.report.charts.theme import PALETTE
from mnistopt.report.page import Section, Table, render

HOSTILE = '<script>alert("x")</script>\'"&' + "y" * 200


class Page(HTMLParser):
    """Collects what a browser would obey."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.text = [], [], [], []
        self.inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def picture():
    frame = pd.DataFrame(
        {"label": [HOSTILE, HOSTILE, "b", "b"], "rank": [0, 0, 1, 1], "n": 1,
         "epoch": [1, 2, 1, 2], "loss": 1.0, "loss_low": 1.0, "loss_high": 1.0,
         "error": [9.0, 5.0, 8.0, 6.0], "error_low": 4.0, "error_high": 9.0}
    )  # fmt: skip
    return Picture.of(frame, error_chart(frame))


@pytest.fixture(scope="module")
def page(picture, tmp_path_factory):
    png = write_picture(tmp_path_factory.mktemp("figures"), "error", picture)
    table = Table(HOSTILE, pd.DataFrame({"a": [HOSTILE], "b": 1}), [HOSTILE])
    section = Section(HOSTILE, Markup("<p>{}</p>").format(HOSTILE), {"error": picture},
                      [table])  # fmt: skip
    return render(HOSTILE, HOSTILE, HOSTILE, [section], {"error": png})


def test_names_stay_text_wherever_they_stand(page):
    parsed = Page(page)
    # Vega, two blocks of data and the page's own: none came with a name.
    assert len(parsed.scripts) == 4
    assert sum(HOSTILE in text for text in parsed.text) >= 6
    assert not any(name.startswith("on") for _, name, _ in parsed.attributes)


def test_the_page_asks_for_nothing(page):
    parsed = Page(page)
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "data-src", "srcset", "action"):
            assert value.startswith(("data:", "#")), (tag, name, value[:60])
    assert "@import" not in page.partition("</style>")[0]
    policy = next(v for _, n, v in parsed.attributes if n == "content" and "src" in v)
    assert policy.startswith("default-src 'none'")


def test_charts_are_whole_and_have_words_for_those_who_cannot_see(page, picture):
    parsed = Page(page)
    specs = json.loads(gzip.decompress(base64.b64decode(parsed.scripts[1])))
    config = json.loads(parsed.scripts[2])
    assert specs["error"]["usermeta"]["labels"] == [HOSTILE, "b"]
    assert specs["error"]["width"] == "container"
    assert config["page"]["axis"]["labelColor"] == "var(--ink)"
    alts = [v for _, name, v in parsed.attributes if name in ("alt", "aria-label")]
    assert alts.count(picture.chart.description) == 2
    assert all(alts)


def test_a_still_has_the_colours_of_its_lines(page):
    parsed = Page(page)
    url = next(v for tag, name, v in parsed.attributes if (tag, name) == ("img", "src"))
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    colours = np.array([c for _, c in image.convert("RGB").getcolors(1_000_000)])
    for wanted in PALETTE[:2]:
        rgb = [int(wanted[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(colours - rgb).max(axis=1).min() < 12, wanted


def test_headings_are_one_tree(page):
    levels = [int(tag[1]) for tag in Page(page).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))


def test_pictures_are_files_of_all_kinds_with_their_numbers(picture, tmp_path):
    write_picture(tmp_path, "error", picture)
    starts = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF"}
    for form, start in starts.items():
        assert (tmp_path / f"error.{form}").read_bytes().startswith(start)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "error.csv"), picture.frame)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_study_with_two_curves_has_their_frame(make_record):
    # The fixture above is what `curves_frame` returns.
    from mnistopt.results.columns import labelled
    from mnistopt.results.tables import curves_table, summary_table, trials_table
    from mnistopt.study.grid import grid

    points = grid(model="mlp", hidden=(8,), lr=[0.1, 0.2], epochs=2)
    records = [make_record(point) for point in points]
    trials = trials_table(records)
    frame = curves_frame(curves_table(records), trials, labelled(summary_table(trials)))
    assert {"label", "rank", "epoch", "n", "error", "error_low"} <= set(frame)
