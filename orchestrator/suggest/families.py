"""The searcher of a fair comparison: every family of objectives has a study and a budget of its own."""

from __future__ import annotations

from orchestrator.suggest.searchers import FolderSearcher, NextIndex, OnEnd, StudySearcher, Tell, ignore
from results.record.reader import TrialRecord
from results.record.sweep_writer import SweepWriter
from search_spaces import SweepSpec


class FamiliesSearcher(FolderSearcher):
    """Asks the families in turn, each until it has had as many suggestions as the others; each confirms its own best.

    Which family a trial is of is told by the study that suggested it, so that a sampler learns from its own family alone.

    Args:
        folder: the sweep folder.
        spec: the sweep, whose search is ``per_family``.
        trials: those that the folder holds already.
        tell: is given a message while the storage is waited for.
        on_end: is given the digest of a trial that has ended, and whether it ended with an error.
        study_url: the database of the studies; the one that the sweep was launched with, or the folder's journal, when not given.

    Raises:
        UserError: if the studies' database can't be opened.
    """

    def __init__(
        self,
        folder: SweepWriter,
        spec: SweepSpec,
        trials: list[TrialRecord],
        tell: Tell = ignore,
        on_end: OnEnd = ignore,
        study_url: str | None = None,
    ) -> None:
        super().__init__(folder, tell, on_end)
        index = NextIndex(len(trials))
        self.families = {
            branch.label: StudySearcher(folder, spec, trials, tell, study_url=study_url, family=branch.label, index=index)
            for branch in spec.branches
        }

    def next_digest(self) -> str | None:
        """Return the digest of the next trial, of the family that has had the fewest; None where there is none now."""
        for searcher in sorted(self.families.values(), key=lambda s: (s.confirming, len(s.suggestions))):
            digest = searcher.next_digest()
            if digest is not None:
                return digest
        self.done = all(searcher.done for searcher in self.families.values())
        self.exhausted = all(searcher.exhausted for searcher in self.families.values())
        return None

    def ended(self, digest: str) -> None:
        """Take in that a trial has ended; its family's study is told."""
        for searcher in self.families.values():
            searcher.ended(digest)

    def given_up(self, digest: str) -> bool:
        """Return whether another seed of the same suggestion was stopped or failed."""
        return any(searcher.given_up(digest) for searcher in self.families.values())
