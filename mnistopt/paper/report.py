"""The reproduction in words and tables: paper.md, made of the CSV files alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mnistopt.paper.answer import five_sentences
from mnistopt.paper.evidence import Evidence
from mnistopt.paper.findings import Findings
from mnistopt.paper.markdown import (
    bullets,
    minutes,
    verdict_items,
    write_claims,
    write_firmness,
    write_learning,
    write_table,
)
from mnistopt.paper.tables import INCONSISTENCIES, MARGIN, RECIPE, TABLES

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
Differences of test accuracy in percentage points, by seed, at the sizes that the tables
name; brackets are 95 % intervals of each alone. p is two-sided and corrected for all
hypotheses about a table (Holm), those about times apart. A line is supported if its
contrast is shown to lie where the claim says, contradicted if it is shown not to, and
negligible if neither is shown, but that it is below {100 * MARGIN:.1f} points either
way: that is the smallest difference which the paper calls one, and 20 of 10,000 test
digits. “No better” is shown in the same way. A figure of the paper's is too large or
too small where ours is shown to lie below or above it (corrected alike). A claim is
supported if all its lines are, contradicted if one is, and else negligible if one is.
“Needed” are the seeds with which four studies of five would show a true difference of
{100 * MARGIN:.1f} points (for “no better”: that there is none), by the spread seen
here. Test digits take part in these verdicts, and in no choice."""

_PARTS = {
    "all": "All networks",
    "mlp": "MLPs",
    "cnn": "CNNs, and the MLP of Table 1 beside them,",
    "best": "Replicas of the paper's best CNN",
}


def _sizes(evidence: Evidence) -> str:
    """Says on how much each part was trained."""
    sentences = [
        f"{_PARTS[name]} were trained on {part['data']['train']:,} digits with "
        f"{part['asked']['seeds']} seeds."
        for name, part in evidence.parts.items()
    ]
    scale = evidence.options.epochs_scale
    if scale != 1:
        sentences.append(f"The paper's numbers of epochs were multiplied by {scale:g}.")
    return " ".join(sentences)


def write_report(found: Findings, evidence: Evidence, notes: str = "") -> str:
    """Returns paper.md.

    Args:
        found: What it tells of.
        evidence: What was asked, and where it was trained.
        notes: Markdown of who looked at it.
    """
    about_tables = _ABOUT_TABLES.format(
        test_examples=found.summary["test_examples"],
        half_width=100 * found.summary["test_half_width"],
    )
    sentences = five_sentences(found, evidence.machine)
    parts = [_TITLE, "## The answer", sentences, _sizes(evidence)]
    parts += ["## The tables", about_tables]
    for number, table in found.tables.items():
        of_table = found.differences[found.differences["table"] == number]
        parts.append(f"### Table {number}: {TABLES[number].title}")
        parts.append(write_table(number, table, of_table))
        made = [evidence.parts[name] for name in table["part"].unique()]
        parts.append(made_by(evidence.command, made))
        if number == 1:
            parts.append(_times_sentence(found.times))
    if not found.claims.empty:
        parts += ["## The claims", _ABOUT_CLAIMS, verdict_items(found.claims)]
        parts += [write_claims(found.claims)]
        parts += ["## How firm the verdicts are", write_firmness(found.claims)]
    parts += ["## What the curves say", write_learning(found.learning)]
    parts += [notes.strip()] if notes else []
    parts += ["## Definitions", bullets(RECIPE)]
    parts += ["## Where the paper disagrees with itself", bullets(INCONSISTENCIES)]
    parts += ["## How this was made", _provenance(evidence)]
    return "\n\n".join(parts) + "\n"


def _times_sentence(times: pd.DataFrame) -> str:
    total, alone = times["seconds"].sum(), times["alone_seconds"].sum()
    return (
        f"The whole study, {times['replicas'].sum():,} replicas in all tables, took "
        f"{minutes(total / 60)} minutes of training and "
        f"{minutes(times['compile_seconds'].sum() / 60)} of compiling. One model at a "
        f"time on the same machine it would take about {minutes(alone / 60)} minutes "
        "of training: after the study a network of each part and kind was trained for "
        "an epoch alone, in turns with as many as the study trains side by side, and "
        "the study's time multiplied by what that took longer (times.csv). The paper's "
        "minutes are of an NVIDIA GeForce RTX 3060."
    )


def _versions(part: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {one}" for name, one in part["versions"].items())
    return f"Python {part['python']}, {versions}"


def made_by(command: str, parts: Sequence[Mapping[str, Any]]) -> str:
    """Says by what studies were made, and on what; `parts` are their configs."""
    by = dict.fromkeys(
        f"at commit {part['commit']} on {part['cpu']}, {_versions(part)}"
        for part in parts
    )
    data = dict.fromkeys(
        f"{part['data']['fingerprint']} ({part['data']['train']:,} training digits)"
        for part in parts
    )
    return (
        f"Made by `{command}` {' and '.join(by)}, from "
        f"{parts[0]['data']['dataset']} of fingerprint {' and '.join(data)}."
    )


def _provenance(evidence: Evidence) -> str:
    lines = [f"    {evidence.command}", ""]
    for name, part in evidence.parts.items():
        data = part["data"]
        lines.append(
            f"- {name}: {data['dataset']} (fingerprint {data['fingerprint']}), "
            f"{data['train']:,} training, {data['validation']:,} validation and "
            f"{data['test']:,} test digits; {part['cpu']}, devices "
            f"{', '.join(part['devices'])}; {_versions(part)}; commit "
            f"{part['commit']}."
        )
    return "\n".join(lines)
