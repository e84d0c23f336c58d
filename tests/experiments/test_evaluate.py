import json

import pytest
from programs import assert_refused, run

import mnistopt


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
    assert "true \\ predicted" in found.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--workdir"]),
        (["--workdir=/nowhere/at/all"], ["no workdir of a grid"]),
        (["--workdir={study}", "--trial=zzz"], ["'zzz' names 0 trials", "trials.csv"]),
        (["--workdir={study}", "--split=dev"], ["split", "dev"]),
        (["--workdir={study}", "--dataset=imagenet"], ["imagenet", "mnist_5k"]),
    ],
)
def test_what_cannot_be_used_is_refused(study, flags, words):
    flags = [flag.format(study=study.workdir) for flag in flags]
    assert_refused(run("evaluate", *flags), *words)
