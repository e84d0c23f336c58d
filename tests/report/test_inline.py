"""What a notebook shows of a chart."""

import base64
import io
import re

import altair as alt
import pytest
from PIL import Image

from mnistopt.report import inline


@pytest.fixture
def shown():
    """A function that returns what a notebook is given of a chart with a title."""
    before = alt.renderers.active
    inline.show_charts_inline()
    yield (
        lambda title: (
            alt.Chart(
                alt.InlineData(values=[{"x": 1, "y": 2}]),
                title=title,
                description=title,
            )
            .mark_point()
            .encode(x="x:Q", y="y:Q")
            ._repr_mimebundle_(None, None)
        )
    )
    alt.renderers.enable(before)


def test_a_still_stands_beside_the_live_chart(shown):
    bundle = shown("a title")
    picture = bundle["image/png"]
    assert Image.open(io.BytesIO(picture)).format == "PNG"
    still = base64.b64encode(picture).decode()
    assert f'src="data:image/png;base64,{still}"' in bundle["text/html"]
    # Nothing is asked of any other place.
    places = set(re.findall(r"https?://([^/\"]+)", bundle["text/html"]))
    assert places <= {"cdn.jsdelivr.net", "vega.github.io"}


def test_no_text_of_a_study_ends_the_script(shown):
    html = shown('</script><img src=x onerror="alert(1)">')["text/html"]
    assert html.count("</script>") == 1 and "<img src=x" not in html.split("<script")[0]
    script = shown("<!--<script>")["text/html"].split("<script", 1)[1]
    assert "<!--" not in script and script.count("<script") == 0


def test_a_chart_that_cannot_be_drawn_here_is_shown_as_usual(shown):
    shown("one")
    far = alt.Chart("https://example.com/data.csv").mark_point().encode(x="x:Q")
    assert "image/png" not in far._repr_mimebundle_(None, None)


def test_who_has_chosen_how_charts_are_shown_is_left_alone():
    before = alt.renderers.active
    try:
        alt.renderers.enable("png")
        inline.show_charts_inline()
        assert alt.renderers.active == "png"
    finally:
        alt.renderers.enable(before)
