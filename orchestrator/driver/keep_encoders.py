"""Which finished encoders are kept: the best of every dataset, so that a long sweep does not fill the disk."""

from __future__ import annotations

from results.record.reader import TrialRecord


class BestEncoders:
    """Keeps the encoders of the ``keep`` trials with the best held-out accuracy per dataset, and removes the others' files."""

    def __init__(self, keep: int, trials: list[TrialRecord]) -> None:
        self.keep = keep
        self.best: dict[str, list[tuple[float, str, TrialRecord]]] = {}
        for trial in trials:
            self.add(trial)

    def add(self, trial: TrialRecord) -> None:
        """Take in a trial that may have finished."""
        if trial.status != "finished" or trial.result is None:
            return
        ranked = self.best.setdefault(str(trial.config["dataset"]), [])
        ranked.append((float(trial.result["metrics"].get("val/linear", 0.0)), trial.digest, trial))
        ranked.sort(key=lambda found: found[:2], reverse=True)
        for _, _, dropped in ranked[self.keep :]:
            if dropped.encoder is not None:
                dropped.encoder.unlink(missing_ok=True)
        del ranked[self.keep :]
