"""Runs the programs as a person does, for the tests of the command line."""

import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.warm import start

ROOT = Path(__file__).parent.parent
# Seconds that no program of these tests takes.
LONGEST = 300


def run(
    program: str,
    *arguments: str,
    columns: int = 200,
    encoding: str = "utf-8",
    path: str | Path | None = None,
) -> subprocess.CompletedProcess:
    """Runs `python -m experiments.PROGRAM`, its output captured as text.

    Args:
        program: Its name.
        *arguments: Of its command line.
        columns: Of the terminal that it takes itself to have.
        encoding: What its output can be written in.
        path: Where modules are found besides.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = [Path(folder, name) for name in ("stdout", "stderr")]
        process = start(_main, program, arguments, columns, encoding, path, *told)
        process.join(LONGEST)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"{program} hangs: {arguments}")
        texts = [path.read_text() for path in told]
    return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _main(
    program: str,
    arguments: tuple[str, ...],
    columns: int,
    encoding: str,
    path: str | Path | None,
    out: Path,
    err: Path,
) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=encoding)  # type: ignore[union-attr]
    sys.path[:0] = [] if path is None else [str(path)]
    os.chdir(ROOT)
    os.environ["COLUMNS"] = str(columns)
    sys.argv = [f"{program}.py", *arguments]
    runpy.run_module(f"experiments.{program}", run_name="__main__", alter_sys=True)


def assert_refused(found: subprocess.CompletedProcess, *words: str) -> None:
    """Asserts exit code 2 and one clear message, with `words`, and nothing else."""
    assert found.returncode == 2, found
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert "Traceback" not in found.stderr
    for word in words:
        assert word in found.stderr, found.stderr
