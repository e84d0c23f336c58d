"""The reproduction as one page: paper.md with pictures, made of the workdir's files."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from mnistopt.errors import InputError
from mnistopt.files import read_csv, replacing
from mnistopt.paper.charts import (
    claims_chart,
    claims_frame,
    headline_chart,
    headline_frame,
    table_chart,
    table_frame,
)
from mnistopt.paper.curves import COMPARISONS, runs_frame
from mnistopt.paper.evidence import Evidence
from mnistopt.paper.learning import find_runs
from mnistopt.paper.plan import make_cells
from mnistopt.paper.tables import TABLES
from mnistopt.report.charts.pictures import Picture, write_picture
from mnistopt.report.page import Section, render
from mnistopt.report.study import make_pictures


def is_reproduction(workdir: Path) -> bool:
    """Says whether a folder holds a reproduction, not a single study."""
    return (workdir / "paper.md").exists() and (workdir / "tables").is_dir()


def write_page(workdir: Path, anew: bool = False) -> Path:
    """Writes figures/ and report.html, unless they are newer than what they show.

    Args:
        workdir: Folder of a reproduction.
        anew: Whether they are written in any case.

    Returns:
        The path of the page.

    Raises:
        InputError: If its files cannot be read.
    """
    path = workdir / "report.html"
    sources = [workdir / "paper.md", *(workdir / "tables").glob("*.csv")]
    newest = max(source.stat().st_mtime_ns for source in sources)
    if not anew and path.exists() and path.stat().st_mtime_ns > newest:
        return path
    evidence = Evidence.read(workdir)
    try:
        pictures = {
            "The answer": _headline_picture(workdir, evidence),
            "The tables": _table_pictures(workdir, evidence.seeds),
            "The claims": _claims_picture(workdir),
            "What the curves say": _curve_pictures(evidence),
            "Mistakes": _mistakes_pictures(workdir, evidence),
        }
    except OSError as error:
        raise InputError(
            f"{workdir} cannot be read as a reproduction ({error}); repeat the command "
            "that made it"
        ) from error
    return write_sections(
        workdir, (workdir / "paper.md").read_text(encoding="utf-8"), pictures
    )


def write_sections(
    workdir: Path, text: str, pictures: Mapping[str, Mapping[str, Picture]]
) -> Path:
    """Writes figures/ and report.html of a text in Markdown.

    Args:
        workdir: Their folder.
        text: With a title, a first paragraph, and sections.
        pictures: By section and name; of those without a section at the end.

    Returns:
        The path of the page.
    """
    path = workdir / "report.html"
    title, lead, texts = _split(text)
    for name, found in pictures.items():
        if found:
            texts.setdefault(name, Markup(""))
    sections = [
        Section(name, text, pictures.get(name, {})) for name, text in texts.items()
    ]
    stills = {
        name: write_picture(workdir / "figures", name, picture)
        for found in pictures.values()
        for name, picture in found.items()
    }
    with replacing(path) as partial:
        page = render(title, lead, "", sections, stills)
        partial.write_text(page, encoding="utf-8")
    return path


def _tables(workdir: Path) -> dict[int, pd.DataFrame]:
    paths = {number: workdir / "tables" / f"table{number}.csv" for number in TABLES}
    return {number: read_csv(path) for number, path in paths.items() if path.exists()}


def _headline_picture(workdir: Path, evidence: Evidence) -> dict[str, Picture]:
    cells = make_cells(evidence.options)
    frame = headline_frame(_tables(workdir), cells, evidence.seeds)
    return {"headline": Picture.of(frame, headline_chart(frame))} if len(frame) else {}


def _table_pictures(workdir: Path, seeds: pd.DataFrame) -> dict[str, Picture]:
    found = {}
    for number, table in _tables(workdir).items():
        frame = table_frame(number, table, seeds)
        if len(frame):
            found[f"table{number}"] = Picture.of(frame, table_chart(frame, number))
    return found


def _claims_picture(workdir: Path) -> dict[str, Picture]:
    claims = read_csv(workdir / "tables" / "claims.csv")
    frame = claims_frame(claims).dropna(subset=["difference"])
    return {"claims": Picture.of(frame, claims_chart(frame))} if len(frame) else {}


def _curve_pictures(evidence: Evidence) -> dict[str, Picture]:
    """Returns validation by epoch: by learning rate, and by dropout for each model."""
    runs = find_runs(make_cells(evidence.options), evidence.seeds)
    found = {}
    for one in COMPARISONS:
        by_value = one.find(runs)
        if len(by_value) > 1:
            frame = runs_frame(one, by_value, evidence.curves)
            chart = one.chart(frame)
            part = next(reversed(by_value.values())).part
            digits = evidence.parts[part]["data"]["train"]
            chart.title.text = f"{one.title}, {digits:,} training digits"
            found[one.name] = Picture.of(frame, chart)
    return found


def _mistakes_pictures(workdir: Path, evidence: Evidence) -> dict[str, Picture]:
    """Returns what is misread, of the parts whose studies are there."""
    found = {}
    for part, config in evidence.parts.items():
        if (workdir / part / "trials.csv").exists():
            pictures = make_pictures(workdir / part)
            if "mistakes" in pictures:
                one = pictures["mistakes"]
                digits = f"{part}, {config['data']['train']:,} training digits"
                one.chart.title.text = f"{one.title} ({digits})"
                found[f"{part}-mistakes"] = Picture.of(one.frame, one.chart)
    return found


def _split(text: str) -> tuple[str, str, dict[str, Markup]]:
    """Returns title, first paragraph and the parts of paper.md, in HTML."""
    head, *parts = text.split("\n## ")
    title, lead = head.removeprefix("# ").split("\n", 1)
    # Without HTML: what looks like it in a name is shown, not obeyed.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    found = {}
    for part in parts:
        name, body = part.split("\n", 1)
        found[name] = Markup(markdown.render(body))
    return title, " ".join(lead.split()), found
