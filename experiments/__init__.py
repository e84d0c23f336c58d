"""The programs: `python -m experiments.grid`, `python -m experiments.evaluate`."""
