"""The pages as a browser shows them; needs a Chromium, and is skipped without one."""

import contextlib
import re

import pandas as pd
import pytest
from PIL import Image
from synthetic import DATA, synthetic

import mnistopt
from experiments.reproduction.findings import Asked
from experiments.reproduction.paper import Paper
from experiments.reproduction.write import write_page
from mnistopt.report.charts.curves import error_chart
from mnistopt.report.charts.pictures import Picture, write_picture
from mnistopt.report.charts.theme import LIGHT
from mnistopt.report.page import Section, Table, render
from tests.browsing import MARKS, chromium, watched

pytestmark = MARKS
WIDTHS = (390, 1280, 1920)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = mnistopt.run(
        model="mlp", hidden=(8,), train_examples=200, lanes=(1, 2), lr=[1e-3, 1e-2],
        dropout=[0, 0.3], seeds=2, epochs=3, workdir=tmp_path_factory.mktemp("study"),
    )  # fmt: skip
    study.report()
    return study.workdir / "report.html"


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("paper")
    synthetic(Paper.read("paper", tables=[2])).write(workdir)
    Asked("paper", (2,), 1.0, DATA, "a command").write(workdir)
    return write_page(workdir)


@pytest.fixture(scope="module")
def browser(study, paper):
    with chromium() as found:
        yield found


@pytest.fixture
def open_page(browser):
    """A function that opens a page whose charts are drawn."""
    with contextlib.ExitStack() as stack:

        def open_(path, width=1280, scheme="light", javascript=True):
            context = browser.new_context(
                viewport={"width": width, "height": 900},
                color_scheme=scheme,
                java_script_enabled=javascript,
            )
            stack.callback(context.close)
            page = watched(context, path.as_uri())
            if javascript:
                places = page.locator("[data-chart]").count()
                drawn = "document.querySelectorAll('[data-chart] svg.marks').length"
                page.wait_for_function(f"{drawn} == {places}")
            return page

        yield open_


@pytest.mark.parametrize("name", ["study", "paper"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_whole_at_every_width_and_asks_for_nothing(
    name, width, scheme, open_page, request
):
    page = open_page(request.getfixturevalue(name), width, scheme)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    headings = page.locator("h1, h2, h3").all_inner_texts()
    assert len(headings) == len(set(headings)) and all(headings)
    # No chart is wider than its place, and none is empty.
    for place in page.locator("[data-chart]").all():
        chart = place.locator("svg.marks").bounding_box()
        assert 0 < chart["width"] <= place.bounding_box()["width"] + 1
        assert place.locator("path, image, text").count() > 5


def test_a_click_in_the_legend_singles_a_point_out_in_all_charts(open_page, study):
    page = open_page(study)
    curves = {
        name: page.locator(f"[data-chart={name}] svg.marks")
        for name in ("error", "loss", "mistakes", "seeds")
    }
    before = {name: chart.inner_html() for name, chart in curves.items()}
    label = page.locator("[data-chart=error] .role-legend-label text").nth(1)
    chosen = label.text_content()
    label.click()
    page.locator("#choice").wait_for(state="visible")
    assert page.locator("#choice span").inner_text() == chosen
    for name, chart in curves.items():
        assert chart.inner_html() != before[name], name
    row = page.locator(f'tr[data-label="{chosen}"]')
    assert "chosen" in row.get_attribute("class")
    page.locator("#choice button").click()
    page.locator("#choice").wait_for(state="hidden")
    assert curves["loss"].inner_html() == before["loss"]


def test_a_row_of_the_table_chooses_by_the_keyboard(open_page, study):
    page = open_page(study)
    button = page.locator("tr[data-label] button").nth(2)
    button.focus()
    page.keyboard.press("Enter")
    page.locator("#choice").wait_for(state="visible")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.complaints == []


def test_a_table_is_sorted_by_a_column_both_ways(open_page, study):
    page = open_page(study)
    table = page.locator("table.sortable").first
    column = table.locator("thead th").nth(3)
    cells = table.locator("tbody td:nth-child(4)")
    # Of accuracies the best come first.
    for order, reverse in (("descending", True), ("ascending", False)):
        column.locator("button").click()
        assert column.get_attribute("aria-sort") == order
        numbers = [float(re.match("[0-9.]+", t)[0]) for t in cells.all_inner_texts()]
        assert numbers == sorted(numbers, reverse=reverse)


def test_a_row_s_name_chooses_and_escape_clears(open_page, study):
    page = open_page(study)
    name = page.locator(
        "[data-chart=seeds] [aria-label^=Y-axis] .role-axis-label text"
    ).nth(2)
    name.click()
    page.locator("#choice").wait_for(state="visible")
    assert page.locator("#choice span").inner_text() == name.text_content()
    page.keyboard.press("Escape")
    page.locator("#choice").wait_for(state="hidden")
    assert page.complaints == []


def test_a_cell_of_the_confusion_matrix_shows_its_digits(open_page, study):
    page = open_page(study)
    title = page.locator("figure[data-name=mistakes] h3")
    below = page.locator("[data-chart=mistakes] .role-mark text", has_text=" read as ")
    before = title.inner_text(), below.all_text_contents()
    # A cell of what the vote misreads, as one of its dozen surest mistakes.
    true, vote = re.match("(.+) read as (.+)", before[1][0]).groups()
    wanted = f"taken for: {vote}; class: {true};"
    cell = page.locator(f'[data-chart=confusion] path[aria-label^="{wanted}"]')
    cell.click(force=True)  # its number lies above it
    words = f"{true} read as {vote}"
    heading = "document.querySelector('figure[data-name=mistakes] h3').innerText"
    page.wait_for_function(f"{heading} == '{words}'")
    assert set(below.all_text_contents()) == {words}
    page.keyboard.press("Escape")
    page.wait_for_function(f"{heading} == '{before[0]}'")
    assert sorted(below.all_text_contents()) == sorted(before[1])
    assert page.complaints == []


def test_a_table_is_saved_and_the_command_copied(open_page, study, tmp_path):
    page = open_page(study)
    with page.expect_download() as started:
        page.locator("button[data-csv=settings]").click()
    started.value.save_as(tmp_path / "settings.csv")
    table = pd.read_csv(tmp_path / "settings.csv")
    shown = page.locator("table.sortable").first.locator("tbody th").all_inner_texts()
    assert table["setting"].tolist() == shown and len(table) == 4
    copy = page.locator("button.copy")
    copy.click()
    page.wait_for_function("document.querySelector('button.copy').innerText=='copied'")
    assert page.complaints == []


@pytest.mark.parametrize("name", ["study", "paper"])
def test_a_printed_page_fits_its_paper(name, open_page, request):
    """700 pixels are A4 within its margins."""
    page = open_page(request.getfixturevalue(name))
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 990})
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    for chart in page.locator("[data-chart] svg.marks").all():
        box = chart.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 700
    assert not page.locator(".save").first.is_visible()


