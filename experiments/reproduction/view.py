"""What the documents' templates can name: numbers by ids, and tables in Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.reproduction import judge
from experiments.reproduction.findings import Findings
from experiments.reproduction.paper import Claim, Line, Table
from mnistopt.results.stats import proportion_interval

_MARKS = {
    judge.SUPPORTED: "✓ supported",
    judge.CONTRADICTED: "✗ contradicted",
    judge.NEGLIGIBLE: "≈ negligible",
    judge.PARTLY: "≈ negligible in part",
    judge.UNDECIDED: "? undecided",
}
# Of a table's columns: heading, and how ours and the paper's figure are written.
_COLUMNS = {
    "validation_accuracy": ("validation %", "{:.2%}", ""),
    "train_accuracy": ("training %", "{:.2%}", "{:.1%}"),
    "test_accuracy": ("test %", "{:.2%}", "{:.1%}"),
    "gap": ("gap", "{:.2%}", "{:.1%}"),
    "convergence_epoch": ("convergence epoch", "{:.1f}", "{:.0f}"),
    "minutes": ("min / 50 epochs", "{:.2f}", "{:.1f}"),
    "robust": ("robust %", "{:.2%}", ""),
    "robust_noise": ("under noise %", "{:.2%}", ""),
    "robust_deformation": ("deformed %", "{:.2%}", ""),
}
# Rows with fewer seeds than this are unfinished.
_FEW = 3
# Of these the mean alone is shown.
_NARROW = ("validation_accuracy", "train_accuracy", "gap")
_COSTS = {
    "params": ("parameters", "{:,.0f}"),
    "multiply_adds": ("multiply-adds", "{:,.0f}"),
    "seconds": ("training s", "{:.0f}"),
    "latency_1_ms": ("ms, batch 1", "{:.2f}"),
    "latency_256_ms": ("ms, 256", "{:.1f}"),
}
_LEARNING = {
    "words": ("network", "{}"),
    "epochs": ("epochs", "{}"),
    "n": ("n", "{}"),
    "lowest_epoch": ("lowest", "{:.1f}"),
    "lowest_loss": ("lowest loss", "{:.3f}"),
    "last_loss": ("final loss", "{:.3f}"),
    "best_epoch": ("best", "{:.1f}"),
    "best_test_accuracy": ("test % at best", "{:.2%}"),
    "test_accuracy": ("test %", "{:.2%}"),
    "largest_fall": ("largest fall", "{:.2%}"),
}


def percent(value: float, digits: int = 2) -> str:
    """Writes a fraction as per cent: 0.98765 as 98.77."""
    return f"{100 * value:.{digits}f}"


def points(value: float, digits: int = 2) -> str:
    """Writes a difference of fractions in points, signed if it is a loss: 0.24."""
    return percent(value, digits).replace("-", "−")


def _in(form: str, *values: Any) -> str:
    """Writes a value, and maybe the ends of its interval, in a format."""
    texts = [form.format(value).rstrip("%").replace("-", "−") for value in values]
    if any(isinstance(value, float) and math.isnan(value) for value in values):
        return "–" if values[0] != values[0] else texts[0]
    return texts[0] if len(texts) == 1 else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _names(metric: str) -> list[str]:
    return [metric, f"{metric}_low", f"{metric}_high"]


def _cells(form: str, table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [_in(form, *row) for row in zip(*(table[name] for name in names))]


def markdown_table(columns: Mapping[str, Sequence[str]]) -> str:
    """Writes columns of texts, of which empty ones are left out, as a table."""
    shown = {name: cells for name, cells in columns.items() if set(cells) != {""}}
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(row) + " |" for row in zip(*shown.values())]
    return "\n".join(lines)


class View:
    """What templates can name, beside the findings themselves.

    Attributes:
        findings: The findings.
    """

    def __init__(self, findings: Findings) -> None:
        """Takes the findings."""
        self.findings = findings
        lines = pd.concat([findings.claims, findings.questions])
        self._lines = {row["line"]: row for row in lines.to_dict("records")}

    # --- By ids ---

    def line(self, id: str) -> Mapping[Any, Any]:
        """Returns the row of a line, and what it `says`; n is 0 if it was not asked."""
        if id not in self._lines:
            return {"n": 0}
        return {**self._lines[id], "says": self.findings.paper.line(id).says}

    def describe(self, setting: str) -> str:
        """Returns a setting in words, with its epochs."""
        paper = self.findings.paper
        epochs = paper.settings[setting].point.epochs
        return f"{paper.describe(paper.settings[setting])}, {epochs} epochs"

    def rows(self, number: int = 0) -> list[Mapping[Any, Any]]:
        """Returns the rows of a table, or of all, that have a finished seed."""
        tables = self.findings.tables
        chosen = [table for key, table in tables.items() if number in (0, key)]
        return [row for table in chosen for row in table.to_dict("records") if row["n"]]

    def row(self, setting: str) -> Mapping[Any, Any]:
        """Returns the first row of any table that is of a setting, or {}."""
        return next((row for row in self.rows() if row["setting"] == setting), {})

    def best(self, model: str) -> Mapping[Any, Any]:
        """Returns the row of a model that is best by validation, or {}."""
        settings = self.findings.paper.settings
        models = {id: setting.point.structure.model for id, setting in settings.items()}
        rows = [row for row in self.rows() if models[row["setting"]] == model]
        # A row with fewer seeds than others does not win.
        most = max((row["n"] for row in rows), default=0)
        full = [row for row in rows if row["n"] == most]
        return max(full, key=lambda row: row["validation_accuracy"], default={})

    def accuracy(self, row: Mapping[Any, Any]) -> str:
        """Writes a row's test accuracy with its interval."""
        return _in("{:.2%}", *(row[name] for name in _names("test_accuracy"))) + " %"

    # --- Counts ---

    def verdicts(self) -> dict[str, list[Claim]]:
        """Returns the claims by their verdict."""
        claims = self.findings.claims
        of = dict(zip(claims["claim"], claims["claim_verdict"]))
        return {
            verdict: [
                claim for claim in self.findings.paper.claims if of[claim.id] == verdict
            ]
            for verdict in judge.VERDICTS
        }

    def figures(self) -> pd.Series:
        """Returns how the paper's figures of lines compare, those measured here."""
        claims = self.findings.claims
        return claims[claims["paper"].notna() & (claims["n"] > 1)]["paper_is"]

    def seeds(self) -> str:
        """Returns of how many runs a row is, as "3 to 10 runs"."""
        counts = [row["n"] for row in self.rows()]
        least = f"{min(counts)} to " if min(counts) < max(counts) else ""
        return least + self.plural(max(counts), "run")

    def unfinished(self) -> str:
        """Returns a sentence on the rows with few seeds; "" if there are none."""
        counts = pd.concat([table["n"] for table in self.findings.tables.values()])
        few = int((counts < _FEW).sum())
        if not few:
            return ""
        return (
            f"The run is unfinished: {few} of {len(counts)} rows have fewer than "
            f"{_FEW} seeds, so that claims about them cannot be decided yet."
        )

    def plural(self, count: int, noun: str) -> str:
        """Writes a count with its noun: 1 run, 3 runs."""
        return f"{count:,} {noun}{'' if count == 1 else 's'}"

    def listed(self, words: Sequence[Any]) -> str:
        """Writes a list: a, b and c."""
        *most, last = map(str, words)
        return f"{', '.join(most)} and {last}" if most else last

    def cost(self) -> dict[str, float]:
        """Returns how many replicas all tables are of, and the minutes they took."""
        findings = self.findings
        trials = pd.concat([findings.measured(id) for id in findings.paper.trained()])
        seconds = trials.groupby("replica")["seconds"].max()
        return {"replicas": len(seconds), "minutes": seconds.sum() / 60}

    def test_half_width(self) -> float:
        """Returns how far other test digits would move an accuracy, at most."""
        count = self.findings.data["test"]
        worst = min((row["test_accuracy"] for row in self.rows()), default=1.0)
        low, high = proportion_interval(worst * count, count)
        return (high - low) / 2

    def sources(self) -> list[dict[str, Any]]:
        """Returns the sources, with how many `replicas` and whether times are of it."""
        tables = self.findings.evidence.tables
        replicas = tables["trials"].groupby("source")["replica"].nunique()
        timed = set(tables["speeds"]["source"])
        return [
            {**source, "replicas": int(replicas.get(i, 0)), "timed": i in timed}
            for i, source in enumerate(self.findings.evidence.sources)
        ]

    # --- Tables in Markdown ---

    def write_table(self, about: Table) -> str:
        """Writes a table, ours beside the paper's."""
        table = self.findings.tables[about.number]
        columns = {name: list(map(str, table[name])) for name in (*about.words, "n")}
        for name in ("validation_accuracy", *about.measures):
            heading, form, theirs = _COLUMNS[name]
            names = [name] if name in _NARROW else _names(name)
            columns[heading] = _cells(form, table, names)
            if f"{name}_paper" in table:
                cells = _cells(theirs, table, [f"{name}_paper"])
                columns[f"paper's {heading}"] = cells
            if f"{name}_against" in table:
                cells = _cells("{:+.2%}", table, _names(f"{name}_against"))
                columns[f"{heading.split()[0]} vs {about.against}"] = cells
        if self.findings.paper.costs:
            for name, (heading, form) in _COSTS.items():
                columns[heading] = _cells(form, table, [name])
        else:
            columns["choice"] = list(table["choice"].replace("best", "**best**"))
        return markdown_table(columns)

    def write_lines(self, claims: Sequence[Claim], what: str) -> str:
        """Writes claims, or questions, and their lines, with verdicts."""
        rows = []
        for claim in claims:
            verdict = self._lines[claim.lines[0].id]["claim_verdict"]
            mark = f"**{_MARKS[verdict]}**" if claim.section else ""
            section = f" ({claim.section})" if claim.section else ""
            rows.append([f"**{claim.words}**{section}", "", "", "", "", mark, ""])
            rows += [self._line_row(line) for line in claim.lines]
        heads = ["here", "paper", "n", "p", "verdict", "needed"]
        heads = [f"{what}, and what is compared", *heads]
        return markdown_table(dict(zip(heads, zip(*rows))))

    def _line_row(self, line: Line) -> list[str]:
        row = self._lines[line.id]
        form = "{:.2f}" if line.ratio else "{:.2%}" if line.at_least else "{:+.2%}"
        figure = _in(form, row["paper"]) if line.figure is not None else ""
        figure += f", {row['paper_is']}" if row["paper_is"] else ""
        small = row["small"] and row["verdict"] != judge.NEGLIGIBLE
        needed = row["seeds_needed"] if row["verdict"] == judge.UNDECIDED else math.nan
        count = "> 1,000" if needed == math.inf else f"{needed:,.0f}"
        return [
            line.words,
            _in(form, row["estimate"], row["low"], row["high"]),
            figure,
            str(row["n"]),
            _p(row["p_holm"]) if row["n"] > 1 else "–",
            _MARKS[row["verdict"]] + (", but small" if small else ""),
            "" if math.isnan(needed) else count,
        ]

    def undecided(self) -> dict[str, Any]:
        """Returns why lines are undecided: how small they are, and how well known."""
        lines = self.findings.claims
        margin = self.findings.paper.margin
        open_ = lines[(lines["verdict"] == judge.UNDECIDED) & (lines["n"] > 1)]
        counted = open_[open_["seeds_needed"].notna()]
        known = (counted["high"] - counted["low"]) / 2
        return {
            "all": len(open_),
            "small": int((counted["estimate"].abs() < margin).sum()),
            "known": float(known.median()),
            "least": counted["seeds_needed"].min(),
            "most": counted["seeds_needed"].max(),
            "ratios": len(open_) - len(counted),
        }

    def firmness(self) -> dict[str, Any]:
        """Returns how many lines keep their verdict whatever is changed, and others."""
        claims, others = self.findings.claims, judge.ALTERNATIVES
        claims = claims[claims["n"] > 1]
        turned = claims[claims[list(others)].ne(claims["verdict"], axis=0).any(axis=1)]
        columns = {
            "line": [self.findings.paper.line(id).words for id in turned["line"]]
        }
        columns["verdict"] = [_MARKS[verdict] for verdict in turned["verdict"]]
        for name, (heading, _) in others.items():
            pairs = zip(turned[name], turned["verdict"])
            columns[heading] = ["" if new == old else new for new, old in pairs]
        counts = {"all": len(claims), "turned": len(turned)}
        return counts | {"table": markdown_table(columns)}

    def write_learning(self) -> str:
        """Writes what the learning curves of each setting have in common."""
        table = self.findings.learning
        table = table[table["n"] > 0]
        columns = {
            heading: _cells(form, table, [name])
            for name, (heading, form) in _LEARNING.items()
        }
        return markdown_table(columns)

    def write_sizes(self) -> str:
        """Writes test accuracy by how many digits were trained on."""
        table = self.findings.sizes
        words = table["words"] + ", " + table["epochs"].map(str) + " epochs"
        cells = _cells("{:.2%}", table, _names("test_accuracy"))
        wide = table.assign(network=words, cell=cells).pivot_table(
            "cell", "network", "digits", aggfunc="first", sort=False
        )
        wide = wide.sort_index(axis=1).fillna("–")
        columns = {f"{size:,} digits": list(wide[size]) for size in wide}
        return markdown_table({"network": list(wide.index), **columns})
