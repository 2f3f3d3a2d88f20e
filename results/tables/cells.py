"""Read a trial's score in a column, and make the cell of trials of one configuration.

Which metrics are columns of the tables is told by :mod:`trainer.metrics`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from results.record.reader import TrialRecord
from results.record.status import Status
from results.tables.model import Cell
from trainer.metrics import untrained_name


def score(trial: TrialRecord, column: str) -> float | None:
    """Return a finished trial's score; ``test/linear@100`` is the one read at epoch 100. None where it has none."""
    metric, epoch = _parts(column)
    if epoch is None or epoch == trial.config["epochs"]:
        value: float | None = trial.metrics.get(metric)
        return value
    return trial.metrics_at(epoch).get(metric)


@functools.cache
def _parts(column: str) -> tuple[str, int | None]:
    """Return a column's metric and epoch: ``("test/linear", 100)`` of ``test/linear@100``, None where it is the last one."""
    metric, _, epoch = column.partition("@")
    return metric, int(epoch) if epoch else None


def untrained_score(trial: TrialRecord, column: str) -> float | None:
    """Return what the encoder reached before its first step; on the held-out images that is the history's row 0."""
    metric = column.partition("@")[0]
    if metric.startswith("test/"):
        value: float | None = trial.metrics.get(untrained_name(metric))
        return value
    return trial.metrics_at(0).get(metric)


def cell_of(trials: Iterable[TrialRecord], column: str) -> Cell:
    """Return the cell of trials that differ in their seed alone: the scores of those that have finished, by seed."""
    return cells_of([t for t in trials if t.status == Status.FINISHED], [column])[column]


def cells_of(finished: Sequence[TrialRecord], columns: Iterable[str]) -> dict[str, Cell]:
    """Return the cells of finished trials that differ in their seed alone, by column."""
    seeds = [int(t.config["seed"]) for t in finished]
    cells = {}
    for column in columns:
        scores = zip(seeds, (score(t, column) for t in finished), strict=True)
        cells[column] = Cell.of({seed: value for seed, value in scores if value is not None})
    return cells


def untrained_cell(trials: Iterable[TrialRecord], column: str) -> Cell:
    """Return the cell of the encoder before its first step, by seed."""
    scores = ((int(t.config["seed"]), untrained_score(t, column)) for t in trials)
    return Cell.of({seed: value for seed, value in scores if value is not None})
