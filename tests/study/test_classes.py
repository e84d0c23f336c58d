"""Classes go by their names, whatever the folder says today."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mnistopt
from mnistopt.errors import InputError
from tests.programs import assert_refused, run

NAMES = tuple(map(str, range(13)))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder of the digits, and of three turned ones called 10, 11 and 12."""
    folder = tmp_path_factory.mktemp("data") / "thirteen"
    images, labels = mnistopt.load().train
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        some = images[labels == int(name) % 10 + 2 * (int(name) > 9), ..., 0][:40]
        for i, image in enumerate(some):
            turned = image.T if int(name) > 9 else image
            Image.fromarray(turned).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def study(digits, tmp_path_factory):
    return mnistopt.run(
        model="mlp", hidden=64, epochs=8, seeds=2, lr=3e-3, lanes=1,
        data=digits, workdir=tmp_path_factory.mktemp("study"),
    )  # fmt: skip


def test_names_are_kept_and_shown(study):
    assert study.class_names == NAMES
    assert study.config.data.class_names == tuple(NAMES)
    said = study.predictions()
    assert said.class_names == NAMES and said.labels.max() == 12
    mistakes = pd.read_csv(study.workdir / "predictions" / "mistakes.csv", dtype=str)
    assert set(mistakes["true"]) | set(mistakes["vote"]) <= set(NAMES)
    assert (mistakes["true"] != mistakes["vote"]).all()
    confusion = study.charts()["confusion"].to_dict()
    domain = confusion["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert domain == list(NAMES)


@pytest.mark.parametrize("moved", [False, True])
def test_pictures_in_folders_are_marked_by_name(study, digits, tmp_path, moved):
    some = shutil.copytree(digits, tmp_path / "some")
    for name in ("2", "7", "11"):
        shutil.rmtree(some / name)
    away = digits.with_name("away")
    if moved:
        digits.rename(away)
    try:
        flags = f"--workdir={study.workdir}", f"--images={some}"
        found = json.loads(run("evaluate", *flags, "--json").stdout)
    finally:
        if moved:
            away.rename(digits)
    # Right without the classes that are not there: as good as on all.
    assert found["accuracy"] > study.trial()["train_accuracy"] - 0.1
    assert found["class_names"] == list(NAMES)
    names = [one["class"] for one in found["predictions"]]
    right = [n == one["image"].partition("/")[0]
             for n, one in zip(names, found["predictions"])]  # fmt: skip
    assert np.mean(right) == found["accuracy"]
    text = run("evaluate", *flags).stdout
    assert " 12 " in text.splitlines()[3] or " 12 " in text


def test_data_that_lack_or_have_gained_a_class(study, digits, tmp_path):
    fewer = shutil.copytree(digits, tmp_path / "fewer")
    shutil.rmtree(fewer / "1")
    flags = [f"--workdir={study.workdir}", "--json"]
    found = json.loads(run("evaluate", *flags, f"--data={fewer}").stdout)
    assert found["accuracy"] > 0.6 and sum(found["confusion"][1]) == 0
    more = shutil.copytree(digits, tmp_path / "more")
    shutil.copytree(digits / "3", more / "new")
    for name in ("data", "images"):
        told = run("evaluate", *flags, f"--{name}={more}")
        assert_refused(told, "class new", "matches no class of 0, 1, 2", "12")
    # The study's own folder, in which a class has come since.
    shutil.copytree(digits / "3", digits / "new")
    try:
        assert_refused(run("evaluate", *flags), "class new")
    finally:
        shutil.rmtree(digits / "new")
    assert json.loads(run("evaluate", *flags).stdout)["same_data"]


def test_arrays_and_named_data_match_by_name(study, tmp_path):
    images, labels = mnistopt.load().test
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    words = np.array([f"{label}" for label in labels])
    np.savez(tmp_path / "words.npz", images=images, labels=words)
    names = np.array(NAMES[9::-1])
    named = {"labels": 9 - labels, "class_names": names}
    np.savez(tmp_path / "names.npz", images=images, **named)
    flags = [f"--workdir={study.workdir}", "--json"]
    wanted = None
    for name in ("x", "words", "names"):
        told = run("evaluate", *flags, f"--images={tmp_path / name}.npz")
        found = json.loads(told.stdout)["accuracy"]
        assert wanted in (None, found) and found > 0.6
        wanted = found
    named["class_names"] = np.array([f"class {name}" for name in names])
    np.savez(tmp_path / "names.npz", images=images, **named)
    told = run("evaluate", *flags, f"--images={tmp_path / 'names.npz'}")
    assert_refused(told, "class class 9", "give class_names")


def test_a_study_of_other_names_is_another(study, digits, tmp_path):
    again = {"model": "mlp", "hidden": 64, "epochs": 8, "seeds": 2, "lr": 3e-3}
    assert not mnistopt.plan(data=digits, workdir=study.workdir, **again).jobs
    other = shutil.copytree(digits, tmp_path / "thirteen")
    (other / "12").rename(other / "twelve")
    with pytest.raises(InputError, match="study of other data:\n  class_names"):
        mnistopt.plan(data=other, workdir=study.workdir, **again)


def test_names_that_read_like_gaps_are_names(tmp_path):
    images, labels = mnistopt.load(train_examples=120).train
    names = ["NA", "null", "None", "nan", "a, b", "N/A", "007", "7", "True", "e | f"]
    data = mnistopt.Dataset.from_arrays(images, labels, class_names=names, name="words")
    study = mnistopt.run(
        model="mlp", hidden=8, epochs=1, seeds=2, lanes=1, batch_size=16, data=data,
        workdir=tmp_path / "w",
    )  # fmt: skip
    assert study.class_names == tuple(names)
    from mnistopt.results.sheets import read_mistakes

    mistakes = read_mistakes(study.workdir)
    assert set(mistakes["true"]) | set(mistakes["vote"]) <= set(names)
    frame = study.charts()["confusion"].to_dict()
    (values,) = frame["datasets"].values()
    assert "null" in values
    study.report()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("ab", "expected a list"),
        (["a", "a", "b"], "'a' twice"),
        (["a", ""], "empty name"),
        (["a"], "one 1 at position 1; expected are .*, 0 to 0 "),
        ([["a"], ["b", "c"]], "expected a list"),
        (["a", "b"], "one 2 at position 2; expected are .*, 0 to 1 "),
        ([1.5, 2.5, 3.5], "expected a list"),
        (list("abcd"), "training part has none of d"),
    ],
)
def test_names_that_cannot_be_used_are_refused(names, words):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8)
    with pytest.raises(InputError, match=words):
        mnistopt.Dataset.from_arrays(images, np.arange(30) % 3, class_names=names)


