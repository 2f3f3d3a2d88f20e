"""The searcher of a fair comparison: every family of objectives has a study and a budget of its own."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.suggest.searchers import FolderSearcher, OnEnd, Tell, ignore
from orchestrator.suggest.study_searcher import StudySearcher
from results.record.sweep_writer import SweepWriter


class FamiliesSearcher(FolderSearcher):
    """Asks the families in turn, each until it has had as many suggestions as the others; each confirms its own best.

    Which family a trial is of is told by the study that suggested it, so that a sampler learns from its own family alone.

    Args:
        folder: the sweep folder.
        families: the searchers of the families, which share the index of the next new trial.
        tell: is given a message while the storage is waited for.
        on_end: is given the digest of a trial that has ended, and whether it ended with an error.
    """

    def __init__(
        self, folder: SweepWriter, families: Sequence[StudySearcher], tell: Tell = ignore, on_end: OnEnd = ignore
    ) -> None:
        super().__init__(folder, tell, on_end)
        self.families = families
        self.said = "; ".join(searcher.said for searcher in families if searcher.said)

    def next_digest(self) -> str | None:
        """Return the digest of the next trial, of the family that has had the fewest; None where there is none now."""
        for searcher in sorted(self.families, key=lambda s: (s.confirming, len(s.suggestions))):
            digest = searcher.next_digest()
            if digest is not None:
                return digest
        self.done = all(searcher.done for searcher in self.families)
        self.exhausted = all(searcher.exhausted for searcher in self.families)
        return None

    def ended(self, digest: str) -> None:
        """Take in that a trial has ended; its family's study is told."""
        for searcher in self.families:
            searcher.ended(digest)

    def given_up(self, digest: str) -> bool:
        """Return whether another seed of the same suggestion was stopped or failed."""
        return any(searcher.given_up(digest) for searcher in self.families)
