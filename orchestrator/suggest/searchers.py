"""Where the next trial comes from: the leaves of a grid in turn, or an Optuna study. Both are Tune searchers.

The study is the truth about what was asked; Tune's own state is never restored. After a crash the trials that were running are
handed out again under their old Optuna numbers.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from orchestrator.suggest.study import open_study
from results.record.patience import patiently
from results.record.reader import TrialRecord
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import SweepSpec
from trainer import TrialConfig
from trainer.metrics import metric_of

Tell = Callable[[str], None]  # is given a message while the storage is waited for
OnEnd = Callable[[str, bool], None]  # is given the digest of a trial that has ended, and whether with an error

TRIES = 100  # proposals in a row that are all known before a space counts as exhausted


def _ignore(*told: object) -> None:
    """Listen to nobody."""


class FolderSearcher(Searcher):
    """What both searchers share: a trial's Tune configuration is its digest, the rest is in its folder."""

    def __init__(self, folder: SweepWriter, tell: Tell = _ignore, on_end: OnEnd = _ignore) -> None:
        super().__init__()
        self.folder, self.tell, self.on_end = folder, tell, on_end
        self.done = False  # nothing is left to hand out
        self.exhausted = False  # nothing new can be proposed
        self.digests: dict[str, str] = {}  # Tune's trial id → digest

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into a state that is never restored

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        digest = self.next_digest()
        if digest is None:
            finished: str = Searcher.FINISHED
            return finished if self.done else None
        self.digests[trial_id] = digest
        return {"digest": digest}

    def next_digest(self) -> str | None:
        """The next trial; None where there is none now, and with ``done`` none to come."""
        raise NotImplementedError

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        digest = self.digests.pop(trial_id, None)
        if digest is not None:
            self.on_end(digest, error)
            self.ended(digest)

    def ended(self, digest: str) -> None:
        """A trial has ended; its folder says how."""

    def given_up(self, digest: str) -> bool:
        """Whether a running trial need not go on."""
        return False

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for this; the sweep folder holds all there is to keep."""

    def restore(self, checkpoint_path: str) -> None:
        """See :meth:`save`."""


class GridSearcher(FolderSearcher):
    """Hands out the given trials one after the other."""

    def __init__(self, folder: SweepWriter, digests: list[str], tell: Tell = _ignore, on_end: OnEnd = _ignore) -> None:
        super().__init__(folder, tell, on_end)
        self.left = deque(digests)

    def next_digest(self) -> str | None:
        self.done = not self.left
        return None if self.done else self.left.popleft()


@dataclasses.dataclass
class Suggestion:
    """What the study proposed once: its Optuna number and its trials, one for each seed that it is repeated with."""

    number: int
    configs: list[TrialConfig]
    given_up: bool = False  # one of its trials was stopped or failed: it can have no mean

    @property
    def digests(self) -> list[str]:
        return [config.digest for config in self.configs]


class StudySearcher(FolderSearcher):
    """Asks the study until the sweep has its suggestions, none twice; then has the best confirmed with fresh seeds.

    Raises:
        UserError: the study's database can't be opened.
    """

    def __init__(
        self,
        folder: SweepWriter,
        spec: SweepSpec,
        trials: list[TrialRecord],
        tell: Tell = _ignore,
        on_end: OnEnd = _ignore,
        study_url: str | None = None,
    ) -> None:
        super().__init__(folder, tell, on_end)
        assert spec.search is not None
        self.spec, self.search = spec, spec.search
        self.study = open_study(folder.record, spec, study_url)
        self.count = len(trials)
        self.suggestions: dict[str, Suggestion] = {}  # by the digest of its first trial
        self.of: dict[str, Suggestion] = {}  # by the digest of any
        self.queue: deque[tuple[TrialConfig, str]] = deque()  # with its role
        self.running: set[str] = set()
        self.confirming = False
        self._catch_up({t.digest: t for t in trials})

    # --------------------------------------------------------------------------------------- after a crash

    def _catch_up(self, known: dict[str, TrialRecord]) -> None:
        """Tell the study what ended without its knowing; queue what is still to be run, oldest first."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING and "digests" not in trial.user_attrs:
                self.study.tell(trial.number, state=TrialState.FAIL)  # asked, but the driver died before writing it down
            elif "digests" in trial.user_attrs and "repeats" not in trial.user_attrs:
                config = self.spec.suggest(optuna.trial.FixedTrial(trial.params))
                self._enter(trial.number, self.spec.repeats(config))
        for suggestion in self.suggestions.values():
            statuses = [known[d].status if d in known else Status.WAITING for d in suggestion.digests]
            suggestion.given_up = Status.DIVERGED in statuses or Status.STOPPED in statuses
            if suggestion.given_up or all(status == Status.FINISHED for status in statuses):
                self._settle(suggestion, self.value(suggestion))
            else:
                pairs = zip(suggestion.configs, statuses, strict=True)
                self.queue.extend((config, "trial") for config, status in pairs if status.is_resumable)

    def _enter(self, number: int, configs: list[TrialConfig]) -> Suggestion:
        suggestion = self.suggestions[configs[0].digest] = Suggestion(number, configs)
        self.of.update(dict.fromkeys(suggestion.digests, suggestion))
        return suggestion

    # --------------------------------------------------------------------------------------------- asking

    def next_digest(self) -> str | None:
        while True:
            if self.queue:
                config, role = self.queue.popleft()
                if role == "trial" and self.given_up(config.digest):
                    continue
                return self._hand_out(config, role)
            if len(self.suggestions) < self.search.trials and not self.exhausted:
                self._ask()
            elif self.running:
                return None  # what is confirmed is known when the last has ended
            elif self.search.top and not self.confirming:
                self._confirm()
            else:
                self.done = True
                return None

    def _hand_out(self, config: TrialConfig, role: str) -> str:
        folder = self.folder.trial(config.digest)
        new = not folder.folder.exists()
        patiently(lambda: folder.plan(config, self.count, role), self.tell)
        self.count += new
        self.running.add(config.digest)
        return config.digest

    def _ask(self) -> None:
        """Queue a new suggestion; what is known already is told to the study at once."""
        for _ in range(TRIES):
            trial = patiently(self.study.ask, self.tell)
            config = patiently(lambda trial=trial: self.spec.suggest(trial), self.tell)  # type: ignore[misc]
            configs = self.spec.repeats(config)
            known = self.suggestions.get(configs[0].digest)
            if known is None:
                digests = [c.digest for c in configs]
                patiently(lambda trial=trial, digests=digests: trial.set_user_attr("digests", digests), self.tell)  # type: ignore[misc]
                self._enter(trial.number, configs)
                self.queue.extend((c, "trial") for c in configs)
                return
            patiently(lambda trial=trial, known=known: trial.set_user_attr("repeats", known.number), self.tell)  # type: ignore[misc]
            self._tell(trial.number, self.value(known))
        self.exhausted = True

    def _confirm(self) -> None:
        """Queue the best suggestions again, with seeds that no trial of the search has seen."""
        self.confirming = True
        values = {leader: self.value(s) for leader, s in self.suggestions.items()}
        goodness = metric_of(self.search.metric).goodness
        best = sorted((d for d, value in values.items() if value is not None), key=lambda d: -goodness(values[d] or 0.0))
        first = 1 + max((c.seed for s in self.suggestions.values() for c in s.configs), default=-1)
        for leader in best[: self.search.top]:
            for seed in range(first, first + self.search.fresh):
                config = dataclasses.replace(self.suggestions[leader].configs[0], seed=seed)
                if not (self.folder.trials / config.digest).exists() or self.folder.read(config.digest).status.is_resumable:
                    self.queue.append((config, "confirm"))

    def given_up(self, digest: str) -> bool:
        """Whether another seed of the same suggestion was stopped or failed."""
        return digest in self.of and self.of[digest].given_up

    # -------------------------------------------------------------------------------------------- telling

    def value(self, suggestion: Suggestion) -> float | None:
        """A suggestion's worth: the mean of the metric over its trials; None where one has none."""
        found = [self.folder.read(d).result for d in suggestion.digests]
        values = [r["metrics"].get(self.search.metric) for r in found if r is not None]
        return sum(values) / len(values) if len(values) == len(suggestion.configs) and None not in values else None

    def ended(self, digest: str) -> None:
        self.running.discard(digest)
        suggestion = self.of.get(digest)
        if suggestion is None:  # one that confirms
            return
        status = self.folder.read(digest).status
        if not status.is_over:  # stopped with the driver; it goes on with the next
            return
        suggestion.given_up |= status != Status.FINISHED
        value = self.value(suggestion)
        if suggestion.given_up or value is not None:
            self._settle(suggestion, value)

    def _settle(self, suggestion: Suggestion, value: float | None) -> None:
        """Tell the study what a suggestion that has ended was worth, unless it knows."""
        frozen = patiently(lambda: self.study.get_trials(deepcopy=False), self.tell)[suggestion.number]
        if frozen.state == TrialState.RUNNING:
            stops = (self.folder.read(d).stopped for d in suggestion.digests) if value is None else ()
            stopped = [stop for stop in stops if stop is not None]
            if stopped:
                self._prune(frozen, stopped[0])
            else:
                self._tell(suggestion.number, value)
        elif frozen.state == TrialState.FAIL and value is not None:  # it failed, and was run again by a resumed sweep
            instead = optuna.trial.create_trial(
                params=frozen.params, distributions=frozen.distributions, value=value, user_attrs=frozen.user_attrs
            )
            patiently(lambda: self.study.add_trial(instead), self.tell)
            suggestion.number = len(self.study.get_trials(deepcopy=False)) - 1

    def _prune(self, frozen: FrozenTrial, stopped: dict[str, Any]) -> None:
        """A trial that was stopped early counts as pruned, with what it had reached."""
        trial = optuna.trial.Trial(self.study, frozen._trial_id)
        if stopped["metric"] == self.search.metric:
            patiently(lambda: trial.report(stopped["value"], stopped["epoch"]), self.tell)
        patiently(lambda: self.study.tell(frozen.number, state=TrialState.PRUNED, skip_if_finished=True), self.tell)

    def _tell(self, number: int, value: float | None) -> None:
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        patiently(lambda: self.study.tell(number, value, state=state, skip_if_finished=True), self.tell)
