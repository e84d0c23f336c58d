import importlib
import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.programs import ROOT

PROGRAMS = (
    *("bench", "evaluate", "export", "forms", "grid", "paper", "read", "recipe"),
    *("report", "search"),
)

SETTINGS = ("PYTHON", "MNISTOPT_VENV", "COLAB_RELEASE_TAG")  # of who runs the tests


def launch(*arguments, **environment):
    ours = {name: text for name, text in os.environ.items() if name not in SETTINGS}
    return subprocess.run(
        [ROOT / "launch.sh", *arguments],
        env={**ours, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_the_ways_to_call_it():
    found = launch("--help")
    assert found.returncode == 0
    for way in (
        *("./launch.sh PROGRAM [flags]", "./launch.sh test", "./launch.sh setup"),
        *("./launch.sh test --oldest", "./launch.sh test --newest"),
    ):
        assert way in found.stdout
    for program in PROGRAMS:
        # With the first line of its own help.
        line = importlib.import_module(f"experiments.{program}").__doc__.splitlines()[0]
        assert re.search(rf"^  {program} +{re.escape(line)}$", found.stdout, re.M)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["gird"],
            "no program 'gird'; there are: bench, evaluate, export, forms, grid",
        ),
        (["flags"], "no program 'flags'"),
        (["--lr=1e-3"], "expected a program before its flags"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_installed(
    arguments, message, tmp_path
):
    found = launch(*arguments, MNISTOPT_VENV=str(tmp_path / "venv"))
    assert found.returncode == 2
    assert message in found.stderr
    assert not (tmp_path / "venv").exists()


def test_without_a_modern_python_it_says_so(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("python", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tmp_path / name).symlink_to(old)
    found = launch("setup", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert found.returncode == 2
    assert "no Python 3.11 or newer found" in found.stderr


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("launch.sh ev", {"evaluate"}),
        (
            "launch.sh ",
            {*PROGRAMS, "docs", "setup", "test"},
        ),
        ("launch.sh grid --dro", {"--dropout"}),
        ("launch.sh evaluate --w", {"--workdir", "--weights"}),
    ],
)
def test_programs_and_flags_complete_in_bash(tmp_path, line, wanted):
    # In the place of launch.sh, which would set up: the programs' own help.
    (tmp_path / "launch.sh").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m experiments."$@"\n'
    )
    (tmp_path / "launch.sh").chmod(0o755)
    words = line.split(" ")
    script = f"""
        eval "$({ROOT}/launch.sh completion)"
        COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}") COMP_CWORD={len(words) - 1}
        _mnistopt {tmp_path}/launch.sh
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(found.stdout.split()) == wanted


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("/nowhere/python", "PYTHON=/nowhere/python cannot be run"),
        ("{old}", "is Python 3.10.4; expected is Python 3.11 or newer"),
    ],
)
def test_a_python_that_is_asked_for_and_does_not_do_is_told(tmp_path, python, words):
    old = tmp_path / "python3.10"
    old.write_text(
        '#!/bin/sh\ncase "$2" in *platform*) echo 3.10.4 ;; *) exit 1 ;; esac'
    )
    old.chmod(0o755)
    found = launch("setup", PYTHON=python.format(old=old))
    assert found.returncode == 2
    assert words in found.stderr and "leave PYTHON out" in found.stderr


def test_it_is_found_through_links_and_runs_under_sh(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "there" / "link.sh"
    link.symlink_to("../first.sh")
    (tmp_path / "first.sh").symlink_to(ROOT / "launch.sh")
    for command in ([link], ["sh", link], ["sh", ROOT / "launch.sh"]):
        found = subprocess.run(
            [*command, "gird"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 2
        assert (
            "no program 'gird'; there are: bench, evaluate, export, forms, grid"
            in found.stderr
        )


@pytest.fixture
def calls(tmp_path):
    """Returns what launch.sh asks of a Python in a Colab with a GPU, a call a line."""
    log = tmp_path / "log"
    python = f'#!/bin/sh\necho "$@" >> {log}\n'
    scripts = {"colab-python": python, "nvidia-smi": "#!/bin/sh\n"}
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def ask(*arguments):
        launch(
            *arguments,
            PATH=f"{tmp_path}:/usr/bin:/bin",
            HOME=str(tmp_path),
            COLAB_RELEASE_TAG="x",
            PYTHON="colab-python",
            MNISTOPT_VENV=str(tmp_path / "venv"),
        )
        return log.read_text()

    return ask


@pytest.mark.parametrize(
    ("arguments", "wanted"), [(["setup"], ""), (["test"], "[dev,docs]")]
)
def test_in_colab_it_installs_there_without_another_jax(arguments, wanted, calls):
    found = calls(*arguments)
    assert f"-e {ROOT}{wanted}\n" in found
    assert "-m venv" not in found


def test_the_oldest_versions_have_an_environment_of_their_own(calls, tmp_path):
    found = calls("test", "--oldest")
    assert f"-m venv {tmp_path / 'venv-oldest'}\n" in found
    assert "-m pip" not in found


def test_the_oldest_versions_need_a_python_that_they_have_builds_for(tmp_path):
    new = tmp_path / "python3"
    new.write_text('#!/bin/sh\ncase "$2" in *"< (3, 13,)"*) exit 1 ;; esac\n')
    new.chmod(0o755)
    for name in ("python", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tmp_path / name).symlink_to(new)
    found = launch("test", "--oldest", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert found.returncode == 2
    assert "no Python 3.11 or 3.12 found" in found.stderr


def versions(name):
    """Returns the exact versions of a file of constraints, by package."""
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pairs}


@pytest.mark.parametrize(
    "name", ["constraints.txt", "constraints-oldest.txt", "constraints-newest.txt"]
)
def test_every_dependency_has_an_exact_version_within_its_bounds(name):
    known = versions(name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for text in wanted:
        requirement = Requirement(text)
        version = known[requirement.name.lower()]
        assert requirement.specifier.contains(version), (text, version)


def test_the_oldest_versions_are_the_lower_bounds():
    known = versions("constraints-oldest.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"]:
        requirement = Requirement(text)
        (bound,) = [one for one in requirement.specifier if one.operator == ">="]
        version = Version(known[requirement.name.lower()])
        # The same up to the bound's digits: 13.9.4 is tested for >=13.9.
        digits = Version(bound.version).release
        assert version.release[: len(digits)] == digits, text
