"""Read a trial's score in a column, and make the cell of trials of one configuration.

Which metrics are columns of the tables is told by :mod:`trainer.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable

from results.record.reader import TrialRecord
from results.record.status import Status
from results.tables.model import Cell
from trainer.metrics import untrained_name


def score(trial: TrialRecord, column: str) -> float | None:
    """Return a finished trial's score; ``test/linear@100`` is the one read at epoch 100. None where it has none."""
    metric, _, epoch = column.partition("@")
    if not epoch or int(epoch) == trial.config["epochs"]:
        value: float | None = trial.metrics.get(metric)
        return value
    return next((row.get(metric) for row in _history(trial) if row["epoch"] == int(epoch)), None)


def untrained_score(trial: TrialRecord, column: str) -> float | None:
    """Return what the encoder reached before its first step; on the held-out images that is the history's row 0."""
    metric = column.partition("@")[0]
    if metric.startswith("test/"):
        value: float | None = trial.metrics.get(untrained_name(metric))
        return value
    return next((row.get(metric) for row in _history(trial) if row["epoch"] == 0), None)


def _history(trial: TrialRecord) -> list[dict[str, float]]:
    history: list[dict[str, float]] = (trial.result or {}).get("history", [])
    return history


def cell_of(trials: Iterable[TrialRecord], column: str) -> Cell:
    """Return the cell of trials that differ in their seed alone: the scores of those that have finished, by seed."""
    scores = ((int(t.config["seed"]), score(t, column)) for t in trials if t.status == Status.FINISHED)
    return Cell.of({seed: value for seed, value in scores if value is not None})


def untrained_cell(trials: Iterable[TrialRecord], column: str) -> Cell:
    """Return the cell of the encoder before its first step, by seed."""
    scores = ((int(t.config["seed"]), untrained_score(t, column)) for t in trials)
    return Cell.of({seed: value for seed, value in scores if value is not None})
