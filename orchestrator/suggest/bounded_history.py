"""A sampler that is shown a bounded number of trials, so that a suggestion costs after 20,000 trials what it costs after 2,000.

TPE and the Gaussian process compute over every trial of the study for each suggestion. What they are shown here are the trials
that still run, the best ones and the most recent ones. For TPE the good group, the best 25, is that of the whole study; the other
group, in which TPE itself gives old trials little weight, is a part of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

BEST = 100  # trials that are shown however old they are


class History:
    """The trials of a study that a sampler is shown: those that run, the best and the most recent of those that have ended.

    It is brought up to date before each suggestion, and then looks only at trials that are new or had not ended before.

    Args:
        most: how many of the trials that have ended last are shown.
        minimized: whether the study's value is minimised.
    """

    def __init__(self, most: int, minimized: bool = False) -> None:
        self._sign = -1.0 if minimized else 1.0
        self._seen, self._open = 0, list[int]()  # trials looked at so far, and the numbers of those that had not ended
        self._recent: deque[FrozenTrial] = deque(maxlen=most)
        self._best: list[tuple[float, int, FrozenTrial]] = []  # a heap, the worst of them first

    def update(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials that are shown, in their order, given all trials of the study by number."""
        numbers, self._open = [*self._open, *range(self._seen, len(trials))], []
        self._seen = len(trials)
        for number in numbers:
            self._enter(trials[number])
        shown = {t.number: t for t in self._recent} | {number: t for _, number, t in self._best}
        shown |= {number: trials[number] for number in self._open}
        return [shown[number] for number in sorted(shown)]

    def _enter(self, trial: FrozenTrial) -> None:
        if not trial.state.is_finished():
            self._open.append(trial.number)
        elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            self._recent.append(trial)
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                push = heapq.heappush if len(self._best) < BEST else heapq.heappushpop
                push(self._best, (self._sign * trial.value, trial.number, trial))


class _Window:
    """A study as a sampler sees it while it suggests one trial: everything is the study's own but the list of its trials."""

    def __init__(self, study: Study, shown: list[FrozenTrial]) -> None:
        self._study, self._shown = study, shown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [t for t in self._shown if states is None or t.state in states]


class BoundedHistory(BaseSampler):
    """Asks another sampler, which is shown the :data:`BEST` best trials and the ``most`` that have ended last; for one study.

    Args:
        sampler: the sampler that is asked.
        most: how many of the trials that have ended last it is shown.
    """

    def __init__(self, sampler: BaseSampler, most: int) -> None:
        self.sampler, self.most = sampler, most
        self._history: History | None = None
        self._window: tuple[int, Any] = (-1, None)  # of the trial that is being suggested, by its number

    def _seen(self, study: Study, trial: FrozenTrial) -> Any:
        """Return the study as the sampler sees it; one view serves all settings of a trial."""
        if self._window[0] != trial.number:
            if self._history is None:
                self._history = History(self.most, study.direction == StudyDirection.MINIMIZE)
            shown = self._history.update(study._get_trials(deepcopy=False, use_cache=True))
            self._window = (trial.number, _Window(study, shown))
        return self._window[1]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the settings that are drawn together: those that every trial of the whole study has."""
        space: dict[str, BaseDistribution] = self.sampler.infer_relative_search_space(study, trial)
        return space

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Draw the settings of ``search_space`` together."""
        params: dict[str, Any] = self.sampler.sample_relative(self._seen(study, trial), trial, search_space)
        return params

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Draw one setting by itself."""
        return self.sampler.sample_independent(self._seen(study, trial), trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Pass on that a trial is about to be suggested; the sampler sees the study anew."""
        self._window = (-1, None)
        self.sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Pass on that a trial has ended."""
        self.sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Give the sampler a new seed."""
        self.sampler.reseed_rng()


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of a name that a search may give, with its bound on the trials that it is shown.

    Args:
        name: one of :data:`search_spaces.samplers.SAMPLERS`.
        seed: the sampler's seed.
    """
    from search_spaces.samplers import SAMPLERS  # with PyTorch, which the recorder that looks at a study does without

    entry = SAMPLERS[name]
    sampler: BaseSampler = entry.make(seed)
    return sampler if entry.history is None else BoundedHistory(sampler, entry.history)
