"""The command lines of README and docs are run, or marked with why they are not."""

import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import mnistopt
from tests.idx import write_dataset
from tests.programs import ROOT, run
from tests.test_readme import PAGES

# Ahead of a block on a page that no test runs.
MARK = re.compile(r"<!-- not run: (.+) -->\n\Z")
BLOCK = re.compile(r"^```(?:sh|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Whose values are files here.
FILES = r"--(workdir|data_dir|data|images|rerun|teacher)=(\S+)"
# Only shown: these are run by the tests named.
ELSEWHERE = {
    "./launch.sh": "experiments/test_grid.py",
    "./launch.sh test": "every run of the tests",
    "./launch.sh test --oldest": "test_launch.py",
    "./launch.sh test --newest": "test_launch.py",
    "./launch.sh test -m full": "its tests, where they are asked for",
    "./launch.sh docs": "test_docs.py",
    "./launch.sh setup": "test_launch.py",
    "./launch.sh grid --help": "test_docs.py",
    "./launch.sh grid --lr=1e-4,1e-3,1e-2 --cluster=local": "engine/test_cluster.py",
    "./launch.sh grid --model=bottleneck,mlp --narrow=2,4": "test_extending.py",
    "./launch.sh report --workdir=experiments/results/paper": (
        "reproduction/test_results.py"
    ),
    "./launch.sh paper --tables=outlook": "reproduction/test_program.py",
    "./launch.sh bench": "experiments/test_bench.py",
    "./launch.sh bench --quick": "experiments/test_bench.py",
    "./launch.sh bench --cluster": "experiments/test_bench.py",
    "./launch.sh bench --compile_for=h200": "experiments/test_ahead.py",
    "./launch.sh bench --rounding": "experiments/test_ahead.py",
    "./launch.sh bench --search": "experiments/test_bench.py",
    "./launch.sh bench --fast": "experiments/test_fast.py",
    "./launch.sh bench --export=...": "experiments/test_bench.py",
    "./launch.sh recipe small": "study/test_recipes.py",
}


def blocks(page):
    """Yields the blocks of a page that are for a shell, and why one is not run."""
    text = page.read_text()
    for block in BLOCK.finditer(text):
        mark = MARK.search(text, 0, block.start())
        yield block[1], mark and mark[1]


def commands(page):
    """Yields the commands of a page, in blocks and within sentences."""
    for block, why_not in blocks(page):
        if not why_not:
            joined = re.sub(r" +\\\n +", " ", block)
            for line in joined.splitlines():
                yield re.sub(r" +#.*| & wait", "", line).strip()
    for span in re.findall(r"`(\./launch\.sh[^`]*)`", page.read_text()):
        yield " ".join(span.split())


ALL = dict.fromkeys(command for page in PAGES for command in commands(page))
RUN = [command for command in ALL if command not in ELSEWHERE]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what they read: a study, MNIST's files, digits, a module."""
    folder = tmp_path_factory.mktemp("place")
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 8:20, 12:16] = np.arange(200)[:, None, None] + 20
    labels = np.arange(200, dtype=np.uint8) % 10
    parts = {"train": (images, labels), "t10k": (images[:50], labels[:50])}
    write_dataset(folder / "mnist", parts)
    np.savez(folder / "images.npz", images=images, labels=labels % 4)
    (folder / "my_digits").mkdir()
    Image.fromarray(images[-1]).save(folder / "my_digits" / "a.png")
    page = (ROOT / "docs" / "python.md").read_text()
    (code,) = re.findall(r"```python\n(import flax.*?)\n\nimages =", page, re.DOTALL)
    (folder / "nets.py").write_text(code)
    small = {"model": "mlp", "hidden": (8,), "train_examples": 200, "epochs": 1}
    mnistopt.run(**small, seeds=2, workdir=folder / "runs" / "mnist_5k-cnn")
    return folder


@pytest.mark.parametrize("command", RUN)
def test_a_command_runs(command, place):
    """Training as --dry_run, which checks flags, data, networks and memory."""
    launcher, program, *flags = shlex.split(command)
    if launcher == ".venv/bin/python":
        subprocess.run([sys.executable, program, *flags], cwd=place, check=True)
        return
    assert launcher == "./launch.sh"
    trains = program in ("grid", "paper", "search") and "--rerun" not in command
    given = {"workdir": place / "runs/mnist_5k-cnn", "data_dir": place / "mnist"}

    def located(match):
        name, value = match.groups()
        path = given[name] if value == "..." else place / value
        return f"--{name}={path}"

    flags = [re.sub(FILES, located, flag) for flag in flags]
    if trains:
        flags = [flag for flag in flags if flag != "--dry_run"]
        flags.append("--dry_run")
        if "--workdir" not in command:
            flags.append(f"--workdir={place / 'new'}")
    if "--rerun" in command:
        flags.append(f"--workdir={place / 'again'}")
    if "--dataset=mnist" in command and "--data_dir" not in command:
        flags.append(f"--data_dir={place / 'mnist'}")
    if "--scale=paper" in command and "--data_dir" not in command:
        flags.append(f"--data_dir={place / 'mnist'}")
    if program == "paper" and "--tables" not in command:
        flags.append("--tables=1")
    found = run(program, *flags, path=place)
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr


def test_what_is_run_elsewhere_is_on_a_page():
    assert set(ELSEWHERE) <= set(ALL) and len(RUN) > 15
    for test in ELSEWHERE.values():
        assert not test.endswith(".py") or (ROOT / "tests" / test).exists()
