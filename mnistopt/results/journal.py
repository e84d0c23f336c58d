"""Optuna's journal of a search, optuna.log of its workdir, as it is read."""

import warnings
from pathlib import Path
from typing import Any

STORAGE = "optuna.log"


def open_journal(workdir: Path) -> Any:
    """Returns Optuna's storage; makes the file where there is none."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of what is experimental.
        return JournalStorage(JournalFileBackend(str(workdir / STORAGE)))


def find_importances(workdir: Path) -> dict[str, float]:
    """Returns Optuna's importance of each hyper-parameter that all trials have.

    As shares of 1; none where Optuna is not installed, or has nothing to say.
    """
    if not (workdir / STORAGE).exists():
        return {}
    try:
        import optuna

        storage = open_journal(workdir)
        (found,) = storage.get_all_studies()
        study = optuna.load_study(study_name=found.study_name, storage=storage)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what is experimental.
            return optuna.importance.get_param_importances(study)
    except (ImportError, ValueError, RuntimeError, OSError):
        return {}
