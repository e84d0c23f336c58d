"""Scans are read however they lie, and nothing is invented where there is none."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments import forms
from mnistopt.data.load import load
from mnistopt.data.scans import pages
from mnistopt.errors import InputError
from mnistopt.study.fields import calibrated, output
from mnistopt.study.fields.layout import make_layout, read_layout
from mnistopt.study.fields.run import Session, Value
from tests.reading import a_reader

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Eight exams, and eight transfers, with what stands in them."""
    folder = tmp_path_factory.mktemp("scans")
    for kind in ("exam", "transfer"):
        forms.write(kind, load().test, 8, 3, folder / kind)
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return a_reader(tmp_path_factory.mktemp("reader"))


def read(reader, folder, files=None, calibration=None, max_error=0.05):
    layout = read_layout(folder / "layout.json")
    known = calibration or calibrated.nothing()
    return Session(reader, layout, known).read(files or pages.find(folder), max_error)


@pytest.fixture(scope="module")
def exams(reader, scans):
    return read(reader, scans / "exam")


def sure(answer, least=0.9):
    return {(v.page, v.field): v.value for v in answer.values if v.score >= least}


def test_most_fields_are_read_and_the_sure_ones_are_right(exams, scans):
    truth = calibrated.read_truth(scans / "exam" / "truth.csv")
    assert len(exams.values) == len(truth) == 64 and not exams.skipped
    right = [value.value == truth[value.page, value.field] for value in exams.values]
    assert np.mean(right) > 0.6
    known = sure(exams)
    assert len(known) > 30
    assert np.mean([truth[key] == value for key, value in known.items()]) > 0.95
    # Of the class list, to a digit.
    students = [v for v in exams.values if v.field == "student"]
    assert np.mean([v.value == truth[v.page, "student"] for v in students]) > 0.8


@pytest.mark.parametrize("tilt", [3, -3, 180])
def test_turning_a_scan_changes_no_value(reader, exams, scans, tmp_path, tilt):
    files = pages.find(scans / "exam")[:4]
    for file in files:
        scan = Image.open(file)
        turned = scan.rotate(tilt, Image.Resampling.BICUBIC, True, fillcolor=200)
        turned.save(tmp_path / file.name, quality=95)
    again = read(reader, scans / "exam", [tmp_path / file.name for file in files])
    before, after = sure(exams, 0.97), sure(again, 0.97)
    both = before.keys() & after.keys()
    assert len(both) > 12
    assert all(before[key] == after[key] for key in both)
    if tilt == 180:
        assert all("upside down" in how for how in again.pages.values())


def test_a_pdf_says_what_its_pages_say(reader, exams, scans, tmp_path):
    first, *others = (Image.open(file) for file in pages.find(scans / "exam")[:3])
    path = tmp_path / "scans.pdf"
    first.save(path, save_all=True, append_images=others, resolution=200)
    answer = read(reader, scans / "exam", [path])
    assert list(answer.pages) == [f"scans.pdf#{k}" for k in (1, 2, 3)]
    again = {
        (f"exam-0000{int(page[-1]) - 1}.jpg", field): value
        for (page, field), value in sure(answer, 0.97).items()
    }
    before = sure(exams, 0.97)
    both = before.keys() & again.keys()
    assert len(both) > 8 and all(before[key] == again[key] for key in both)


def test_light_on_dark_pages_say_the_same(reader, exams, scans, tmp_path):
    files = pages.find(scans / "exam")[:2]
    for file in files:
        grey = np.asarray(Image.open(file))
        Image.fromarray(255 - grey).save(tmp_path / f"{file.stem}.png")
    again = sure(read(reader, scans / "exam", pages.find(tmp_path)))
    before = sure(exams)
    for (page, field), value in again.items():
        assert before.get((page.replace("png", "jpg"), field), value) == value
    assert len(again) > 6


def test_pages_that_cannot_be_read_are_named_and_skipped(reader, scans, tmp_path):
    rng = np.random.default_rng(0)
    cat = cv2.GaussianBlur(rng.random((600, 500)).astype(np.float32), (0, 0), 8)
    cat = (255 * (cat - cat.min()) / np.ptp(cat)).astype(np.uint8)
    Image.fromarray(cat).save(tmp_path / "cat.png")
    Image.fromarray(np.full((900, 640), 230, np.uint8)).save(tmp_path / "empty.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 no document")
    (tmp_path / "tiny.png").write_bytes(b"")
    Image.fromarray(cat[:8, :8]).save(tmp_path / "tiny.png")
    for kind in ("exam", "transfer"):
        answer = read(reader, scans / kind, pages.find(tmp_path))
        assert set(answer.skipped) == {
            *("cat.png", "empty.png", "broken.jpg", "broken.pdf", "tiny.png"),
        }
        assert not any(value.accepted or value.value for value in answer.values)
        assert all(value.why.startswith("page: ") for value in answer.values)


