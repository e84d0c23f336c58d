"""The splits of workdirs of format 2, which went by the order of storage.

Such workdirs are evaluated on the examples they held out, and not continued.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mnistopt.data.splits import Split, hold_out

_TEST, _VALIDATION, _SUBSET = range(3)  # independent draws


def make_splits(*parts: Split, sizes: Mapping[str, Any]) -> tuple[Split, Split, Split]:
    """Returns the train, validation and test splits.

    Args:
        *parts: The examples as they are stored, and the test part if there is one.
        sizes: `train`, `validation` and `test`, as config.json tells.
    """
    rest, *tests = parts
    if not tests:
        rest, *tests = _hold_out(rest, sizes["test"], _TEST)
    rest, validation = _hold_out(rest, sizes["validation"], _VALIDATION)
    if sizes["train"] < len(rest.labels):
        rest = _hold_out(rest, sizes["train"], _SUBSET)[1]
    return rest, validation, tests[0]


def _hold_out(split: Split, size: int, draw: int) -> tuple[Split, Split]:
    keys = np.random.PCG64([0, draw]).random_raw(len(split.labels))
    return hold_out(split, size, keys)
