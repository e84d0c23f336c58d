"""The reproduction's pictures and page, on the committed results."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mnistopt.errors import InputError
from mnistopt.paper.charts import claims_chart, claims_frame, table_chart, table_frame
from mnistopt.paper.page import is_reproduction, write_page

RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "paper"
TABLES = RESULTS / "tables"


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_table_shows_every_seed_beside_the_papers_figure(number):
    table = pd.read_csv(TABLES / f"table{number}.csv")
    seeds = pd.read_csv(TABLES / "seeds.csv")
    frame = table_frame(number, table, seeds)
    by_what = frame.groupby("what")
    assert len(by_what.get_group("seed")) == (seeds["table"] == number).sum()
    means = by_what.get_group("mean")
    assert list(means["accuracy"]) == list(100 * table["test_accuracy"])
    assert (means["low"] <= means["accuracy"]).all()
    figures = table["test_accuracy_paper"].dropna()
    assert list(by_what.get_group("paper")["accuracy"]) == list(100 * figures)
    # The mean is that of the dots beside it, and no two rows share a name.
    dots = by_what.get_group("seed").groupby("label")["accuracy"].mean()
    pd.testing.assert_series_equal(
        dots, means.set_index("label")["accuracy"].sort_index(), check_names=False
    )
    assert means["label"].is_unique
    chart = table_chart(frame, number).to_dict()
    assert f"Table {number}" in chart["title"]["text"]


def test_claims_are_differences_in_points_and_per_cent():
    claims = pd.read_csv(TABLES / "claims.csv")
    frame = claims_frame(claims)
    assert list(frame["verdict"]) == list(claims["verdict"])
    assert frame["label"].is_unique
    for (_, row), (_, claim) in zip(frame.iterrows(), claims.iterrows()):
        level = claim["hypothesis"].startswith("accuracy of")
        base = 1 if claim["ratio"] else claim["paper"] if level else 0
        assert row["difference"] == pytest.approx(100 * (claim["estimate"] - base))
        assert row["low"] <= row["difference"] <= row["high"]
        # A level is shown against the paper's, which is then the zero.
        if level:
            assert row["paper"] == 0
    claims_chart(frame).to_dict()


@pytest.fixture
def workdir(tmp_path):
    """The committed results without their report."""
    for name in ("paper.md", "config.json", "notes.md"):
        shutil.copy(RESULTS / name, tmp_path)
    shutil.copytree(TABLES, tmp_path / "tables")
    return tmp_path


def test_the_page_has_all_that_paper_md_has(workdir):
    assert is_reproduction(workdir)
    page = write_page(workdir).read_text()
    for line in (workdir / "paper.md").read_text().splitlines():
        if line.startswith("## "):
            assert f">{line[3:]}</h2>" in page
    curves = ("rates", "cnn-dropout", "mlp-dropout")
    tables = (f"table{number}" for number in range(1, 6))
    for name in ("headline", "claims", *tables, *curves):
        assert f'data-chart="{name}"' in page
        assert (workdir / "figures" / f"{name}.pdf").exists()
    assert len(page) < 3e6


def test_the_page_is_drawn_again_only_when_asked_or_when_tables_change(workdir):
    path = write_page(workdir)
    path.write_text("kept")
    assert write_page(workdir).read_text() == "kept"
    assert write_page(workdir, anew=True).read_text() != "kept"


def test_markup_in_names_is_shown_and_not_obeyed(workdir):
    text = (workdir / "paper.md").read_text()
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    (workdir / "paper.md").write_text(text.replace("## The answer\n", f"""\
## The answer

{hostile}
"""))  # fmt: skip
    page = write_page(workdir).read_text()
    assert "<script>alert" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("damage", ["config", "claims"])
def test_what_cannot_be_read_is_an_input_error(workdir, damage):
    if damage == "config":
        (workdir / "config.json").write_text(json.dumps({}))
    else:
        (workdir / "tables" / "claims.csv").unlink()
    with pytest.raises(InputError, match="repeat the command"):
        write_page(workdir)


def test_the_committed_report_is_small_and_of_these_tables():
    page = (RESULTS / "report.html").read_text()
    assert len(page) < 3e6
    claims = pd.read_csv(TABLES / "claims.csv")
    for sentence in claims["sentence"]:
        assert sentence.rstrip(".").split(",")[0] in page
    for number in range(1, 6):
        assert f'data-chart="table{number}"' in page
