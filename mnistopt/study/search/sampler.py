"""Optuna's samplers, asked for a batch of trials at a time.

Optuna's study lives in memory, where asking costs no file. What the sampler has
proposed and what it was told is kept by whoever asks; a sampler that is made again from
that proposes the same.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnistopt.errors import InputError
from mnistopt.points import Point
from mnistopt.study.search.ranges import Range
from mnistopt.study.search.space import Space

SAMPLERS = ("tpe", "random", "sobol", "cmaes")
# Trials that TPE has to know before it proposes: Optuna's default.
STARTUP = 10
# How often a proposal that is there already, or nearly, is asked for anew.
_TRIES = 20
# Of a proposal's `attrs`: trials that Optuna's study had then.
_ASKED = "mnistopt:asked"


class Proposal(NamedTuple):
    """A setting that a sampler has proposed, or somebody has given.

    Attributes:
        params: The values by name, as `Space.suggest` has them.
        by: Who has proposed it: one of `SAMPLERS`, or "given".
        attrs: What the sampler has to know of it later, as Optuna keeps it.
    """

    params: Mapping[str, Any]
    by: str
    attrs: Mapping[str, Any]


class Told(NamedTuple):
    """What a proposal has come to.

    Attributes:
        accuracies: The validation accuracy by epochs, ascending.
        pruned: Whether it was trained no further.
    """

    accuracies: Mapping[int, float]
    pruned: bool


class Sampler:
    """A sampler with all that it knows.

    What it proposes depends on its seed, on its proposals before, and on what it was
    told of them: its random numbers begin anew with each batch, as Optuna does not keep
    where they are.
    """

    def __init__(self, space: Space, name: str, seed: int):
        """Knows nothing yet.

        Args:
            space: What it chooses from.
            name: One of `SAMPLERS`.
            seed: Of its random numbers.

        Raises:
            InputError: If there is no such sampler.
        """
        if name not in SAMPLERS:
            raise InputError(
                f"sampler={name} is not known: choose one of {', '.join(SAMPLERS)}"
            )
        self._space, self._name, self._seed = space, name, seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize")
        # Proposals by their points, in order; trials that Optuna takes for running, by
        # the number of the proposal; how many trials its study has; and how many of
        # them it was told.
        self._proposals: dict[Point, Proposal] = {}
        self._running: dict[int, optuna.Trial] = {}
        self._count = self._told = 0

    def ask(self, count: int, batch: int) -> list[Proposal]:
        """Proposes settings, none of which was proposed before.

        Args:
            count: How many.
            batch: How many are asked for at a time, which is CMA-ES' population.

        Returns:
            As many, or fewer if the space has no more.
        """
        # Until TPE has something to know, it would propose at random anyway.
        name = "random" if self._name == "tpe" and self._told < STARTUP else self._name
        self._begin(name, batch)
        proposals: list[Proposal] = []
        wanted = min(count, self._space.size - len(self._proposals))
        while len(proposals) < wanted:
            found = self._ask_for_new(name, proposals)
            if found is None and name != "random":
                # A sampler that has converged proposes nothing else.
                name = "random"
                self._begin(name, batch)
                continue
            proposals.append(found or self._first_left())
        return proposals

    def _first_left(self) -> Proposal:
        """Returns what is left of a space of lists that chance does not find."""
        point = self._space.point
        params = next(
            one for one in self._space.settings() if point(one) not in self._proposals
        )
        proposal = Proposal(params, "random", {_ASKED: self._count})
        self._proposals[point(params)] = proposal
        return proposal

    def _begin(self, name: str, batch: int) -> None:
        # A sequence goes on: of it, Optuna keeps the place.
        place = [] if name == "sobol" else [len(self._proposals)]
        self._study.sampler = _make(name, [self._seed, *place], batch, self._space)

    def _ask_for_new(self, name: str, batch: Sequence[Proposal]) -> Proposal | None:
        """Asks until a setting is new, and not nearly that of another of its batch."""
        found = None
        for _ in range(_TRIES):
            trial, params = self._ask()
            if self._space.point(params) in self._proposals:
                self._fail(trial)
                continue
            if found:
                self._fail(found[0])
            found = trial, params
            if not any(self._space.near(params, other.params) for other in batch):
                break
        if found is None:
            return None
        trial, params = found
        known = self._study.get_trials(deepcopy=False)[trial.number].system_attrs
        attrs = {**known, _ASKED: self._count}
        self._running[len(self._proposals)] = trial
        proposal = Proposal(params, name, attrs)
        self._proposals[self._space.point(params)] = proposal
        return proposal

    def _ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self._study.ask()
        self._count += 1
        return trial, self._space.suggest(lambda *of: _suggest(trial, *of))

    def _fail(self, trial: optuna.Trial) -> None:
        """Lets Optuna forget a trial."""
        self._study.tell(trial, state=TrialState.FAIL)

    def take(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        """Takes in what was proposed before, or is given; returns what is new of it."""
        new = []
        for proposal in proposals:
            point = self._space.point(proposal.params)
            if point not in self._proposals:
                self._proposals[point] = proposal
                new.append(proposal)
        # Optuna counts on from where it was.
        while self._count < max((p.attrs.get(_ASKED, 0) for p in new), default=0):
            if self._name == "sobol":
                self._begin("sobol", 0)
                self._fail(self._ask()[0])
            else:
                self._study.add_trial(create_trial(state=TrialState.FAIL))
                self._count += 1
        return new

    def learn(self, params: Mapping[str, Any], told: Told) -> None:
        """Tells what a setting has come to that it has not proposed."""
        self._study.add_trial(self._trial(Proposal(params, "", {}), told))
        self._count += 1
        self._told += 1

    @property
    def why(self) -> str:
        """Why it proposes at random, though it was asked for more; "" if it was not."""
        if self._name == "random":
            return ""
        if self._name == "tpe" and self._told < STARTUP:
            return f"tpe proposes once it knows {STARTUP}"
        return f"{self._name} proposes nothing new"

    def tell(self, results: Mapping[int, Told]) -> list[FrozenTrial]:
        """Tells what proposals have come to.

        Args:
            results: By the number of the proposal, from 0.

        Returns:
            The same as Optuna's trials.
        """
        proposals = list(self._proposals.values())
        trials = []
        # What was not trained is forgotten.
        for number in [number for number in self._running if number not in results]:
            self._fail(self._running.pop(number))
        for number, told in sorted(results.items()):
            if number in self._running:
                self._fail(self._running.pop(number))
            trials.append(self._trial(proposals[number], told))
        self._study.add_trials(trials)
        self._count += len(trials)
        self._told += len(trials)
        return trials

    def _trial(self, proposal: Proposal, told: Told) -> FrozenTrial:
        distributions: dict[str, BaseDistribution] = {}

        def note(name: str, of: Any, whole: bool) -> Any:
            distributions[name] = _distribution(of, whole)
            return proposal.params[name]

        self._space.suggest(note)
        return create_trial(
            state=TrialState.PRUNED if told.pruned else TrialState.COMPLETE,
            value=list(told.accuracies.values())[-1],
            params=dict(proposal.params),
            distributions=distributions,
            intermediate_values=dict(told.accuracies),
            system_attrs=dict(proposal.attrs),
        )


class _Sobol(QMCSampler):
    """Optuna's sequence, over all that networks may need, from its first trial on.

    What a network does not use of a place in it is left out.
    """

    def __init__(self, space: Space, seed: int):
        super().__init__(
            scramble=True,
            seed=seed,
            independent_sampler=RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )
        self._all = {
            name: _distribution(of, whole) for name, of, whole in space.everything()
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns all of the space."""
        del study, trial
        return self._all


