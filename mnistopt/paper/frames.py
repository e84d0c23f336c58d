"""The paper's tables as they were measured here, made of the table of seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from mnistopt.paper.plan import Cell
from mnistopt.paper.tables import TABLES
from mnistopt.points import Point
from mnistopt.results.stats import bootstrap_interval
from mnistopt.results.tables import FINISHED, choices, interval_of

# The paper's minutes are of 50 epochs (Table 1).
EPOCHS_OF_MINUTES = 50


def row_name(cell: Cell) -> str:
    """Returns a row's name in the paper's words, as "model MLP, dropout 0.3"."""
    return ", ".join(f"{name} {value}" for name, value in cell.row.words.items())


def finished_seeds(seeds: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    """Returns the finished seeds of a row, by seed."""
    return seeds[
        (seeds["table"] == cell.table)
        & (seeds["row"] == row_name(cell))
        & (seeds["part"] == cell.part)
        & (seeds["status"] == FINISHED)
    ].set_index("seed")


def row_of(cell: Cell, tables: Mapping[int, pd.DataFrame]) -> pd.Series:
    """Returns the row of a table that a cell is; tables by number."""
    table = tables[cell.table]
    same = (table["row"] == row_name(cell)) & (table["part"] == cell.part)
    return table[same].iloc[0]


def rivals(cell: Cell) -> tuple[str, str | None]:
    """Returns what the rows have in common among which the best is chosen.

    They are trained on the same digits; Table 4 chooses a dropout for each model.
    """
    return cell.part, cell.row.point.structure.model if cell.table == 4 else None


def make_table(
    number: int, cells: Iterable[Cell], seeds: pd.DataFrame, speeds: pd.DataFrame
) -> pd.DataFrame:
    """Returns one of the paper's tables as it was measured here (tableN.csv).

    Args:
        number: Of the table.
        cells: The rows of all tables.
        seeds: From `evidence.collect_seeds`.
        speeds: From `times.make_speeds`; what Table 1 says of minutes.

    Returns:
        A row per row of the table: its words; where it was trained; n, and a replica's
        share of the machine in `train_minutes`, as the study took it; per metric its
        mean, the ends of its 95 % interval over the seeds, the paper's figure (empty
        where it has none) and their difference; and `choice`: "best" by validation
        accuracy among its `rivals`, "tied" with it, or "fewer seeds", which neither
        wins nor ties. For test accuracy the bootstrap's interval is there, too.
    """
    metrics = [*TABLES[number].measured, "validation_accuracy"]
    rows, values = [], []
    for cell in cells:
        if cell.table != number:
            continue
        mine = finished_seeds(seeds, cell)
        row: dict[str, object] = {name: str(v) for name, v in cell.row.words.items()}
        of_part = seeds[seeds["part"] == cell.part]
        row |= {
            "row": row_name(cell),
            "part": cell.part,
            "train_examples": _only(of_part["train_examples"]),
            "trained_epochs": cell.row.point.epochs,
            "n": len(mine),
            "train_minutes": mine["seconds"].mean() / 60,
        }
        for name in metrics:
            row |= _described(name, mine[name].tolist(), cell.row.figures.get(name))
        if number == 1:
            minutes = EPOCHS_OF_MINUTES / 60 * epoch_seconds(speeds, cell.row.point)
            row |= _described("minutes", minutes.tolist(), cell.row.figures["minutes"])
        rows.append(row)
        values.append(mine["validation_accuracy"])
    table = pd.DataFrame(rows)
    group = [rivals(cell) for cell in cells if cell.table == number]
    table.insert(len(cells_words(number)), "choice", _choices(group, values))
    return table


def epoch_seconds(speeds: pd.DataFrame, point: Point) -> pd.Series:
    """Returns a point's share of the seconds of an epoch, by repeat.

    Args:
        speeds: From `times.make_speeds`.
        point: The point; its program decides. The part "best", with more digits than
            what it might be compared with, has no say.
    """
    mine = (speeds["program"] == point.program.identity()) & ~speeds["alone"]
    found = speeds[mine & (speeds["part"] != "best")]
    # An MLP may be in two parts: Table 1 compares it where the CNNs are, the later one.
    return found.drop_duplicates("repeat", keep="last").set_index("repeat")["seconds"]


def cells_words(number: int) -> list[str]:
    """Returns the names of the columns that say which row of a table it is."""
    return list(TABLES[number].rows[0].words)


def _only(values: pd.Series) -> int | None:
    return None if values.empty else int(values.iloc[0])


def _described(name: str, values: list[float], paper: float | None) -> dict:
    interval = interval_of(name, values)
    row = {
        name: interval.mean,
        f"{name}_std": interval.std,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
    }
    if name == "test_accuracy":
        bootstrap = bootstrap_interval(values)
        row |= {f"{name}_bca_low": bootstrap.low, f"{name}_bca_high": bootstrap.high}
    if name != "validation_accuracy":
        figure = math.nan if paper is None else paper
        row |= {f"{name}_paper": figure, f"{name}_difference": interval.mean - figure}
    return row


def _choices(groups: Sequence[object], values: Sequence[pd.Series]) -> list[str]:
    """Returns which rows are best by validation accuracy, in each group."""
    found = [""] * len(groups)
    for group in dict.fromkeys(groups):
        members = [i for i, other in enumerate(groups) if other == group]
        for i, choice in zip(members, choices([values[i] for i in members])):
            found[i] = choice
    return found
