"""What the documents' templates can name: numbers by ids, and tables in Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.reproduction import judge
from experiments.reproduction.findings import Findings
from experiments.reproduction.paper import Claim, Line, Table
from experiments.reproduction.tables import DEAD
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
_COSTS = (
    ("params", "parameters", "{:,.0f}"),
    ("multiply_adds", "multiply-adds", "{:,.0f}"),
    ("seconds", "training s", "{:.0f}"),
    ("latency_1_ms", "ms, batch 1", "{:.2f}"),
    ("latency_256_ms", "ms, 256", "{:.1f}"),
)


def percent(value: float, digits: int = 2) -> str:
    """Writes a fraction as per cent: 0.98765 as 98.77."""
    return f"{100 * value:.{digits}f}"


def points(value: float, digits: int = 2) -> str:
    """Writes a difference of fractions in points, signed if it is a loss: 0.24."""
    return f"{100 * value:.{digits}f}".replace("-", "−")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _in(form: str, *values: float) -> str:
    """Writes a value, and maybe the ends of its interval, in a format."""
    texts = [form.format(value).rstrip("%").replace("-", "−") for value in values]
    if any(math.isnan(value) for value in values):
        return "–" if math.isnan(values[0]) else texts[0]
    return texts[0] if len(texts) == 1 else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def markdown_table(columns: Mapping[str, Sequence[str]]) -> str:
    """Writes columns of texts, of which empty ones are left out, as a table."""
    shown = {name: cells for name, cells in columns.items() if set(cells) != {""}}
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(row) + " |" for row in zip(*shown.values())]
    return "\n".join(lines)


class View:
    """What templates can name."""

    def __init__(self, found: Findings) -> None:
        self._found = found
        self.paper, self.data, self.asked = found.paper, found.data, found.asked
        self.evidence, self.dead = found.evidence, DEAD
        self.sizes = found.sizes
        lines = pd.concat([found.claims, found.questions])
        self._lines = {row["line"]: row for row in lines.to_dict("records")}

    # --- By ids ---

    def line(self, id: str) -> Mapping[Any, Any]:
        """Returns the row of a line; its n is 0 where it was not asked for."""
        return self._lines.get(id, {"n": 0, "low": math.nan, "high": math.nan})

    def table(self, number: int) -> pd.DataFrame:
        """Returns a table; an empty one where it was not asked for."""
        return self._found.tables.get(number, pd.DataFrame())

    def measured(self, setting: str) -> pd.DataFrame:
        """Returns what was measured of a setting, a row per seed."""
        return self._found.measured(setting)

    def describe(self, setting: str) -> str:
        """Returns a setting in words, with its epochs."""
        one = self.paper.settings[setting]
        return f"{self.paper.describe(one)}, {one.point.epochs} epochs"

    def row(self, setting: str) -> Mapping[Any, Any]:
        """Returns the first row of any table that is of a setting, or {}."""
        for table in self._found.tables.values():
            for row in table[table["setting"] == setting].to_dict("records"):
                if row["n"]:
                    return row
        return {}

    def best(self, model: str) -> Mapping[Any, Any]:
        """Returns the row of a model that is best by validation, or {}."""
        settings = self.paper.settings
        rows = [
            row
            for table in self._found.tables.values()
            for row in table.to_dict("records")
            if row["n"] and settings[row["setting"]].point.structure.model == model
        ]
        return max(rows, key=lambda row: row["validation_accuracy"], default={})

    def accuracy(self, row: Mapping[Any, Any]) -> str:
        """Writes a row's test accuracy with its interval."""
        return f"{_in('{:.2%}', *_ends(row, 'test_accuracy'))} %"

    # --- Counts ---

    def verdicts(self) -> dict[str, list[Claim]]:
        """Returns the claims by their verdict."""
        of = dict(zip(self._found.claims["claim"], self._found.claims["claim_verdict"]))
        return {
            verdict: [one for one in self.paper.claims if of[one.id] == verdict]
            for verdict in judge.VERDICTS
        }

    def figures(self) -> dict[str, int]:
        """Returns how many of the paper's figures of lines are what."""
        known = self._found.claims[self._found.claims["paper"].notna()]
        counts = known["paper_is"].value_counts()
        names = {"too_large": judge.TOO_LARGE, "too_small": judge.TOO_SMALL}
        found = {name: int(counts.get(word, 0)) for name, word in names.items()}
        return found | {"all": len(known)}

    def cost(self) -> dict[str, float]:
        """Returns how many replicas all tables are of, and the minutes they took."""
        trials = self.evidence.tables["trials"]
        settings = self.paper.trained()
        replicas = pd.concat([self.measured(id)["replica"] for id in settings])
        mine = trials[trials["replica"].isin(replicas)].groupby("replica")["seconds"]
        return {"replicas": mine.ngroups, "minutes": mine.max().sum() / 60}

    def count_lines(self) -> int:
        """Returns how many lines are corrected together."""
        return len(self._found.claims)

    def counts(self) -> list[int]:
        """Returns the least and the greatest number of seeds of a row."""
        n = pd.concat([one["n"] for one in self._found.tables.values()])
        return sorted({int(n.min()), int(n.max())})

    def test_half_width(self) -> float:
        """Returns how far other test digits would move an accuracy, at most."""
        count = self.data["test"]
        worst = min(
            (one["test_accuracy"].min() for one in self._found.tables.values()),
            default=1.0,
        )
        worst = 1.0 if math.isnan(worst) else worst
        low, high = proportion_interval(worst * count, count)
        return (high - low) / 2

    def machines(self) -> list[str]:
        """Returns where the rows of the tables and the curves come from, in words."""
        trials = self.evidence.tables["trials"]
        replicas = trials.groupby("source")["replica"].nunique()
        timed = set(self.evidence.tables["speeds"]["source"])
        found = []
        for i, one in enumerate(self.evidence.sources):
            versions = ", ".join(f"{k} {v}" for k, v in one["versions"].items())
            what = [f"{replicas[i]:,} replicas"] if i in replicas.index else []
            what += ["the times"] if i in timed else []
            found.append(
                f"{' and '.join(what)}: {one['cpu']}; Python {one['python']}, "
                f"{versions}; commit {one['commit']}"
            )
        return found

    # --- Tables in Markdown ---

    def write_table(self, number: int) -> str:
        """Writes a table, ours beside the paper's."""
        table, about = self.table(number), self._about(number)
        columns = {name: list(map(str, table[name])) for name in about.words}
        columns["n"] = list(map(str, table["n"]))
        for name in ("validation_accuracy", *about.measures):
            heading, form, theirs = _COLUMNS[name]
            wide = name != "validation_accuracy" and name not in (
                "train_accuracy",
                "gap",
            )
            names = _names(name) if wide else [name]
            columns[heading] = [
                _in(form, *row) for row in zip(*(table[k] for k in names))
            ]
            if f"{name}_paper" in table:
                cells = [_in(theirs, one) for one in table[f"{name}_paper"]]
                columns[f"paper's {heading}"] = cells
            if f"{name}_against" in table:
                ends = zip(*(table[k] for k in _names(f"{name}_against")))
                versus = f"{heading.split()[0]} vs {about.against}"
                columns[versus] = [_in("{:+.2%}", *row) for row in ends]
        if self.paper.costs:
            for name, heading, form in _COSTS:
                columns[heading] = [form.format(one) for one in table[name]]
        else:
            bold = {"best": "**best**"}
            columns["choice"] = [bold.get(one, one) for one in table["choice"]]
        return markdown_table(columns)

    def _about(self, number: int) -> Table:
        return next(one for one in self.paper.tables if one.number == number)

    def write_lines(self, claims: Sequence[Claim], questions: bool = False) -> str:
        """Writes claims and their lines, with verdicts."""
        rows = []
        for claim in claims:
            first = self._lines[claim.lines[0].id]
            mark = "" if questions else f"**{_MARKS[first['claim_verdict']]}**"
            title = f"**{claim.words}**"
            title += f" ({claim.section})" if claim.section else ""
            rows.append([title, "", "", "", "", mark, ""])
            rows += [self._line_row(line) for line in claim.lines]
        heads = ["claim, and what is compared", "here", "paper", "n", "p", "verdict"]
        heads[0] = "question, and what is compared" if questions else heads[0]
        return markdown_table(dict(zip([*heads, "needed"], zip(*rows))))

    def _line_row(self, line: Line) -> list[str]:
        row = self._lines[line.id]
        form = "{:.2f}" if line.ratio else "{:+.2%}"
        form = "{:.2%}" if line.at_least else form
        figure = _in(form, row["paper"])
        figure += f", {row['paper_is']}" if row["paper_is"] else ""
        small = row["small"] and row["verdict"] != judge.NEGLIGIBLE
        undecided = row["verdict"] == judge.UNDECIDED
        return [
            line.words,
            _in(form, row["estimate"], row["low"], row["high"]),
            "" if math.isnan(row["paper"]) else figure,
            str(row["n"]),
            _p(row["p_holm"]),
            _MARKS[row["verdict"]] + (", but small" if small else ""),
            _count(row["seeds_needed"]) if undecided else "",
        ]

    def firmness(self) -> dict[str, Any]:
        """Returns how many lines keep their verdict whatever is changed, and others."""
        claims, others = self._found.claims, judge.ALTERNATIVES
        turned = claims[claims[list(others)].ne(claims["verdict"], axis=0).any(axis=1)]
        words = {line.id: line.words for one in self.paper.claims for line in one.lines}
        columns = {"line": [words[id] for id in turned["line"]]}
        columns["verdict"] = [_MARKS[one] for one in turned["verdict"]]
        for name, (heading, _) in others.items():
            pairs = zip(turned[name], turned["verdict"])
            columns[heading] = ["" if new == old else new for new, old in pairs]
        kept = len(claims) - len(turned)
        return {"kept": kept, "all": len(claims), "table": markdown_table(columns)}

    def write_learning(self) -> str:
        """Writes what the learning curves of each setting have in common."""
        table = self._found.learning
        table = table[table["n"] > 0]
        columns = {
            "network": table["words"],
            "epochs": table["epochs"].map(str),
            "n": table["n"].map(str),
            "lowest": table["lowest_epoch"].map("{:.1f}".format),
            "loss then": table["lowest_loss"].map("{:.3f}".format),
            "at the end": table["last_loss"].map("{:.3f}".format),
            "best": table["best_epoch"].map("{:.1f}".format),
            "test % then": table["best_test_accuracy"].map(percent),
            "test %": table["test_accuracy"].map(percent),
            "largest fall": table["largest_fall"].map(percent),
        }
        return markdown_table({name: list(cells) for name, cells in columns.items()})

    def learning(self) -> pd.DataFrame:
        """Returns what the learning curves of each setting have in common."""
        return self._found.learning

    def write_sizes(self) -> str:
        """Writes test accuracy by how many digits were trained on."""
        table = self._found.sizes
        columns: dict[str, list[str]] = {"network": []}
        sizes = sorted(set(table["digits"]))
        for size in sizes:
            columns[f"{size:,} digits"] = []
        for (words, epochs), of in table.groupby(["words", "epochs"], sort=False):
            columns["network"].append(f"{words}, {epochs} epochs")
            by_size = of.set_index("digits")
            for size in sizes:
                row = by_size.loc[size] if size in by_size.index else None
                cell = (
                    "–" if row is None else _in("{:.2%}", *_ends(row, "test_accuracy"))
                )
                columns[f"{size:,} digits"].append(cell)
        return markdown_table(columns)


def _names(metric: str) -> list[str]:
    return [metric, f"{metric}_low", f"{metric}_high"]


def _ends(row: Any, metric: str) -> list[float]:
    return [row[name] for name in _names(metric)]


def _count(value: float) -> str:
    if math.isnan(value):
        return ""
    return "> 1,000" if math.isinf(value) else f"{value:,.0f}"
