"""What is known of a study's readings: of fields whose values were known."""

import dataclasses
import io
import unicodedata
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
from mnistopt.study.fields.layout import Field, Layout
from mnistopt.study.fields.reject import Claim

# The readings of known fields, in the study's folder.
FILE = "readings.csv"
COLUMNS = ["reader", "form", "page", "field", "kind", "truth", "value", "score"]
# Fields of cells, and those that are written freely, err differently.
CELLS, FREE = "cells", "free"
# Fields that it takes to calibrate a form's probabilities by its own.
FEWEST = 500
# Fields that it takes to calibrate any.
LEAST = 50


def kind_of(field: Field) -> str:
    """Returns which fields a field is calibrated with."""
    return CELLS if field.cells else FREE


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The readings of known fields.

    Attributes:
        rows: A row per field that said anything: `COLUMNS`. `reader` and `form` are the
            digests of the networks and of the layout, `score` is the probability of the
            value as the lattice has it.
    """

    rows: pd.DataFrame

    def of(self, form: str, kind: str, fewest: int) -> pd.DataFrame:
        """Returns the rows of a form's fields of a kind, or of all forms' if few.

        Args:
            form: The digest of its layout.
            kind: See `kind_of`.
            fewest: How many it takes. That is known before any is read, so that the
                choice costs no confidence.
        """
        rows = self.rows[self.rows["kind"] == kind]
        own = rows[rows["form"] == form]
        return own if len(own) >= fewest else rows

    def claim(self, form: str, kind: str, max_error: float) -> Claim:
        """Returns the threshold of scores, see `reject.claim`."""
        rows = self.of(form, kind, reject.needed(max_error))
        right = (rows["truth"] == rows["value"]).to_numpy()
        return reject.claim(rows["score"].to_numpy(float), right, max_error)

    def calibrator(self, form: str, kind: str) -> Callable[[float], float]:
        """Returns what says how likely a value is right, by its score.

        Logistic in the score's logit (Platt 1999); the score where little is known.
        """
        rows = self.of(form, kind, FEWEST)
        right = (rows["truth"] == rows["value"]).to_numpy()
        if len(rows) < LEAST or right.all() or not right.any():
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


def read_calibration(workdir: Path, reader: str) -> Calibration:
    """Reads what is known of a reader; nothing where there is no file.

    Args:
        workdir: The study's folder.
        reader: The digest of its networks: what others said is not known of these.

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
        rows = rows[COLUMNS].astype({"score": float})
        return Calibration(rows[rows["reader"] == reader])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove it, and calibrate again by "
            "read --truth"
        ) from error


def keep_calibration(
    workdir: Path, reader: str, form: str, rows: pd.DataFrame
) -> Calibration:
    """Adds the readings of a form's known fields to those of a reader.

    Args:
        workdir: The study's folder.
        reader: The digest of its networks.
        form: The digest of the form's layout.
        rows: `COLUMNS` but for these two. They replace those of the same pages.
    """
    known = read_calibration(workdir, reader).rows
    again = (known["form"] == form) & known["page"].isin(rows["page"])
    added = rows.assign(reader=reader, form=form)[COLUMNS]
    joined = pd.concat([known[~again], added]) if len(known) else added
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
        path: A CSV file with the columns page, field and value; with semicolons, as
            some spreadsheets write it, or commas.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        between = ";" if ";" in text.partition("\n")[0] else ","
        table = pd.read_csv(
            io.StringIO(text), sep=between, dtype=str, keep_default_na=False
        )
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
    return {_key(page, field): value.strip() for page, field, value in rows}


def _key(page: str, field: str) -> tuple[str, str]:
    """Returns a page's and a field's name; an accent is written in two ways."""
    return unicodedata.normalize("NFC", page), unicodedata.normalize("NFC", field)


def compare(
    values: Sequence[Any], truth: Mapping[tuple[str, str], str], layout: Layout
) -> pd.DataFrame:
    """Returns the readings of known fields, as `keep_calibration` takes them.

    Args:
        values: What fields are taken for, see `run.Value`; those that are empty, and
            of pages on which the form was not found, are left out.
        truth: What stands in them, by page and field.
        layout: Of the form: 7,50 and 7.5 are the same mark.

    Raises:
        InputError: If nothing is known of any.
    """
    rules = {field.name: field.rule for field in layout.fields}
    rows = []
    for value in values:
        known = truth.get(_key(value.page, value.field))
        if known is not None and value.kind and value.value:
            known = rules[value.field].typed(known)
            told = value.page, value.field, value.kind, known, value.value, value.score
            rows.append(told)
    if not rows:
        raise InputError("truth names none of the pages and fields that were read")
    return pd.DataFrame(rows, columns=COLUMNS[2:])


def sentence(rows: pd.DataFrame) -> str:
    """Says how many of known fields were read right."""
    right = rows["truth"] == rows["value"]
    return f"{right.sum():,} of {len(right):,} known fields right ({right.mean():.1%})"
