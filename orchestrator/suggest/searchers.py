"""The searchers, which name Tune the next trial: what all have in common, and the one of a grid.

Tune's own state is never restored: the sweep folder says what was handed out and how it ended. A search's own are
:mod:`orchestrator.suggest.study_searcher` and :mod:`orchestrator.suggest.families`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from results.record.sweep_writer import SweepWriter

Tell = Callable[[str], None]  # is given a message while the storage is waited for
OnEnd = Callable[[str, bool], None]  # is given the digest of a trial that has ended, and whether with an error


def ignore(*news: object) -> None:
    """Do nothing with what a searcher passes on."""


class FolderSearcher(Searcher):
    """The base of both searchers: Tune's configuration of a trial is its digest alone, the rest is in the trial's folder.

    Args:
        folder: the sweep folder.
        tell: is given a message while the storage is waited for, and an empty one when it is there again.
        on_end: is given the digest of a trial that has ended, and whether it ended with an error.
    """

    def __init__(self, folder: SweepWriter, tell: Tell = ignore, on_end: OnEnd = ignore) -> None:
        super().__init__()
        self.folder, self.tell, self.on_end = folder, tell, on_end
        self.done = False  # nothing is left to hand out
        self.exhausted = False  # nothing new can be proposed
        self.digests: dict[str, str] = {}  # Tune's trial id → digest, of those that have not ended
        self.most_at_once: Callable[[], float] = lambda: math.inf  # trials that may be handed out and not have ended
        self.at_once: int | None = None  # of these the user's own limit; none when None
        self.used_up: Callable[[], str] = str  # the budget that is used up; empty while there is some left
        self.said = ""  # what the user has to know of what was done when the searcher was made

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into a state that is never restored

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial as ``{"digest": …}``, None where there is none now, or FINISHED where none will come."""
        finished: str = Searcher.FINISHED
        if self.used_up():
            return finished
        if len(self.digests) >= min(self.most_at_once(), math.inf if self.at_once is None else self.at_once):
            return None
        digest = self.next_digest()
        if digest is None:
            return finished if self.done else None
        self.digests[trial_id] = digest
        return {"digest": digest}

    def next_digest(self) -> str | None:
        """Return the digest of the next trial; None where there is none now, and ``done`` is set where none will come."""
        raise NotImplementedError

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass the end of a trial on to ``on_end`` and to :meth:`ended`."""
        digest = self.digests.pop(trial_id, None)
        if digest is not None:
            self.on_end(digest, error)
            self.ended(digest)

    def ended(self, digest: str) -> None:
        """Take in that a trial has ended; its folder says how. A grid has nothing to do then."""

    def given_up(self, digest: str) -> bool:
        """Return whether a running trial need not go on; a grid gives none up."""
        return False

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: Tune calls this to keep a searcher's state, but the sweep folder holds all there is to keep."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a searcher's state is read from the sweep folder when it is made."""


class GridSearcher(FolderSearcher):
    """Hands out the trials of a grid one after the other.

    Args:
        folder: the sweep folder.
        digests: the trials that are left to run.
        tell: is given a message while the storage is waited for.
        on_end: is given the digest of a trial that has ended, and whether it ended with an error.
    """

    def __init__(self, folder: SweepWriter, digests: list[str], tell: Tell = ignore, on_end: OnEnd = ignore) -> None:
        super().__init__(folder, tell, on_end)
        self.left = deque(digests)

    def next_digest(self) -> str | None:
        """Return the digest of the next trial; None, with ``done`` set, after the last."""
        self.done = not self.left
        return None if self.done else self.left.popleft()
