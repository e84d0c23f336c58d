import os
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from programs import ROOT

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
        "./launch.sh test --oldest",
    ):
        assert way in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gird"], "no program 'gird'; there are: evaluate, grid"),
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


def versions(name):
    """Returns the exact versions of a file of constraints, by package."""
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pairs}


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
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