def test_what_has_no_ink_is_no_digit(study, digits, tmp_path):
    folder = tmp_path / "new" / "4"
    folder.mkdir(parents=True)
    shutil.copy(digits / "4" / "0.png", folder / "digit.png")
    for name, image in {
        "white": Image.new("L", (90, 60), 255),
        "black": Image.new("RGB", (28, 28)),
        "grey": Image.new("L", (300, 200), 140),
        "clear": Image.new("RGBA", (50, 50)),
    }.items():
        image.save(folder / f"{name}.png")
    speck = Image.new("L", (120, 120), 250)
    speck.paste(10, (60, 60, 63, 63))
    speck.save(folder / "speck.png")
    flags = f"--workdir={study.workdir}", f"--images={folder}"
    found = json.loads(run("evaluate", *flags, "--json").stdout)
    assert found["count"] == 1 and len(found["without_ink"]) == 5
    said = {one["image"]: one["class"] for one in found["predictions"]}
    assert said.pop("digit.png") in NAMES and set(said.values()) == {None}
    assert run("evaluate", *flags).stdout.count("no digit") == 5
    flags = f"--workdir={study.workdir}", f"--images={folder.parent}"
    found = json.loads(run("evaluate", *flags, "--json").stdout)
    assert sum(map(sum, found["confusion"])) == found["count"] == 1
    assert "5 pictures show no digit" in run("evaluate", *flags).stdout
    # A folder of nothing else is an answer, too.
    (folder / "digit.png").unlink()
    found = json.loads(run("evaluate", *flags, "--json").stdout)
    assert found["count"] == 0 and "accuracy" not in found
