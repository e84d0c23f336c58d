"""What is known of the files that were written."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from mnistopt.manifest import MANIFEST, Manifest, digest


@pytest.fixture
def manifest(tmp_path):
    return Manifest(tmp_path)


def test_a_file_is_fresh_while_it_is_as_written_and_of_the_same(tmp_path, manifest):
    assert not manifest.is_fresh("a", "of this")
    manifest.write({"a": b"one", "b/c": b"two"}, "of this")
    assert (tmp_path / "b" / "c").read_bytes() == b"two"
    assert manifest.fresh({"a": "of this", "b/c": "of that"}) == {"a"}
    assert manifest.are_whole("b") and not manifest.is_altered("a")
    (tmp_path / "b" / "c").write_bytes(b"too")
    assert not manifest.are_whole("b") and manifest.is_altered("b/c")
    (tmp_path / "b" / "c").unlink()
    assert not manifest.are_whole("b") and not manifest.is_altered("b/c")


def test_nothing_is_known_of_a_file_that_nobody_has_written(tmp_path, manifest):
    (tmp_path / "a").write_bytes(b"mine")
    assert not manifest.is_altered("a") and not manifest.is_fresh("a", "")


@pytest.mark.parametrize("fails", range(3))
def test_a_kill_between_two_files_makes_nothing_altered(
    tmp_path, manifest, monkeypatch, fails
):
    """Of the manifest and two files, so many have taken their places."""
    manifest.write({"a": b"one", "b": b"two"})
    left, replace = [fails], os.replace

    def dying(*paths):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", dying)
        manifest.write({"a": b"three", "b": b"four"})
    assert not manifest.is_altered("a") and not manifest.is_altered("b")
    manifest.write({"a": b"three", "b": b"four"})
    assert manifest.fresh({"a": "", "b": ""}) == {"a", "b"}
    assert not (tmp_path / "damaged").exists()


def test_what_was_changed_is_kept_and_what_is_the_same_is_left_alone(
    tmp_path, manifest
):
    manifest.write({"a": b"one"})
    os.utime(tmp_path / "a", (1, 1))
    manifest.write({"a": b"one"}, "of another")
    assert (tmp_path / "a").stat().st_mtime == 1 and manifest.is_fresh(
        "a", "of another"
    )
    for content in (b"mine", b"also mine"):
        (tmp_path / "a").write_bytes(content)
        with pytest.warns(UserWarning, match="it is kept as"):
            manifest.write({"a": b"two"})
    assert (tmp_path / "a").read_bytes() == b"two"
    kept = sorted((tmp_path / "damaged").iterdir())
    assert [one.name for one in kept] == ["a-0", "a-1"]
    assert [one.read_bytes() for one in kept] == [b"mine", b"also mine"]


def test_a_damaged_manifest_says_nothing(tmp_path, manifest):
    path = tmp_path / MANIFEST
    manifest.write({"a": b"one", "b": b"two"})
    (tmp_path / "a").write_bytes(b"mine")
    assert manifest.is_altered("a")
    whole = path.read_bytes()
    flipped = [
        whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :]
        for i in range(0, len(whole), 3)
    ]
    others = b"", b"{", b"[]", b"null", b'{"files": 1}', b"\xff\x00", whole[:-1]
    for content in (*others, *flipped):
        path.write_bytes(content)
        known = manifest.is_altered("a"), manifest.is_fresh("b", "")
        # A letter of a name, or of what nobody reads.
        assert known == (False, False) or json.loads(content) == json.loads(whole)
    manifest.write({"a": b"two"})
    assert manifest.is_fresh("a", "") and not (tmp_path / "damaged").exists()


def test_what_is_written_meanwhile_is_not_altered(tmp_path, manifest):
    """Who reads the manifest before, and the file after it was written."""
    manifest.write({"a": b"0"})
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(
            lambda: [Manifest(tmp_path).write({"a": b"%d" % i}) for i in range(300)]
        )
        while not writing.done():
            assert not manifest.is_altered("a")
    writing.result()


def test_those_who_write_at_once_forget_nothing_of_each_other(tmp_path):
    def write(i):
        for turn in range(5):
            Manifest(tmp_path).write({f"{i}": f"{turn}".encode()}, digest(turn))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    known = json.loads((tmp_path / MANIFEST).read_text())["files"]
    assert len(known) == 8
    wanted = {str(i): digest(4) for i in range(8)}
    assert Manifest(tmp_path).fresh(wanted) == wanted.keys()
