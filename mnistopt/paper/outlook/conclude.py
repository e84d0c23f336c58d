"""The outlook in tables and words: outlook.md, made of what was measured alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mnistopt.files import write_text
from mnistopt.paper.frames import epoch_seconds, finished_seeds, row_name
from mnistopt.paper.judge import judge
from mnistopt.paper.markdown import (
    bullets,
    markdown_table,
    percent,
    plain,
    points,
    ranged,
    verdict_items,
    write_claims,
)
from mnistopt.paper.outlook.claims import CLAIMS
from mnistopt.paper.outlook.measure import (
    COSTS,
    ROBUST_EXAMPLES,
    Measured,
    interval_of,
)
from mnistopt.paper.outlook.rows import RECIPE, TABLES, base_of, make_cells, trained
from mnistopt.paper.report import made_by
from mnistopt.paper.tables import MARGIN
from mnistopt.results.stats import paired_difference

_ABOUT = f"""\
The paper ends by naming what it did not do: augmentation for robustness, batch
normalization for convergence, MobileNet and ShuffleNet for less computation. Here that
is done as replicas, side by side. Means over n seeds, 95 % intervals over the seeds in
brackets, the test digits being fixed; “vs” are differences from the first row, or from
that of the same model, paired by seed, in points. Robustness is measured on
{ROBUST_EXAMPLES:,} test digits, the same for all."""

_ABOUT_CLAIMS = f"""\
Verdicts as in the reproduction of the paper's tables: two-sided t tests over the seeds,
corrected for all lines of a table (Holm). A line is supported if its contrast is shown
to lie where the outlook says, and contradicted if it is shown not to; “no worse” is
less than {100 * MARGIN:.1f} points below. “Needed” are the seeds with which four
studies of five would show a true difference of {100 * MARGIN:.1f} points."""

# Column of seeds.csv, its heading, how it is written, and whether it is compared.
_COLUMNS: dict[str, tuple[str, Callable[[float], str], bool]] = {
    "test_accuracy": ("test %", percent, True),
    "robust": ("robust %", percent, True),
    "robust_noise": ("under noise %", percent, False),
    "robust_deformation": ("deformed %", percent, False),
    "convergence_epoch": ("convergence epoch", plain, False),
}


def make_table(number: int, measured: Measured) -> pd.DataFrame:
    """Returns one of the outlook's tables (tableN.csv).

    Returns:
        A row per row of the table: its words and name; n; per metric its mean and the
        ends of its 95 % interval over the seeds, and, for those that are compared, the
        same of its difference from the row it is compared with; `params`, `COSTS`, and
        the `seconds` that a replica's epochs take.
    """
    cells = [cell for cell in make_cells(measured.options) if cell.table == number]
    by_point = {cell.row.point: finished_seeds(measured.seeds, cell) for cell in cells}
    rows = []
    for cell, asked in zip(cells, TABLES[number].rows):
        mine = by_point[cell.row.point]
        base = by_point[trained(base_of(asked), measured.options)]
        row: dict[str, Any] = {**cell.row.words, "row": row_name(cell), "n": len(mine)}
        for name in TABLES[number].measured:
            row |= _interval(name, interval_of(name, mine[name].tolist()))
            if _COLUMNS[name][2] and mine is not base:
                pairs = pd.concat([mine[name], base[name]], axis=1, join="inner")
                difference = paired_difference(*pairs.to_numpy().T)
                row |= _interval(f"{name}_difference", difference.interval)
        row |= {name: mine[name].median() for name in ("params", *COSTS)}
        epoch = epoch_seconds(measured.speeds, cell.row.point).median()
        rows.append(row | {"seconds": cell.row.point.epochs * epoch})
    return pd.DataFrame(rows)


def _interval(name: str, interval: Any) -> dict[str, float]:
    return {
        name: interval.mean,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
    }


def _write_table(number: int, table: pd.DataFrame) -> str:
    """Returns a table as Markdown."""
    columns = [(name, list(table[name])) for name in TABLES[number].rows[0].words]
    columns.append(("n", [str(n) for n in table["n"]]))
    for name in TABLES[number].measured:
        heading, write, compared = _COLUMNS[name]
        columns.append((heading, _ranges(name, table, write)))
        if compared:
            columns.append(("vs", _ranges(f"{name}_difference", table, points)))
    for name, heading, number_format in (
        ("params", "parameters", "{:,.0f}"),
        ("multiply_adds", "multiply-adds", "{:,.0f}"),
        ("seconds", "training s", "{:.0f}"),
        ("latency_1_ms", "ms, batch 1", "{:.2f}"),
        ("latency_256_ms", "ms, 256", "{:.1f}"),
    ):
        columns.append((heading, [number_format.format(one) for one in table[name]]))
    header, cells = zip(*columns)
    return markdown_table(header, list(zip(*cells)))


def _ranges(name: str, table: pd.DataFrame, write: Callable[[float], str]) -> list[str]:
    ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"])
    return [ranged(*three, write) for three in ends]


def conclude(workdir: str | Path) -> pd.DataFrame:
    """Makes and writes all that follows from what was measured.

    Args:
        workdir: Has the files of `Measured`; `tables/*.csv` and `outlook.md` are
            written beside them.

    Returns:
        The claims, from `judge.judge`.

    Raises:
        InputError: If one of those files is missing or cannot be read.
    """
    workdir = Path(workdir).expanduser()
    measured = Measured.read(workdir)
    tables = {number: make_table(number, measured) for number in TABLES}
    claims = judge(
        measured.seeds,
        pd.DataFrame(),
        lambda point: trained(point, measured.options),
        CLAIMS,
    )
    frames = {f"table{number}": table for number, table in tables.items()}
    for name, frame in (frames | {"claims": claims}).items():
        write_text(workdir / "tables" / f"{name}.csv", frame.to_csv(index=False))
    write_text(workdir / "outlook.md", _write(measured, tables, claims))
    return claims


def _write(
    measured: Measured, tables: Mapping[int, pd.DataFrame], claims: pd.DataFrame
) -> str:
    data, asked = measured.study["data"], measured.study["asked"]
    size = (
        f"All rows were trained on {data['train']:,} digits of {data['dataset']} with "
        f"{asked['seeds']} seeds."
    )
    parts = ["# The paper's outlook, with seeds and intervals", _ABOUT, size]
    parts += ["## The claims", _ABOUT_CLAIMS, verdict_items(claims)]
    parts += [write_claims(claims)]
    for number, table in tables.items():
        parts += [f"## Table {number}: {TABLES[number].title}"]
        parts += [_write_table(number, table)]
    parts += ["## Definitions", bullets(RECIPE)]
    parts += ["## How this was made", made_by(measured.command, [measured.study])]
    return "\n\n".join(parts) + "\n"
