"""The board: the state of every trial of a sweep as its driver knows it, from which displays and ``alphacl status`` read."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from orchestrator.driver.leader import Leader, Leading
from orchestrator.driver.trial_line import TrialLine
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from trainer.metrics import SELECTION


@dataclass
class Tally:
    """The sums of a group of trials, kept up to date trial by trial.

    Args:
        counts: how many trials have each status.
        epochs_done: of all trials; one that is over counts with all of its own, and one more for the untrained probe.
        epochs_planned: of all trials, likewise.
        seconds: spent on epochs.
    """

    counts: Counter[Status] = field(default_factory=Counter)
    epochs_done: float = 0.0
    epochs_planned: float = 0.0
    seconds: float = 0.0

    def add(self, line: TrialLine, times: int = 1) -> None:
        """Count a trial as it is now; with ``times`` -1 no longer count it."""
        self.counts[line.status] += times
        self.epochs_done += times * (line.epochs + 1 if line.status.is_over else line.epoch)
        self.epochs_planned += times * (line.epochs + 1)
        self.seconds += times * line.seconds

    def having(self, *statuses: Status) -> int:
        """Return how many trials have one of the statuses."""
        return sum(self.counts[status] for status in statuses)


@dataclass(frozen=True)
class FamilyLine:
    """A family's trials on the board: how many have each status, and its best configuration by the sweep's metric."""

    name: str
    metric: str
    counts: dict[str, int]
    best: Leading | None

    @classmethod
    def of(cls, name: str, metric: str, tally: Tally, best: Leading | None) -> FamilyLine:
        """Return the line of a family that adds up to a tally and has this best configuration."""
        counts = {
            "done": tally.having(Status.FINISHED),
            "running": tally.having(Status.RUNNING),
            "stopped": tally.having(Status.STOPPED),
            "failed": tally.having(*(s for s in Status if s.has_failed)),
            "waiting": tally.having(*(s for s in Status if not s.is_over and s != Status.RUNNING)),
        }
        return cls(name, metric, counts, best)

    @property
    def summary(self) -> str:
        """Return ``3 done, 1 running; best val/linear 91.20 (infonce · tau 0.5 · seed 0)``."""
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        return counts + (f"; best {self.metric} {self.best}" if self.best else "")


class Board:
    """A sweep as its driver knows it: :class:`TrialEvents` writes it, :class:`Display` reads it.

    Whatever changes a trial adjusts the sums of its family and of the sweep, so that an event and a look at the board cost the
    same however many trials there are.

    Args:
        name: the sweep's.
        planned: how many trials the sweep is to have.
        metric: the metric that the sweep chooses by.
        gpus: how many one trial occupies.

    Attributes:
        lines: the trials, by digest; to be read alone.
        running: those that run, in the order in which they began.
        ended: those that are over and have not been printed yet, the first to end first.
        began: when this driver began, on the monotonic clock, in seconds.
        done_before: the epochs that were done when this driver began.
        note: a message shown below the board.
        said: what is said once and then stands.
    """

    def __init__(self, name: str, planned: int, metric: str = SELECTION, gpus: float = 0.0) -> None:
        self.name, self.planned, self.metric, self.gpus = name, planned, metric, gpus
        self.lines: dict[str, TrialLine] = {}
        self.running: dict[str, TrialLine] = {}
        self.ended: deque[TrialLine] = deque(maxlen=10_000)
        self.said: list[str] = []
        self.began, self.done_before, self.note = time.monotonic(), 0.0, ""
        self._all, self._families = Tally(), dict[str, tuple[Tally, Leader]]()

    @classmethod
    def of(cls, sweep: SweepRecord, trials: list[TrialRecord], gpus: float = 0.0) -> Board:
        """Return the board of a sweep, made from its folder; ``gpus`` is how many one trial occupies."""
        board = cls(sweep.name, sweep.planned, sweep.metric, gpus)
        for trial in trials:
            board.enter(trial)
        board.done_before = board.epochs_done()
        return board

    # ------------------------------------------------------------------------------------------------- writing

    def enter(self, trial: TrialRecord) -> None:
        """Put a trial on the board, as its folder shows it."""
        self.put(trial.digest, TrialLine.of(trial, self.metric))

    def put(self, digest: str, line: TrialLine) -> None:
        """Put a line on the board, in place of the one that the trial has."""
        if digest in self.lines:
            self._count(self.lines[digest], -1)
            self._family(self.lines[digest])[1].drop(self.lines[digest])
        self.lines[digest] = line
        self._count(line, 1)
        self._family(line)[1].note(line)
        self._note_running(digest, line)

    def report(self, digest: str, row: dict[str, Any]) -> None:
        """Enter a report into a trial's line."""
        line = self.lines[digest]
        self._count(line, -1)
        line.note(row)
        self._count(line, 1)
        self._family(line)[1].note(line)

    def set_status(self, digest: str, status: Status, last: str | None = None) -> None:
        """Change how a trial stands, and what is said of it where ``last`` is given."""
        line = self.lines[digest]
        if last is not None:
            line.last = last
        if status == line.status:
            return
        self._count(line, -1)
        line.status = status
        self._count(line, 1)
        self._family(line)[1].note(line)
        self._note_running(digest, line)
        if status.is_over:
            self.ended.append(line)

    def _count(self, line: TrialLine, times: int) -> None:
        self._all.add(line, times)
        self._family(line)[0].add(line, times)

    def _family(self, line: TrialLine) -> tuple[Tally, Leader]:
        """Return what the trial's family adds up to, and what finds the family's best configuration."""
        if line.family not in self._families:
            self._families[line.family] = Tally(), Leader(self.metric)
        return self._families[line.family]

    def _note_running(self, digest: str, line: TrialLine) -> None:
        if line.status == Status.RUNNING:
            self.running[digest] = line
        else:
            self.running.pop(digest, None)

    def tell(self, message: str) -> None:
        """Show a message below the board until an empty one replaces it."""
        self.note = message

    def say(self, message: str) -> None:
        """Say something that stands to the end of the sweep."""
        self.said.append(message)

    # ------------------------------------------------------------------------------------------------- reading

    def count(self, *statuses: Status) -> int:
        """Return how many trials have one of the statuses."""
        return self._all.having(*statuses)

    @property
    def over(self) -> int:
        """Return how many trials are over, however they ended."""
        return self.count(*(s for s in Status if s.is_over))

    @property
    def failed(self) -> int:
        """Return how many trials ended without the figures that they were planned for."""
        return self.count(*(s for s in Status if s.has_failed))

    @property
    def waiting(self) -> int:
        """Return how many trials have not begun, including those that a search has yet to suggest."""
        return max(0, self.planned - self.count(Status.RUNNING) - self.over)

    def epochs_done(self) -> float:
        """Return the epochs done; a trial that is over counts with all of its own, and one more for the untrained probe."""
        return self._all.epochs_done

    def seconds_left(self) -> float | None:
        """Estimate the seconds that the sweep still takes from the epochs done since this driver began; None before the first."""
        if not self.lines:
            return None
        each = self._all.epochs_planned / len(self.lines)
        done = self.epochs_done()
        seen = done - self.done_before
        if seen <= 0:
            return None
        return (time.monotonic() - self.began) / seen * max(0.0, each * self.planned - done)

    def summary(self) -> str:
        """Return ``8 of 14 done, 2 running, 0 failed, 4 waiting, about 1:20 left``."""
        stopped = self.count(Status.STOPPED)
        parts = [
            f"{self.count(Status.FINISHED)} of {self.planned} done",
            f"{self.count(Status.RUNNING)} running",
            *([f"{stopped} stopped early"] if stopped else []),
            f"{self.failed} failed",
            f"{self.waiting} waiting",
        ]
        left = self.seconds_left()
        if left is not None and self.waiting + self.count(Status.RUNNING) > 0:
            parts.append(f"about {clock(left)} left")
        if self.gpus:
            parts.append(f"{self.gpu_hours():.2f} GPU-hours")
        return ", ".join(parts)

    def gpu_hours(self) -> float:
        """Return the GPU-hours of the trials so far, whichever driver ran them."""
        return self.gpus * self._all.seconds / 3600

    def families(self) -> list[FamilyLine]:
        """Return a line for every family, in the sweep's order."""
        families = list(self._families.items())
        return [FamilyLine.of(name or "damaged", self.metric, tally, leader.best) for name, (tally, leader) in families]


def clock(seconds: float) -> str:
    """Return a time in seconds as ``1:05`` or ``2:03:20``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
