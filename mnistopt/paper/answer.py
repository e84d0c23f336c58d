"""The reproduction in five sentences: what to take, how sure that is, what it cost."""

import pandas as pd

from mnistopt.paper.findings import Findings
from mnistopt.paper.frames import row_of
from mnistopt.paper.hypotheses import CONTRADICTED, NEGLIGIBLE, SUPPORTED, UNDECIDED
from mnistopt.paper.markdown import (
    markdown_table,
    minutes,
    percent,
    points,
    ranged,
    verdict_list,
)
from mnistopt.paper.plan import Cell, describe
from mnistopt.paper.tables import cnn, mlp, mlp_dropout, tuned
from mnistopt.points import Point


def best_rows(findings: Findings) -> dict[str, tuple[Cell, pd.Series]]:
    """Returns each model's best row by validation, of those with most digits.

    Returns:
        By model, the better one first, its cell and its row of the table.
    """
    found: dict[str, tuple[Cell, pd.Series]] = {}
    for cell in findings.cells:
        row, model = row_of(cell, findings.tables), cell.row.point.structure.model
        if row["n"] and (model not in found or _rank(row) > _rank(found[model][1])):
            found[model] = (cell, row)
    return dict(sorted(found.items(), key=lambda one: _rank(one[1][1]), reverse=True))


def _rank(row: pd.Series) -> tuple[float, float]:
    return row["train_examples"], row["validation_accuracy"]


# The paper's basic networks, and what it found best of each kind.
_PAPERS = (mlp(128, 128), mlp_dropout(0.3), cnn(32, 64), tuned())


def headline(found: Findings, machine: str) -> str:
    """Returns the paper's main networks and the best ones here, as Markdown.

    Each where it was trained on most digits; how the paper's claims fared; and what
    all of it took.

    Args:
        found: What was found.
        machine: What trained.
    """
    chosen: dict[Point, tuple[Cell, pd.Series]] = {}
    best = [cell.row.point for cell, _ in best_rows(found).values()]
    for point in dict.fromkeys([*_PAPERS, *best]):
        rows = [
            (c, row_of(c, found.tables)) for c in found.cells if c.row.point == point
        ]
        if rows:
            chosen[point] = max(rows, key=lambda one: _rank(one[1]))
    lines = [
        [
            f"**{describe(point)}**" if point in best else describe(point),
            f"{row['train_examples']:,}",
            str(row["n"]),
            accuracy(row).partition(" (")[0],
            "-" if pd.isna(paper) else f"{percent(paper, 1)} %",
        ]
        for point, (_, row) in chosen.items()
        for paper in [row["test_accuracy_paper"]]
    ]
    header = ["network", "training digits", "seeds"]
    header += ["test accuracy, 95 % interval", "the paper's"]
    told = f"{_sentence(_counts(found.claims))} {_sentence(_cost(found, machine))}"
    return f"{markdown_table(header, lines)}\n\n{told}"


def accuracy(row: pd.Series) -> str:
    """Writes a row's test accuracy with its interval and n."""
    mean, low, high = (row[f"test_accuracy{end}"] for end in ("", "_low", "_high"))
    return f"{ranged(mean, low, high, percent)} % (n = {row['n']})"


def five_sentences(found: Findings, machine: str) -> str:
    """Returns the answer, as a list in Markdown.

    Args:
        found: What was found.
        machine: What trained.
    """
    claims, tables = found.claims, found.tables
    answers = {
        "Which model?": _model(found),
        "Which dropout?": _dropout(tables.get(4), found.differences),
        "Which learning rate, batch size and length?": _recipe(tables.get(5), claims),
        "How sure is that, and what did it cost?": _sure(found, machine),
        "Was the paper right?": _right(claims, found.summary),
    }
    return "\n".join(f"- **{ask}** {text}" for ask, text in answers.items() if text)


def _estimate(claims: pd.DataFrame, hypothesis: str) -> str:
    """Writes a contrast in points with its interval; "" where it was not tested."""
    for _, one in claims[claims["hypothesis"] == hypothesis].iterrows():
        if one["n"]:
            return ranged(one["estimate"], one["low"], one["high"], points)
    return ""


def _model(found: Findings) -> str:
    texts = []
    for i, (cell, row) in enumerate(best_rows(found).values()):
        name = describe(cell.row.point)
        trained = (
            f"trained on {row['train_examples']:,} digits in "
            f"{minutes(row['train_minutes'])} minutes each"
        )
        texts.append(
            f"the best {name.partition(' ')[0]} is {name}: {trained}, {accuracy(row)}"
            if i
            else f"take {name}: {trained}, it recognizes {accuracy(row)} of "
            f"{found.summary['test_examples']:,.0f} test digits"
        )
    if ahead := _estimate(found.claims, "CNN 32x64/128 - MLP 128x128"):
        row = found.tables[1].iloc[0]
        texts.append(
            f"on the same {row['train_examples']:,} digits the paper's basic CNN is "
            f"ahead of its basic MLP by {ahead} points (n = {row['n']})"
        )
    return _sentence("; ".join(texts))


