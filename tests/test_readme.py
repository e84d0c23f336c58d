"""The README's Python runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
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
