"""The reproduction as one page: paper.md with pictures, made of the workdir's files."""

import json
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from mnistopt.errors import InputError
from mnistopt.files import read_csv, replacing
from mnistopt.paper.charts import claims_chart, claims_frame, table_chart, table_frame
from mnistopt.paper.tables import TABLES
from mnistopt.report.charts.export import write_picture
from mnistopt.report.charts.pictures import Picture
from mnistopt.report.page import Section, render
from mnistopt.report.study import make_pictures

# Of the studies of the parts, what the tables do not show.
_OF_PARTS = ("error", "mistakes")


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
    try:
        parts = json.loads((workdir / "config.json").read_text())["parts"]
        tables, claims = _table_pictures(workdir), _claims_picture(workdir)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{workdir} cannot be read as a reproduction ({error}); repeat the command "
            "that made it"
        ) from error
    learning = _part_pictures(workdir, parts)
    title, lead, texts = _split((workdir / "paper.md").read_text())
    answer, *rest = (Section(name, text) for name, text in texts.items())
    drawn = {"Beside the paper": tables, "Curves and mistakes": learning}
    sections = [
        answer._replace(pictures=claims),
        *(Section(name, pictures=found) for name, found in drawn.items() if found),
        *rest,
    ]
    stills = {
        name: write_picture(workdir / "figures", name, picture)
        for name, picture in (claims | tables | learning).items()
    }
    with replacing(path) as partial:
        partial.write_text(render(title, lead, "", sections, stills))
    return path


def _table_pictures(workdir: Path) -> dict[str, Picture]:
    seeds = read_csv(workdir / "tables" / "seeds.csv")
    found = {}
    for number in TABLES:
        path = workdir / "tables" / f"table{number}.csv"
        if path.exists():
            frame = table_frame(number, read_csv(path), seeds)
            if len(frame):
                found[path.stem] = Picture.of(frame, table_chart(frame, number))
    return found


def _claims_picture(workdir: Path) -> dict[str, Picture]:
    claims = read_csv(workdir / "tables" / "claims.csv")
    frame = claims_frame(claims).dropna(subset=["difference"])
    return {"claims": Picture.of(frame, claims_chart(frame))} if len(frame) else {}


def _part_pictures(workdir: Path, parts: dict) -> dict[str, Picture]:
    """Returns curves and mistakes of the parts whose studies are there."""
    found = {}
    for part, config in parts.items():
        if (workdir / part / "trials.csv").exists():
            pictures = make_pictures(workdir / part)
            digits = f"{part}, {config['data']['train']:,} training digits"
            for name in _OF_PARTS:
                if name in pictures:
                    one = pictures[name]
                    one.chart.title.text = f"{one.title} ({digits})"
                    found[f"{part}-{name}"] = Picture.of(one.frame, one.chart)
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
