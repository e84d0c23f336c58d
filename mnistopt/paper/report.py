"""The reproduction in words and tables: paper.md, made of the CSV files alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from mnistopt.paper.claims import CONTRADICTED, SUPPORTED, UNDECIDED
from mnistopt.paper.frames import cells_words
from mnistopt.paper.tables import INCONSISTENCIES, MARGIN, RECIPE, TABLES

_MARKS = {
    SUPPORTED: "✓ supported",
    CONTRADICTED: "✗ contradicted",
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
    """Writes minutes with three significant digits, as 12.3, 1.23 or 0.123."""
    return f"{value:#.3g}"


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
    "overfitting": ("overfitting, points", points, lambda v: points(v, 1)),
    "convergence_epoch": ("convergence epoch", plain, lambda v: f"{v:.0f}"),
    "minutes": ("minutes per 50 epochs", minutes, plain),
}


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def write_table(number: int, table: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Returns one of the paper's tables as Markdown, ours beside the paper's."""
    words = cells_words(number)
    columns = {name: [str(value) for value in table[name]] for name in words}
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
            columns[heading] = values
    for name in ("validation_accuracy", *TABLES[number].measured, "minutes"):
        if name in table:
            columns |= _metric_columns(name, table)
    columns["ours - paper's"] = [
        "-" if math.isnan(difference) else points(difference)
        for difference in table["test_accuracy_difference"]
    ]
    columns["test, minus the best's"] = [
        _minus_best(row, differences) for _, row in table.iterrows()
    ]
    columns["by validation"] = [
        f"**{choice}**" if choice == "best" else choice or "-"
        for choice in table["choice"]
    ]
    text = _markdown_table(list(columns), list(zip(*columns.values())))
    return f"All rows: {', '.join(common)}.\n\n{text}" if common else text


def _minus_best(row: pd.Series, differences: pd.DataFrame) -> str:
    """Returns a row's difference from the best one, with its interval."""
    same = (differences["row"] == row["row"]) & (differences["part"] == row["part"])
    for one in differences[same].itertuples():
        return ranged(one.difference, one.low, one.high, points)
    return "-"  # the best itself, or a row without rivals


def _metric_columns(name: str, table: pd.DataFrame) -> dict[str, list[str]]:
    """Returns the cells of a metric, and of the paper's figures if it has any."""
    heading, write, write_paper = _COLUMNS[name]
    ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"])
    columns = {heading: [ranged(*three, write) for three in ends]}
    paper = table.get(f"{name}_paper")
    if paper is not None and paper.notna().any():
        columns[f"paper's {heading}"] = [
            "-" if math.isnan(value) else write_paper(value) for value in paper
        ]
    return columns


def _hypothesis_row(row: pd.Series) -> list[str]:
    write: Callable[[float], str]
    if row["ratio"]:
        write = _factor
    elif row["hypothesis"].startswith("accuracy of"):
        write = percent
    else:
        write = points
    return [
        row["hypothesis"],
        ranged(row["estimate"], row["low"], row["high"], write),
        "-" if math.isnan(row["paper"]) else write(row["paper"]),
        str(row["n"]),
        p_value(row["p_holm"]),
        _MARKS[row["verdict"]],
    ]


def write_claims(claims: pd.DataFrame) -> str:
    """Returns the claims with their verdicts as Markdown."""
    header = ["claim, and what is compared", "ours", "paper", "n", "p", "verdict"]
    rows = []
    for _, group in claims.groupby("claim", sort=False):
        first = group.iloc[0]
        title = f"**{first['sentence']}** (section {first['section']})"
        rows.append([title, "", "", "", "", f"**{_MARKS[first['claim_verdict']]}**"])
        rows += [_hypothesis_row(row) for _, row in group.iterrows()]
    return _markdown_table(header, rows)


def _verdict_list(claims: pd.DataFrame, verdict: str) -> str:
    found = claims[claims["claim_verdict"] == verdict].drop_duplicates("claim")
    return "; ".join(sentence.rstrip(".") for sentence in found["sentence"]) or "none"


def _summary(
    tables: Mapping[int, pd.DataFrame], claims: pd.DataFrame, summary: pd.Series
) -> str:
    """Returns the answer in plain words."""
    lines = []
    if not claims.empty:
        seeds = sorted(set(claims["n"]))
        spread = " to ".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
        lines += [
            f"**Of the paper's {summary['claims']:.0f} claims examined, "
            f"{summary['supported']:.0f} are supported, "
            f"{summary['contradicted']:.0f} contradicted, and "
            f"{summary['undecided']:.0f} left undecided by {spread} seeds.**",
            "",
            f"- Supported: {_verdict_list(claims, SUPPORTED)}.",
            f"- Contradicted: {_verdict_list(claims, CONTRADICTED)}.",
            f"- Undecided: {_verdict_list(claims, UNDECIDED)}.",
        ]
    if summary["rows_with_figure"]:
        lines.append(
            f"- Test accuracies are above the paper's in {summary['rows_above']:.0f} "
            f"of {summary['rows_with_figure']:.0f} rows; the median difference is "
            f"{points(summary['median_difference'])} points. Nothing was tuned towards "
            "the paper's figures."
        )
    for number, table in tables.items():
        for _, row in table[table["choice"] == "best"].iterrows():
            ties = table[(table["choice"] == "tied") & (table["part"] == row["part"])]
            if number == 4:  # a choice for each model
                ties = ties[ties["model"] == row["model"]]
            name = ", ".join(f"{word} {row[word]}" for word in cells_words(number))
            tied = f", {len(ties)} more tied with it" if len(ties) else ""
            lines.append(
                f"- Table {number}, best by validation: {name}{tied}; test "
                f"{percent(row['test_accuracy'])} %."
            )
    return "\n".join(lines)


