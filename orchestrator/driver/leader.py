"""Finds the best configuration among the trials on the board, by the mean of its final scores over seeds, trial by trial."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Protocol

from results.record.status import Status
from trainer.metrics import metric_of


class Scored(Protocol):
    """A trial: its configuration as a text and by its name, whether it confirms a winner, and its newest score."""

    configuration: str
    name: str
    confirms: bool
    status: Status
    value: float | None


@dataclass(frozen=True)
class Leading:
    """The configuration that is best so far.

    Args:
        label: its name, without a seed.
        mean: the mean of the final scores of its seeds.
        n: how many seeds it has.
    """

    label: str
    mean: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.label}{f', mean of {self.n} seeds' if self.n > 1 else ''})"


Key = tuple[bool, str]  # whether its trials confirm a search's winner; its configuration


class Leader:
    """Finds the configuration with the best mean among those all of whose trials have finished.

    Once a search confirms its winners with fresh seeds, these alone count.

    Args:
        metric: the metric that the sweep chooses by.
    """

    def __init__(self, metric: str) -> None:
        self._goodness = metric_of(metric).goodness
        self._trials: dict[Key, dict[int, Scored]] = {}
        self._changed: set[Key] = set()
        self._best: tuple[Key, Leading] | None = None

    def note(self, trial: Scored) -> None:
        """Take in a trial that is new or has changed; its configuration stays what it was."""
        self._trials.setdefault(_key(trial), {})[id(trial)] = trial
        self._changed.add(_key(trial))

    def drop(self, trial: Scored) -> None:
        """Take a trial out, whose place another object takes."""
        self._trials[_key(trial)].pop(id(trial))
        self._changed.add(_key(trial))

    @property
    def best(self) -> Leading | None:
        """Return the best configuration; None before one is complete."""
        changed, self._changed = self._changed, set()
        if self._best is not None and self._best[0] in changed:  # it may have lost: look at all
            changed, self._best = set(self._trials), None
        for key in list(changed):
            found = self._score(key)
            if found is not None and (self._best is None or self._rank(key, found) > self._rank(*self._best)):
                self._best = key, found
        return self._best and self._best[1]

    def _score(self, key: Key) -> Leading | None:
        trials = list(self._trials.get(key, {}).values())
        values = [trial.value for trial in trials if trial.status == Status.FINISHED and trial.value is not None]
        complete = values and len(values) == len(trials)
        return Leading(trials[0].name, statistics.fmean(values), len(values)) if complete else None

    def _rank(self, key: Key, found: Leading) -> tuple[bool, float]:
        return key[0], self._goodness(found.mean)


def _key(trial: Scored) -> Key:
    return trial.confirms, trial.configuration
