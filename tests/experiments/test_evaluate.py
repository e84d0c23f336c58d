import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mnistopt
from mnistopt.study.examples import count_seen
from tests.data.test_qmnist import write as write_qmnist
from tests.programs import assert_refused, run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return mnistopt.run(
        model="mlp",
        hidden=(8,),
        train_examples=200,
        lr=[1e-3, 1e-2],
        epochs=3,
        seeds=2,
        workdir=tmp_path_factory.mktemp("study"),
    )


def test_the_best_trial_has_its_recorded_accuracy(study):
    found = run("evaluate", f"--workdir={study.workdir}", "--json")
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    best = study.trial("best")
    assert result["trial"] == best["trial"]
    assert result["accuracy"] == best["test_accuracy"]
    assert result["same_data"]
    assert sum(map(sum, result["confusion"])) == result["count"] == 1000
    low, high = result["accuracy_ci95"]
    assert low < result["accuracy"] < high


@pytest.mark.parametrize("weights", ["last", "best"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_any_trial_split_and_weights(study, weights, split):
    row = study.trials.iloc[1]
    found = run(
        "evaluate",
        f"--workdir={study.workdir}",
        f"--trial={row['trial']}",
        f"--weights={weights}",
        f"--split={split}",
        "--json",
    )
    result = json.loads(found.stdout)
    assert result["count"] == {"train": 200, "validation": 500}[split]
    if (weights, split) != ("best", "train"):  # which no table has
        column = "best_validation" if weights == "best" else split
        assert result["accuracy"] == row[f"{column}_accuracy"]


def test_the_text_shows_accuracy_and_confusion(study):
    found = run("evaluate", f"--workdir={study.workdir}")
    accuracy = 100 * study.trial("best")["test_accuracy"]
    assert f"{accuracy:.2f} % accuracy" in found.stdout
    assert "predicted" in found.stdout and "precision" in found.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--workdir"]),
        (["--workdir=/nowhere/at/all"], ["not the workdir of a grid"]),
        (["--workdir={study}", "--trial=zzz"], ["'zzz' names 0 trials", "trials.csv"]),
        (["--workdir={study}", "--split=dev"], ["split", "dev"]),
        (["--workdir={study}", "--dataset=imagenet"], ["imagenet", "mnist_5k"]),
        (
            ["--workdir={study}", "--images=/nowhere"],
            ["/nowhere is not there", "folder"],
        ),
        (["--workdir={study}", "--images=x", "--data=y"], ["either --images"]),
        (["--workdir={study}", "--images=x", "--split=test"], ["no effect with"]),
        (["--workdir={study}", "--trial=r"], ["'r' names 0 trials", "4 or more"]),
    ],
)
def test_what_cannot_be_used_is_refused(study, flags, words):
    flags = [flag.format(study=study.workdir) for flag in flags]
    assert_refused(run("evaluate", *flags), *words)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Somebody's own data, that has 30 training digits of the study to test on."""
    digits = mnistopt.load()
    path = tmp_path_factory.mktemp("others") / "others.npz"
    test = mnistopt.load(train_examples=200).train
    np.savez(
        path,
        images=digits.train.images[-400:],
        labels=digits.train.labels[-400:],
        test_images=np.concatenate([test.images[:30], digits.test.images[:70]]),
        test_labels=np.concatenate([test.labels[:30], digits.test.labels[:70]]),
    )
    return path


def test_other_data_are_said_to_be_others(study, others):
    flags = (f"--workdir={study.workdir}", f"--data={others}")
    text = run("evaluate", *flags).stdout
    assert "not the data of the study, 30 of which it was trained on." in text
    found = json.loads(run("evaluate", *flags, "--json").stdout)
    assert (found["same_data"], found["trained_on"]) == (False, 30)
    assert "not the data" not in run("evaluate", flags[0]).stdout
    for split in ("train", "validation"):
        refused = run("evaluate", *flags, f"--split={split}")
        assert_refused(refused, "others is not the data", f"its {split} part", "=test")


