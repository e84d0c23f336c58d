"""What all charts share: their data as written, and the look."""

import io

import pandas as pd
import pytest

from mnistopt.report.charts.theme import LIGHT, PAGE, PALETTE, rows

HOSTILE = ["<script>alert(1)</script>", 'a "quoted", name', "x" * 200, "line\nbreak"]


def test_a_chart_has_the_numbers_of_its_frame_and_names_as_they_are():
    frame = pd.DataFrame(
        {"label": HOSTILE, "x": [1 / 3, float("nan"), 1e-9, 5.0], "n": [1, 2, 3, 4]}
    )
    frame["yes"] = [True, False, True, False]
    data = rows(frame).to_dict()
    assert data["format"]["parse"] == {
        "label": "string",
        "x": "number",
        "n": "number",
        "yes": "boolean",
    }
    back = pd.read_csv(io.StringIO(data["values"]))
    assert list(back["label"]) == HOSTILE
    # Vega takes "False" for true, and 0 for false.
    assert list(back["yes"]) == [1, 0, 1, 0]
    pd.testing.assert_series_equal(back["x"], frame["x"], rtol=1e-5)


def luminance(colour):
    """Relative luminance by WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", ["labelColor", "titleColor"])
def test_text_has_the_contrast_that_readers_need(name):
    # 4.5 for text: WCAG 2.2, success criterion 1.4.3.
    assert contrast(LIGHT["axis"][name], LIGHT["background"]) > 4.5
    assert contrast(LIGHT["style"]["soft"]["color"], LIGHT["background"]) > 4.5


def test_a_page_sets_every_colour_that_a_file_has():
    assert PAGE["range"]["category"] == [
        f"var(--colour-{i})" for i in range(1, len(PALETTE) + 1)
    ]
    for name in ("ink", "soft", "first", "others", "reference", "halo"):
        assert PAGE["style"][name]["color"].startswith("var(--"), name
