"""What programs print to: a console as wide as there is room, and its tables."""

import os
import sys
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table


class _Console(Console):
    """A console that leaves it to the program what a reader's end means."""

    def on_broken_pipe(self) -> None:
        """Is called where the error is handled, and lets it go on."""
        raise  # noqa: PLE0704


def make_console() -> Console:
    """Returns a console; a file or a pipe gets lines of the usual 80 columns."""
    asked = os.environ.get("COLUMNS")
    width = None if sys.stdout.isatty() or asked else 80
    return _Console(width=width, highlight=False, emoji=False)


def make_table() -> Table:
    """Returns a table without columns, in the style of all."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def fits(console: Console, table: Table) -> bool:
    """Says whether a table can be printed without cutting or folding a cell."""
    # As wide as it likes: a measure is of no more than what there is.
    anything = console.options.update(width=100_000)
    return console.measure(table, options=anything).maximum <= console.width


def first_that_fits(console: Console, tables: Iterable[Table]) -> Table:
    """Returns the first of some tables that fits, or else the last."""
    for table in tables:
        if fits(console, table):
            break
    return table
