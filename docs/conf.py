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
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
html_show_sourcelink = False
exclude_patterns = ["README.md"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# The notebook is run by a test.
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
KEPT |= {
    path: MADE / f"{'-'.join(path.relative_to(RESULTS).with_suffix('').parts)}.md"
    for path in sorted(RESULTS.rglob("*.md"))
    if path.name != "headline.md"
}


def moved(text: str, folder: Path, to: Path) -> str:
    """Returns a page with links that lead on from another folder.

    What is no page and no picture is named in place of a link.
    """

    def link(match: re.Match) -> str:
        mark, words, target, anchor = match.groups(default="")
        path = (folder / target).resolve()
        path = KEPT.get(path, path)
        if mark or DOCS in path.parents:
            return f"{mark}[{words}]({os.path.relpath(path, to)}{anchor})"
        return f"{words} (`{path.relative_to(ROOT)}`)"

    pattern = r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)"
    return re.sub(pattern, link, text)


def make_pages(*_) -> None:
    """Makes the pages of what is kept elsewhere, and of the flags."""
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
    parts = ["# Flags\n\nWhat `--help` of each program prints."]
    quiet = {**os.environ, "COLUMNS": "88", "MNISTOPT_LAUNCHER": "./launch.sh"}
    for name in PROGRAMS:
        command = [sys.executable, "-m", f"experiments.{name}", "--help"]
        found = subprocess.run(
            command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=True
        )
        parts.append(f"## {name}\n\n```text\n{found.stdout.strip()}\n```")
    (MADE / "flags.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def move_links(app, name: str, source: list[str]) -> None:
    """Turns links of this folder's own pages to pages that are kept elsewhere."""
    if not name.startswith(f"{MADE.name}/"):
        folder = (DOCS / name).parent
        source[0] = moved(source[0], folder, folder)


def setup(app) -> None:
    """Is called by Sphinx."""
    app.connect("builder-inited", make_pages)
    app.connect("source-read", move_links)
