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
        used_up: the budget that is used up, in words; empty where there was none, or some is left.
        problem: what else the user has to know, in one line; empty where nothing is.
    """

    interrupted: bool
    failed: list[TrialRecord] = field(default_factory=list)
    unfinished: int = 0
    problem: str = ""
    used_up: str = ""


def outcome_of(folder: SweepWriter, interrupted: bool, searcher: FolderSearcher | None = None, used_up: str = "") -> Outcome:
    """Return what the folder shows after Tune has ended; trials that are left mean that the sweep was stopped.

    Args:
        folder: the sweep folder.
        interrupted: whether somebody has ended the sweep at once.
        searcher: what has named the trials.
        used_up: the budget that is used up, for whose sake trials may be left.
    """
    trials = folder.record.trials()
    over = sum(t.status.is_over for t in trials)
    failed = [t for t in trials if t.status.has_failed]
    problem = ""
    ended = searcher is not None and searcher.done and over == len(trials) and not interrupted
    if searcher is not None and ended and folder.record.meta.get("kind") == "search":
        if over != folder.record.planned:
            folder.update(settled_at=over)  # a space may hold fewer, and what is stopped early is not repeated
        if searcher.exhausted:
            problem = f"the space holds {over} configurations, fewer than the trials asked for; all were run"
    left = folder.record.planned - over
    used_up = used_up if left > 0 and not interrupted else ""
    return Outcome(interrupted or (left > 0 and not used_up), failed, left, problem, used_up)


def interrupted_outcome(folder: SweepWriter) -> Outcome:
    """Return how far a sweep has come that was ended at once, by one more Ctrl-C."""
    return outcome_of(folder, interrupted=True)
