"""A paper as data: what its tables train and print, and what its sentences compare.

`paper.toml` and `outlook.toml` are read into this, and nothing else knows what a paper
is about. Settings, lines and claims have ids, by which everything finds them.
"""

import dataclasses
import math
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mnistopt.errors import InputError
from mnistopt.points import Point
from mnistopt.study.grid import make_point

FOLDER = Path(__file__).parent
# Compared as ratios, through their logarithms; all other metrics are shares.
RATIOS = ("convergence_epoch", "seconds")
_NO_SHARES = (*RATIOS, "minutes")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        id: The name by which others refer to it.
        point: The hyper-parameters, with the number of epochs to train.
        stopped: Whether it is measured at each run's best epoch by validation, in
            place of the last.
    """

    id: str
    point: Point
    stopped: bool


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        setting: The id of its setting.
        words: The cells of the columns that name the row.
        figures: The paper's figures by metric, accuracies as fractions.
    """

    setting: str
    words: tuple[str, ...]
    figures: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        number: The number in the paper; the outlook's tables continue the count.
        title: The table's title.
        words: The columns that name a row.
        measures: The metrics that it shows, columns of `Evidence.measured`.
        rows: The rows in the paper's order.
        rivals: One of `words` that divides the rows: the best of each value is chosen.
        against: The row that each row is compared with: the "best" by
            validation accuracy, or the "first".
    """

    number: int
    title: str
    words: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[Row, ...]
    rivals: str | None = None
    against: str = "best"

    def groups(self) -> dict[str, list[int]]:
        """Returns the places of the rows that are rivals."""
        column = None if self.rivals is None else self.words.index(self.rivals)
        groups: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            groups.setdefault("" if column is None else row.words[column], []).append(i)
        return groups


@dataclasses.dataclass(frozen=True)
class Line:
    """A contrast: a weighted sum over settings, and where the paper says it lies.

    Attributes:
        id: The name by which others refer to it.
        words: The comparison in words.
        of: Weights by setting.
        metric: A column of `Evidence.measured`, or "seconds" of an epoch.
        says: "more" than nothing; "no better" or "no worse" by the margin, or "no
            different" either way.
        between: Bounds of the ratio in place of `says`.
        at_least: Lower bound of a level, in place of `says`, a fraction.
        figure: The contrast by the paper's own figures, a fraction or a ratio.
    """

    id: str
    words: str
    of: Mapping[str, int]
    metric: str = "test_accuracy"
    says: str = "more"
    between: tuple[float, float] | None = None
    at_least: float | None = None
    figure: float | None = None

    @property
    def ratio(self) -> bool:
        """Whether it is one of logarithms, whose exponential is shown."""
        return self.metric in RATIOS

    @property
    def has_margin(self) -> bool:
        """Whether a difference below the margin is none: of shares, not of levels."""
        return not self.ratio and self.at_least is None

    def region(self, margin: float) -> tuple[float, float]:
        """Returns the bounds of where it lies by the paper, logarithms of a ratio."""
        if self.between:
            return math.log(self.between[0]), math.log(self.between[1])
        if self.at_least is not None:
            return self.at_least, math.inf
        low = {"more": 0.0, "no better": -math.inf}.get(self.says, -margin)
        return low, margin if self.says in ("no better", "no different") else math.inf


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence, and the lines that it makes; or a question of our own.

    Attributes:
        id: The name by which others refer to it.
        words: The sentence.
        lines: The contrasts that it consists of.
        table: The number of the table that it is about; 0 for a question.
        section: Where it stands in the paper.
    """

    id: str
    words: str
    lines: tuple[Line, ...]
    table: int = 0
    section: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A chart of learning curves: settings by their labels, of "error" or "loss"."""

    id: str
    title: str
    shows: str
    of: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Paper:
    """All that is asked of a paper, and what it says.

    Attributes:
        name: The file's name.
        title: The document's title.
        reference: Where the paper was published.
        margin: A smaller difference of accuracies is none.
        common: The values of all settings that do not override them.
        settings: The settings by id.
        tables: The tables, in order.
        claims: The claims, a family whose errors are corrected together.
        questions: Further questions of ours, corrected as a family of their own.
        curves: The charts of learning curves.
        robustness: Whether accuracy on corrupted digits is measured, too.
        costs: Whether tables have parameters, multiply-adds and times.
    """

    name: str
    title: str
    reference: str
    margin: float
    common: Mapping[str, Any]
    settings: Mapping[str, Setting]
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]
    questions: tuple[Claim, ...]
    curves: tuple[Comparison, ...]
    robustness: bool
    costs: bool

    @classmethod
    def read(
        cls, name: str, epochs_scale: float = 1.0, tables: Collection[int] = ()
    ) -> "Paper":
        """Reads NAME.toml.

        Args:
            name: The name of the file in this folder.
            epochs_scale: Factor to all numbers of epochs, which stay at least 1.
            tables: Numbers of the tables to take, with what is claimed of them; none
                for all, with the questions and charts.

        Raises:
            InputError: If there is no such table.
        """
        content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
        numbers = [table["number"] for table in content["tables"]]
        if unknown := sorted(set(tables) - set(numbers)):
            raise InputError(
                f"tables={','.join(map(str, unknown))} is not allowed: expected some "
                f"of {', '.join(map(str, numbers))}"
            )
        chosen, whole = tables or numbers, set(tables) in (set(), set(numbers))
        described = {
            id: _described(id, content["settings"]) for id in content["settings"]
        }
        settings = {
            id: _setting(id, content["common"] | axes, epochs_scale)
            for id, axes in described.items()
        }
        kept = [table for table in content["tables"] if table["number"] in chosen]
        claims = [
            claim | {"table": table["number"]}
            for table in kept
            for claim in table.get("claims", [])
        ]
        return cls(
            name=name,
            title=content["title"],
            reference=content["reference"],
            margin=content["margin"] / 100,
            common=content["common"],
            settings=settings,
            tables=tuple(map(_table, kept)),
            claims=tuple(map(_claim, claims)),
            questions=tuple(map(_claim, content.get("questions", []) * whole)),
            curves=tuple(Comparison(**entry) for entry in content.get("curves", [])),
            robustness=content.get("robustness", False),
            costs=content.get("costs", False),
        )

    def trained(self) -> dict[str, Setting]:
        """Returns the settings that rows, claims and questions are about."""
        rows = [row.setting for table in self.tables for row in table.rows]
        lines = [
            line for claim in (*self.claims, *self.questions) for line in claim.lines
        ]
        ids = dict.fromkeys([*rows, *(id for line in lines for id in line.of)])
        return {id: self.settings[id] for id in ids}

    def timed(self) -> dict[str, Setting]:
        """Returns the settings whose time is measured."""
        lines = [line for claim in self.claims for line in claim.lines]
        ids = [id for line in lines if line.metric == "seconds" for id in line.of]
        for table in self.tables:
            if self.costs or "minutes" in table.measures:
                ids += [row.setting for row in table.rows]
        return {id: self.settings[id] for id in dict.fromkeys(ids)}

    def describe(self, setting: Setting) -> str:
        """Returns a setting in words: its network, and what is not common to all."""
        point = setting.point
        model, _, layers = str(point.structure).partition(" ")
        usual = make_point(**{**self.common, "model": point.structure.model}).row()
        network = model.replace("_", " ") if "_" in model else model.upper()
        more = [
            f"{_WORDS.get(axis, axis)} {value}"
            for axis, value in point.row().items()
            if axis not in _STRUCTURE and value != usual.get(axis)
        ]
        return ", ".join([f"{network} {layers}".strip(), *more])

    def line(self, id: str) -> Line:
        """Returns the line of an id; raises KeyError if there is none."""
        lines = [
            line for claim in (*self.claims, *self.questions) for line in claim.lines
        ]
        return {line.id: line for line in lines}[id]


_STRUCTURE = ("model", "hidden", "channels", "dense", "width", "epochs", "horizon")
_WORDS = {"lr": "learning rate", "batch_size": "batch", "average": "weight average"}


def _described(id: str, all_of: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the axes of a setting, with those of the setting that it is like."""
    axes = dict(all_of[id])
    like = axes.pop("like", None)
    return (_described(like, all_of) if like else {}) | axes


