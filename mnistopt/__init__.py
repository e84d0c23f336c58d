"""Grids of small digit classifiers, trained as parallel replicas in one program.

    import mnistopt
    study = mnistopt.run(lr=[1e-4, 1e-3, 1e-2], seeds=3, workdir="runs/demo")
    study.summary                  # a data frame, one row per point
    params = study.params("best")  # one replica's flax params

The names below are imported when they are first used, so that ``import mnistopt``
stays quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "run": "mnistopt.runner",
    "open_study": "mnistopt.study",
    "plan": "mnistopt.runner",
    "Study": "mnistopt.study",
    "TensorBoard": "mnistopt.tensorboard",
    "load": "mnistopt.data",
    "make_model": "mnistopt.models",
    "InputError": "mnistopt.errors",
}

__all__ = [
    "InputError",
    "Study",
    "TensorBoard",
    "load",
    "make_model",
    "open_study",
    "plan",
    "run",
]

if TYPE_CHECKING:
    from mnistopt.data import load
    from mnistopt.errors import InputError
    from mnistopt.models import make_model
    from mnistopt.runner import plan, run
    from mnistopt.study import Study, open_study
    from mnistopt.tensorboard import TensorBoard


def __getattr__(name: str) -> Any:
    """Imports a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'mnistopt' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
