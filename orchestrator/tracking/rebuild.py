"""MLflow rebuilt from a sweep folder: what a tracker that followed the sweep would have written, at any time and any place."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.tracking.sweep_run import Study
from orchestrator.tracking.tracker import Tracker
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild left in MLflow: how many runs of trials, and what could not be shown."""

    experiment: str
    runs: int
    problem: str


def rebuild(folder: SweepWriter, uri: str, study: Study | None = None, keep: int | None = None) -> Rebuilt:
    """Bring MLflow to what the sweep folder says; doing it again changes nothing.

    A sweep that a driver is at work on is shown as running, unless that driver writes to the same store itself.

    Raises:
        UserError: the store can't be opened or does not answer, or another process writes this sweep there.
    """
    tracker = Tracker(folder, uri, study, keep)
    tracker.remove_gone()
    if not tracker.close(ending(folder)):
        raise UserError(f"not all could be written: {tracker.problem}")
    return Rebuilt(tracker.experiment, len(tracker.store.runs) - 1, tracker.problem)


def ending(folder: SweepWriter) -> str:
    """The parent's status as the folder tells it: RUNNING, FINISHED, FAILED, or KILLED where trials are left."""
    if folder.is_driven():
        return "RUNNING"
    statuses = [t.status for t in folder.record.trials()]
    if sum(status.is_over for status in statuses) < folder.record.planned:
        return "KILLED"
    return "FAILED" if any(status.has_failed for status in statuses) else "FINISHED"