def _setting(id: str, axes: Mapping[str, Any], epochs_scale: float) -> Setting:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in axes.items()
    }
    stopped = values.pop("stopped", False)
    values["epochs"] = max(1, round(values["epochs"] * epochs_scale))
    return Setting(id, make_point(**values), stopped)


def _table(content: Mapping[str, Any]) -> Table:
    words, names = content["words"], content.get("figures", [])
    rows = []
    for setting, *cells in content["rows"]:
        figures = {
            name: value if name in _NO_SHARES else round(value / 100, 6)
            for name, value in zip(names, cells[len(words) :])
        }
        rows.append(Row(setting, tuple(cells[: len(words)]), figures))
    more = {name: content[name] for name in ("rivals", "against") if name in content}
    return Table(
        number=content["number"],
        title=content["title"],
        words=tuple(words),
        measures=tuple(content["measures"]),
        rows=tuple(rows),
        **more,
    )


def _claim(content: Mapping[str, Any]) -> Claim:
    lines = []
    for entry in content["lines"]:
        share = 1 if entry.get("metric") in RATIOS else 100
        more = {
            name: round(entry[name] / share, 6)
            for name in ("figure", "at_least")
            if name in entry
        }
        lines.append(Line(**entry | more))
    return Claim(**{**content, "lines": tuple(lines)})