def test_an_empty_form_has_empty_fields(reader, scans, tmp_path):
    blank = scans / "transfer" / "blank.png"
    (tmp_path / "one.png").write_bytes(blank.read_bytes())
    answer = read(reader, scans / "transfer", [tmp_path / "one.png"])
    assert answer.skipped == {"one.png": "it is empty: no field has any ink"}
    assert not any(value.value for value in answer.values)


def test_without_known_fields_nothing_is_accepted(exams):
    assert not any(value.accepted for value in exams.values)
    assert "at least 59 without" in " ".join(output.summary(exams))


def test_known_fields_let_sure_ones_be_accepted(reader, scans, exams, tmp_path):
    truth = calibrated.read_truth(scans / "exam" / "truth.csv")
    layout = read_layout(scans / "exam" / "layout.json")
    rows = calibrated.compare(exams.values, truth, layout)
    (tmp_path / "figures").mkdir()
    kept = tmp_path, reader.digest, layout.digest, rows
    known = calibrated.keep_calibration(*kept)
    again = calibrated.read_calibration(tmp_path, reader.digest)
    pd.testing.assert_frame_equal(
        again.rows.reset_index(drop=True), known.rows.reset_index(drop=True)
    )
    # Of other networks nothing is known.
    assert calibrated.read_calibration(tmp_path, "other").rows.empty
    # The same pages once more replace what was known of them.
    assert len(calibrated.keep_calibration(*kept).rows) == len(rows)
    others = rows.assign(page="another " + rows["page"])
    assert len(calibrated.keep_calibration(*kept[:3], others).rows) == 2 * len(rows)
    answer = read(reader, scans / "exam", calibration=known, max_error=0.3)
    accepted = [value for value in answer.values if value.accepted]
    assert len(accepted) > 30
    for value in answer.values:
        claim = answer.claims[value.kind]
        assert value.accepted == (not value.why)
        if value.accepted:
            assert value.score >= claim.threshold and claim.bound <= 0.3
    # Probabilities rank as scores do, within a kind.
    free = [v for v in answer.values if v.field.startswith("ex")]
    order = sorted(free, key=lambda v: v.score)
    assert [v.probability for v in order] == sorted(v.probability for v in free)


def test_results_are_a_table_marked_pages_and_a_page_to_type_on(
    reader, scans, tmp_path
):
    layout = read_layout(scans / "exam" / "layout.json")
    session = Session(reader, layout, calibrated.nothing())
    folder = output.Folder(tmp_path / "out")
    files = pages.find(scans / "exam")[:2]
    answer = session.read(files, 0.01, folder.on_page)
    folder.finish(answer)
    with open(tmp_path / "out" / output.TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["field"] for row in rows[:8]] == [f.name for f in layout.fields]
    assert [row["value"] for row in rows] == [v.value for v in answer.values]
    for file in files:
        page = np.asarray(Image.open(tmp_path / "out" / "pages" / f"{file.name}.jpg"))
        # Fields are marked in colour, on a grey page.
        assert (np.ptp(page.astype(int), axis=-1) > 90).sum() > 1000
    html = (tmp_path / "out" / output.TYPING).read_text()
    assert html.count("data:image/jpeg;base64,") == len(answer.values)
    assert "http" not in html.replace("http-equiv", "")
    summary = (tmp_path / "out" / output.SUMMARY).read_text()
    assert summary.startswith("2 pages, 16 fields: 0 taken over, 16 to be typed")


def test_pictures_of_cells_are_read_as_they_are(reader, tmp_path):
    """A field without a box is the whole picture, of which a form's lines are left."""
    data = load().test
    rows = np.random.default_rng(0).permutation(len(data.labels))[:60]
    for offset in (None, 1, 6):
        folder = tmp_path / str(offset)
        folder.mkdir()
        layout = {"fields": [{"name": "cell", "digits": 1}]}
        (folder / "layout.json").write_text(json.dumps(layout))
        for row in rows:
            page = np.full((90, 84), 225.0)
            digit = Image.fromarray(data.images[row, ..., 0]).resize((56, 56), 2)
            page[16:72, 14:70] -= 0.7 * np.asarray(digit)
            if offset is not None:
                page[offset : offset + 3] = page[:, offset : offset + 3] = 80
            Image.fromarray(page.clip(0, 255).astype(np.uint8)).save(
                folder / f"{row}.png"
            )
        answer = read(reader, folder)
        right = [v.value == str(data.labels[int(v.page[:-4])]) for v in answer.values]
        assert np.mean(right) > 0.8
        empty = np.full((90, 84), 225, np.uint8)
        if offset is not None:
            empty[offset : offset + 3] = empty[:, offset : offset + 3] = 80
        Image.fromarray(empty).save(folder / "empty.png")
        (value,) = read(reader, folder, [folder / "empty.png"]).values
        assert value.value == "" and not value.accepted


