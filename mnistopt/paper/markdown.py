"""Numbers, tables and claims as Markdown."""

import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from mnistopt.paper.frames import cells_words
from mnistopt.paper.hypotheses import (
    CONTRADICTED,
    NEGLIGIBLE,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
)
from mnistopt.paper.judge import ALTERNATIVES
from mnistopt.paper.learning import DEAD
from mnistopt.paper.tables import TABLES

_MARKS = {
    SUPPORTED: "✓ supported",
    CONTRADICTED: "✗ contradicted",
    NEGLIGIBLE: "≈ negligible",
    UNDECIDED: "? undecided",
}


def percent(value: float, digits: int = 2) -> str:
    """Writes a fraction as per cent: 0.98765 as 98.77."""
    return f"{100 * value:.{digits}f}"


def points(value: float, digits: int = 2) -> str:
    """Writes a difference of fractions in percentage points, signed."""
    return f"{100 * value:+.{digits}f}"


def plain(value: float) -> str:
    """Writes a number with one decimal."""
    return f"{value:.1f}"


def minutes(value: float) -> str:
    """Writes minutes with three significant digits, as 123, 1.23 or 0.123."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def _factor(value: float) -> str:
    return f"{value:.2f}"


def p_value(value: float) -> str:
    """Writes a p value: 0.034, or < 0.001."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def ranged(mean: float, low: float, high: float, write: Callable[[float], str]) -> str:
    """Writes a mean with the ends of its interval, if it has one."""
    if math.isnan(mean):
        return "-"
    if math.isnan(low):
        return write(mean)
    return f"{write(mean)} [{write(low)}, {write(high)}]"


# Column of a table, its heading, how it and how the paper's figure are written.
_COLUMNS: dict[str, tuple[str, Callable, Callable]] = {
    "validation_accuracy": ("validation %", percent, percent),
    "train_accuracy": ("training %", percent, lambda v: percent(v, 1)),
    "test_accuracy": ("test %", percent, lambda v: percent(v, 1)),
    "overfitting": ("overfitting", percent, lambda v: percent(v, 1)),
    "convergence_epoch": ("convergence epoch", plain, lambda v: f"{v:.0f}"),
    "minutes": ("min / 50 epochs", minutes, plain),
}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes a table of texts."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def write_table(number: int, table: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Returns one of the paper's tables as Markdown, ours beside the paper's."""
    words = cells_words(number)
    columns = [(name, [str(value) for value in table[name]]) for name in words]
    # What all rows have in common is said once.
    common = []
    for name, text, heading in (
        ("train_examples", "{:,} training digits", "training digits"),
        ("trained_epochs", "{} epochs", "epochs"),
        ("n", "n = {}", "n"),
    ):
        values = [f"{value:,}" for value in table[name]]
        if len(set(values)) == 1:
            common.append(text.format(table[name].iloc[0]))
        elif heading not in words:
            columns.append((heading, values))
    for name in ("validation_accuracy", *TABLES[number].measured, "minutes"):
        if name in table:
            columns += _metric_columns(name, table)
    differ = table["test_accuracy_difference"]
    columns += [
        ("vs paper", ["-" if math.isnan(one) else points(one) for one in differ]),
        ("vs best", [_minus_best(row, differences) for _, row in table.iterrows()]),
        ("choice", [_CHOICES.get(choice, choice) for choice in table["choice"]]),
    ]
    header, cells = zip(*columns)
    text = markdown_table(header, list(zip(*cells)))
    covered = "Brackets: 95 % intervals over the seeds, the test digits being fixed."
    rows = f"All rows: {', '.join(common)}. " if common else ""
    return f"{rows}{covered}\n\n{text}"


_CHOICES = {"best": "**best**", "": "-"}


def _minus_best(row: pd.Series, differences: pd.DataFrame) -> str:
    """Returns a row's difference from the best one, with its interval."""
    same = (differences["row"] == row["row"]) & (differences["part"] == row["part"])
    for one in differences[same].itertuples():
        return ranged(one.difference, one.low, one.high, points)
    return "-"  # the best itself, or a row without rivals


