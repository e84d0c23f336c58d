"""A module is known by what it computes: what changes its hash, and what does not."""

import importlib
import json
import subprocess
import sys

import pytest

from mnistopt.models.networks import trace
from tests.models import changes

ALL = {"": None, **changes.OTHER, **changes.SAME}


@pytest.fixture(scope="module")
def hashes(tmp_path_factory):
    """Net's hash by change, "" for none, as files have them."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        yield {name: _hash_of(folder, change) for name, change in ALL.items()}
    for name in changes.FILES:
        sys.modules.pop(name, None)


def _hash_of(folder, change):
    for name, text in changes.changed(change).items():
        (folder / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return trace(importlib.import_module("own_nets").Net(), (5, 4, 1), 4)[0]


def test_there_are_forty_changes():
    assert len(changes.OTHER) == 30 and len(changes.SAME) == 10


@pytest.mark.parametrize("name", changes.OTHER)
def test_what_computes_something_else_is_told_apart(hashes, name):
    assert hashes[name] != hashes[""]


@pytest.mark.parametrize("name", changes.SAME)
def test_what_computes_the_same_is_the_same(hashes, name):
    assert hashes[name] == hashes[""]


def _told(surroundings, every):
    program = [sys.executable, "-m", "tests.models.changes", surroundings, f"{every}"]
    told = subprocess.run(program, capture_output=True, text=True, check=True)
    return json.loads(told.stdout.splitlines()[-1])


@pytest.mark.parametrize("surroundings", ["prompt", "notebook"])
def test_a_prompt_and_a_notebook_tell_what_a_file_tells(hashes, surroundings):
    found = _told(surroundings, every=8)
    assert len(found) == 6
    assert found == {name: hashes[name] for name in found}


@pytest.mark.slow
@pytest.mark.parametrize("surroundings", ["prompt", "notebook"])
def test_a_prompt_and_a_notebook_tell_all_changes(hashes, surroundings):
    assert _told(surroundings, every=1) == hashes
