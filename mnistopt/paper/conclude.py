"""Writes what follows from what was measured, without training and without images."""

from pathlib import Path

from mnistopt.files import write_text
from mnistopt.paper.evidence import Evidence
from mnistopt.paper.findings import Findings, find
from mnistopt.paper.report import write_report

# What whoever looked at the tables wants to say of them; shown where it is there.
NOTES = "notes.md"


def conclude(workdir: str | Path) -> Findings:
    """Makes and writes all that follows from what was measured.

    Args:
        workdir: Has the files of `evidence`, and maybe `NOTES`; `tables/*.csv` and
            `paper.md` are written beside them.

    Raises:
        InputError: If one of those files is missing or cannot be read.
    """
    workdir = Path(workdir).expanduser()
    evidence = Evidence.read(workdir)
    found = find(evidence)
    for name, frame in found.frames().items():
        write_text(workdir / "tables" / f"{name}.csv", frame.to_csv(index=False))
    notes = workdir / NOTES
    told = notes.read_text(encoding="utf-8") if notes.exists() else ""
    write_text(workdir / "paper.md", write_report(found, evidence, told))
    return found
