"""A workdir belongs to its data, and what it says of itself can be read."""

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

import pytest

from mnistopt.errors import InputError
from mnistopt.results import config


@pytest.fixture
def data(tiny):
    return config.describe_data(tiny, train_examples=30)


def test_data_are_described_by_sizes_and_fingerprint(tiny, data):
    assert data == {
        "dataset": "tiny",
        "train_examples": 30,
        "train": 30,
        "validation": 20,
        "test": 25,
        "fingerprint": tiny.fingerprint,
        "image_shape": [28, 28, 1],
        "class_names": list("0123456789"),
        "image_size": None,
        "dark_on_light": True,
    }


def test_a_new_workdir_is_made_with_its_parents_and_has_no_config(tmp_path, data):
    workdir = tmp_path / "some" / "where"
    assert config.prepare(workdir, data) == {}
    assert workdir.is_dir() and list(workdir.iterdir()) == []
    assert config.prepare(workdir, data) == {}


def test_looking_at_a_workdir_makes_none(tmp_path, data):
    assert config.check(tmp_path / "absent", data) == {}
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("look", [config.prepare, config.check])
def test_a_workdir_of_the_same_data_is_taken_up_again(tmp_path, data, look):
    content = {"data": data, "asked": {"lr": [0.1], "seeds": 3}, "note": "naïve"}
    config.write_config(tmp_path, content)
    before = (tmp_path / config.CONFIG).read_bytes()
    assert look(tmp_path, data) == {"format": config.FORMAT, **content}
    assert config.read_config(tmp_path) == look(tmp_path, data)
    assert (tmp_path / config.CONFIG).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [config.CONFIG]


@pytest.mark.parametrize("look", [config.prepare, config.check])
def test_a_workdir_of_other_data_is_refused_with_every_difference(tmp_path, data, look):
    config.write_config(tmp_path, {"data": data})
    other = {**data, "train_examples": None, "train": 3500, "fingerprint": "f" * 16}
    with pytest.raises(InputError) as refusal:
        look(tmp_path, other)
    assert str(refusal.value).splitlines() == [
        f"workdir {tmp_path} holds a study of other data:",
        "  train_examples: 30 there, None asked for",
        "  train: 30 there, 3500 asked for",
        f"  fingerprint: {data['fingerprint']} there, {'f' * 16} asked for",
        "Give another --workdir, or the settings it was made with.",
    ]


@pytest.mark.parametrize("name", ["dataset", "train", "validation", "test"])
def test_any_one_difference_is_enough(tmp_path, data, name):
    config.write_config(tmp_path, {"data": data})
    with pytest.raises(InputError, match=f"  {name}: {data[name]} there, 7 asked for"):
        config.check(tmp_path, {**data, name: 7})
    config.write_config(tmp_path, {"data": {k: data[k] for k in data if k != name}})
    with pytest.raises(InputError, match=f"  {name}: None there"):
        config.check(tmp_path, data)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"format": 2, "data": {',
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"17",
        b"null",
        b'{"scripts": {}}',
        b'{"format": 2}',
        b'{"format": 2, "data": []}',
        b'{"format": 1, "data": {}}',
    ],
)
@pytest.mark.parametrize("look", ["prepare", "check", "read_config"])
def test_a_config_that_is_damaged_or_foreign_is_named(tmp_path, data, content, look):
    path = tmp_path / config.CONFIG
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        if look == "read_config":
            config.read_config(tmp_path)
        else:
            getattr(config, look)(tmp_path, data)
    assert str(path) in str(refusal.value)
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_config_is_named(tmp_path, data):
    (tmp_path / config.CONFIG).mkdir()
    with pytest.raises(InputError, match="in the way of a file"):
        config.check(tmp_path, data)


def test_a_format_of_another_version_is_said_to_be_one(tmp_path, data):
    (tmp_path / config.CONFIG).write_text('{"format": 1, "data": {}}')
    with pytest.raises(InputError, match="has format 1, not 3"):
        config.read_config(tmp_path)


def test_a_folder_without_a_config_is_no_workdir(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=f"{folder} is no workdir of a grid"):
            config.read_config(folder)


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way_of_the_workdir_is_refused(tmp_path, data, below):
    (tmp_path / "file").write_text("mine")
    workdir = tmp_path / "file" / below
    with pytest.raises(InputError, match=r"cannot be written to .*--workdir"):
        config.prepare(workdir, data)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_the_right_to_write_is_refused(tmp_path, data, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(InputError, match=r"written to \(Permission denied\)"):
        config.prepare(tmp_path, data)


def test_a_config_is_replaced_in_one_step(tmp_path, data, monkeypatch):
    config.write_config(tmp_path, {"data": data, "run": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            config.write_config(tmp_path, {"data": data, "run": 2})
    assert config.read_config(tmp_path)["run"] == 1
    config.write_config(tmp_path, {"data": data, "run": 3})
    assert config.read_config(tmp_path)["run"] == 3
    assert [path.name for path in tmp_path.iterdir()] == [config.CONFIG]


def test_a_config_is_for_people_too(tmp_path, data):
    config.write_config(tmp_path, {"data": data})
    lines = (tmp_path / config.CONFIG).read_text().splitlines()
    assert '    "validation": 20,' in lines


# --- The machine ---


def test_the_machine_is_described_by_the_versions_that_are_installed():
    found = json.loads(json.dumps(config.describe_machine()))
    assert found["versions"]["jax"] == importlib.metadata.version("jax")
    assert set(found["versions"]) == set(config.LIBRARIES)
    assert found["python"].startswith("3.") and found["platform"]


def with_git(monkeypatch, code, output):
    done = subprocess.CompletedProcess([], code, stdout=output, stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    return config.describe_machine()["commit"]


def test_the_commit_is_told_in_a_checkout_only(monkeypatch):
    root = Path(config.__file__).parents[2]
    assert with_git(monkeypatch, 0, f"{root}\n0123abcd\n") == "0123abcd"
    assert with_git(monkeypatch, 128, "") is None
    # Installed inside the repository of something else.
    assert with_git(monkeypatch, 0, f"{root.parent}\n0123abcd\n") is None

    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert config.describe_machine()["commit"] is None


def test_a_repository_without_a_commit_has_none(monkeypatch):
    """There `git rev-parse HEAD` prints "HEAD", and fails."""
    assert with_git(monkeypatch, 128, "HEAD\n") is None
