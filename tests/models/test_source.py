"""The hash of a source: what changes it, and what does not."""

import importlib
import sys

import flax.linen as nn
import pytest

from mnistopt.errors import InputError
from mnistopt.models.source import hash_source, is_own

FILE = """
import math
from helpers_of_own import scaled

RATE, UNUSED = 2, 3
NAMES = ("a", "b")


class Base:
    def common(self):
        return 1


class Unused:
    pass


def halved(x):
    return x / RATE


def made(x):
    return lambda y: x + y


class Thing(Base):
    size: int = 1

    def __call__(self, x):
        inner = [math.sqrt(halved(scaled(x))) for _ in NAMES]
        return sum(inner)
"""
HELPERS = "def scaled(x):\n    return 3 * x\n"


@pytest.fixture
def hash_of(tmp_path, monkeypatch):
    """A function that writes the files with some changes and returns Thing's hash."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(old="", new="", helpers=HELPERS, of="Thing"):
        (tmp_path / "own_thing.py").write_text(FILE.replace(old, new) if old else FILE)
        (tmp_path / "helpers_of_own.py").write_text(helpers)
        importlib.invalidate_caches()
        for name in ("own_thing", "helpers_of_own"):
            sys.modules.pop(name, None)
        return hash_source(getattr(importlib.import_module("own_thing"), of))

    yield write
    for name in ("own_thing", "helpers_of_own"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return sum(inner)", "return max(inner)"),
        ("size: int = 1", "size: int = 2"),
        ("return 1", "return 2"),
        ("x / RATE", "x // RATE"),
        ("RATE, UNUSED = 2, 3", "RATE, UNUSED = 4, 3"),
        ('("a", "b")', '("a", "c")'),
        ("class Thing(Base):", "class Thing:"),
    ],
)
def test_what_a_class_uses_is_in_its_hash(hash_of, old, new):
    assert hash_of(old, new) != hash_of()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RATE, UNUSED = 2, 3", "RATE, UNUSED = 2, 9"),
        ("class Unused:\n    pass", "class Unused:\n    other = 1"),
        ("lambda y: x + y", "lambda y: x - y"),
        ("import math\n", "import math\n\n\n# a remark\n"),
    ],
)
def test_what_it_does_not_use_is_not(hash_of, old, new):
    assert hash_of(old, new) == hash_of()


def test_other_files_of_ones_own_count_and_the_order_of_asking_does_not(hash_of):
    before = hash_of()
    assert hash_of(helpers="def scaled(x):\n    return 4 * x\n") != before
    assert hash_of() == before and int(before, 16) >= 0 and len(before) == 8
    assert hash_of(of="halved") != before


def test_libraries_are_not_ones_own():
    assert not any(map(is_own, (nn.Dense, nn.relu, hash_source, int, InputError)))
    assert is_own(test_libraries_are_not_ones_own)


def test_a_class_without_a_source_is_refused():
    scope = {"__name__": "nowhere"}
    exec("class Made:\n    def f(self): pass", scope)
    with pytest.raises(InputError, match="source of Made cannot be found.*a cell"):
        hash_source(scope["Made"])
