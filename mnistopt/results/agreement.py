"""Whether two runs of a study have given the same numbers."""

from typing import NamedTuple

import pandas as pd

# Where bits cannot agree. Rounding has hardly grown after one epoch; later it decides
# single images, of which 500 to 5,000 are held out for validation.
FIRST_LOSS = 0.01
ACCURACY = 0.02
_MEASURED = [
    f"{split}_{what}"
    for split in ("train", "validation", "test")
    for what in ("accuracy", "loss")
]


class Agreement(NamedTuple):
    """How far two tables of curves agree.

    Attributes:
        replicas: How many both have.
        epochs: How many of all replicas both have.
        apart: Rows that differ in a bit, first epochs first: `replica`, `epoch`, and
            what is measured, with `_there` and `_here` added.
        beyond: Those of them that differ by more than rounding should.
    """

    replicas: int
    epochs: int
    apart: pd.DataFrame
    beyond: pd.DataFrame

    @property
    def largest(self) -> float:
        """The largest difference of a validation accuracy."""
        return float(_difference(self.apart, "validation_accuracy").max())


def compare(there: pd.DataFrame, here: pd.DataFrame) -> Agreement:
    """Compares two tables of curves, as far as both have the same epochs.

    The tolerance is 1 % of the validation loss after the first epoch, and 2 points of
    any validation accuracy.

    Args:
        there: As `tables.curves_table` makes it.
        here: Likewise.
    """
    columns = ["replica", "epoch", *_MEASURED]
    both = there[columns].merge(
        here[columns], on=["replica", "epoch"], suffixes=("_there", "_here")
    )
    same = pd.Series(True, both.index)
    for name in _MEASURED:
        left, right = both[f"{name}_there"], both[f"{name}_here"]
        same &= (left == right) | (left.isna() & right.isna())
    apart = both[~same].sort_values(["epoch", "replica"], ignore_index=True)
    loss = _difference(apart, "validation_loss") / apart["validation_loss_there"]
    # What is not a number on one side only is no rounding.
    far = ~(_difference(apart, "validation_accuracy") <= ACCURACY)
    far |= (apart["epoch"] == 1) & ~(loss <= FIRST_LOSS)
    beyond = apart[far].reset_index(drop=True)
    return Agreement(both["replica"].nunique(), len(both), apart, beyond)


def _difference(rows: pd.DataFrame, name: str) -> pd.Series:
    return (rows[f"{name}_there"] - rows[f"{name}_here"]).abs()