@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_picture_is_saved_in_the_colours_of_a_file(form, open_page, study, tmp_path):
    page = open_page(study, scheme="dark")
    with page.expect_download() as started:
        page.get_by_role("button", name=f"Save as {form.upper()}: error").click()
    assert started.value.suggested_filename == f"error.{form}"
    path = tmp_path / "saved"
    started.value.save_as(path)
    if form == "svg":
        text = path.read_text()
        assert (
            "var(" not in text and LIGHT["axis"]["labelColor"].lower() in text.lower()
        )
        assert ">Validation error<" in text
    else:
        assert Image.open(path).getpixel((3, 3))[:3] == (255, 255, 255)
    assert page.complaints == []


def test_a_hostile_name_stays_inert(open_page, tmp_path):
    name = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'" + "y" * 200
    values = {"loss": 1.0, "loss_low": 1.0, "loss_high": 1.0}
    values |= {"error": 5.0, "error_low": 4.0, "error_high": 9.0}
    rows = [{"label": name, "rank": 0, "n": 1, "epoch": e, **values} for e in (1, 2)]
    frame = pd.DataFrame(rows)
    picture = Picture.of(frame, error_chart(frame))
    png = write_picture(tmp_path, "error", picture)
    table = Table("", pd.DataFrame({"a": [name], "b": 1}), [name])
    sections = [Section(name, pictures={"error": picture}, tables=[table])]
    path = tmp_path / "page.html"
    path.write_text(render(name, name, name, sections, {"error": png}))
    page = open_page(path)
    page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
    # Its name is in a tooltip, in the legend, in the table and in what is chosen.
    page.locator("[data-chart] .mark-symbol.role-mark path").last.hover(force=True)
    page.locator("#vg-tooltip-element.visible").wait_for()
    page.locator("tr[data-label] button").click()
    assert page.locator("#choice span").inner_text() == name
    assert page.locator("img[src=x]").count() == 0
    assert page.complaints == []


@pytest.mark.parametrize("name", ["study", "paper"])
def test_without_javascript_the_pictures_are_there(name, open_page, request):
    page = open_page(request.getfixturevalue(name), javascript=False)
    pictures = page.locator("figure img")
    assert pictures.count() == page.locator("figure").count() > 2
    for picture in pictures.all():
        assert picture.bounding_box()["width"] > 300
        assert picture.get_attribute("alt")


def test_a_page_prints_in_full(open_page, study):
    page = open_page(study, scheme="dark")
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
