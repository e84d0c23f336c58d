"""Votes: who is chosen, how right and how sure they are, on one's own data too."""

import json

import flax.linen as nn
import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mnistopt
from mnistopt.engine.predict import predict, shifted
from mnistopt.errors import InputError
from mnistopt.manifest import OF_FIGURES, Manifest
from mnistopt.results.calibration import heated
from mnistopt.study.ensemble import FILE, probabilities, read_members

TINY = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lanes": (1, 2)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("votes")
    return mnistopt.run(**TINY, lr=[1e-3, 1e-2], seeds=3, epochs=3, workdir=workdir)


@pytest.fixture(scope="module")
def digits():
    return mnistopt.load(train_examples=200)


def said(study, trials, images):
    """By the module itself: softmax of its logits."""
    logits = [
        study.model(name).apply(study.variables(name), images / np.float32(255))
        for name in trials
    ]
    return np.stack([np.asarray(jax.nn.softmax(one)) for one in logits])


def test_all_are_the_seeds_of_the_best_point_and_their_mean_counts(study, digits):
    vote = study.ensemble("all")
    assert list(vote.members) == study.siblings()
    assert set(vote.members.values()) == {1}
    mean = said(study, vote.members, digits.test.images).mean(axis=0)
    found = vote.probabilities(digits.test.images)
    np.testing.assert_allclose(found, heated(mean, vote.temperature), atol=1e-5)
    right = mean.argmax(-1) == digits.test.labels
    about = vote.about["test"]
    assert (about["correct"], about["count"]) == (right.sum(), len(right))
    kept = study.predictions()
    assert about["correct"] == (kept.vote == kept.labels).sum()
    assert about["low"] < about["accuracy"] < about["high"]


def test_the_greedy_vote_is_surer_than_the_best_alone_where_it_was_chosen(study):
    vote = study.ensemble("greedy")
    validation = vote.about["validation"]
    assert validation["loss_raw"] < validation["single"]["loss_raw"]
    # The temperature is the least loss there, of 1 as well.
    assert validation["loss"] <= validation["loss_raw"] + 1e-6
    assert vote.single == study.trial()["trial"]
    assert set(vote.members) <= set(study.trials["trial"])
    counts = vote.about["test"]["mcnemar"]
    ahead = counts["first"] - counts["second"]
    single = vote.about["test"]["single"]
    assert ahead == vote.about["test"]["correct"] - single["correct"]
    of_members = study.trials.set_index("trial").loc[list(vote.members)]
    assert vote.costs["params"] == of_members["params"].sum()
    assert vote.costs["ms"] == pytest.approx(of_members["latency_1_ms"].sum())


def test_test_labels_choose_nothing(study, monkeypatch):
    wanted = study.ensemble("greedy")

    def shuffled(*_):
        data = mnistopt.load(train_examples=200)
        test = data.test._replace(labels=np.roll(data.test.labels, 1))
        object.__setattr__(data, "test", test)
        return data

    monkeypatch.setattr("mnistopt.study.ensemble.own_data", shuffled)
    found = study.ensemble("greedy")
    assert (found.members, found.temperature) == (wanted.members, wanted.temperature)
    assert found.about["test"] != wanted.about["test"]


def test_each_image_is_moved_all_ways(study, digits):
    inside = np.pad(np.ones((26, 26)), 1)[None, :, :, None] == 1
    images = digits.test.images[:30] * inside
    moved = [
        np.roll(np.roll(images, down, 1), right, 2)  # the margin is empty
        for down in (1, 0, -1)
        for right in (1, 0, -1)
    ]
    for found, wanted in zip(shifted(images, 1), moved, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert [view.shape for view in shifted(images, 0)] == [images.shape]
    trial = study.siblings()[:1]
    network = study.model(trial[0]), study.variables(trial[0])
    wanted = np.mean([predict(*network, one).probabilities for one in moved], axis=0)
    found = probabilities(study, trial, {"some": images}, shifts=1)["some"][0]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_what_comes_in_is_as_the_margin_is():
    paper = np.full((1, 3, 3, 1), 255, np.uint8)
    assert all((view == 255).all() for view in shifted(paper, 2))


def test_a_vote_is_kept_for_pupils_and_drawn(study):
    assert read_members(study) == dict.fromkeys(study.siblings(), 1)
    vote = study.ensemble("greedy")
    picture = vote.write()
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 500
    assert read_members(study) == vote.members
    kept = json.loads((study.workdir / FILE).read_text())
    assert kept["about"] == vote.about
    frame = pd.read_csv(picture.with_suffix(".csv"))
    assert frame.groupby(["who", "when"])["count"].sum().tolist() == [1000] * 4
    assert "votes" in study.charts()
    text, single = (study.workdir / FILE).read_text(), vote.single
    for members in ({}, 3, {"r0": "x"}, {single: 0}, {single: -1}, {"r9876": 1}):
        # As somebody writes it who means it: without its checksum.
        write_again(study, json.dumps({"members": members}))
        with pytest.raises(InputError, match="ensemble.json cannot be read|names 0"):
            read_members(study)
    for broken in ("{", "[]", text + " "):
        (study.workdir / FILE).write_text(broken)
        with pytest.raises(InputError, match="ensemble.json cannot be read"):
            read_members(study)
    with pytest.warns(UserWarning, match="was changed after it was written"):
        write_again(study, text)
    assert read_members(study) == vote.members


def write_again(study, text):
    Manifest(study.workdir, OF_FIGURES).write({FILE: text.encode()})


def test_what_cannot_vote_is_said(study, tmp_path):
    with pytest.raises(InputError, match="ensemble='some' is not known"):
        study.ensemble("some")
    for shifts in (-1, 1.5, 5, "x", True):
        with pytest.raises(
            InputError, match=r"shifts=.*expected a whole number from 0"
        ):
            study.ensemble("all", shifts=shifts)
    vote = study.ensemble("all")
    for shape in ((28, 28), (2, 20, 28, 1), (0, 28, 28, 1)):
        with pytest.raises(InputError, match=r"expected \(N, 28, 28, 1\)"):
            vote.probabilities(np.zeros(shape))
    asked = {**TINY, "lanes": 1, "seeds": 1, "epochs": 1}
    whole = mnistopt.run(**asked, train_on="all", workdir=tmp_path)
    with pytest.raises(InputError, match="trained on its validation images"):
        whole.ensemble()


class Own(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, images):
        return nn.Dense(3)(
            nn.relu(nn.Dense(self.width)(images.reshape(len(images), -1)))
        )


def test_ones_own_images_and_network_vote(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = rng.normal(size=(300, 6, 5, 2)).astype(np.float32)
    images[:, :, 0, 0] += labels[:, None]
    data = mnistopt.Dataset.from_arrays(images, labels, class_names=["a", "b", "c"])
    study = mnistopt.run(model=Own, data=data, lr=0.01, epochs=2, workdir=tmp_path)
    vote = study.ensemble("greedy", shifts=1, data=data)
    assert vote.about["test"]["count"] == len(data.test.labels)
    assert vote.probabilities(data.test.images).shape == (60, 3)
    with pytest.raises(InputError, match="not the data that the study was trained on"):
        study.ensemble(data=data.with_train_examples(100))
    # The study cannot know where arrays in memory are.
    with pytest.raises(InputError, match="arrays"):
        study.ensemble()
