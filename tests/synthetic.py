"""Reproductions of the paper whose truth is known, for the tests."""

import math

import numpy as np
import pandas as pd

from experiments.reproduction.evidence import Evidence, Measured
from experiments.reproduction.paper import Paper
from mnistopt.points import replica_id
from mnistopt.results.tables import trial_id

DATA = "d" * 16
ABOUT = {"dataset": "made up", "train": 100, "validation": 50, "test": 1000}
SOURCE = {"cpu": "a cpu", "python": "3", "versions": {"jax": "0"}, "commit": "c" * 40}


def structure(setting):
    """The sizes of the hidden layers, or the kernels, as in "32x64"."""
    row = setting.point.row()
    return row.get("hidden") or row.get("channels")


def synthetic(
    paper=None,
    n=5,
    noise=1e-4,
    accuracy=lambda setting: 0.97,
    seed=0,
    more=None,
    speed=lambda setting: 1.0,
    data=DATA,
):
    """Evidence as training would give it.

    Args:
        paper: Its settings; the paper's if None.
        n: Seeds of each.
        noise: Standard deviation of an accuracy.
        accuracy: The truth, by setting.
        seed: Of the noise.
        more: By setting, other columns of trials.csv, and `curve`.
        speed: Seconds of an epoch.
        data: The fingerprint.
    """
    rng = np.random.default_rng(seed)
    paper = paper or Paper.read("paper")
    trials, curves, speeds = {}, {}, {}
    for setting in paper.trained().values():
        point = setting.point
        for number in range(n):
            replica = replica_id(point, number, data)
            name = trial_id(replica, point.epochs)
            test = accuracy(setting) + noise * rng.normal()
            row = {
                "trial": name, "replica": replica, "data": data, "seed": number,
                "setting": paper.describe(setting), "epochs": point.epochs,
                "status": "finished", "train_accuracy": 0.99, "source": 0,
                "validation_accuracy": test, "test_accuracy": test, "seconds": 60.0,
                "best_test_accuracy": test, "convergence_epoch": 3, "params": 7,
                "multiply_adds": 5e6, "latency_1_ms": 1.0, "latency_256_ms": 9.0,
            }  # fmt: skip
            row |= more(setting) if more else {}
            curve = row.pop("curve", None)
            trials.setdefault(name, row)
            if len(curves.get(replica, ())) < point.epochs:
                curve = curve or [0.9, *[test] * (point.epochs - 1)]
                curves[replica] = pd.DataFrame(
                    {
                        "replica": replica,
                        "epoch": range(1, point.epochs + 1),
                        "validation_accuracy": curve[: point.epochs],
                        "validation_loss": 0.1,
                    }
                )
    for setting in paper.timed().values():
        name = setting.point.program.identity()
        speeds[name] = [
            {
                "data": data, "program": name, "network": str(setting.point.structure),
                "repeat": repeat, "source": 0,
                "seconds": speed(setting) * math.exp(1e-3 * rng.normal()),
            }
            for repeat in range(1, 6)
        ]  # fmt: skip
    evidence = Evidence.empty()
    rows = [row for of in speeds.values() for row in of]
    tables = {
        "trials": pd.DataFrame(list(trials.values())),
        "speeds": pd.DataFrame(rows),
    }
    tables["curves"] = pd.concat(curves.values())
    for name, table in tables.items():
        if table.empty:
            continue
        evidence.put(name, table, pd.Series(dtype=bool))
    evidence.data, evidence.sources = {data: dict(ABOUT)}, [SOURCE]
    return evidence


def measured(paper=None, data=DATA, **truth):
    """The same as the judge takes it."""
    paper = paper or Paper.read("paper")
    return Measured(paper, synthetic(paper, data=data, **truth), data)
