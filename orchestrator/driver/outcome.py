"""How a run of the driver ended, as its sweep folder shows it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.suggest.searchers import FolderSearcher
from results.record.reader import TrialRecord
from results.record.sweep_writer import SweepWriter


@dataclass
class Outcome:
    """How a run of the driver ended.

    Args:
        interrupted: whether trials are left to run.
        failed: the trials that failed.
        unfinished: how many trials are not over.
        problem: what else the user has to know, in one line; empty where nothing is.
    """

    interrupted: bool
    failed: list[TrialRecord] = field(default_factory=list)
    unfinished: int = 0
    problem: str = ""


def outcome_of(folder: SweepWriter, interrupted: bool, searcher: FolderSearcher | None = None) -> Outcome:
    """Return what the folder shows after Tune has ended; trials that are left mean that the sweep was stopped."""
    trials = folder.record.trials()
    over = sum(t.status.is_over for t in trials)
    failed = [t for t in trials if t.status.has_failed]
    problem = ""
    if not interrupted and searcher is not None and searcher.done and over == len(trials) and over != folder.record.planned:
        folder.update(settled_at=over)  # a space may hold fewer, and what is stopped early is not repeated
        if searcher.exhausted:
            problem = f"the space holds {over} configurations, fewer than the trials asked for; all were run"
    left = folder.record.planned - over
    return Outcome(interrupted or left > 0, failed, left, problem)


def interrupted_outcome(folder: SweepWriter) -> Outcome:
    """Return how far a sweep has come that was ended at once, by one more Ctrl-C."""
    return outcome_of(folder, interrupted=True)
