"""The Python of README and docs runs as it stands there; links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mnistopt import errors
from mnistopt.errors import see

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
TEXT = "".join((ROOT / name).read_text() for name in ("README.md", "docs/python.md"))
BLOCKS = list(dict.fromkeys(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)))
# Stands in for the package, which needs an account: keeps what a run is told.
WANDB = """
import types
runs = {}
def init(reinit, id, config, project, resume):
    assert config["model"] == "mlp" and config["lr"] in (1e-3, 1e-2)
    told = runs.setdefault(id, [])
    log = lambda numbers, step: told.append((step, numbers))
    return types.SimpleNamespace(log=log, finish=lambda: None)
"""
SHOWN = {
    "images[:5]": (
        "print(study.summary['n'].tolist(), os.path.exists('error.png'))",
        "[2, 2, 2] True",
    ),
    "study.best_params": (
        "print(logits.shape, study.best_params['hidden'])",
        "(1000, 10) 128x128",
    ),
    "Strided": (
        "print(sorted(study.summary['width'].tolist()), len(study.trials))",
        "[8, 8, 16, 16] 8",
    ),
    "wandb": (
        "found = wandb.runs.values(); print(len(found), {len(one) for one in found})",
        "6 {6}",
    ),
}


def anchors(page):
    """Returns the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    slugs = (re.sub(r"[^\w -]", "", heading.lower()) for heading in headings)
    return {slug.replace(" ", "-") for slug in slugs}


def test_every_block_is_tried():
    assert [[name for name in SHOWN if name in block] for block in BLOCKS] == [
        [name] for name in SHOWN
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", page.read_text()):
        path, anchor = page.parent / (link[0] or page.name), link[1]
        assert path.exists(), link
        assert not anchor or anchor[1:] in anchors(path), link


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", SHOWN)
def test_a_block_runs(name, tmp_path):
    (block,) = (one for one in BLOCKS if name in one)
    show, wanted = SHOWN[name]
    (tmp_path / "wandb.py").write_text(WANDB)
    # As it stands there, but for the seeds: a few more train nothing new.
    block = block.replace("seeds=5", "seeds=2")
    (tmp_path / "readme.py").write_text(f"import os\n{block}\n{show}\n")
    found = subprocess.run(
        [sys.executable, "readme.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout.strip(), found.stderr) == (wanted, "")


def test_messages_name_pages_and_headings_that_there_are():
    """What `errors.see` is given, by name or as the constant PAGE of a file."""
    found = set()
    for path in (ROOT / "mnistopt").rglob("*.py"):
        named = r'(?:see\(|^PAGE = )["\']([\w#-]+)["\']'
        found |= set(re.findall(named, path.read_text(), re.MULTILINE))
    assert len(found) >= 6
    for name in found:
        page, _, anchor = name.partition("#")
        assert not anchor or anchor in anchors(ROOT / "docs" / f"{page}.md"), name


def test_a_message_names_the_page_where_it_is(monkeypatch, tmp_path):
    text = (ROOT / "docs" / "data.md").as_posix()
    built = (ROOT / "build" / "docs" / "data.html").as_posix()
    monkeypatch.chdir(tmp_path)
    assert see("data#pictures").removeprefix("\nSee ") in (
        f"{text}#pictures",
        f"{built}#pictures",
    )
    monkeypatch.chdir(ROOT)
    assert re.fullmatch(r"\nSee (build/docs/data\.html|docs/data\.md)", see("data"))
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "mnistopt" / "errors.py"))
    assert see("data") == "\nSee docs/data.md in the repository of mnistopt"
