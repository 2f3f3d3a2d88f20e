"""Early stopping within an objective's family: asynchronous successive halving, one set of rungs for every family."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestrator.suggest.rungs import Rungs
from results.record.patience import patiently
from results.record.reader import TrialRecord
from results.record.sweep_writer import SweepWriter
from search_spaces.search import EarlyStopping
from trainer.metrics import metric_of

CONTINUE, STOP = str(TrialScheduler.CONTINUE), str(TrialScheduler.STOP)


class FamilyHalving(FIFOScheduler):
    """Stops a trial that is not among the best of its family at a rung, and writes that into its folder before Tune hears of it.

    After a crash the rungs are filled again from the reports in the sweep folder.

    Args:
        folder: the sweep folder.
        rule: the metric, the first rung (``grace``) and the share that goes on (one in ``reduction``).
        trials: those that the folder holds already.
        given_up: says of a digest whether the trial need not go on, because another seed of its suggestion was stopped or
            failed, so that there can be no mean.
    """

    def __init__(
        self,
        folder: SweepWriter,
        rule: EarlyStopping,
        trials: list[TrialRecord],
        given_up: Callable[[str], bool] = lambda digest: False,
    ) -> None:
        super().__init__()
        self.folder, self.rule, self.given_up = folder, rule, given_up
        self.sign = -1 if metric_of(rule.metric).direction == "minimize" else 1
        self.families: dict[str, Rungs] = {}
        self.trials = {t.digest: t for t in trials}
        rows = [(row["at"], t, row) for t in trials for row in t.reports]
        for _, trial, row in sorted(rows, key=lambda entry: entry[0]):
            self._decide(trial, row)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler into a state that is never restored

    def _decide(self, trial: TrialRecord, row: dict[str, Any]) -> str:
        """Enter a report on its family's rungs and return CONTINUE or STOP; a last epoch or a confirmation is never stopped."""
        if trial.role == "confirm" or row.get(self.rule.metric) is None or row["epoch"] >= trial.config["epochs"]:
            return CONTINUE
        if self.given_up(trial.digest):  # another seed of the same suggestion was stopped
            return STOP
        family = f"{trial.config['dataset']} {trial.family}"
        if family not in self.families:
            self.families[family] = Rungs(self.rule.grace, self.rule.reduction)
        goes_on = self.families[family].goes_on(trial.digest, row["epoch"], self.sign * row[self.rule.metric])
        return CONTINUE if goes_on else STOP

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return whether a trial that has reported continues or stops; a stop is recorded in the trial's folder."""
        digest = trial.config["digest"]
        if digest not in self.trials:
            self.trials[digest] = self.folder.read(digest)
        if "epoch" not in result:
            return CONTINUE
        decision = self._decide(self.trials[digest], result)
        if decision == STOP:
            stop = functools.partial(self.folder.trial(digest).stop, result["epoch"], self.rule.metric, result[self.rule.metric])
            patiently(stop)
        return decision
