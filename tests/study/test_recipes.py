"""Recipes: what they are, how they are measured, and what was committed of them."""

import dataclasses
import hashlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mnistopt
from experiments import recipe as program
from mnistopt.data.doubtful import DOUBTFUL, find_doubtful
from mnistopt.models.networks import count_params, make_network
from mnistopt.recipes import RECIPES, Recipe
from mnistopt.report.charts import luck
from mnistopt.results.stats import accuracy_interval
from mnistopt.study.ensemble import make_ensemble, probabilities
from mnistopt.study.evaluation import robustness
from mnistopt.study.recipes import draw, measure, points_of
from tests.programs import assert_refused, run

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results" / "recipes"
COMMITTED = sorted(RESULTS.glob("*.json"))
# The most parameters that a recipe's network may have.
MOST = {"best": 500_000, "small": 8_000, "tiny": 2_000, "luck": 697}
TINY = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lr": 0.01, "epochs": 2}


def params_of(recipe):
    """The parameters of the networks of a recipe."""
    return [count_params(make_network(point)) for point in points_of(recipe)]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_settings_of_a_run_and_says_what_it_is(name):
    recipe = RECIPES[name]()
    params = max(params_of(recipe))
    assert params <= MOST.get(name, params)
    assert len(inspect.getdoc(RECIPES[name]).splitlines()[0]) < 76
    # A vote needs digits that its networks have not seen.
    assert not (recipe.votes and recipe.settings.get("train_on") == "all")
    assert getattr(mnistopt.recipes, name) is RECIPES[name]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_what_was_committed_is_of_the_recipe(path):
    answer, recipe = json.loads(path.read_text()), RECIPES[path.stem]()
    if recipe.votes:
        further = len(params_of(recipe)) - 1
        assert answer["each"]["n"] == recipe.seeds + further
        assert {*answer["ensemble"]["members"]} <= {*answer["each"]["seeds"]}
    else:
        assert [answer["params"]] == params_of(recipe)
    assert answer["epochs"] == recipe.settings["epochs"]
    whole = 60_000 if recipe.settings.get("train_on") == "all" else 55_000
    assert (answer["dataset"], answer["trained_on"]) == ("mnist", whole)
    for name in ("test", "each", "unshifted", "corrupted"):
        if "seeds" not in answer.get(name, {}):
            continue
        seeds = [one / 100 for one in answer[name]["seeds"].values()]
        assert len(seeds) == answer[name]["n"] >= 3
        wanted = accuracy_interval(seeds)
        found = [answer[name][end] / 100 for end in ("mean", "low", "high")]
        np.testing.assert_allclose(found, [wanted.mean, *wanted[2:4]])


def test_readme_and_docs_have_the_table_of_what_was_committed():
    table = program.table(RESULTS)
    assert (RESULTS / program.TABLE).read_text() == f"# Recipes\n\n{table}"
    assert table in (ROOT / "docs" / "recipes.md").read_text()
    assert program.headline(RESULTS) in (ROOT / "README.md").read_text()
    assert len(table.splitlines()) == 2 + len(COMMITTED)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Beside the recipe's seeds are those of another setting, which do not count."""
    workdir = tmp_path_factory.mktemp("recipe")
    mnistopt.run(**{**TINY, "lr": 0.001}, seeds=2, workdir=workdir)
    return mnistopt.run(**TINY, seeds=3, workdir=workdir)


@pytest.fixture(scope="module")
def trials(study):
    return study.trials[study.trials["lr"] == 0.01].sort_values("seed")


def test_each_seed_is_measured_on_the_test_digits(study, trials):
    found = measure(study, Recipe("some", TINY, "none"))
    accuracies = trials.set_index("seed")["test_accuracy"]
    for seed, accuracy in found["test"]["seeds"].items():
        assert accuracy == pytest.approx(100 * accuracies[int(seed)])
    assert found["test"]["mean"] == pytest.approx(100 * accuracies.mean())
    assert found["params"] == trials["params"].iloc[0]
    assert not {"unshifted", "each", "uci", "settled", "doubtful"} & found.keys()
    table = robustness(study, mnistopt.load().test, trials["trial"].tolist())
    corrupted = table[table["corruption"] != "clean"].groupby("seed")["accuracy"]
    wanted = 100 * corrupted.mean()
    assert found["corrupted"]["mean"] == pytest.approx(wanted.mean())
    assert [*found["corrupted"]["seeds"].values()] == pytest.approx(wanted.tolist())


def test_shifts_are_measured_beside_what_is_without(study, trials):
    found = measure(study, Recipe("some", TINY, "none", shifts=1))
    test = mnistopt.load().test
    said = probabilities(study, trials["trial"], {"t": test.images}, 1)["t"]
    right = 100 * (said.argmax(-1) == test.labels).mean(axis=1)
    np.testing.assert_allclose([*found["test"]["seeds"].values()], right)
    plain = 100 * trials["test_accuracy"]
    np.testing.assert_allclose([*found["unshifted"]["seeds"].values()], plain)


def test_a_vote_is_measured_beside_its_networks(study, trials):
    found = measure(study, Recipe("some", TINY, "none", votes=True))
    vote = make_ensemble(study, "greedy", trials=trials["trial"].tolist())
    assert set(vote.members) <= set(trials["trial"])
    about = vote.about["test"]
    assert found["test"]["mean"] == pytest.approx(100 * about["accuracy"])
    assert found["test"]["single"] == pytest.approx(100 * about["single"]["accuracy"])
    assert found["each"]["n"] == 3
    members = trials[trials["trial"].isin(vote.members)]
    assert found["minutes"] == pytest.approx(members["seconds"].sum() / 60)
    assert (study.workdir / "ensemble.json").exists()
    (study.workdir / "ensemble.json").unlink()