def test_data_that_have_been_moved_are_found_again(tmp_path, others):
    there = tmp_path / "there.npz"
    there.write_bytes(others.read_bytes())
    study = mnistopt.run(
        model="mlp", hidden=(8,), data=there, train_examples=100, epochs=1, seeds=1,
        workdir=tmp_path / "w",
    )  # fmt: skip
    moved = there.rename(tmp_path / "here.npz")
    flags = (f"--workdir={study.workdir}", "--split=validation")
    assert_refused(run("evaluate", *flags), "No such file", "were in", "--data=")
    found = json.loads(run("evaluate", *flags, f"--data={moved}", "--json").stdout)
    assert found["same_data"]
    assert found["accuracy"] == study.trial()["validation_accuracy"]
    on_others = (flags[0], "--dataset=mnist_5k")
    found = json.loads(run("evaluate", *on_others, "--json").stdout)
    assert (found["same_data"], found["trained_on"]) == (False, None)
    text = run("evaluate", *on_others).stdout
    assert "of the study; how many of them it was trained on is not known." in text


def test_how_many_were_trained_on_is_said_only_where_it_is_known(study, others):
    digits = mnistopt.load(train_examples=200)
    test, train = digits.test.images, digits.train.images
    assert count_seen(study.config, test) == 0
    assert count_seen(study.config, np.concatenate([test, train[:7]])) == 7
    assert count_seen(study.config, train / np.float32(255)) is None
    # Gone, changed since, and now under a name that nothing is known by.
    for place in (others.with_name("gone.npz"), others):
        moved = dataclasses.replace(study.config, data_file=str(place))
        assert count_seen(moved, train) is None
    about = dataclasses.replace(study.config.data, dataset="ours")
    assert count_seen(dataclasses.replace(study.config, data=about), train) is None


