"""What programs print at their end: the points of a grid, one replica on its images."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from experiments.program import command, running_for, short_path
from experiments.show import (
    draw,
    duration,
    first_that_fits,
    fits,
    make_console,
    make_table,
    tensorboard,
)
from mnistopt.axes import tell_apart
from mnistopt.results.columns import point_labels, varying_axes
from mnistopt.results.effects import effects_in_words
from mnistopt.results.stats import FEWEST_SEEDS
from mnistopt.results.tables import best_trial
from mnistopt.study.progress import Stopwatch
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
# Pictures that are named of those without a digit.
_NAMED = 8
_MARKS = {"best": "[bold green]best[/]", "tied": "[yellow]tied[/]"}


def results(study: Study) -> None:
    """Prints the points of a study, best first."""
    console = make_console()
    summary = study.summary
    console.print(first_that_fits(console, _tables(summary)))
    if (left_out := len(summary) - TABLE_ROWS) > 0:
        console.print(f"Settings left out here: {left_out}; summary.csv has all.")
    order = "Best first by validation accuracy, with the settings tied with it at 5 %. "
    known = summary["test_accuracy_low"].notna().any()
    ends = ", with 95 % intervals for these digits."
    ends = ends if known else f"; an interval takes {FEWEST_SEEDS} seeds."
    console.print(f"{order if len(summary) > 1 else ''}Means over n seeds{ends}")
    for sentence in effects_in_words(study.effects())[:1]:
        console.print(sentence, markup=False)
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
    for named in (columns, {"setting": labels.tolist()}):
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


def end(study: Study, board: Any, quiet: bool) -> None:
    """Prints where the curves are, draws the report, and prints what all took.

    Args:
        study: The study.
        board: What has written TensorBoard's files; None for nothing.
        quiet: Whether to print only the path of the report.
    """
    if board:
        tensorboard(board.folder)
    stopwatch = Stopwatch()
    with stopwatch("report"):
        draw(study.report, study.workdir)
    if not quiet:
        took({**study.config.seconds, **stopwatch.seconds}, running_for())


def took(seconds: Mapping[str, float], wall: float) -> None:
    """Prints what a run took, and on what it was spent.

    Args:
        seconds: Seconds by the part of the run that they were spent on.
        wall: Seconds since the start of the program; the remainder went into imports.
    """
    parts = {"imports": wall - math.fsum(seconds.values()), **seconds}
    long = {name: part for name, part in parts.items() if part >= 0.05}
    words = ", ".join(f"{name} {part:.1f}" for name, part in long.items())
    make_console().print(f"Took {duration(wall)}: {words} s.")


def _source(answer: dict) -> str:
    """Says what was evaluated, on what."""
    where = f"{answer['split']} split of " if answer["split"] else ""
    words = (
        f"trial {answer['trial']}, {answer['weights']} weights, "
        f"{where}{escape(answer['dataset'])}"
    )
    if answer["same_data"] or not answer["split"]:
        return words
    seen = answer["trained_on"]
    overlap = f", [bold]{seen:,} of which it was trained on[/bold]" if seen else ""
    if seen is None:
        overlap = "; how many of them it was trained on is not known"
    return f"{words}\nThese are not the data of the study{overlap}."


def predictions(answer: dict) -> None:
    """Prints what `experiments.evaluate` takes images without labels for."""
    console = make_console()
    console.print(_source(answer), soft_wrap=True)
    table = make_table()
    table.add_column("image", overflow="fold")
    table.add_column("taken for", justify="right")
    table.add_column("probability %", justify="right")
    for row in answer["predictions"]:
        if row["class"] is None:
            table.add_row(Text(row["image"]), "no digit", "")
            continue
        sure = f"{100 * row['probability']:.1f}"
        table.add_row(Text(row["image"]), Text(row["class"], style="bold"), sure)
    console.print(table)


def robustness(answer: dict) -> None:
    """Prints accuracies on corrupted images, a row per corruption."""
    console = make_console()
    known = {(row["corruption"], row["strength"]): row for row in answer["corrupted"]}
    clean = known["clean", "0"]
    seeds = f", mean of the {clean['n']} seeds of its point" if clean["n"] > 1 else ""
    console.print(_source(answer) + seeds, soft_wrap=True)
    for words, row in (("as they are", clean), ("corrupted", known["all", "mean"])):
        mean, low, high = (100 * row[name] for name in ("accuracy", "low", "high"))
        console.print(
            f"[bold]{mean:.2f} %[/bold] accuracy on images {words} "
            f"(95 % interval {low:.2f} to {high:.2f})"
        )
    table = make_table()
    table.add_column("accuracy %, by strength")
    strengths = ["1", "2", "3", "4", "5", "mean"]
    for strength in strengths:
        table.add_column(strength, justify="right")
    for name in dict.fromkeys(name for name, _ in known if name != "clean"):
        cells = (f"{100 * known[name, at]['accuracy']:.1f}" for at in strengths)
        table.add_row(name, *cells, style="bold" if name == "all" else None)
    console.print(table)
    shown = short_path(answer["figure"])
    console.print(f"Picture: {shown}", soft_wrap=True, markup=False)


def ensemble(answer: dict) -> None:
    """Prints who votes, how right and how sure the vote is, and what it costs."""
    console, about = make_console(), answer["ensemble"]
    members = ", ".join(
        name + (f" ({count} times)" if count > 1 else "")
        for name, count in about["members"].items()
    )
    console.print(f"Members: {members}", soft_wrap=True, markup=False)
    table = make_table()
    for heading in ("", "validation %", "test %", "test loss", "calibration error"):
        table.add_column(heading, justify="right" if heading else "left")
    for who, of in (("vote", dict), ("best alone", lambda by: by["single"])):
        validation, test = (of(about["about"][name]) for name in ("validation", "test"))
        table.add_row(
            who,
            f"{100 * validation['accuracy']:.2f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(
                *(100 * test[name] for name in ("accuracy", "low", "high"))
            ),
            f"{test['loss_raw']:.4f} -> {test['loss']:.4f}",
            f"{100 * test['error_raw']:.2f} -> {100 * test['error']:.2f}",
        )
    console.print(table)
    found, costs = about["about"]["test"]["mcnemar"], about["costs"]
    ms = "" if costs["ms"] is None else f", {costs['ms']:.2f} ms for one image"
    console.print(
        f"Of the test images {found['first']} are right by the vote only and "
        f"{found['second']} by the best alone only (McNemar's exact p = "
        f"{found['p']:.3f}). Arrows: by temperature {about['temperature']:.2f}, which "
        "validation chose (of the best alone: its own); calibration error: by how many "
        "points confidence is off, on average.",
        soft_wrap=True,
        markup=False,
    )
    console.print(
        f"A vote takes {costs['networks']} networks with {costs['params']:,} "
        f"parameters{ms}.",
        soft_wrap=True,
        markup=False,
    )


def evaluation(answer: dict) -> None:
    """Prints what `experiments.evaluate` found."""
    console = make_console()
    low, high = (100 * end for end in answer["accuracy_ci95"])
    console.print(
        f"[bold]{100 * answer['accuracy']:.2f} %[/bold] accuracy "
        f"({answer['correct']:,} of {answer['count']:,}, 95 % interval "
        f"{low:.2f} to {high:.2f})"
    )
    for name, part in answer["parts"].items():
        low, high = (100 * end for end in part["accuracy_ci95"])
        console.print(
            f"{100 * part['accuracy']:.2f} % [{low:.2f}, {high:.2f}] of {name}",
            markup=False,
        )
    console.print(_source(answer), soft_wrap=True)
    if blank := answer.get("without_ink"):
        console.print(
            f"{len(blank)} pictures show no digit and are left out: "
            f"{', '.join(blank[:_NAMED])}{' ...' if blank[_NAMED:] else ''}",
            soft_wrap=True,
            markup=False,
        )
    both = _per_class(answer, confusion=True, figures=True)
    if fits(console, both):
        console.print(both)
        return
    counts = _per_class(answer, confusion=True, figures=False)
    if fits(console, counts):
        console.print(counts)
    else:
        console.print("\nThe confusion matrix needs more columns; --json has it.")
    console.print(_per_class(answer, confusion=False, figures=True))


def exported(card: dict, path: str) -> None:
    """Prints what `experiments.export` wrote."""
    from mnistopt.study.export.card import sentences

    console = make_console()
    console.print(f"[bold]{path}[/bold], {card['bytes']:,} bytes", soft_wrap=True)
    for line in sentences(card):
        console.print(line, soft_wrap=True, markup=False)


def _per_class(answer: dict, confusion: bool, figures: bool) -> Table:
    """Returns a table with a row per class: what it was taken for, how well it went."""
    table = make_table()
    table.add_column("true \\\npredicted" if confusion else "class", justify="right")
    if confusion:
        for name in answer["class_names"]:
            table.add_column(escape(name), justify="right")
    if figures:
        for name in ("precision", "recall", "F1"):
            table.add_column(f"{name} %".replace(" ", "\n"), justify="right")
    for label, counts in enumerate(answer["confusion"]):
        cells = [f"[bold]{escape(answer['class_names'][label])}[/bold]"]
        if confusion:
            cells += [
                f"[bold]{count}[/bold]" if other == label else str(count or ".")
                for other, count in enumerate(counts)
            ]
        if figures:
            of_class = answer["per_class"][label]
            names = ("precision", "recall", "f1")
            cells += [f"{100 * of_class[name]:.1f}" for name in names]
        table.add_row(*cells)
    return table