def _make(name: str, seed: Sequence[int], batch: int, space: Space) -> BaseSampler:
    """Returns one of Optuna's samplers, at the beginning of its random numbers."""
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of what is experimental.
        if name == "tpe":
            return TPESampler(
                n_startup_trials=0,
                multivariate=True,
                # Networks have hyper-parameters of their own.
                group=True,
                constant_liar=True,
                seed=number,
            )
        if name == "sobol":
            return _Sobol(space, number)
        if name == "cmaes":
            return CmaEsSampler(
                popsize=max(batch, 5),
                consider_pruned_trials=True,
                warn_independent_sampling=False,
                seed=number,
            )
        return RandomSampler(seed=number)


def _suggest(trial: optuna.Trial, name: str, of: Any, whole: bool) -> Any:
    if not isinstance(of, Range):
        return trial.suggest_categorical(name, of)
    if whole:
        return trial.suggest_int(name, int(of.low), int(of.high), log=of.log)
    return trial.suggest_float(name, of.low, of.high, log=of.log)


def _distribution(of: Any, whole: bool) -> BaseDistribution:
    if not isinstance(of, Range):
        return CategoricalDistribution(of)
    if whole:
        return IntDistribution(int(of.low), int(of.high), log=of.log)
    return FloatDistribution(of.low, of.high, log=of.log)
