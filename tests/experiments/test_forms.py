"""Forms that are filled in, the programs that make and read them, and their proof."""

import csv

import pytest

from experiments import forms
from mnistopt.data.load import load
from mnistopt.study.fields.layout import read_layout
from tests.programs import run

pytest.importorskip("cv2")


@pytest.mark.parametrize("kind", ["exam", "transfer", "cheque"])
def test_what_stands_in_a_form_is_allowed_and_known(tmp_path, kind):
    forms.write(kind, load().test, 3, 0, tmp_path)
    layout = read_layout(tmp_path / "layout.json")
    rules = {field.name: field.rule for field in layout.fields}
    with open(tmp_path / "truth.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["field"] for row in rows] == 3 * list(rules)
    pages = {path.name for path in tmp_path.glob("*.jpg")}
    assert {row["page"] for row in rows} == pages and len(pages) == 3
    for row in rows:
        # As it is read: with a comma where there are decimals.
        texts = [row["value"].replace(".", ",")]
        texts += [f"{texts[0]},00", f"{texts[0]}0"] if kind == "cheque" else []
        assert row["value"] in [rules[row["field"]].value(text) for text in texts]
    again = tmp_path / "again"
    forms.write(kind, load().test, 3, 0, again)
    for name in (*pages, "truth.csv"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_marks_of_an_exam_add_up(tmp_path):
    forms.write("exam", load().test, 4, 1, tmp_path)
    with open(tmp_path / "truth.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for page in {row["page"] for row in rows}:
        marks = {r["field"]: r["value"] for r in rows if r["page"] == page}
        parts = [float(v) for k, v in marks.items() if k.startswith("exercise")]
        assert sum(parts) == float(marks["sum"])


@pytest.mark.parametrize(
    ("program", "flags", "words"),
    [
        ("forms", ["--form=letter"], "form=letter is not known; choose one of exam"),
        ("forms", ["--form=exam", "--dataset=nothing"], "nothing"),
        ("forms", ["--results=out", "--workdir=none"], "is not the workdir"),
        ("read", [], "give the scans"),
        ("read", ["--images=none"], "--draw_layout"),
        (
            "read",
            ["--images=none", "--layout=none", "--workdir=none"],
            "has no reader: train one",
        ),
        ("read", ["--images=none", "--draw_layout"], "images=none is not there"),
        ("read", ["--max_error=much"], "max_error"),
    ],
    ids=lambda part: str(part)[:30],
)
def test_mistakes_are_said(program, flags, words):
    found = run(program, *flags)
    assert found.returncode == 2 and words in found.stderr
    assert "Traceback" not in found.stderr


def test_a_page_to_draw_on_is_made_of_a_scan(tmp_path):
    forms.write("cheque", load().test, 1, 0, tmp_path / "scans")
    (tmp_path / "scans" / "blank.png").unlink()
    flags = f"--images={tmp_path / 'scans'}", f"--out={tmp_path}", "--draw_layout"
    found = run("read", *flags)
    assert found.returncode == 0, found.stderr
    page = (tmp_path / "layout.html").read_text()
    assert "data:image/jpeg;base64," in page and "Draw a layout" in page