def test_luck_is_drawn(study, trials):
    assert draw(study, Recipe("some", TINY, "none"), {}) == []
    lucky = Recipe("a kind", TINY, "none", reported={"published": 99.0})
    (picture,) = draw(study, lucky, {})
    table = np.loadtxt(picture.with_suffix(".csv"), delimiter=",", skiprows=1)
    wanted = 100 * trials["test_accuracy"]
    np.testing.assert_allclose(table[:, 2], wanted)


def test_doubtful_digits_are_found_shown_and_left_out(study, trials, monkeypatch):
    test = mnistopt.load().test
    assert find_doubtful(test.images) == {}
    chosen = [3, 40, 700]
    made = [
        digit._replace(
            digest=hashlib.sha256(test.images[place].tobytes()).hexdigest()[:16],
            label=int(test.labels[place]),
        )
        for place, digit in zip(chosen, DOUBTFUL)
    ]
    monkeypatch.setattr("mnistopt.data.doubtful.DOUBTFUL", tuple(made))
    about = dataclasses.replace(study.config.data, dataset="mnist")
    here = dataclasses.replace(study.config, data=about, data_dir=None)
    monkeypatch.setattr(study, "config", here)
    data = mnistopt.load(train_examples=200)
    for file in ("recipes", "examples"):
        monkeypatch.setattr(f"mnistopt.study.{file}.study_data", lambda *_: data)
    recipe = Recipe("some", TINY, "none", votes=True)
    found = measure(study, recipe)
    vote = make_ensemble(study, "greedy", trials=trials["trial"].tolist())
    said = vote.probabilities(test.images)
    right = said.argmax(-1) == test.labels
    rest = np.delete(right, chosen)
    assert found["settled"] == pytest.approx(100 * rest.mean())
    assert [row["vote"] for row in found["doubtful"]] == [
        int(said[place].argmax()) for place in chosen
    ]
    (picture,) = draw(study, recipe, found)
    assert picture.name == "doubtful.png" and picture.stat().st_size > 5000
    (study.workdir / "ensemble.json").unlink()


def test_people_who_looked_at_doubtful_digits_were_five():
    assert len({digit.number for digit in DOUBTFUL}) == 15
    for digit in DOUBTFUL:
        assert digit.saw_label + digit.saw_guess + digit.saw_neither == 5
        assert digit.saw_label < 3 and digit.label != digit.guess


def test_the_program_lists_recipes_and_refuses_others():
    text = run("recipe").stdout
    for name, make in RECIPES.items():
        assert f"{name:10}{inspect.getdoc(make).splitlines()[0]}" in text
    assert_refused(run("recipe", "smal"), "recipe=smal is not known; choose one of")


def test_a_recipe_is_followed_on_ones_own_images(tmp_path):
    """28 x 28, as of MNIST; at once resumed, as it is there."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 28, 28), np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(200) % 2)
    flags = ("tiny", f"--data={tmp_path / 'own.npz'}", "--seeds=1", "--quiet")
    flags += (f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}")
    found = run("recipe", *flags)
    assert found.returncode == 0, found.stderr
    answer = json.loads((tmp_path / "runs" / "recipe.json").read_text())
    assert answer["test"]["n"] == 1 and answer["trained_on"] == 160
    assert re.search(r"tiny: \d+\.\d\d % of the test images", found.stdout)
    table = (tmp_path / "results" / "recipes.md").read_text()
    assert f"| `tiny`: at most 2,000 parameters | {answer['params']:,} |" in table


def test_the_docs_say_what_luck_is_worth():
    table = pd.read_csv(RESULTS / "luck.csv")
    answer = json.loads((RESULTS / "luck.json").read_text())
    assert len(table) == answer["test"]["n"]
    np.testing.assert_allclose(table["test_accuracy"].mean(), answer["test"]["mean"])
    marks = luck.marks(table)
    text = " ".join((ROOT / "docs" / "recipes.md").read_text().split())
    assert (
        f"{len(table)} networks come to {marks[luck.MEAN]:.2f} % on average, the best "
        f"by validation to {marks[luck.CHOSEN]:.2f} %, the best by test to "
        f"{marks[luck.LUCKY]:.2f} %. So luck is worth "
        f"{marks[luck.LUCKY] - marks[luck.MEAN]:.2f} points"
    ) in text


def test_the_docs_say_what_was_measured_of_the_vote_and_of_doubtful_digits():
    text = " ".join((ROOT / "docs" / "recipes.md").read_text().split())
    best, vote = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("best", "ensemble")
    )
    test = vote["ensemble"]["about"]["test"]
    agreed = sum(row["vote"] == row["label"] for row in vote["doubtful"])
    words = {8: "eight", 9: "nine"}[agreed]
    for sentence in (
        f"without, `best` has {best['unshifted']['mean']:.2f} %",
        f"{100 * test['accuracy']:.2f} %, is no better than the network that "
        f"validation calls the best, {100 * test['single']['accuracy']:.2f} % "
        f"(McNemar's p = {test['mcnemar']['p']:.2f}). On average the eight are "
        f"right on {vote['each']['mean']:.2f} %",
        f"The vote agrees with {words} of these labels. Without the "
        f"{len(vote['doubtful'])} digits it is right on {vote['settled']:.2f} %, and "
        f"`best` on {best['settled']:.2f} %",
    ):
        assert sentence in text
