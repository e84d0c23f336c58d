"""What the search prints: the space and its cost, its batches, and what it found."""

import math
import shlex
from typing import Any

from rich.text import Text

from experiments.program import command, short_path
from experiments.show import make_console, make_table
from mnistopt.axes import plural, show
from mnistopt.results.ledger import read_ledger
from mnistopt.results.tables import best_trial
from mnistopt.study.search.search import Batch, Search
from mnistopt.study.study import Study

# Trials that are shown of the best.
_TOP = 10
_HEADINGS = {"accuracy": "validation %"}


def plan(search: Search) -> None:
    """Prints what a search may choose, how trials are stopped, and what it costs."""
    console = make_console()
    table = make_table()
    table.add_column("hyper-parameter")
    table.add_column("values", overflow="fold")
    for name, values in search.space.to_json().items():
        table.add_row(name, Text(values))
    console.print(table)
    rungs = make_table()
    for name in ("bracket", "trials", "epochs", "seeds"):
        rungs.add_column(name, justify="right")
    brackets = list(search.brackets())
    different = list(dict.fromkeys(brackets))
    for bracket in different:
        for i, rung in enumerate(bracket):
            times = f"{brackets.count(bracket)} x" if i == 0 else ""
            seeds = len(search.seeds_at(rung.epochs))
            rungs.add_row(times, str(rung.trials), str(rung.epochs), str(seeds))
    console.print(rungs)
    trials = sum(bracket[0].trials for bracket in brackets)
    console.print(
        f"{plural(trials, 'trial')} by {search.sampler}, pruner {search.name_of_pruner}"
    )
    whole = len(search.request.data.train.labels) * search.epochs
    whole *= trials * len(search.request.seeds)
    images = min(search.images(), search.budget.images)
    saved = f"; without a pruner {whole:,}" if images < whole else ""
    console.print(f"at most {images:,.0f} training images{saved}")
    console.print(
        f"the best one anew, with {plural(search.confirm, 'fresh seed')}, and on the "
        "test split"
    )


def batch(of: Batch) -> None:
    """Prints who has proposed a batch."""
    why = f": {of.why}" if of.why else ""
    make_console().print(
        f"batch {of.number}: {plural(of.trials, 'trial')} ({of.by}{why})"
    )


def results(study: Study) -> None:
    """Prints the best trials of a search, and what the best one is confirmed to be."""
    console = make_console()
    found, ledger = study.search, read_ledger(study.workdir)
    if ledger is None:
        return
    trained = found[found["state"] != "waiting"]
    best = trained.sort_values(["epochs", "accuracy"], ascending=False)
    left_out = {"batch", "by", "state", "point"}
    names = [name for name in found.columns if name not in left_out]
    table = make_table()
    for name in names:
        heading = _HEADINGS.get(name, name.replace("_", "\n"))
        table.add_column(heading, justify="right")
    for _, row in best.head(_TOP).iterrows():
        table.add_row(*(_written(name, row[name]) for name in names))
    console.print(table)
    states = found["state"].value_counts()
    words = ", ".join(f"{count} {state}" for state, count in states.items())
    console.print(
        f"{plural(len(found), 'trial')}: {words}. The longest trained come first."
    )
    chosen, summary = ledger.chosen, study.summary
    rows = summary[summary["point"] == chosen.get("point")]
    if rows.empty:
        return
    first = rows.iloc[0]
    seeds = plural(int(found["seeds"][chosen["number"]]), "seed")
    console.print(
        f"Trial {chosen['number']} was the best of {len(trained)}, with "
        f"{100 * chosen['accuracy']:.2f} % on validation ({seeds}). Anew, with "
        f"{plural(int(first['n']), 'fresh seed')}, it reaches "
        f"{_interval(first, 'validation_accuracy')}, and on the test split "
        f"[bold]{_interval(first, 'test_accuracy')}[/bold]."
    )
    if changes := first.get("changes"):
        numbers = [f"--{name}={show(first[name])}" for name in ("lr", "dropout")]
        console.print(
            "It is a schedule, for a grid: "
            + shlex.join([*numbers, f"--changes={changes}"]),
            soft_wrap=True,
            markup=False,
        )
    console.print(
        f"Best replica {best_trial(study.trials)}: "
        + command("evaluate", f"--workdir={short_path(study.workdir)}"),
        soft_wrap=True,
        markup=False,
    )


def _written(name: str, value: Any) -> str:
    if value is None or value != value:
        return ""
    if name == "accuracy":
        return f"{100 * value:.2f}"
    whole = isinstance(value, float) and value.is_integer() and value >= 1
    return show(int(value)) if whole else show(value, 4)


def _interval(row: Any, name: str) -> str:
    mean, low, high = (100 * row[f"{name}_{end}"] for end in ("mean", "low", "high"))
    if math.isnan(low):
        return f"{mean:.2f} %"
    return rf"{mean:.2f} % \[{low:.2f}, {high:.2f}]"
