"""What of a study's tables is the same whenever and wherever it is computed."""

import pandas as pd

from mnistopt.results.columns import TIMED


def without_times(table: pd.DataFrame) -> pd.DataFrame:
    """Leaves out the columns that a clock fills."""
    return table.drop(columns=["seconds", *TIMED], errors="ignore")