def _names(rows: pd.DataFrame, name: str) -> str:
    return ", ".join(str(value) for value in rows[name]) or "none"


def _dropout(table: pd.DataFrame | None, differences: pd.DataFrame) -> str:
    if table is None:
        return ""
    texts = []
    for model, rows in table.groupby("model", sort=False):
        for _, best in rows[rows["choice"] == "best"].iterrows():
            tied = rows[rows["choice"] == "tied"]
            text = (
                f"for the {model} on {best['train_examples']:,} digits "
                f"{best['dropout']} by validation, with {accuracy(best)} of the test "
                "digits; tied with it: "
                f"{_names(tied, 'dropout')}"
            )
            without = differences[
                (differences["row"] == f"model {model}, dropout 0.0")
                & (differences["part"] == best["part"])
            ]
            for _, one in without.iterrows():
                gain = ranged(-one["difference"], -one["high"], -one["low"], points)
                text += f"; it is ahead of none by {gain} points"
            texts.append(text)
    return _sentence("; ".join(texts))


def _recipe(table: pd.DataFrame | None, claims: pd.DataFrame) -> str:
    if table is None or "best" not in set(table["choice"]):
        return ""
    best = table[table["choice"] == "best"]
    row, others = best.iloc[0], table[table["part"] == best.iloc[0]["part"]]
    tied = (others["choice"] == "tied").sum()
    text = (
        f"for the best CNN on {row['train_examples']:,} digits, {row['row']} by "
        f"validation, with {accuracy(row)} of the test digits, and {tied} of the "
        f"{len(others) - 1} other rows are tied with it"
    )
    ahead = [
        f"{words} by {found}"
        for words, hypothesis in (
            ("rate 0.001 is ahead of 0.01", "0.001 - 0.01"),
            ("of 0.0001", "0.001 - 0.0001"),
            ("batches of 64 are ahead of 32", "64 - 32"),
            ("80 epochs of 50", "80 - 50"),
            ("100 of 80", "100 - 80"),
        )
        if (found := _estimate(claims, hypothesis))
    ]
    return _sentence(f"{text}; in points, {', '.join(ahead)}")


def _sure(found: Findings, machine: str) -> str:
    counts = pd.concat([table["n"] for table in found.tables.values()])
    spread = " to ".join(str(n) for n in dict.fromkeys((counts.min(), counts.max())))
    half = 100 * found.summary["test_half_width"]
    return _sentence(
        f"every figure is a mean over n = {spread} seeds, and its bracket holds the "
        "mean of all possible seeds in 19 studies of 20; other test digits would move "
        f"all of them together, by up to {half:.2f} points; {_cost(found, machine)}"
    )


def _cost(found: Findings, machine: str) -> str:
    """Returns how long all of it took, and would have taken, in words."""
    total, alone = (found.times[name].sum() for name in ("seconds", "alone_seconds"))
    count = found.times["replicas"].sum()
    return (
        f"{count:,} networks took {minutes(total / 60)} minutes of training on "
        f"{machine}, and would have taken {minutes(alone / 60)} one at a time"
    )


def _right(claims: pd.DataFrame, summary: pd.Series) -> str:
    if claims.empty:
        return ""
    text = _counts(claims)
    for words, verdict in (("right", SUPPORTED), ("wrong", CONTRADICTED)):
        if said := verdict_list(claims, verdict):
            text += f"; it is {words} that {said}"
    text += (
        f"; of {summary['figures']:.0f} differences and times that it gives a figure "
        f"for, {summary['figures_too_large']:.0f} figures are too large and "
        f"{summary['figures_too_small']:.0f} too small"
    )
    if summary["rows_with_figure"]:
        text += (
            f"; of its {summary['rows_with_figure']:.0f} accuracies that have one here "
            f"of {summary['most_examples']:,.0f} training digits, "
            f"{summary['rows_above']:.0f} are exceeded, and the median difference is "
            f"{points(summary['median_difference'])} points"
        )
    return _sentence(text)


def _counts(claims: pd.DataFrame) -> str:
    """Returns how many claims have which verdict, in words."""
    verdicts = claims.drop_duplicates("claim")["claim_verdict"].tolist()
    words = {
        SUPPORTED: "supported",
        CONTRADICTED: "contradicted",
        NEGLIGIBLE: "about differences too small to matter",
        UNDECIDED: "undecided",
    }
    told = [f"{verdicts.count(name)} are {text}" for name, text in words.items()]
    return f"of {len(verdicts)} claims of the paper, {', '.join(told)}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
