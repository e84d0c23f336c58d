"""The reproduction in words and tables: paper.md, made of the CSV files alone."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from mnistopt.paper.claims import CONTRADICTED, SUPPORTED, UNDECIDED
from mnistopt.paper.markdown import (
    minutes,
    percent,
    points,
    write_claims,
    write_table,
)
from mnistopt.paper.tables import INCONSISTENCIES, MARGIN, RECIPE, TABLES


def _verdict_list(claims: pd.DataFrame, verdict: str) -> str:
    found = claims[claims["claim_verdict"] == verdict].drop_duplicates("claim")
    return "; ".join(sentence.rstrip(".") for sentence in found["sentence"]) or "none"


def _summary(
    tables: Mapping[int, pd.DataFrame], claims: pd.DataFrame, summary: pd.Series
) -> str:
    """Returns the answer in plain words."""
    lines = []
    if not claims.empty:
        seeds = sorted(set(claims.loc[~claims["ratio"], "n"]))
        spread = " to ".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
        lines += [
            f"**{summary['claims']:.0f} of the paper's claims, put to the test with "
            f"{spread} seeds: {summary['supported']:.0f} supported, "
            f"{summary['contradicted']:.0f} contradicted, "
            f"{summary['undecided']:.0f} undecided.**",
            "",
            f"- Supported: {_verdict_list(claims, SUPPORTED)}.",
            f"- Contradicted: {_verdict_list(claims, CONTRADICTED)}.",
            f"- Undecided: {_verdict_list(claims, UNDECIDED)}.",
        ]
    if summary["rows_with_figure"]:
        lines.append(
            f"- Of the {summary['rows_with_figure']:.0f} rows trained on "
            f"{summary['most_examples']:,.0f} digits that the paper has, "
            f"{summary['rows_above']:.0f} are above its figure; the median difference "
            f"is {points(summary['median_difference'])} points of test accuracy. "
            "Nothing was tuned towards the paper's figures."
        )
    for number, table in tables.items():
        for _, row in table[table["choice"] == "best"].iterrows():
            ties = table[(table["choice"] == "tied") & (table["part"] == row["part"])]
            if number == 4:  # a choice for each model
                ties = ties[ties["model"] == row["model"]]
            tied = f", {len(ties)} more tied with it" if len(ties) else ""
            lines.append(
                f"- Table {number}, best by validation: {row['row']}{tied}; test "
                f"{percent(row['test_accuracy'])} %."
            )
    return "\n".join(lines)


_TITLE = """\
# The paper's tables, with seeds and intervals

X. Hao, “Research on Optimization of Deep Learning in Handwritten Digit Recognition”
(2025, doi:10.23977/cpcs.2025.090108) trained every setting once and chose by the test
set. Here every setting is trained with several seeds, chosen by a validation part held
out of training, and tested once."""

_ABOUT_TABLES = """\
Means over n seeds, with 95 % intervals in brackets. They cover the seeds (weights,
batches, dropout), the digits being fixed; those of accuracies are Student's, carried
over to the logit scale. On other test digits of the kind, {test_examples:,.0f} of them,
accuracies would vary by up to ± {half_width:.2f} points more (Wilson's 95 % interval).
“paper” is the paper's figure for the column before it; “vs paper” and “vs best” are
differences of test accuracy in points. “choice” names the best row by validation, and
those tied with it at 5 % (paired t tests, Holm's correction)."""

_ABOUT_CLAIMS = f"""\
Differences of test accuracy in percentage points, by seed; brackets are 95 % intervals
of each alone. p is two-sided and corrected for all hypotheses about a table (Holm),
those about times apart. A claim is supported if the contrasts of all its lines are
shown to lie where it says, contradicted if one is shown not to. “No better” is shown if
the difference is below {100 * MARGIN:.1f} points, the smallest that the paper calls
one. Test digits take part in these verdicts, and in no choice."""

_PARTS = {
    "all": "All networks",
    "mlp": "MLPs",
    "cnn": "CNNs, and the MLP of Table 1 beside them,",
    "best": "Replicas of the paper's best CNN",
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
        times: From `times.make_times`.
        summary: From `reproduce.make_summary`.
        config: What was asked, and the machine.
    """
    about_tables = _ABOUT_TABLES.format(
        test_examples=summary["test_examples"],
        half_width=100 * summary["test_half_width"],
    )
    parts = [_TITLE, "## The answer", _summary(tables, claims, summary)]
    parts += [_sizes(config), "## The tables", about_tables]
    for number, table in tables.items():
        of_table = differences[differences["table"] == number]
        parts.append(f"### Table {number}: {TABLES[number].title}")
        parts.append(write_table(number, table, of_table))
        if number == 1:
            parts.append(_times_sentence(times))
    if not claims.empty:
        parts += ["## The claims", _ABOUT_CLAIMS, write_claims(claims)]
    parts += ["## Definitions", _list(RECIPE)]
    parts += ["## Where the paper disagrees with itself", _list(INCONSISTENCIES)]
    parts += ["## How this was made", _provenance(config)]
    return "\n\n".join(parts) + "\n"


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


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
