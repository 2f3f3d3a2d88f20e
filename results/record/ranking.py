"""Ranks the trials of a sweep per dataset: one ranking for the encoders that are kept and for those that MLflow shows."""

from __future__ import annotations

import math
from collections.abc import Iterable

from results.record.reader import TrialRecord
from results.record.status import Status
from trainer.metrics import metric_of


def rank_key(trial: TrialRecord, metric: str) -> tuple[float, int, str]:
    """Return what sorts finished trials, best first: the final ``metric``, then their order in the sweep."""
    value = trial.metrics.get(metric)
    goodness = metric_of(metric).goodness(float(value)) if isinstance(value, (int, float)) else -math.inf
    return -goodness, trial.index, trial.digest


def best_per_dataset(trials: Iterable[TrialRecord], metric: str, keep: int) -> list[TrialRecord]:
    """Return the ``keep`` best finished trials of every dataset whose encoder was kept, best first within a dataset."""
    members: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.status == Status.FINISHED and trial.encoder is not None and metric in trial.metrics:
            members.setdefault(str(trial.config["dataset"]), []).append(trial)
    return [t for candidates in members.values() for t in sorted(candidates, key=lambda t: rank_key(t, metric))[:keep]]
