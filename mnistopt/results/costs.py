"""What a network costs to use: columns of tables, the same for all its replicas."""

from collections.abc import Mapping

import pandas as pd

from mnistopt.axes import show
from mnistopt.points import Structure

# Per name of a network (`network_name`), numbers by the names of columns.
Costs = Mapping[str, Mapping[str, float]]

# Counted: the multiplications of one image's forward pass, and the bytes of parameters
# and running statistics. Measured: milliseconds to classify 1 and 256 images.
COUNTED = ("multiply_adds", "bytes")
TIMED = ("latency_1_ms", "latency_256_ms")
COSTS = (*COUNTED, *TIMED)


def network_name(structure: Structure) -> str:
    """Returns the words by which config.json knows what a network costs."""
    values = [f"{name}={show(value)}" for name, value in sorted(structure.values)]
    return " ".join(filter(None, (structure.model, *values, structure.program)))


def with_costs(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of trials or points whose costs have their types.

    A study that an earlier version made has none: its columns are empty, after
    `params`.
    """
    at = list(table.columns).index("params") + 1
    for place, name in enumerate(COSTS):
        if name not in table:
            table.insert(at + place, name, None)
        table[name] = table[name].astype("Int64" if name in COUNTED else float)
    return table
