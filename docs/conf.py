"""The documentation site: `./launch.sh docs` builds it, without any network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mnistopt

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# Made at each build, from what is not in this folder.
MADE = DOCS / "made"
PROGRAMS = ("grid", "evaluate", "report", "paper", "bench")

project, version = "mnistopt", mnistopt.__version__
copyright = "the mnistopt developers"
html_title = "mnistopt"
html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "navbar_persistent": [],  # the search field is in the sidebar
}
html_static_path, html_css_files = ["static"], ["mnistopt.css"]
html_show_sourcelink = False

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# It is kept with its outputs (run_notebook.py), and run by a test.
nb_execution_mode = "off"
myst_heading_anchors = 4
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
# Names of types in docstrings are no links.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]


# Pages that are kept elsewhere, by their names here.
KEPT = {
    ROOT / "README.md": DOCS / "index.md",
    ROOT / "CONTRIBUTING.md": MADE / "contributing.md",
    ROOT / "CHANGELOG.md": MADE / "changes.md",
    ROOT / "experiments" / "colab.ipynb": MADE / "tutorial.ipynb",
}
RESULTS = ROOT / "experiments" / "results"
# The pages with charts, each a file of its own.
html_extra_path = [str(MADE / "reports")]
KEPT |= {
    path: MADE / f"{'-'.join(path.relative_to(RESULTS).with_suffix('').parts)}.md"
    for path in sorted(RESULTS.rglob("*.md"))
    if path.name != "headline.md"
}


def moved(text: str, folder: Path, to: Path) -> str:
    """Returns a page with links that work from another folder.

    A link to a file that is neither a page nor a picture becomes the file's name.
    """

    def link(match: re.Match) -> str:
        mark, words, target, anchor = match.groups(default="")
        path = (folder / target).resolve()
        if path.name == "report.html":
            site = os.path.relpath(DOCS / f"{path.parent.name}.html", to)
            return f'<a href="{site}">{words}</a>'
        path = KEPT.get(path, path)
        if mark or DOCS in path.parents:
            return f"{mark}[{words}]({os.path.relpath(path, to)}{anchor})"
        return f"{words} (`{path.relative_to(ROOT)}`)"

    pattern = r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)"
    return re.sub(pattern, link, text)


def make_pages() -> None:
    """Makes the pages that are kept elsewhere, and the page of flags."""
    MADE.mkdir(exist_ok=True)
    for path, page in KEPT.items():
        if path.suffix == ".ipynb":
            shutil.copy(path, page)
            continue
        # The first page includes the README.
        home = page.name == "index.md"
        text = moved(path.read_text(encoding="utf-8"), path.parent, page.parent)
        page = MADE / "home.txt" if home else page
        page.write_text(text, encoding="utf-8")
    for path in RESULTS.glob("*/report.html"):
        target = MADE / "reports" / f"{path.parent.name}.html"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    parts = ["# Flags\n\nWhat `--help` of each program prints."]
    wide = {**os.environ, "COLUMNS": "88", "MNISTOPT_LAUNCHER": "./launch.sh"}
    for name in PROGRAMS:
        command = [sys.executable, "-m", f"experiments.{name}", "--help"]
        found = subprocess.run(
            command, cwd=ROOT, env=wide, capture_output=True, text=True, check=True
        )
        parts.append(f"## {name}\n\n```text\n{found.stdout.strip()}\n```")
    (MADE / "flags.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def move_links(app, name: str, source: list[str]) -> None:
    """Redirects links of this folder's pages to where pages are in the site."""
    if not name.startswith(f"{MADE.name}/"):
        folder = (DOCS / name).parent
        source[0] = moved(source[0], folder, folder)


def setup(app) -> None:
    """Makes all pages, and connects to Sphinx, which calls this."""
    make_pages()
    app.connect("source-read", move_links)