def test_a_form_is_known_by_its_own_fields_where_these_are_enough():
    """Else by all fields of the kind; an oracle counts both."""
    rng = np.random.default_rng(0)

    def of(form, count, wrong):
        right = np.arange(count) >= wrong
        return pd.DataFrame(
            {
                "reader": "r",
                "form": form,
                "page": [f"{k}.png" for k in range(count)],
                "field": "mark",
                "kind": "free",
                "truth": "1",
                "value": np.where(right, "1", "2"),
                "score": np.where(right, rng.uniform(0.9, 1, count), 0.95),
            }
        )

    rows = pd.concat([of("good", 700, 0), of("bad", 700, 70), of("new", 20, 0)])
    known = calibrated.Calibration(rows)
    assert known.claim("good", "free", 0.005)[1:4] == (700, 700, 0)
    assert known.claim("bad", "free", 0.005).accepted == 0
    pooled = [known.claim(form, "free", 0.005) for form in ("new", "unseen")]
    assert pooled[0] == pooled[1] and pooled[0].known == 1420
    assert known.claim("good", "cells", 0.005).known == 0


def test_what_is_typed_is_what_is_meant(tmp_path):
    """Spreadsheets write semicolons and commas, file systems write accents apart."""
    layout = make_layout(
        {"fields": [{"name": "note", "max": 10, "step": 0.5}, {"name": "number"}]}
    )
    path = tmp_path / "truth.csv"
    path.write_text(
        "page;field;value\nPru\u0308fung.png;note;7,50\nPrüfung.png;number;007\n",
        encoding="utf-8-sig",
    )
    truth = calibrated.read_truth(path)
    values = [
        Value("Prüfung.png", "note", "7.5", 0.9, False, "", 0.9, "free"),
        Value("Pru\u0308fung.png", "number", "007", 0.9, False, "", 0.9, "free"),
    ]
    rows = calibrated.compare(values, truth, layout)
    assert list(rows["truth"]) == ["7.5", "007"]
    assert (rows["truth"] == rows["value"]).all()


def test_a_field_with_too_much_ink_is_left_to_people(reader, tmp_path):
    grey = np.full((120, 3000), 230, np.uint8)
    for k in range(70):
        cv2.circle(grey, (80 + 40 * k, 60), 12, 40, 3)
    Image.fromarray(grey).save(tmp_path / "long.png")
    field = {"name": "all", "box": [30, 30, 2940, 60], "optional": True}
    (tmp_path / "layout.json").write_text(json.dumps({"fields": [field]}))
    (value,) = read(reader, tmp_path).values
    assert (value.value, value.accepted) == ("", False)
    assert value.why == "more ink than can be read"


@pytest.mark.parametrize("max_error", [0.0, 1.0, -1])
def test_shares_of_errors_are_between_none_and_all(reader, scans, max_error):
    with pytest.raises(InputError, match="max_error"):
        read(reader, scans / "exam", max_error=max_error)


def test_upside_down_scans_without_marks_or_print_are_turned(reader, scans, tmp_path):
    """Only what they say tells."""
    layout = json.loads((scans / "transfer" / "layout.json").read_text())
    del layout["blank"]
    (tmp_path / "layout.json").write_text(json.dumps(layout))
    upright = forms_of_transfer(tmp_path)
    turned = tmp_path / "turned.png"
    Image.open(upright).rotate(180).save(turned)
    answer = read(reader, tmp_path, [upright, turned])
    assert "turned upside down" in answer.pages["turned.png"]
    assert "turned" not in answer.pages["upright.png"]
    known = sure(answer, 0.9)
    both = [
        (known["upright.png", field], known["turned.png", field])
        for page, field in known
        if page == "upright.png" and ("turned.png", field) in known
    ]
    assert both and all(one == other for one, other in both)


def forms_of_transfer(folder):
    """A level scan of a transfer form, which fills its picture."""
    from experiments.paperwork import filling, sheets

    data = load().test
    rng = np.random.default_rng(5)
    form = sheets.transfer()
    supply = filling.Supply(filling.Digits(data.images[..., 0], data.labels), rng)
    scale = 7.0
    width, height = (round(scale * side) for side in form.layout["page"])
    dark = np.zeros((height, width), np.float32)
    form.printed(dark, scale)
    hand = filling.a_hand(rng, 34, 0.0)._replace(ink=0.9)
    written = filling.contents("transfer", rng, [])
    for field in form.layout["fields"]:
        symbols = supply.symbols(written[field["name"]][0])
        filling._write(dark, field, symbols, hand, scale, rng)
    Image.fromarray(np.rint(250 * (1 - dark)).astype(np.uint8)).save(
        folder / "upright.png"
    )
    return folder / "upright.png"
