"""Where the next trial comes from: the leaves of a grid in turn, or an Optuna study. Both are Tune searchers.

The study lies in the sweep folder and is the truth about what was asked; Tune's own state is never restored. After a crash the
trials that were running are handed out again under their old Optuna numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher

from orchestrator.folder import SweepFolder
from search_spaces import SweepSpec

TRIES = 100  # proposals in a row that are all known before a space counts as exhausted
ENDED = ("finished", "diverged")  # a loss that diverged would do so again


class FolderSearcher(Searcher):
    """What both searchers share: a trial's Tune configuration is its digest, the rest is in its folder."""

    def __init__(self, folder: SweepFolder) -> None:
        super().__init__()
        self.folder = folder
        self.exhausted = False  # nothing new can be proposed
        self.digests: dict[str, str] = {}  # Tune's trial id → digest

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into a state that is never restored

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        digest = self.next_digest()
        if digest is None:
            finished: str = Searcher.FINISHED
            return finished
        self.digests[trial_id] = digest
        return {"digest": digest}

    def next_digest(self) -> str | None:
        raise NotImplementedError

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.ended(self.digests.pop(trial_id))

    def ended(self, digest: str) -> None:
        """A trial has ended; its folder says how."""

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for this; the sweep folder holds all there is to keep."""

    def restore(self, checkpoint_path: str) -> None:
        """See :meth:`save`."""


class GridSearcher(FolderSearcher):
    """Hands out the given trials one after the other."""

    def __init__(self, folder: SweepFolder, digests: list[str]) -> None:
        super().__init__(folder)
        self.left = list(reversed(digests))

    def next_digest(self) -> str | None:
        return self.left.pop() if self.left else None


class StudySearcher(FolderSearcher):
    """Asks an Optuna study, which is kept in the sweep folder, until the sweep has its trials; none is computed twice."""

    def __init__(self, folder: SweepFolder, spec: SweepSpec) -> None:
        super().__init__(folder)
        assert spec.search is not None
        self.spec, self.search = spec, spec.search
        self.study = open_study(folder.study, folder.record.name, spec)
        self.numbers: dict[str, int] = {}  # digest → Optuna's trial number
        self.again = self._catch_up()

    def _catch_up(self) -> list[str]:
        """Tell the study what ended without its knowing; returns the trials that are still to be run, oldest first."""
        again = []
        for trial in self.study.get_trials(deepcopy=False):
            digest = trial.user_attrs.get("digest")
            if trial.state == TrialState.RUNNING and digest is None:
                self.study.tell(trial.number, state=TrialState.FAIL)  # asked, but the driver died before writing it down
            elif digest is not None and "repeats" not in trial.user_attrs:
                self.numbers[digest] = trial.number
                ended = self.folder.read(digest).status in ENDED
                if trial.state == TrialState.RUNNING and ended:
                    self.ended(digest)
                elif not ended:
                    again.append(digest)
        return list(reversed(again))

    def next_digest(self) -> str | None:
        if self.again:
            return self.again.pop()
        if len(self.numbers) >= self.search.trials:
            return None
        for _ in range(TRIES):
            trial = self.study.ask()
            config = self.spec.suggest(trial)
            known = self.numbers.get(config.digest)
            if known is None:
                self.folder.trial(config.digest).plan(config, place=len(self.numbers))
                trial.set_user_attr("digest", config.digest)
                self.numbers[config.digest] = trial.number
                return config.digest
            trial.set_user_attr("repeats", known)
            self._tell(trial.number, self._value(config.digest))
        self.exhausted = True
        return None

    def _value(self, digest: str) -> float | None:
        result = self.folder.read(digest).result
        return None if result is None else result["metrics"].get(self.search.metric)

    def _tell(self, number: int, value: float | None) -> None:
        if value is None:
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, value)

    def ended(self, digest: str) -> None:
        number = self.numbers[digest]
        if self.study.get_trials(deepcopy=False)[number].state == TrialState.RUNNING:
            self._tell(number, self._value(digest))


def open_study(path: Path, name: str, spec: SweepSpec) -> optuna.Study:
    """The study in a sweep folder, made if it is not there; it maximises the search's metric."""
    assert spec.search is not None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    storage = JournalStorage(JournalFileBackend(str(path)))
    known = [s.study_name for s in storage.get_all_studies()]
    done = len(storage.get_all_trials(storage.get_study_id_from_name(name))) if name in known else 0
    # A resumed sampler must not repeat the random numbers that the first one drew.
    sampler = samplers[spec.search.sampler](seed=spec.search.seed + done)
    return optuna.create_study(storage=storage, study_name=name, sampler=sampler, direction="maximize", load_if_exists=True)