def test_images_of_another_shape_are_refused(study, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    np.savez(tmp_path / "small.npz", images=images, labels=np.arange(20) % 2)
    flags = (f"--workdir={study.workdir}", f"--data={tmp_path / 'small.npz'}")
    assert_refused(run("evaluate", *flags), "(8, 8, 1)", "take (28, 28, 1)")


@pytest.fixture(scope="module")
def strangers(study, tmp_path_factory):
    """The four digits that the study is surest of, as a person has them.

    Large, dark on light, in folders by label.
    """
    folder = tmp_path_factory.mktemp("strangers")
    images, labels = mnistopt.load().test
    said = study.predictions("best")
    sure = np.where(said.vote == labels, said.probabilities.max(axis=1), 0)
    for i in np.argsort(-sure)[:4]:
        page = np.full((130, 110), 240, np.uint8)
        large = Image.fromarray(images[i, ..., 0]).resize((84, 84))
        page[20:104, 10:94] -= np.asarray(large) // 2
        (folder / str(labels[i])).mkdir(exist_ok=True)
        Image.fromarray(page).save(folder / str(labels[i]) / f"{i}.png")
    return folder


def test_a_strangers_digits_are_taken_for_what_they_are(study, strangers):
    flags = (f"--workdir={study.workdir}", f"--images={strangers}")
    found = json.loads(run("evaluate", *flags, "--json").stdout)
    assert found["count"] == found["correct"] == sum(map(sum, found["confusion"])) == 4
    for row in found["predictions"]:
        assert row["image"].startswith(f"{row['class']}/")
        assert 0.3 < row["probability"] <= 1
    text = run("evaluate", *flags).stdout
    assert "(4 of 4" in text and "precision" in text


def test_pictures_without_labels_get_a_row_each(study, strangers):
    (folder, *_) = sorted(one for one in strangers.iterdir())
    flags = (f"--workdir={study.workdir}", f"--images={folder}")
    found = json.loads(run("evaluate", *flags, "--json").stdout)
    assert "accuracy" not in found
    text = run("evaluate", *flags).stdout
    for one in found["predictions"]:
        (line,) = (line for line in text.splitlines() if one["image"] in line)
        assert line.split() == [
            *(one["image"], str(one["class"])),
            f"{100 * one['probability']:.1f}",
        ]
    refused = run("evaluate", *flags, "--corrupt")
    assert_refused(refused, "--corrupt measures accuracy", "no labels")


def test_corrupt_measures_all_seeds_of_the_best_point(study):
    found = run("evaluate", f"--workdir={study.workdir}", "--corrupt", "--json")
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    rows = {(one["corruption"], one["strength"]): one for one in result["corrupted"]}
    best = study.trial("best")["point"]
    (point,) = (row for _, row in study.summary.iterrows() if row["point"] == best)
    clean = rows["clean", "0"]
    assert clean["n"] == 2
    assert clean["accuracy"] == pytest.approx(point["test_accuracy_mean"])
    # Two seeds have no interval; images have.
    assert clean["low"] < clean["accuracy"] < clean["high"]
    table = pd.read_csv(study.workdir / "corrupt.csv")
    assert len(table) == 2 * 36 and set(table["dataset"]) == {"mnist_5k"}
    mean = table[table["strength"] > 0]["accuracy"].mean()
    assert rows["all", "mean"]["accuracy"] == pytest.approx(mean)
    for form in ("png", "svg"):
        assert (study.workdir / "figures" / f"robustness.{form}").exists()


def test_corrupt_prints_a_row_per_corruption(study, strangers):
    text = run(
        "evaluate",
        f"--workdir={study.workdir}",
        f"--trial={study.trials['trial'].iloc[-1]}",
        f"--images={strangers}",
        "--corrupt",
    ).stdout
    assert "accuracy on images as they are" in text and "robustness.png" in text
    for name in ("noise", "thickness", "all"):
        (line,) = (
            line for line in text.splitlines() if line.strip()[:9].split()[:1] == [name]
        )
        cells = [float(cell) for cell in line.split()[1:]]
        assert len(cells) == 6
        assert cells[-1] == pytest.approx(np.mean(cells[:-1]), abs=0.11)


def test_a_vote_is_printed_and_kept(study):
    flags = (f"--workdir={study.workdir}", "--ensemble=greedy", "--shifts=1")
    found = run("evaluate", *flags)
    assert found.returncode == 0, found.stderr
    text = " ".join(found.stdout.split())
    kept = json.loads((study.workdir / "ensemble.json").read_text())
    assert kept["shifts"] == 1
    about = kept["about"]["test"]
    assert f"{100 * about['accuracy']:.2f} % accuracy ({about['correct']} of" in text
    assert f"{100 * about['error_raw']:.2f} -> {100 * about['error']:.2f}" in text
    assert "McNemar's exact p" in text
    assert f"{kept['costs']['params']:,} parameters" in text
    for name in kept["members"]:
        assert name in text
    result = json.loads(run("evaluate", *flags, "--json").stdout)
    assert result["ensemble"]["members"] == kept["members"]
    assert result["accuracy"] == about["accuracy"]


@pytest.mark.parametrize("flag", ["--trial=best", "--weights=last", "--corrupt"])
def test_what_has_no_effect_on_a_vote_is_refused(study, flag):
    flags = (f"--workdir={study.workdir}", "--ensemble=all", flag)
    name = flag.partition("=")[0]
    assert_refused(run("evaluate", *flags), f"{name} has no effect with --ensemble")


def test_qmnists_digits_are_evaluated_in_parts(study, tmp_path):
    images, labels = write_qmnist(tmp_path)
    flags = (f"--workdir={study.workdir}", "--dataset=qmnist")
    found = run("evaluate", *flags, f"--data_dir={tmp_path}", "--json")
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    assert result["count"] == 60 and result["trained_on"] == 0
    logits = study.model().apply(study.variables(), images / np.float32(255))
    right = int((np.argmax(logits, -1) == labels).sum())
    assert result["correct"] == right == result["parts"]["MNIST's 10,000"]["correct"]
    text = run("evaluate", *flags, f"--data_dir={tmp_path}").stdout
    assert f"{100 * right / 60:.2f} %" in text and "of MNIST's 10,000" in text
    assert_refused(run("evaluate", *flags), "qmnist is not downloaded")
