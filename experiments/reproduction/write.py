"""Writes what follows from the evidence: tables, documents, pictures and the page.

The documents are the templates beside this file; numbers come to them by ids.
"""

from pathlib import Path

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from experiments.reproduction.findings import Findings
from experiments.reproduction.paper import FOLDER
from experiments.reproduction.view import View, percent, points
from mnistopt.errors import InputError
from mnistopt.files import replacing, write_text
from mnistopt.report.charts.pictures import write_picture
from mnistopt.report.page import Section, render

# Template, and the document that it makes; the first one is the page's text.
_DOCUMENTS = {"paper": ("paper.md", "headline.md"), "outlook": ("outlook.md",)}


def write(findings: Findings, workdir: Path) -> None:
    """Writes `tables/*.csv` and the documents, without training and without images.

    Args:
        findings: The findings from the evidence.
        workdir: The folder to write to.
    """
    for name, frame in findings.frames().items():
        write_text(workdir / "tables" / f"{name}.csv", frame.to_csv(index=False))
    for name in _DOCUMENTS[findings.asked.paper]:
        write_text(workdir / name, document(name, findings))


def document(name: str, findings: Findings) -> str:
    """Returns a document, as "paper.md".

    Raises:
        InputError: If no run that it is about has finished.
    """
    if not any(table["n"].sum() for table in findings.tables.values()):
        digits = f"{findings.data['train']:,} digits of {findings.data['dataset']}"
        raise InputError(f"no run on {digits} has finished: there is nothing to report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown; the page escapes what is made of it.
    )
    environment.filters |= {
        "percent": percent,
        "points": points,
        "lower": lambda text: text[:1].lower() + text[1:].rstrip("."),
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
    }
    view = View(findings)
    public = {name: getattr(view, name) for name in dir(view) if name[0] != "_"}
    text = environment.get_template(f"{name}.jinja").render(public)
    return text.rstrip() + "\n"


def write_page(workdir: Path) -> Path:
    """Writes figures/ and report.html: the document with pictures; returns its path.

    Raises:
        InputError: If there is no reproduction, or nothing can be drawn.
    """
    # Altair takes a second to import.
    from experiments.reproduction.charts import pictures

    findings = Findings.read(workdir)
    drawn = pictures(findings)
    title, lead, texts = _sections(
        document(_DOCUMENTS[findings.asked.paper][0], findings)
    )
    for name, some in drawn.items():
        if some:
            texts.setdefault(name, Markup(""))
    sections = [
        Section(name, text, drawn.get(name, {})) for name, text in texts.items()
    ]
    stills = {
        name: write_picture(workdir / "figures", name, picture)
        for some in drawn.values()
        for name, picture in some.items()
    }
    path = workdir / "report.html"
    with replacing(path) as partial:
        partial.write_text(render(title, lead, "", sections, stills), encoding="utf-8")
    return path


def _sections(text: str) -> tuple[str, str, dict[str, Markup]]:
    """Returns title, first paragraph and the sections of a document, in HTML."""
    head, *parts = text.split("\n## ")
    title, lead = head.removeprefix("# ").split("\n", 1)
    # Without HTML: what looks like it in a name is shown, not obeyed.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    sections = {}
    for part in parts:
        name, body = part.split("\n", 1)
        sections[name] = Markup(markdown.render(body))
    return title, " ".join(lead.split()), sections
