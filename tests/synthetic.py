"""Reproductions of the paper whose truth is known, for the tests."""

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd

from mnistopt.paper.frames import row_name
from mnistopt.paper.plan import Options, make_cells

CELLS = make_cells(Options())


def synthetic(n=5, noise=1e-4, accuracy=lambda point: 0.97, part="all", seed=0):
    """A table of seeds as training would give it; `accuracy` is the truth."""
    rng = np.random.default_rng(seed)
    values: dict = {}
    rows = []
    for cell, s in itertools.product(CELLS, range(n)):
        point = cell.row.point
        if (point, s) not in values:
            test = accuracy(point) + noise * rng.normal()
            values[point, s] = {
                "train_accuracy": 0.99,
                "validation_accuracy": test,
                "test_accuracy": test,
                "overfitting": 0.99 - test,
                "best_epoch": 2.0,
                "best_test_accuracy": test,
                "convergence_epoch": 3.0,
                "first_accuracy": 0.9 + noise * rng.normal(),
                "oscillation": 0.01 + noise * rng.normal(),
            }
        rows.append(
            {
                "table": cell.table,
                "row": row_name(cell),
                "part": part,
                "train_examples": 100,
                "test_examples": 100,
                "epochs": point.epochs,
                "point": point.identity(),
                "trial": f"{point.identity()}-{s}",
                "seed": s,
                "status": "finished",
                "params": 1,
                "replica": f"{dataclasses.replace(point, epochs=1).identity()}-{s}",
                "seconds": 1.0,
                **values[point, s],
            }
        )
    return pd.DataFrame(rows)


def timed(ratio=1.0, repeats=5):
    """A table of speeds in which batch 32 takes `ratio` times the others' time."""
    rng = np.random.default_rng(0)
    programs = {cell.row.point.program for cell in CELLS}
    rows = [
        {
            "part": "all",
            "program": program.identity(),
            "alone": False,
            "repeat": repeat,
            "seconds": (ratio if program.recipe.batch_size == 32 else 1.0)
            * math.exp(1e-3 * rng.normal()),
        }
        for program in programs
        for repeat in range(1, repeats + 1)
    ]
    return pd.DataFrame(rows)
