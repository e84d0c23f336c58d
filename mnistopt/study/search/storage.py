"""Optuna's own file of a search, which its dashboard opens: WORKDIR/optuna.log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from mnistopt.errors import InputError
from mnistopt.results.journal import STORAGE, open_journal

NAME = "search"
# Of a trial of ours: the point that it is about.
POINT = "point"


class ByHand(NamedTuple):
    """What somebody has put into the file.

    Attributes:
        given: Parameters of trials that are to be trained.
        known: Parameters and values of trials that were made elsewhere.
    """

    given: list[dict[str, Any]]
    known: list[tuple[dict[str, Any], float]]


class Storage:
    """The file, and the study in it."""

    def __init__(self, workdir: Path):
        """Opens the file; makes it where there is none.

        Raises:
            InputError: If it is no file of Optuna's, or of another kind of study.
        """
        path = workdir / STORAGE
        # Of a process that was killed; nobody else writes into a workdir that is ours.
        Path(f"{path}.lock").unlink(missing_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            storage = open_journal(workdir)
            names = [study.study_name for study in storage.get_all_studies()]
            self._study = optuna.create_study(
                storage=storage,
                study_name=names[0] if names else NAME,
                direction="maximize",
                load_if_exists=True,
            )
        except Exception as error:
            raise InputError(
                f"{path} cannot be read ({error}): move it away, and it is made again"
            ) from error
        if self._study.direction != optuna.study.StudyDirection.MAXIMIZE:
            raise InputError(
                f"{path} holds a study that minimizes, and a search maximizes the "
                "validation accuracy: move it away"
            )
        there = self._study.get_trials(deepcopy=False)
        self._others = [trial for trial in there if POINT not in trial.user_attrs]
        self._ours = {_content(trial) for trial in there if POINT in trial.user_attrs}

    @property
    def by_hand(self) -> ByHand:
        """What somebody has put there."""
        given, known = [], []
        for trial in self._others:
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                known.append((dict(trial.params), float(trial.value or 0.0)))
            if trial.state is TrialState.WAITING:
                given.append(dict(trial.system_attrs.get("fixed_params", {})))
        return ByHand(given, known)

    def take(self) -> None:
        """Takes what waits there: it is proposed now."""
        for trial in self._others:
            if trial.state is TrialState.WAITING:
                self._study.tell(self._study.ask(), state=TrialState.FAIL)

    def write(self, trials: Sequence[FrozenTrial]) -> None:
        """Writes all trials so far: adds those that are not there.

        Those that have gone on since, with more epochs or a larger budget, are added
        again, and what they were before is left to whoever reads on.
        """
        new = [trial for trial in trials if _content(trial) not in self._ours]
        self._study.add_trials(new)
        self._ours |= set(map(_content, new))


def _content(trial: FrozenTrial) -> tuple:
    """Returns what tells a trial from others."""
    values = tuple(sorted(trial.intermediate_values.items()))
    return tuple(sorted(map(str, trial.params.items()))), trial.state, values
