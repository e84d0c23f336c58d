import numpy as np
import pytest

from mnistopt.results.columns import labelled
from mnistopt.results.tables import curves_table, summary_table, trials_table


@pytest.fixture(scope="session")
def make_tables(make_record):
    """A function that makes the three tables of points, the first ones the best."""

    def make(points, seeds=2, **history):
        """Makes trials, curves and summary; `seeds` may be a list, one per point."""
        counts = seeds if isinstance(seeds, list) else [seeds] * len(points)
        rng = np.random.default_rng(0)
        records = []
        for rank, (point, count) in enumerate(zip(points, counts)):
            for seed in range(count):
                epochs = point.epochs
                correct = (48 - rank % 40 - rng.integers(0, 2, epochs)).tolist()
                losses = (50 * (1 + rank + rng.random(epochs))).tolist()
                test = [190 - 2 * (rank % 90) - int(rng.integers(0, 3))] * epochs
                columns = {
                    "validation_correct": correct,
                    "validation_loss_sum": losses,
                    "test_correct": [0] * (epochs - 1) + test[-1:],
                }
                records.append(make_record(point, seed, **columns | history))
        trials = trials_table(records)
        return trials, curves_table(records), labelled(summary_table(trials))

    return make
