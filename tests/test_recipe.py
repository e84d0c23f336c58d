"""The README's figures of the recipe are those of its committed tables."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from mnistopt.results.stats import accuracy_interval
from mnistopt.study.grid import make_point
from mnistopt.study.robustness import summarise

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results" / "recipe"
SECTION = (ROOT / "README.md").read_text().split("\n## Beyond the paper\n")[1]
SECTION = SECTION.split("\n## ")[0]


def flags(command):
    """The flags of a command as a dictionary."""
    words = shlex.split(command.replace("\\\n", " "))
    return dict(one.removeprefix("--").split("=", 1) for one in words[2:])


def test_the_command_is_the_one_that_ran():
    (block,) = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    config = json.loads((RESULTS / "config.json").read_text())
    assert flags(block) == flags(config["command"])
    given = flags(block)
    for name in ("dataset", "data_dir", "seeds"):
        del given[name]
    numbers = {
        name: float(value) if re.fullmatch(r"[0-9.e-]+", value) else value
        for name, value in given.items()
    }
    trials = pd.read_csv(RESULTS / "trials.csv")
    assert set(trials["point"]) == {make_point(**numbers).identity()}


def test_the_accuracies_are_those_of_the_tables():
    trials = pd.read_csv(RESULTS / "trials.csv")
    found = accuracy_interval(trials["test_accuracy"].tolist())
    row = "{:.2f} [{:.2f}, {:.2f}] % | {}".format(
        *(100 * one for one in (found.mean, found.low, found.high)), found.n
    )
    assert row in SECTION
    assert f"{trials['params'].iloc[0]:,} parameters" in SECTION
    # The aim that was set for it: 99.6 % by fewer than 500,000 parameters.
    assert found.mean >= 0.996 and (trials["params"] < 500_000).all()


def test_the_robustness_is_that_of_the_table():
    table = summarise(pd.read_csv(RESULTS / "corrupt.csv"))
    (one,) = table[
        (table["corruption"] == "all") & (table["strength"] == "mean")
    ].itertuples()
    ends = (100 * value for value in (one.accuracy, one.low, one.high))
    assert "{:.1f} % [{:.1f}, {:.1f}]".format(*ends) in SECTION
    assert one.n == pytest.approx(4)
