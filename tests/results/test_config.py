"""What a study says of itself is read as it was written, or refused."""

import dataclasses
import importlib.metadata
import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from mnistopt.errors import InputError
from mnistopt.manifest import MANIFEST
from mnistopt.results import config
from mnistopt.study.workdir import Workdir
from tests.configs import DATA, make_config


@pytest.fixture
def content():
    return make_config(platform="naïve")


def test_data_are_described_by_sizes_and_fingerprint(tiny):
    found = config.DataDescription.of(tiny, train_examples=30)
    assert dataclasses.asdict(found) == {
        "dataset": "tiny",
        "train_examples": 30,
        "train": 30,
        "validation": 20,
        "test": 25,
        "fingerprint": tiny.fingerprint,
        "image_shape": (28, 28, 1),
        "class_names": tuple("0123456789"),
        "image_size": None,
        "dark_on_light": True,
        "train_on": "train",
        "teacher": None,
    }


def test_what_is_written_is_read(tmp_path, content):
    config.write_config(tmp_path, content)
    before = (tmp_path / config.CONFIG).read_bytes()
    assert config.read_config(tmp_path) == content
    config.write_config(tmp_path, config.read_config(tmp_path))
    assert (tmp_path / config.CONFIG).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {config.CONFIG, MANIFEST}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"format": 4, "data": {',
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"17",
        b"null",
        b'{"scripts": {}}',
        b'{"format": 4}',
        b'{"format": 4, "data": []}',
        b'{"format": 3, "data": {}}',
    ],
)
def test_a_config_that_is_damaged_or_foreign_is_named(tmp_path, content):
    path = tmp_path / config.CONFIG
    path.write_bytes(content)
    for look in (config.read_config, lambda folder: Workdir(folder, DATA)):
        with pytest.raises(InputError) as refusal:
            look(tmp_path)
        assert str(path) in str(refusal.value)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lanes", {"p1": "1 x 2"}, "lanes are not as in 1x2"),
        ("costs", {"mlp": {"bytes": 1.5}}, "the cost bytes is not a number"),
        (
            "costs",
            {"mlp": {"multiply_adds": -5}},
            "the cost multiply_adds is not a number",
        ),
        ("costs", {"mlp": {"latency_1_ms": math.nan}}, "the cost latency_1_ms is no"),
        ("asked", {"model": "mlp", "seeds": 1}, "image_shape or asked lacks a part"),
        ("asked", {"model": ["mlp"], "seeds": ["1"]}, "image_shape or asked lacks"),
        ("runs", [3], "runs is of another kind"),
        ("seconds", {"training": "long"}, "seconds is of another kind"),
        ("data", 3, "it is of another kind|data is of another kind"),
        ("commit", 7, "commit is of another kind"),
    ],
)
def test_a_part_of_another_kind_is_named(tmp_path, content, name, value, words):
    changed = {**content.to_json(), name: value}
    (tmp_path / config.CONFIG).write_text(json.dumps(changed))
    with pytest.raises(InputError, match=f"cannot be read .({words})"):
        config.read_config(tmp_path)
    del changed[name]
    (tmp_path / config.CONFIG).write_text(json.dumps(changed))
    with pytest.raises(InputError, match=f"it has no {name}"):
        config.read_config(tmp_path)


def test_a_format_of_another_version_is_said_to_be_one(tmp_path):
    (tmp_path / config.CONFIG).write_text('{"format": 3, "data": {}}')
    with pytest.raises(InputError, match="has format 3, not 4"):
        config.read_config(tmp_path)


def test_a_folder_without_a_config_is_no_workdir(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=f"{folder} is not the workdir of a grid"):
            config.read_config(folder)


def test_a_config_is_replaced_in_one_step(tmp_path, content, monkeypatch):
    one, two = (dataclasses.replace(content, python=str(run)) for run in (1, 2))
    config.write_config(tmp_path, one)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            config.write_config(tmp_path, two)
    assert config.read_config(tmp_path) == one
    config.write_config(tmp_path, two)
    assert config.read_config(tmp_path) == two
    assert {path.name for path in tmp_path.iterdir()} == {config.CONFIG, MANIFEST}


def test_a_config_is_for_people_too(tmp_path, content):
    config.write_config(tmp_path, content)
    lines = (tmp_path / config.CONFIG).read_text().splitlines()
    assert '    "validation": 50,' in lines


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
