"""The searcher of a search, which hands out what an Optuna study suggests.

After a crash or kill -9 the study says what was asked, and the sweep folder how it ended: :class:`StudySearcher` compares both
when it is made, tells the study what ended unnoticed, and hands out the trials that were running again, under their old Optuna
numbers.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.suggest.prior import enqueue, warm_start
from orchestrator.suggest.searchers import FolderSearcher, OnEnd, Tell, ignore
from orchestrator.suggest.study import open_study
from results.record.patience import patiently
from results.record.reader import TrialRecord
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import SweepSpec
from trainer import TrialConfig
from trainer.metrics import metric_of

TRIES = 100  # proposals in a row that are all known before a space counts as exhausted


@dataclasses.dataclass
class NextIndex:
    """The index that the next new trial of a sweep gets."""

    value: int


@dataclasses.dataclass
class Suggestion:
    """One proposal of the study, which is run with each seed that the search repeats.

    Args:
        number: the proposal's number in Optuna.
        trial_id: by which the study's storage finds the proposal without looking at others.
        params: the values that the sampler drew, by name.
        digests: the digests of its trials, one per seed that it is repeated with.
        given_up: whether one of its trials was stopped or failed, so that it can have no mean.
        value: the mean of the metric over its trials; None before all have finished.
    """

    number: int
    trial_id: int
    params: dict[str, Any]
    digests: list[str]
    given_up: bool = False
    value: float | None = None


class StudySearcher(FolderSearcher):
    """Asks an Optuna study until the sweep has its suggestions, none twice, then confirms the best with fresh seeds.

    A new searcher catches up with the sweep folder, so that a sweep goes on after a crash or kill -9: see :meth:`_catch_up`.

    Args:
        folder: the sweep folder.
        spec: the sweep, which must be a search.
        trials: those that the folder holds already.
        tell: is given a message while the storage is waited for.
        on_end: is given the digest of a trial that has ended, and whether it ended with an error.
        study_url: the database of the study; the one that the sweep was launched with, or the folder's journal, when not given.
        family: the label of the only objective that is suggested, in a study of its own; all of them when not given.
        index: the index of the next new trial, shared with other searchers of the sweep.
        offered: finished trials by digest, which are taken over where the search asks for them.

    Raises:
        UserError: if the study's database can't be opened.
    """

    def __init__(
        self,
        folder: SweepWriter,
        spec: SweepSpec,
        trials: list[TrialRecord],
        tell: Tell = ignore,
        on_end: OnEnd = ignore,
        study_url: str | None = None,
        family: str | None = None,
        index: NextIndex | None = None,
        offered: Mapping[str, TrialRecord] | None = None,
    ) -> None:
        super().__init__(folder, tell, on_end)
        assert spec.search is not None
        self.spec, self.search = spec if family is None else spec.of_family(family), spec.search
        self.study = open_study(folder.record, spec, study_url, family)
        enqueue(self.study, self.spec)
        self.said = warm_start(self.study, self.spec, folder.record)
        self.index, self.offered = index or NextIndex(len(trials)), offered or {}
        self.suggestions: dict[str, Suggestion] = {}  # by the digest of its first trial
        self.of: dict[str, Suggestion] = {}  # by the digest of any
        self.queue: deque[tuple[TrialConfig, str]] = deque()  # with its role
        self.running: set[str] = set()
        self.confirming = False
        self._catch_up({t.digest: t for t in trials})

    # --------------------------------------------------------------------------------------- after a crash

    def _catch_up(self, known: dict[str, TrialRecord]) -> None:
        """Tell the study which suggestions ended without its knowing, and queue the trials still to be run, oldest first."""
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING and "digests" not in trial.user_attrs:
                self.study.tell(trial.number, state=TrialState.FAIL)  # asked, but the driver died before writing it down
            elif "digests" in trial.user_attrs and "repeats" not in trial.user_attrs:
                self._enter(trial, trial.user_attrs["digests"])
        for suggestion in self.suggestions.values():
            records = [known.get(d) for d in suggestion.digests]
            statuses = [record.status if record else Status.WAITING for record in records]
            suggestion.given_up = Status.DIVERGED in statuses or Status.STOPPED in statuses
            if suggestion.given_up or all(status == Status.FINISHED for status in statuses):
                self._settle(suggestion, self._mean(records), trials[suggestion.number])
            else:
                pairs = zip(self._configs(suggestion), statuses, strict=True)
                self.queue.extend((config, "trial") for config, status in pairs if status.is_resumable)

    def _enter(self, trial: FrozenTrial | optuna.Trial, digests: list[str]) -> Suggestion:
        """Note that the study has proposed a trial, which is run as the trials of these digests."""
        suggestion = Suggestion(trial.number, trial._trial_id, trial.params, list(digests))
        self.suggestions[digests[0]] = suggestion
        self.of.update(dict.fromkeys(digests, suggestion))
        return suggestion

    def _configs(self, suggestion: Suggestion) -> list[TrialConfig]:
        """Return the configurations of a suggestion's trials, in the order of its digests."""
        return self.spec.repeats(self.spec.suggest(optuna.trial.FixedTrial(suggestion.params)))

    # --------------------------------------------------------------------------------------------- asking

    def next_digest(self) -> str | None:
        """Return the digest of a queued, new or confirming trial; None while none can be named, and after the last."""
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
        finished = self.offered.get(config.digest) if new else None
        if finished is None:
            patiently(lambda: folder.plan(config, self.index.value, role), self.tell)
        else:  # its worker finds the result, and computes nothing
            patiently(lambda: folder.adopt(finished, self.index.value, role), self.tell)
        self.index.value += new
        self.running.add(config.digest)
        return config.digest

    def _ask(self) -> None:
        """Queue a new suggestion; for one that is known already the study is told the value at once, and asked again."""
        for _ in range(TRIES):
            trial = patiently(self.study.ask, self.tell)
            config = patiently(lambda trial=trial: self.spec.suggest(trial), self.tell)  # type: ignore[misc]
            configs = self.spec.repeats(config)
            known = self.suggestions.get(configs[0].digest)
            if known is None:
                digests = [c.digest for c in configs]
                patiently(lambda trial=trial, digests=digests: trial.set_user_attr("digests", digests), self.tell)  # type: ignore[misc]
                self._enter(trial, digests)
                self.queue.extend((c, "trial") for c in configs)
                return
            patiently(lambda trial=trial, known=known: trial.set_user_attr("repeats", known.number), self.tell)  # type: ignore[misc]
            self._tell_study(trial.number, self._value(known))
        self.exhausted = True

    def _confirm(self) -> None:
        """Queue the best suggestions again, with seeds that no trial of the search has used."""
        self.confirming = True
        goodness = metric_of(self.search.metric).goodness
        valued = [s for s in self.suggestions.values() if s.value is not None]
        best = sorted(valued, key=lambda s: -goodness(s.value or 0.0))
        first = 1 + max((self._highest_seed(s) for s in self.suggestions.values()), default=-1)
        for suggestion in best[: self.search.top]:
            leader = self._configs(suggestion)[0]
            for seed in range(first, first + self.search.fresh):
                config = dataclasses.replace(leader, seed=seed)
                if not (self.folder.trials / config.digest).exists() or self.folder.read(config.digest).status.is_resumable:
                    self.queue.append((config, "confirm"))

    def _highest_seed(self, suggestion: Suggestion) -> int:
        """Return the highest seed that a suggestion is run with."""
        seed = suggestion.params.get("seed", self.spec.fixed.get("seed", 0))
        return max(self.search.repeat, default=int(seed))

    def given_up(self, digest: str) -> bool:
        """Return whether another seed of the same suggestion was stopped or failed."""
        return digest in self.of and self.of[digest].given_up

    # -------------------------------------------------------------------------------------------- telling

    def _value(self, suggestion: Suggestion) -> float | None:
        """Return the mean of the metric over a suggestion's trials, from their folders unless it is known."""
        if suggestion.value is None and not suggestion.given_up:
            suggestion.value = self._mean([self.folder.read(d) for d in suggestion.digests])
        return suggestion.value

    def _mean(self, records: Sequence[TrialRecord | None]) -> float | None:
        """Return the mean of the metric over the trials of a suggestion; None where one of them has no value of it."""
        results = [record.summary if record else None for record in records]
        values = [result["metrics"].get(self.search.metric) for result in results if result is not None]
        return sum(values) / len(values) if len(values) == len(records) and None not in values else None

    def ended(self, digest: str) -> None:
        """Take in that a trial has ended; after the last of its suggestion the study is told the value."""
        self.running.discard(digest)
        suggestion = self.of.get(digest)
        if suggestion is None:  # one that confirms
            return
        status = self.folder.read(digest).status
        if not status.is_over:  # stopped with the driver; it goes on with the next
            return
        suggestion.given_up |= status != Status.FINISHED
        value = self._value(suggestion)
        if suggestion.given_up or value is not None:
            self._settle(suggestion, value)

    def _settle(self, suggestion: Suggestion, value: float | None, frozen: FrozenTrial | None = None) -> None:
        """Tell the study the value of a suggestion that has ended, unless the study knows it.

        Args:
            suggestion: the suggestion.
            value: its value; None where it was given up.
            frozen: the proposal as the study has it; looked up when not given.
        """
        suggestion.value = value
        frozen = frozen or patiently(lambda: self.study._storage.get_trial(suggestion.trial_id), self.tell)
        if frozen.state == TrialState.RUNNING:
            stops = (self.folder.read(d).stopped for d in suggestion.digests) if value is None else ()
            stopped = [stop for stop in stops if stop is not None]
            if stopped:
                self._prune(frozen, stopped[0])
            else:
                self._tell_study(suggestion.number, value)
        elif value is not None and frozen.value != value:  # it failed or was stopped, and was run again later
            replacement = optuna.trial.create_trial(
                params=frozen.params, distributions=frozen.distributions, value=value, user_attrs=frozen.user_attrs
            )
            patiently(lambda: self.study.add_trial(replacement), self.tell)
            added = self.study.get_trials(deepcopy=False)[-1]
            suggestion.number, suggestion.trial_id = added.number, added._trial_id

    def _prune(self, frozen: FrozenTrial, stopped: dict[str, Any]) -> None:
        """Tell the study that a trial was stopped early: it counts as pruned, with the value that it had reached."""
        trial = optuna.trial.Trial(self.study, frozen._trial_id)
        if stopped["metric"] == self.search.metric and stopped["value"] is not None:
            patiently(lambda: trial.report(stopped["value"], stopped["epoch"]), self.tell)
        patiently(lambda: self.study.tell(frozen.number, state=TrialState.PRUNED, skip_if_finished=True), self.tell)

    def _tell_study(self, number: int, value: float | None) -> None:
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        patiently(lambda: self.study.tell(number, value, state=state, skip_if_finished=True), self.tell)
