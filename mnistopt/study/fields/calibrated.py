"""What is known of a study's readings: of fields whose values were known."""

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from mnistopt.errors import InputError
from mnistopt.files import writing_to
from mnistopt.manifest import OF_FIGURES, Manifest
from mnistopt.study.fields import reject
from mnistopt.study.fields.layout import Field
from mnistopt.study.fields.reject import Claim

# The readings of known fields, in the study's folder.
FILE = "readings.csv"
COLUMNS = ["form", "page", "field", "kind", "truth", "value", "score"]
# Fields of cells, and those that are written freely, err differently.
CELLS, FREE = "cells", "free"
# Fields that it takes to calibrate probabilities.
FEWEST = 50


def kind_of(field: Field) -> str:
    """Returns which fields a field is calibrated with."""
    return CELLS if field.cells else FREE


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The readings of known fields.

    Attributes:
        rows: A row per field that said anything: `COLUMNS`; `score` is the probability
            of the value as the lattice has it.
    """

    rows: pd.DataFrame

    def of(self, kind: str) -> pd.DataFrame:
        """Returns the rows of a kind."""
        return self.rows[self.rows["kind"] == kind]

    def claim(self, kind: str, max_error: float) -> Claim:
        """Returns the threshold of a kind's scores, see `reject.claim`."""
        rows = self.of(kind)
        right = (rows["truth"] == rows["value"]).to_numpy()
        return reject.claim(rows["score"].to_numpy(float), right, max_error)

    def calibrator(self, kind: str) -> Callable[[float], float]:
        """Returns what says how likely a value of a kind is right, by its score.

        Logistic in the score's logit (Platt 1999); the score where little is known.
        """
        rows = self.of(kind)
        right = (rows["truth"] == rows["value"]).to_numpy()
        if len(rows) < FEWEST or right.all() or not right.any():
            return float
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1e3)
        model.fit(logits(rows["score"].to_numpy(float))[:, None], right)
        slope, start = float(model.coef_[0, 0]), float(model.intercept_[0])
        # Where known scores say nothing, they stay as they are.
        if slope <= 0:
            return float
        return lambda score: float(special.expit(slope * logits(score) + start))


def logits(scores: Any) -> Any:
    """Returns the logits of probabilities, up to those of one in a billion."""
    clipped = np.clip(scores, 1e-9, 1 - 1e-9)
    return np.log(clipped) - np.log1p(-clipped)


def read_calibration(workdir: Path) -> Calibration:
    """Reads what is known of a study's readings; nothing where there is no file.

    Raises:
        InputError: If the file is damaged.
    """
    path = workdir / FILE
    if not path.exists():
        return nothing()
    try:
        if Manifest(workdir, OF_FIGURES).is_altered(FILE):
            raise ValueError("its checksum has changed")
        text: Any = {name: str for name in COLUMNS if name != "score"}
        rows = pd.read_csv(path, dtype=text, keep_default_na=False)
        return Calibration(rows[COLUMNS].astype({"score": float}))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove it, and calibrate again by "
            "read --truth"
        ) from error


def keep_calibration(workdir: Path, form: str, rows: pd.DataFrame) -> Calibration:
    """Adds the readings of a form's known fields to those of a study.

    Args:
        workdir: The study's folder.
        form: The form's name: its rows replace earlier ones.
        rows: `COLUMNS` but for the form.
    """
    known = read_calibration(workdir).rows
    known = known[known["form"] != form]
    added = rows.assign(form=form)[COLUMNS]
    joined = pd.concat([known, added]) if len(known) else added
    text = io.StringIO()
    joined.to_csv(text, index=False)
    with writing_to(workdir):
        Manifest(workdir, OF_FIGURES).write({FILE: text.getvalue().encode()})
    return Calibration(joined)


def nothing() -> Calibration:
    """Returns what is known before any field is."""
    return Calibration(pd.DataFrame(columns=COLUMNS))


def read_truth(path: str | Path) -> dict[tuple[str, str], str]:
    """Reads what stands in known fields, by page and field.

    Args:
        path: A CSV file with the columns page, field and value.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [name for name in ("page", "field", "value") if name not in table]
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
    except (OSError, ValueError) as error:
        raise InputError(
            f"truth={path} cannot be read ({error}); expected is a CSV file with the "
            "columns page, field and value"
        ) from error
    if "by" in table:
        # What the reader took over itself says nothing of how right it is.
        table = table[table["by"] == "typed"]
    rows = zip(table["page"], table["field"], table["value"])
    return {
        (page, field): value.strip().replace(",", ".") for page, field, value in rows
    }


def compare(values: Sequence[Any], truth: Mapping[tuple[str, str], str]) -> Any:
    """Returns the readings of known fields, as `keep_calibration` takes them.

    Args:
        values: What fields are taken for, see `run.Value`; those that are empty, and
            of pages on which the form was not found, are left out.
        truth: What stands in them, by page and field.

    Raises:
        InputError: If nothing is known of any.
    """
    rows = [
        (
            value.page,
            value.field,
            value.kind,
            truth[value.page, value.field],
            value.value,
            value.score,
        )
        for value in values
        if value.kind and value.value and (value.page, value.field) in truth
    ]
    if not rows:
        raise InputError("truth names none of the pages and fields that were read")
    return pd.DataFrame(rows, columns=COLUMNS[1:])


def sentence(rows: pd.DataFrame) -> str:
    """Says how many of known fields were read right."""
    right = rows["truth"] == rows["value"]
    return f"{right.sum():,} of {len(right):,} known fields right ({right.mean():.1%})"
