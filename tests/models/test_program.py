"""A module is known by what it computes: what changes its hash, and what does not."""

import importlib
import sys

import pytest

from mnistopt.models.networks import trace
from tests.models import changes


@pytest.fixture
def hash_of(tmp_path, monkeypatch):
    """A function that imports the files with a change, and returns Net's hash."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(change=None):
        for name, text in changes.changed(change).items():
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return trace(importlib.import_module("own_nets").Net(), (5, 4, 1), 4)[0]

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    for name in changes.FILES:
        sys.modules.pop(name, None)


def test_there_are_forty_changes():
    assert len(changes.OTHER) == 30 and len(changes.SAME) == 10


@pytest.mark.parametrize("name", changes.OTHER)
def test_what_computes_something_else_is_told_apart(hash_of, name):
    assert hash_of(changes.OTHER[name]) != hash_of()


@pytest.mark.parametrize("name", changes.SAME)
def test_what_computes_the_same_is_the_same(hash_of, name):
    assert hash_of(changes.SAME[name]) == hash_of()
