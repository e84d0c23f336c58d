"""Runs the programs as a person does, for the tests of the command line."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(
    program: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess:
    """Runs `python -m experiments.PROGRAM`, its output captured as text."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{program}", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(found: subprocess.CompletedProcess, *words: str) -> None:
    """Asserts exit code 2 and one clear message, with `words`, and nothing else."""
    assert found.returncode == 2, found
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert "Traceback" not in found.stderr
    for word in words:
        assert word in found.stderr, found.stderr
