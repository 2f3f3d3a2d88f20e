"""The rebuild of MLflow from a sweep folder, at any time and place: what a tracker that followed the sweep would have written."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.tracking.sweep_run import Study
from orchestrator.tracking.tracker import Tracker
from results.record.mlflow_names import NOT_TRIALS
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild left in MLflow.

    Args:
        experiment: the id of the sweep's experiment.
        runs: how many trials have a run there.
        problem: what could not be shown, in one line; empty where nothing.
    """

    experiment: str
    runs: int
    problem: str


def rebuild(folder: SweepWriter, uri: str, study: Study | None = None, keep: int | None = None) -> Rebuilt:
    """Bring an MLflow store to what a sweep folder holds, and return what it has then; a second call changes nothing.

    A sweep that a driver is at work on is shown as running; where that driver writes to the same store, the rebuild is refused.

    Args:
        folder: the sweep folder.
        uri: the MLflow server or database.
        study: returns the Optuna study of a search, for its pictures.
        keep: how many of the best encoders are logged per dataset; as many as the sweep keeps when not given.

    Raises:
        UserError: if the store can't be opened or does not answer, or another process writes this sweep there.
    """
    tracker = Tracker(folder, uri, study, keep)
    tracker.remove_gone()
    if not tracker.close(ending(folder)):
        raise UserError(f"not all could be written: {tracker.problem}")
    return Rebuilt(tracker.experiment, len(set(tracker.store.runs).difference(NOT_TRIALS)), tracker.problem)


def ending(folder: SweepWriter) -> str:
    """Return the status of a sweep's parent run from its folder: RUNNING, FINISHED, FAILED, or KILLED where trials are left."""
    if folder.is_driven():
        return "RUNNING"
    statuses = [t.status for t in folder.record.trials()]
    if sum(status.is_over for status in statuses) < folder.record.planned:
        return "KILLED"
    return "FAILED" if any(status.has_failed for status in statuses) else "FINISHED"
