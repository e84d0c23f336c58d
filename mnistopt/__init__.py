"""Grids of small digit classifiers, trained as parallel replicas in one program.

Example::

    import mnistopt

    study = mnistopt.run(lr=[1e-4, 1e-3, 1e-2], seeds=3, workdir="runs/demo")
    study.summary                        # a data frame, one row per point
    variables = study.variables("best")  # the flax variables of the best replica

======================  ==============================================================
``run``                 trains a grid, or what of it the workdir lacks
``search``              looks for the best setting, with Optuna's samplers
``log``                 a range of numbers for ``search``, by orders of magnitude
``uniform``             a range of numbers for ``search``
``plan``                what ``run`` would train, and what it would cost
``open_study``          a finished or running study, by its workdir
``read``                reads fields of forms on scans, and says which to look at
``read_export``         a classifier that ``Study.export`` has written as npz
``recipes``             settings that are worth repeating, and what they come to
``rerun``               a study once more from its config.json, compared with the first
``Study``               tables, charts, predictions, models and weights of a study
``load``                the named data sets
``Dataset``             images and labels of your own
``make_model``          one of the networks as a flax module
``Dropout``             dropout at a traced rate, for modules of your own
``TensorBoard``         a callback for ``run`` that writes TensorBoard files
``InputError``          an argument or a file that cannot be used
======================  ==============================================================

``help(mnistopt.run)`` lists every setting. Names are imported when they are first
used, so that ``import mnistopt`` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "run": "mnistopt.study.runner",
    "open_study": "mnistopt.study.study",
    "plan": "mnistopt.study.runner",
    "search": "mnistopt.study.search.run",
    "log": "mnistopt.study.search.ranges",
    "uniform": "mnistopt.study.search.ranges",
    "read": "mnistopt.study.fields.run",
    "read_export": "mnistopt.study.export.saved",
    "rerun": "mnistopt.study.rerun",
    "Study": "mnistopt.study.study",
    "TensorBoard": "mnistopt.results.tensorboard",
    "load": "mnistopt.data.load",
    "Dataset": "mnistopt.data.dataset",
    "Dropout": "mnistopt.models.layers",
    "make_model": "mnistopt.models.networks",
    "InputError": "mnistopt.errors",
}

__all__ = [
    "Dataset",
    "Dropout",
    "InputError",
    "Study",
    "TensorBoard",
    "load",
    "log",
    "make_model",
    "open_study",
    "plan",
    "read",
    "read_export",
    "recipes",
    "rerun",
    "run",
    "search",
    "uniform",
]

if TYPE_CHECKING:
    from mnistopt import recipes
    from mnistopt.data.dataset import Dataset
    from mnistopt.data.load import load
    from mnistopt.errors import InputError
    from mnistopt.models.layers import Dropout
    from mnistopt.models.networks import make_model
    from mnistopt.results.tensorboard import TensorBoard
    from mnistopt.study.export.saved import read_export
    from mnistopt.study.fields.run import read
    from mnistopt.study.rerun import rerun
    from mnistopt.study.runner import plan, run
    from mnistopt.study.search.ranges import log, uniform
    from mnistopt.study.search.run import search
    from mnistopt.study.study import Study, open_study


def __dir__() -> list[str]:
    """Returns the public names, for completion."""
    return [*__all__, "__doc__", "__version__"]


def __getattr__(name: str) -> Any:
    """Imports a public name from its module on first use (PEP 562)."""
    if name == "recipes":
        return importlib.import_module("mnistopt.recipes")
    if name not in _HOME:
        raise AttributeError(f"module 'mnistopt' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
