"""What follows from the evidence: tables, verdicts, and what the curves show."""

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.reproduction.evidence import Evidence, Measured
from experiments.reproduction.judge import ALTERNATIVES, judge
from experiments.reproduction.paper import Paper
from experiments.reproduction.tables import make_learning, make_sizes, make_table
from mnistopt.errors import InputError
from mnistopt.files import write_text

_ASKED = "config.json"


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a reproduction was asked for, as its config.json has it.

    Attributes:
        paper: The name of its data.
        tables: The numbers of its tables.
        epochs_scale: Factor to its numbers of epochs.
        data: The fingerprint of the digits that the tables are of.
        command: The command line.
    """

    paper: str
    tables: tuple[int, ...]
    epochs_scale: float
    data: str
    command: str

    def write(self, workdir: Path) -> None:
        """Writes config.json."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        write_text(workdir / _ASKED, text + "\n")

    @classmethod
    def read(cls, workdir: Path) -> "Asked":
        """Reads config.json; raises InputError if it cannot be read."""
        try:
            content = json.loads((workdir / _ASKED).read_text(encoding="utf-8"))
            return cls(**content | {"tables": tuple(content["tables"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{workdir} cannot be read as a reproduction ({error}); repeat the "
                "command that made it, or give another workdir"
            ) from error


def is_reproduction(workdir: Path) -> bool:
    """Says whether a folder holds a reproduction, not a single study."""
    return (workdir / "evidence").is_dir()


class Findings:
    """All that follows, computed when it is asked for.

    Attributes:
        asked: The command and its settings.
        paper: The paper that is reproduced.
        evidence: The measurements.
        measured: The measurements by the ids of settings.
    """

    def __init__(self, asked: Asked, evidence: Evidence):
        """Takes what was asked for and what was measured."""
        self.asked, self.evidence = asked, evidence
        self.paper = Paper.read(asked.paper, asked.epochs_scale, asked.tables)
        self.measured = Measured(self.paper, evidence, asked.data)

    @classmethod
    def read(cls, workdir: Path) -> "Findings":
        """Reads a workdir; raises InputError if it has no reproduction."""
        return cls(Asked.read(workdir), Evidence.read(workdir))

    @cached_property
    def tables(self) -> Mapping[int, pd.DataFrame]:
        """The tables by number, from `tables.make_table`."""
        return {
            table.number: make_table(table, self.measured)
            for table in self.paper.tables
        }

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The paper's claims, from `judge.judge`."""
        return judge(self.measured, self.paper.claims)

    @cached_property
    def questions(self) -> pd.DataFrame:
        """Our own questions, judged as the claims are, but as another family."""
        return judge(self.measured, self.paper.questions)

    @cached_property
    def learning(self) -> pd.DataFrame:
        """What the curves have in common, from `tables.make_learning`."""
        return make_learning(self.measured)

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """Accuracy by number of training digits, from `tables.make_sizes`."""
        return make_sizes(self.measured)

    @property
    def data(self) -> Mapping[str, Any]:
        """The digits that the tables are of: `dataset`, `train`, `validation`, `test`.

        Raises:
            InputError: If the evidence has none of them.
        """
        try:
            return self.evidence.data[self.asked.data]
        except KeyError:
            raise InputError(
                f"the evidence has nothing of the digits {self.asked.data} that "
                f"{_ASKED} names; repeat the command that made it"
            ) from None

    def frames(self) -> dict[str, pd.DataFrame]:
        """Returns all of it as tables, by the names of their files."""
        frames = {f"table{number}": table for number, table in self.tables.items()}
        others = self.questions.columns.intersection(list(ALTERNATIVES))
        frames["claims"] = self.claims
        frames["questions"] = self.questions.drop(columns=others)
        if self.paper.curves:
            frames |= {"learning": self.learning, "sizes": self.sizes}
        return {name: frame for name, frame in frames.items() if len(frame)}
