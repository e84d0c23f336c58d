"""What a grid prints at its end: its points, best first, and what it took."""

import math
from collections.abc import Iterator, Mapping

import pandas as pd
from rich.table import Table
from rich.text import Text

from experiments.console import first_that_fits, make_console, make_table
from experiments.program import command, short_path
from experiments.show import duration
from mnistopt.axes import tell_apart
from mnistopt.results.columns import point_labels, varying_axes
from mnistopt.results.tables import best_trial
from mnistopt.study.study import Study

# More rows than this scroll the best off the screen; summary.csv has all.
TABLE_ROWS = 20
_HEADINGS = {
    "validation_accuracy": "validation %",
    "test_accuracy": "test %",
    "train_accuracy": "train %",
    "overfitting": "train - test",
}
# Columns of accuracies, and which of them have their interval: the widest first.
_ALL, _FIRST = list(_HEADINGS), ["validation_accuracy", "test_accuracy"]
_CHOICES: tuple[tuple[list[str], list[str]], ...] = (
    (_ALL, _ALL),
    (_FIRST, _FIRST),
    (_FIRST, _FIRST[:1]),
    (_FIRST, []),
)
_MARKS = {"best": "[bold green]best[/]", "tied": "[yellow]tied[/]"}


def results(study: Study) -> None:
    """Prints the points of a study, best first."""
    console = make_console()
    summary = study.summary
    console.print(first_that_fits(console, _tables(summary)))
    if (left_out := len(summary) - TABLE_ROWS) > 0:
        console.print(f"Points left out here: {left_out}; summary.csv has all.")
    console.print(
        "Best first by validation accuracy, and what is tied with it at 5 %; mean over "
        "n seeds with its 95 % interval, the digits being fixed."
    )
    if (summary["n"] > 0).any():
        console.print(
            f"Best replica {best_trial(study.trials)}: "
            + command("evaluate", f"--workdir={short_path(study.workdir)}"),
            soft_wrap=True,
            markup=False,
        )


def _tables(summary: pd.DataFrame) -> Iterator[Table]:
    """Yields the table of points, with ever fewer figures and then in one column."""
    names = varying_axes(summary) or ["model", "lr"]
    columns = {name.replace("_", "\n"): _written(summary[name]) for name in names}
    labels = summary["point"].map(point_labels(summary))
    for named in (columns, {"point": labels.tolist()}):
        for shown, with_interval in _CHOICES:
            yield _table(summary, named, shown, with_interval)


def _written(column: pd.Series) -> list[str]:
    """Returns the values of a hyper-parameter, "" where a network has none."""
    texts = tell_apart(column.dropna())
    return [texts.get(value, "") for value in column]


def _table(
    summary: pd.DataFrame,
    named: Mapping[str, list[str]],
    shown: list[str],
    with_interval: list[str],
) -> Table:
    table = make_table()
    for heading in named:
        table.add_column(heading, overflow="fold")
    table.add_column("n", justify="right")
    table.add_column("")
    for name in shown:
        table.add_column(_HEADINGS[name], justify="right", no_wrap=True)
    for (_, row), *names in zip(summary.head(TABLE_ROWS).iterrows(), *named.values()):
        states = [_MARKS.get(row["choice"], row["choice"])] if row["choice"] else []
        states += [f"{row[s]} {s}" for s in ("diverged", "unfinished") if row[s]]
        table.add_row(
            *map(Text, names),
            str(row["n"]),
            ", ".join(states),
            *(_percent(row, name, name in with_interval) for name in shown),
            style="dim" if row["choice"] in ("", "fewer seeds") else None,
        )
    return table


def _percent(row: pd.Series, name: str, with_interval: bool) -> Text:
    ends = (100 * row[f"{name}_{end}"] for end in ("mean", "low", "high"))
    mean, low, high = (f"{end:.2f}" for end in ends)
    if mean == "nan":
        return Text("-")
    return Text(f"{mean} [{low}, {high}]" if with_interval and low != "nan" else mean)


def took(seconds: Mapping[str, float], wall: float) -> None:
    """Prints what a run took, and on what it was spent.

    Args:
        seconds: By what they were spent on.
        wall: From the start of the program; what is left over went into imports.
    """
    parts = {"imports": wall - math.fsum(seconds.values()), **seconds}
    told = {name: part for name, part in parts.items() if part >= 0.05}
    words = ", ".join(f"{name} {part:.1f}" for name, part in told.items())
    make_console().print(f"Took {duration(wall)}: {words} s.")
