"""Tune's scheduler for a sweep: first come, first served, with early stopping beside it; retries are in ``retries.py``."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from orchestrator.driver.events import TrialEvents
from orchestrator.driver.retries import Failures
from orchestrator.suggest.early_stopping import CONTINUE, STOP, FamilyHalving


class SweepScheduler(FIFOScheduler):
    """Starts trials in the order in which they came, and passes Tune's events on.

    A Tune callback would receive the same events, but for its sake Tune imports MLflow, to count callbacks by kind; and Tune's
    own scheduler looks for the next trial among all that ever were. Only the end of a trial does not come here: Tune
    reports it to the searcher, which passes it on to :meth:`TrialEvents.ended`.

    Args:
        events: receives the events.
        failures: tells whether a trial that has failed is run again.
        halving: decides which trials are stopped early; none when not given.
        stopping: the digests of trials that somebody has asked to stop.
        used_up: returns the budget that is used up; empty while there is some left.
    """

    def __init__(
        self,
        events: TrialEvents,
        failures: Failures,
        halving: FamilyHalving | None = None,
        stopping: Container[str] = frozenset(),
        used_up: Callable[[], str] = str,
    ) -> None:
        super().__init__()
        self.used_up = used_up
        self.events, self.failures, self.halving, self.stopping = events, failures, halving, stopping
        self.added: set[str] = set()  # digests
        self.waiting: dict[str, Trial] = {}  # by digest, in the order in which they came

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler into a state that is never restored

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Queue a trial that Tune has made of a suggestion, or that has failed; end one whose retries are used up."""
        digest = trial.config["digest"]
        if digest not in self.added:
            self.added.add(digest)
            self.waiting[digest] = trial
        elif self.failures.are_too_many(trial):
            self.events.failed(trial)
            tune_controller.stop_trial(trial)
            return
        else:  # it goes on before others begin
            self.waiting = {digest: trial, **self.waiting}
        self.events.added(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the first trial that waits, or None.

        Tune calls this before each of its events, so this is also where trials that it has started since are noticed.
        """
        for digest, trial in list(self.waiting.items()):
            if trial.status != Trial.PENDING:
                del self.waiting[digest]
                if trial.status == Trial.RUNNING:
                    self.events.started(digest)
        if self.waiting and (budget := self.used_up()):  # what Tune has been given already is not begun either
            self.events.board.tell(f"the budget of {budget} is used up: what runs goes on to its end, nothing more is begun")
            if not any(trial.status == Trial.RUNNING for trial in tune_controller.get_live_trials()):
                tune_controller.request_stop_experiment()
            return None
        return next(iter(self.waiting.values()), None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Pass a report on and return whether the trial continues or stops; a message about the storage is no report."""
        if "storage" in result:  # the worker waits for it, or has it again
            self.events.waits_for_storage(result["storage"])
            return CONTINUE
        if "through_head" in result:
            self.events.goes_through_head(result["through_head"])
            return CONTINUE
        decision = self.halving.on_trial_result(tune_controller, trial, result) if self.halving else CONTINUE
        digest = trial.config["digest"]
        self.failures.reported(digest)
        self.events.reported(digest, result)
        if decision == CONTINUE and digest in self.stopping and self.events.stop(digest, result):
            return STOP
        return decision
