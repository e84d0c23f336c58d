"""The Python of README and docs runs as it stands there; links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
def init(reinit, id, config):
    assert config["model"] == "mlp" and config["lr"] in (1e-3, 1e-2)
    told = runs.setdefault(id, [])
    return types.SimpleNamespace(log=lambda numbers, step: told.append((step, numbers)))
"""
SHOWN = {
    "study.report()": (
        "print(study.summary['n'].tolist(), logits.shape, os.path.exists('error.png'))",
        "[2, 2, 2] (1000, 10) True",
    ),
    "Tiny": ("print(sorted(study.summary['width'].tolist()))", "[8, 16]"),
    "Strided": (
        "print(sorted(study.summary['width'].tolist()), len(study.trials))",
        "[8, 8, 16, 16] 8",
    ),
    "wandb": (
        "found = wandb.runs.values(); print(len(found), {len(one) for one in found})",
        "6 {6}",
    ),
}


def test_every_block_is_tried():
    assert [[name for name in SHOWN if name in block] for block in BLOCKS] == [
        [name] for name in SHOWN
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", page.read_text()):
        path, anchor = page.parent / (link[0] or page.name), link[1]
        assert path.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", one.lower()) for one in headings}
            assert anchor[1:] in {one.replace(" ", "-") for one in slugs}, link


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
