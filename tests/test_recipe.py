"""The figures of the recipes in docs/results.md are those of their tables."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from mnistopt.results.stats import FEWEST_SEEDS, accuracy_interval
from mnistopt.study.evaluation import CLEAN, summarise
from mnistopt.study.grid import make_point

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
PAGE = (ROOT / "docs" / "results.md").read_text()
SECTION = PAGE.split("\n## Beyond the paper\n")[1]
SECTION = SECTION.split("\n## ")[0]
# The networks of the table, in its words.
NETWORKS = {
    "base": "the default grid's CNN, 4 epochs",
    "recipe": "the recipe",
    "robust": "the recipe, trained for robustness",
}


def flags(command):
    """The flags of a command as a dictionary."""
    words = shlex.split(command.replace("\\\n", " "))
    given = [word for word in words if word.startswith("--")]
    return dict(one.removeprefix("--").split("=", 1) for one in given)


def recipes():
    """The flags of the recipes as the page has them, by the folders of results."""
    recipe, changes, _ = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    return {"recipe": flags(recipe), "robust": flags(recipe) | flags(changes)}


@pytest.mark.parametrize("name", recipes())
def test_the_command_is_the_one_that_ran(name):
    given = recipes()[name]
    config = json.loads((RESULTS / name / "config.json").read_text())
    assert given == flags(config["command"])
    for other in ("dataset", "data_dir", "seeds"):
        del given[other]
    numbers = {
        flag: float(value) if re.fullmatch(r"[0-9.e-]+", value) else value
        for flag, value in given.items()
    }
    trials = pd.read_csv(RESULTS / name / "trials.csv")
    assert set(trials["point"]) == {make_point(**numbers).identity()}


def test_the_accuracies_are_those_of_the_tables():
    trials = pd.read_csv(RESULTS / "recipe" / "trials.csv")
    found = accuracy_interval(trials["test_accuracy"].tolist())
    assert f"{interval(found.mean, found)} % | {found.n}" in SECTION
    assert f"{trials['params'].iloc[0]:,} parameters" in SECTION
    # The aim that was set for it: 99.6 % by fewer than 500,000 parameters.
    assert found.mean >= 0.996 and (trials["params"] < 500_000).all()


def interval(mean, found, digits=2):
    if found.n < FEWEST_SEEDS:
        return f"{100 * mean:.{digits}f}"
    ends = (100 * one for one in (mean, found.low, found.high))
    return "{0:.{3}f} [{1:.{3}f}, {2:.{3}f}]".format(*ends, digits)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_robustness_is_that_of_the_tables(network):
    tables = [
        pd.read_csv(RESULTS / "robust" / f"{one}.csv") for one in ("mnist", "uci")
    ]
    mnist, uci = (table[table["network"] == network] for table in tables)
    test, hands = (
        accuracy_interval(one[one["corruption"] == CLEAN]["accuracy"].tolist())
        for one in (mnist, uci)
    )
    table = summarise(mnist.drop(columns="network"))
    whole = table.query("corruption == 'all' and strength == 'mean'").iloc[0]
    assert (len(mnist), len(uci)) == (36 * test.n, 36 * test.n)
    words = [
        interval(test.mean, test),
        interval(whole["accuracy"], whole, 1),
        interval(hands.mean, hands),
    ]
    cells = [NETWORKS[network], *words]
    assert f"| {' | '.join(cells)} | {test.n} |" in SECTION
