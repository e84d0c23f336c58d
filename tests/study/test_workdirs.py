"""Folders of studies: whatever they are called, their results are there again."""

from pathlib import Path

import numpy as np
import pytest

import mnistopt
from mnistopt.files import plain_path

ASKED = {"model": "mlp", "hidden": (8,), "train_examples": 200, "epochs": 1}

# Patterns, schemes and separators to Orbax or TensorStore; the last are to nobody.
NAMES = ["[2026] thesis/sweep[lr]", "a*b?", "gs:", "a\\b", "50%20 #1", "ü 日本"]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_folder_works(tmp_path, name):
    wanted = mnistopt.run(**ASKED, seeds=1, workdir=tmp_path / "plain")
    study = mnistopt.run(**ASKED, seeds=1, workdir=tmp_path / name)
    for layer, values in wanted.params().items():
        for kind, value in values.items():
            np.testing.assert_array_equal(study.params()[layer][kind], value)
    # It goes on from what is there.
    plan = mnistopt.plan(**ASKED, seeds=2, workdir=tmp_path / name)
    assert (plan.asked, plan.there) == (2, 1)


def test_home_is_where_bash_says(tmp_path, monkeypatch):
    """Who types --workdir=~/w means the home folder, though bash leaves the ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    study = mnistopt.run(**ASKED, seeds=1, workdir="~/w")
    assert study.workdir == tmp_path / "w"
    assert len(mnistopt.open_study("~/w").trials) == 1


def test_only_odd_names_need_a_link(tmp_path):
    assert plain_path(tmp_path) == tmp_path
    odd = tmp_path / "a[b]"
    odd.mkdir()
    link = plain_path(odd)
    assert Path(link).resolve() == odd and "[" not in str(link)
