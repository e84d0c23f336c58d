"""The outlook as one page: outlook.md with pictures, made of the workdir's files."""

from pathlib import Path

from mnistopt.files import read_csv
from mnistopt.paper.charts import claims_chart, claims_frame
from mnistopt.paper.outlook.charts import (
    robust_chart,
    robust_frame,
    table_chart,
    table_frame,
)
from mnistopt.paper.outlook.measure import Measured
from mnistopt.paper.outlook.rows import TABLES
from mnistopt.paper.page import write_sections
from mnistopt.report.charts.pictures import Picture


def is_outlook(workdir: Path) -> bool:
    """Says whether a folder holds the outlook, not a single study."""
    return (workdir / "outlook.md").exists() and (workdir / "tables").is_dir()


def write_page(workdir: Path) -> Path:
    """Writes figures/ and report.html.

    Args:
        workdir: Folder of the outlook.

    Returns:
        The path of the page.

    Raises:
        InputError: If its files cannot be read.
    """
    measured = Measured.read(workdir)
    claims = claims_frame(read_csv(workdir / "tables" / "claims.csv"))
    claims = claims.dropna(subset=["difference"])
    pictures: dict[str, dict[str, Picture]] = {
        "The claims": {"claims": Picture.of(claims, claims_chart(claims))}
    }
    for number, table in TABLES.items():
        frame = table_frame(number, measured)
        found = {f"table{number}": Picture.of(frame, table_chart(frame, number))}
        if number == 6:
            robust = robust_frame(measured)
            found["robustness"] = Picture.of(robust, robust_chart(robust))
        pictures[f"Table {number}: {table.title}"] = found
    return write_sections(
        workdir, (workdir / "outlook.md").read_text(encoding="utf-8"), pictures
    )
