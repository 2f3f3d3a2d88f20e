"""Keep the best finished encoders of every dataset and remove the others' files, so that a long sweep does not fill the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from results.record.ranking import rank_key
from results.record.reader import TrialRecord
from results.record.status import Status


class EncoderKeeper:
    """Keeps the encoder files of the best finished trials per dataset and removes the others'.

    Args:
        keep: how many encoders are kept per dataset.
        metric: what ranks the trials: the metric that the sweep chooses by.
        trials: the trials that are known already.
    """

    def __init__(self, keep: int, metric: str, trials: Iterable[TrialRecord]) -> None:
        self.keep, self.metric = keep, metric
        self.best: dict[str, list[TrialRecord]] = {}
        for trial in trials:
            self.add(trial)

    def add(self, trial: TrialRecord) -> None:
        """Take in a trial that may have finished, and remove the encoder that is no longer among the best."""
        if trial.status != Status.FINISHED:
            return
        ranked = self.best.setdefault(str(trial.config["dataset"]), [])
        ranked.append(trial)
        ranked.sort(key=lambda t: rank_key(t, self.metric))
        for dropped in ranked[self.keep :]:
            if dropped.encoder is not None:
                with contextlib.suppress(OSError):  # a disk that is away keeps a file too many
                    dropped.encoder.unlink(missing_ok=True)
        del ranked[self.keep :]
