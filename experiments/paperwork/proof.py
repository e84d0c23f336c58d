"""How a reader does on forms that it has not seen, filled in with test digits."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import forms
from mnistopt.data.scans import pages
from mnistopt.files import write_text
from mnistopt.report.charts import coverage
from mnistopt.report.charts.pictures import Picture, to_png
from mnistopt.results.stats import proportion_interval
from mnistopt.study.fields import calibrated, reject
from mnistopt.study.fields.layout import read_layout
from mnistopt.study.fields.reader import Reader
from mnistopt.study.fields.run import Read, Session

# What is counted by itself: fields of these forms that begin so.
PARTS = {
    "exam marks": ("exam", ("exercise", "sum")),
    "class-list numbers": ("exam", ("student",)),
    "boxed fields": ("transfer", ("",)),
    "unboxed amounts": ("cheque", ("",)),
}
FILE = "forms.json"
# Forms are read so many at a time.
_CHUNK = 250


def measure(
    study: Any, digits: Any, count: int, max_error: float, on_chunk: Any = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Reads forms of each kind, and compares with what stands in them.

    Args:
        study: The study of the reader.
        digits: The digits to write with.
        count: Forms of each kind.
        max_error: The share of accepted fields that may be wrong.
        on_chunk: Called with the kind and how many were read.

    Returns:
        What stands in forms.json; and a row per field: `form`, `page`, `field`,
        `truth`, `value`, `score`, `accepted`, `why`.
    """
    reader = Reader(study)
    known = calibrated.read_calibration(study.workdir, reader.digest)
    tables, seconds = [], {}
    claims: dict[str, Any] = {}
    for kind in ("exam", "transfer", "cheque"):
        seconds[kind] = 0.0
        for start in range(0, count, _CHUNK):
            with tempfile.TemporaryDirectory() as folder:
                path, some = Path(folder), min(_CHUNK, count - start)
                forms.write(kind, digits, some, 1000 + start, path)
                truth = calibrated.read_truth(path / "truth.csv")
                layout = read_layout(path / "layout.json")
                begun = time.perf_counter()
                read = Session(reader, layout, known).read(pages.find(path), max_error)
                seconds[kind] += time.perf_counter() - begun
            claims |= read.claims
            tables.append(_rows(kind, start, read, truth))
            if on_chunk:
                on_chunk(kind, start + some)
    rows = pd.concat(tables, ignore_index=True)
    answer = {
        "forms": count,
        "max_error": max_error,
        "seconds_per_page": {kind: time / count for kind, time in seconds.items()},
        "claims": {kind: claim._asdict() for kind, claim in claims.items()},
        "parts": {name: _counted(part) for name, part in parts(rows)},
        "machine": study.config.cpu,
        "versions": {"python": study.config.python, **study.config.versions},
        "networks": len(reader.members),
        "trained_on": study.config.data.train,
    }
    return answer, rows


def _rows(kind: str, start: int, read: Read, truth: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "form": kind,
            "page": [f"{start}-{value.page}" for value in read.values],
            "field": [value.field for value in read.values],
            "truth": [truth[value.page, value.field] for value in read.values],
            "value": [value.value for value in read.values],
            "score": [round(value.score, 9) for value in read.values],
            "accepted": [value.accepted for value in read.values],
            "why": [value.why for value in read.values],
        }
    )


def parts(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Returns the fields of each part."""
    return [
        (name, rows[(rows["form"] == form) & rows["field"].str.startswith(beginnings)])
        for name, (form, beginnings) in PARTS.items()
    ]


def _counted(rows: pd.DataFrame) -> dict[str, Any]:
    """Returns how many fields are accepted, and how many of these are wrong."""
    right = rows["truth"] == rows["value"]
    accepted = rows["accepted"]
    wrong = int((accepted & ~right).sum())
    low, high = proportion_interval(wrong, int(accepted.sum()))
    return {
        "fields": len(rows),
        "right": int(right.sum()),
        "accepted": int(accepted.sum()),
        "wrong": wrong,
        "low": low,
        "high": high,
    }


def write(folder: Path, answer: dict[str, Any], rows: pd.DataFrame) -> None:
    """Writes forms.json, forms.md, coverage.csv and coverage.png."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = []
    for name, part in parts(rows):
        right = (part["truth"] == part["value"]).to_numpy()
        curves.append(reject.curve(part["score"].to_numpy(), right).assign(form=name))
    frame = coverage.coverage_frame(pd.concat(curves, ignore_index=True))
    marks = pd.DataFrame(
        [
            {
                "form": name,
                "coverage": 100 * part["accepted"] / part["fields"],
                "risk": 100 * part["wrong"] / max(part["accepted"], 1),
            }
            for name, part in answer["parts"].items()
        ]
    )
    chart = coverage.coverage_chart(frame, marks, 100 * answer["max_error"])
    (folder / "coverage.png").write_bytes(to_png(Picture.of(frame, chart).spec))
    frame.to_csv(folder / "coverage.csv", index=False)
    write_text(folder / FILE, json.dumps(answer, indent=2) + "\n")
    write_text(folder / "forms.md", f"# Forms\n\n{table(answer)}")


def table(answer: dict[str, Any]) -> str:
    """Returns the table of results, in Markdown."""
    lines = [
        "| fields | n | read right | taken over unseen | of these wrong, 95 % |",
        "|---|---|---|---|---|",
    ]
    for name, part in answer["parts"].items():
        n, accepted = part["fields"], part["accepted"]
        share = part["wrong"] / max(accepted, 1)
        lines.append(
            f"| {name} | {n:,} | {part['right'] / n:.1%} | {accepted / n:.1%} | "
            f"{share:.2%} [{part['low']:.2%}, {part['high']:.2%}] |"
        )
    return "\n".join(lines).replace("%", " %").replace("95  %", "95 %") + "\n"