def _metric_columns(name: str, table: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Returns the cells of a metric, and of the paper's figures if it has any."""
    heading, write, write_paper = _COLUMNS[name]
    ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"])
    columns = [(heading, [ranged(*three, write) for three in ends])]
    paper = table.get(f"{name}_paper")
    if paper is not None and paper.notna().any():
        figures = ["-" if math.isnan(one) else write_paper(one) for one in paper]
        columns.append(("paper", figures))
    return columns


def _hypothesis_row(row: pd.Series) -> list[str]:
    write: Callable[[float], str]
    if row["ratio"]:
        write = _factor
    elif row["hypothesis"].startswith("accuracy of"):
        write = percent
    else:
        write = points
    known = row["verdict"] != UNDECIDED or math.isnan(row["seeds_needed"])
    small = row["small"] and row["verdict"] != NEGLIGIBLE
    return [
        row["hypothesis"],
        ranged(row["estimate"], row["low"], row["high"], write),
        "-" if math.isnan(row["paper"]) else _figure(write(row["paper"]), row),
        str(row["n"]),
        p_value(row["p_holm"]),
        _MARKS[row["verdict"]] + (", but small" if small else ""),
        "" if known else _count(row["seeds_needed"]),
    ]


def _figure(text: str, row: pd.Series) -> str:
    return f"{text}, {row['paper_is']}" if row["paper_is"] else text


def _count(value: float) -> str:
    return "> 1,000" if math.isinf(value) else f"{value:,.0f}"


def write_claims(claims: pd.DataFrame) -> str:
    """Returns the claims with their verdicts as Markdown."""
    header = ["claim, and what is compared", "ours", "paper", "n", "p", "verdict"]
    header.append("needed")
    rows = []
    for _, group in claims.groupby("claim", sort=False):
        first = group.iloc[0]
        title = f"**{first['sentence']}** (section {first['section']})"
        mark = f"**{_MARKS[first['claim_verdict']]}**"
        rows.append([title, "", "", "", "", mark, ""])
        rows += [_hypothesis_row(row) for _, row in group.iterrows()]
    return markdown_table(header, rows)


def write_firmness(claims: pd.DataFrame) -> str:
    """Returns which verdicts other sensible tests would turn, as Markdown."""
    others = list(ALTERNATIVES)
    turned = claims[(claims[others].ne(claims["verdict"], axis=0)).any(axis=1)]
    text = (
        f"{len(claims) - len(turned)} of {len(claims)} lines keep their verdict "
        "whatever of this is changed: no correction for how many lines there are; "
        "seeds taken as unpaired (Welch's test); the validation digits in place of the "
        "test digits; each replica stopped at its best epoch by validation, in place "
        "of the last; a margin of 0.1 or of 0.3 points."
    )
    if turned.empty:
        return text
    rows = [
        [
            row["hypothesis"],
            _MARKS[row["verdict"]],
            *("" if row[name] == row["verdict"] else row[name] for name in others),
        ]
        for _, row in turned.iterrows()
    ]
    header = ["the others", "verdict", *(words for words, _ in ALTERNATIVES.values())]
    return f"{text}\n\n{markdown_table(header, rows)}"


def write_learning(learning: pd.DataFrame) -> str:
    """Returns what the learning curves have in common, as Markdown."""
    text = (
        f"Of {learning['replicas'].sum():,} replicas {learning['diverged'].sum():,} "
        f"diverged, and {learning['dead'].sum():,} learnt nothing (they ended at less "
        f"than {percent(DEAD, 0)} % of the validation digits). “Lowest” is the epoch "
        "after which the validation loss is lowest: where the loss rises after it, the "
        "network gets surer of its mistakes, though it need not make more. “Best” is "
        "the epoch after which the validation accuracy is highest. “Largest fall” is "
        "the most that a replica loses of its validation accuracy in one epoch of the "
        "last half, in points. Other columns are means over the replicas."
    )
    header = ["network", "digits", "n", "lowest", "loss then", "at the end"]
    header += ["best", "test % then", "at the end", "largest fall"]
    rows = [
        [
            row["run"],
            f"{row['train_examples']:,}",
            str(row["replicas"]),
            plain(row["lowest_epoch"]),
            _three(row["lowest_loss"]),
            _three(row["last_loss"]),
            plain(row["best_epoch"]),
            percent(row["best_test_accuracy"]),
            percent(row["test_accuracy"]),
            percent(row["largest_fall"]),
        ]
        for _, row in learning.iterrows()
    ]
    return f"{text}\n\n{markdown_table(header, rows)}"


def _three(value: float) -> str:
    return f"{value:.3f}"


def bullets(texts: Iterable[str]) -> str:
    """Writes a list."""
    return "\n".join(f"- {text}" for text in texts)


def verdict_list(claims: pd.DataFrame, verdict: str, between: str = ", that ") -> str:
    """Returns the claims of a verdict as the parts of a sentence."""
    found = claims[claims["claim_verdict"] == verdict].drop_duplicates("claim")
    sentences = (text.rstrip(".") for text in found["sentence"])
    return between.join(text[:1].lower() + text[1:] for text in sentences)


def verdict_items(claims: pd.DataFrame) -> str:
    """Returns the claims by verdict, as a list."""
    lists = {name: verdict_list(claims, name, "; ") or "none" for name in VERDICTS}
    return bullets(f"{name.capitalize()}: {text}." for name, text in lists.items())