_PARTS = {
    "all": "All networks",
    "mlp": "MLPs",
    "cnn": "CNNs, and the MLP of Table 1 beside them,",
    "best": "The paper's best CNN",
}


def _sizes(config: Mapping[str, Any]) -> str:
    """Says on how much each part was trained."""
    sentences = [
        f"{_PARTS[name]} were trained on {part['data']['train']:,} digits with "
        f"{part['asked']['seeds']} seeds."
        for name, part in config["parts"].items()
    ]
    scale = config["options"]["epochs_scale"]
    if scale != 1:
        sentences.append(f"The paper's numbers of epochs were multiplied by {scale:g}.")
    return " ".join(sentences)


def write_report(
    tables: Mapping[int, pd.DataFrame],
    differences: pd.DataFrame,
    claims: pd.DataFrame,
    times: pd.DataFrame,
    summary: pd.Series,
    config: Mapping[str, Any],
) -> str:
    """Returns paper.md.

    Args:
        tables: By number, from `frames.make_table`.
        differences: From `differences.make_differences`.
        claims: From `judge.judge`.
        times: From `reproduce.make_times`.
        summary: From `reproduce.make_summary`.
        config: What was asked, and the machine.
    """
    parts = [
        "# The paper's tables, with seeds and intervals",
        "X. Hao, “Research on Optimization of Deep Learning in Handwritten Digit "
        "Recognition” (2025, doi:10.23977/cpcs.2025.090108) trained every setting once "
        "and chose by the test set. Here every setting is trained with several seeds, "
        "chosen by a validation part held out of training, and tested once.",
        "## The answer",
        _summary(tables, claims, summary),
        _sizes(config),
        "## The tables",
        "Means over n seeds, with 95 % intervals in brackets. They cover the seeds "
        "(weights, batches, dropout), the digits being fixed; those of accuracies are "
        "Student's, carried over to the logit scale. On other test digits of the kind, "
        f"{summary['test_examples']:,.0f} of them, accuracies would vary by up to ± "
        f"{100 * summary['test_half_width']:.2f} points more (Wilson's 95 % interval). "
        "“By validation” names the best row, and those tied with it at 5 % "
        "(paired t tests, Holm's correction).",
    ]
    for number, table in tables.items():
        parts += [f"### Table {number}: {TABLES[number].title}"]
        parts += [
            write_table(number, table, differences[differences["table"] == number])
        ]
        if number == 1:
            parts.append(_times_sentence(times))
    if not claims.empty:
        parts += [
            "## The claims",
            "Differences of test accuracy in percentage points, by seed; brackets are "
            "95 % intervals of each alone. p is two-sided and corrected for all "
            "hypotheses about a table (Holm). A claim is supported if the contrasts "
            "of all its lines are shown to lie where it says, contradicted if one is "
            "shown not to. “No better” is shown if the difference is below "
            f"{100 * MARGIN:.1f} points, the smallest that the paper calls one. Test "
            "digits take part in these verdicts, and in no choice.",
            write_claims(claims),
        ]
    parts += [
        "## Definitions",
        "\n".join(f"- {text}" for text in RECIPE),
        "## Where the paper disagrees with itself",
        "\n".join(f"- {text}" for text in INCONSISTENCIES),
        "## How this was made",
        _provenance(config),
    ]
    return "\n\n".join(parts) + "\n"


def _times_sentence(times: pd.DataFrame) -> str:
    total, alone = times["seconds"].sum(), times["alone_seconds"].sum()
    return (
        f"The whole study, {times['replicas'].sum():,} replicas in all tables, took "
        f"{minutes(total / 60)} minutes of training and "
        f"{minutes(times['compile_seconds'].sum() / 60)} of compiling. One model at a "
        f"time on the same machine it would take about {minutes(alone / 60)} minutes "
        "of training (times.csv: measured on the networks of Table 1 and scaled). The "
        "paper's minutes are of an NVIDIA GeForce RTX 3060."
    )


def _provenance(config: Mapping[str, Any]) -> str:
    lines = [f"    {config['command']}", ""]
    for name, part in config["parts"].items():
        versions = ", ".join(f"{k} {v}" for k, v in part["versions"].items())
        data = part["data"]
        lines.append(
            f"- {name}: {data['dataset']}, {data['train']:,} training, "
            f"{data['validation']:,} validation and {data['test']:,} test digits; "
            f"{part['cpu']}, devices {', '.join(part['devices'])}; Python "
            f"{part['python']}, {versions}; commit {part['commit']}."
        )
    return "\n".join(lines)
