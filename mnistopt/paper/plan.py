"""What a reproduction of the paper trains: its rows, in parts of one data set each."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mnistopt.errors import InputError
from mnistopt.paper.tables import TABLES, Row, tuned
from mnistopt.points import Point


@dataclasses.dataclass(frozen=True)
class Options:
    """How large a reproduction is.

    Attributes:
        tables: Numbers of the tables to make.
        dataset: One of `official.DATASETS`.
        data_dir: Folder with its files, or None.
        seeds: Seeds of every row, or of every MLP row if `cnn_seeds` is given.
        train_examples: Training examples; None for all.
        cnn_seeds: Seeds of the rows that are compared with CNNs; None for `seeds`.
        cnn_train_examples: Their training examples; None for `train_examples`. CNNs
            take 40 times the time of MLPs.
        best_seeds: Seeds of the paper's best CNN on `train_examples`, beside its row
            among the other CNNs where those have fewer; 0 for none.
        epochs_scale: Factor to the paper's numbers of epochs.
    """

    tables: tuple[int, ...] = tuple(TABLES)
    dataset: str = "mnist_5k"
    data_dir: str | None = None
    seeds: int = 3
    train_examples: int | None = None
    cnn_seeds: int | None = None
    cnn_train_examples: int | None = None
    best_seeds: int = 0
    epochs_scale: float = 1.0

    def __post_init__(self):
        """Checks what the engine does not."""
        if unknown := sorted(set(self.tables) - set(TABLES)):
            raise InputError(
                f"tables={','.join(map(str, unknown))}: the paper has tables "
                f"{', '.join(map(str, TABLES))}"
            )
        if not self.tables:
            raise InputError("tables has no numbers; give at least one of 1 to 5")
        rows = [row.point for number in self.tables for row in TABLES[number].rows]
        for name in ("cnn_seeds", "cnn_train_examples", "best_seeds"):
            if getattr(self, name) and not any(
                p.structure.model == "cnn" for p in rows
            ):
                raise InputError(
                    f"{name}={getattr(self, name)} has no effect, as tables="
                    f"{','.join(map(str, self.tables))} has no CNN: leave it out"
                )
        if not 0 < self.epochs_scale <= 10:
            raise InputError(
                f"epochs_scale={self.epochs_scale:g}: expected a number above 0, and "
                "of at most 10"
            )


class Part(NamedTuple):
    """Rows that are trained on the same examples with the same seeds: one study.

    Attributes:
        name: Of its folder in the workdir.
        points: What is trained, each once.
        seeds: How many.
        train_examples: As in `Options`.
    """

    name: str
    points: tuple[Point, ...]
    seeds: int
    train_examples: int | None


class Cell(NamedTuple):
    """A row of a table, and the part that trains it.

    Attributes:
        table: The table's number.
        row: The row, its point with the epochs that are trained.
        part: The name of the part.
    """

    table: int
    row: Row
    part: str


def scaled(point: Point, scale: float) -> Point:
    """Returns the point with its epochs times `scale`, at least 1."""
    return dataclasses.replace(point, epochs=max(1, round(point.epochs * scale)))


def describe(point: Point) -> str:
    """Returns a point in words, as "CNN 32x64x64/128, dropout 0.3, 80 epochs".

    Batch size and learning rate are said where they are not those of Tables 1 to 4.
    """
    model, _, layers = str(point.structure).partition(" ")
    usual, lr = TABLES[1].rows[0].point, point.hparams.lr
    words = [f"{model.upper()} {layers}", f"dropout {point.hparams.dropout:g}"]
    if lr != usual.hparams.lr:
        words.append(f"learning rate {lr:g}")
    if point.recipe != usual.recipe:
        words.append(f"batches of {point.recipe.batch_size}")
    return ", ".join([*words, f"{point.epochs} epochs"])


def make_cells(options: Options) -> list[Cell]:
    """Returns every row that is asked for, in the order of the tables.

    Where CNNs are trained on fewer examples or seeds than MLPs, the MLP of Table 1 is
    trained as they are, so that what is compared differs in nothing else.
    """
    split = _is_split(options)
    cells = []
    for number in options.tables:
        for row in TABLES[number].rows:
            alone = row.point.structure.model == "mlp" and number != 1
            part = "all" if not split else "mlp" if alone else "cnn"
            cells.append(_cell(number, row, part, options))
    if options.best_seeds and split and 5 in options.tables:
        best = next(row for row in TABLES[5].rows if row.point == tuned())
        cells.append(_cell(5, best, "best", options))
    return cells


def _is_split(options: Options) -> bool:
    return (options.cnn_seeds or options.seeds) != options.seeds or (
        options.cnn_train_examples or options.train_examples
    ) != options.train_examples


def _cell(table: int, row: Row, part: str, options: Options) -> Cell:
    point = scaled(row.point, options.epochs_scale)
    return Cell(table, row._replace(point=point), part)


def make_parts(cells: Iterable[Cell], options: Options) -> list[Part]:
    """Returns the parts that train the cells, each point of a part once."""
    by_part: dict[str, list[Point]] = {}
    for cell in cells:
        by_part.setdefault(cell.part, []).append(cell.row.point)
    sizes = {
        "all": (options.seeds, options.train_examples),
        "mlp": (options.seeds, options.train_examples),
        "cnn": (
            options.cnn_seeds or options.seeds,
            options.cnn_train_examples or options.train_examples,
        ),
        "best": (options.best_seeds, options.train_examples),
    }
    order: Sequence[str] = [name for name in sizes if name in by_part]
    return [
        Part(name, tuple(dict.fromkeys(by_part[name])), *sizes[name]) for name in order
    ]
