"""The board: the state of every trial of a sweep as its driver knows it, from which displays and ``alphacl status`` read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from trainer.metrics import SELECTION, metric_of


@dataclass
class TrialLine:
    """One trial on the board: how it stands, its last epoch and its best value.

    Args:
        label: the trial's name for the user.
        epochs: how many it is planned for.
        metric: the metric that the sweep chooses by.
        status: how the trial stands.
        epoch: the last one that it reported.
        best: the best value of the metric since training began.
        last: its last figure, or why it failed.
        family: the objective's family.
        seconds: spent on its epochs.
    """

    label: str
    epochs: int
    metric: str = SELECTION
    status: Status = Status.WAITING
    epoch: int = 0
    best: float | None = None
    last: str = ""
    family: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, trial: TrialRecord, metric: str) -> TrialLine:
        """Return the line of a trial, made from the trial's folder."""
        if trial.status == Status.DAMAGED:
            return cls(trial.digest, 0, metric, Status.DAMAGED, last=trial.problem)
        confirms = " · confirms" if trial.role == "confirm" else ""
        line = cls(trial.label + confirms, int(trial.config["epochs"]), metric, family=trial.family)
        for row in trial.reports:
            line.note(row)
        line.status = Status.WAITING if trial.status == Status.STARTED else trial.status
        if trial.error is not None:
            line.last = str(trial.error["message"])
        return line

    def note(self, row: dict[str, Any]) -> None:
        """Enter a report into the line; the value of the untrained encoder, at epoch 0, does not count as the best."""
        self.epoch = int(row.get("epoch", self.epoch))
        self.seconds += float(row.get("time/epoch_s") or 0.0) + float(row.get("time/probe_s") or 0.0)
        value = row.get(self.metric)
        if value is not None and (self.epoch > 0 or self.epochs == 0):
            self.best = metric_of(self.metric).best([value, *([] if self.best is None else [self.best])])

    @property
    def best_text(self) -> str:
        """Return the best value so far as text."""
        return "–" if self.best is None else f"{self.best:.2f}"


@dataclass(frozen=True)
class FamilyLine:
    """A family's trials on the board: how many have each status, and the one that is best by the sweep's metric."""

    name: str
    metric: str
    counts: dict[str, int]
    best: TrialLine | None

    @classmethod
    def of(cls, name: str, metric: str, lines: list[TrialLine]) -> FamilyLine:
        """Count a family's lines and find the best."""
        counts = {
            "done": sum(line.status == Status.FINISHED for line in lines),
            "running": sum(line.status == Status.RUNNING for line in lines),
            "stopped": sum(line.status == Status.STOPPED for line in lines),
            "failed": sum(line.status.has_failed for line in lines),
            "waiting": sum(not line.status.is_over and line.status != Status.RUNNING for line in lines),
        }
        reported = [line for line in lines if line.best is not None]
        goodness = metric_of(metric).goodness
        return cls(name, metric, counts, max(reported, key=lambda line: goodness(line.best or 0.0), default=None))

    @property
    def summary(self) -> str:
        """Return ``3 done, 1 running; best val/linear 91.20 (infonce · tau 0.5 · seed 0)``."""
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        return counts + (f"; best {self.metric} {self.best.best_text} ({self.best.label})" if self.best else "")


@dataclass
class Board:
    """A sweep as its driver knows it: :class:`TrialEvents` writes it, :class:`Display` reads it.

    Args:
        name: the sweep's.
        planned: how many trials the sweep is to have.
        metric: the metric that the sweep chooses by.
        lines: the trials, by digest.
        gpus: how many one trial occupies.
        began: when this driver began, on the monotonic clock, in seconds.
        done_before: the epochs that were done when this driver began.
        note: a message shown below the board.
        said: what is said once and then stands.
    """

    name: str
    planned: int
    metric: str = SELECTION
    lines: dict[str, TrialLine] = field(default_factory=dict)
    gpus: float = 0.0
    began: float = field(default_factory=time.monotonic)
    done_before: float = 0.0
    note: str = ""
    said: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, sweep: SweepRecord, trials: list[TrialRecord], gpus: float = 0.0) -> Board:
        """Return the board of a sweep, made from its folder; ``gpus`` is how many one trial occupies."""
        metric = sweep.metric
        board = cls(sweep.name, sweep.planned, metric, {t.digest: TrialLine.of(t, metric) for t in trials}, gpus)
        board.done_before = board.epochs_done()
        return board

    def enter(self, trial: TrialRecord) -> TrialLine:
        """Put a trial on the board, as its folder shows it, and return its line."""
        line = self.lines[trial.digest] = TrialLine.of(trial, self.metric)
        return line

    def tell(self, message: str) -> None:
        """Show a message below the board until an empty one replaces it."""
        self.note = message

    def say(self, message: str) -> None:
        """Say something that stands to the end of the sweep."""
        self.said.append(message)

    def count(self, *statuses: Status) -> int:
        """Return how many trials have one of the statuses."""
        return sum(line.status in statuses for line in self.lines.values())

    @property
    def over(self) -> int:
        """Return how many trials are over, however they ended."""
        return sum(line.status.is_over for line in self.lines.values())

    @property
    def failed(self) -> int:
        """Return how many trials ended without the figures that they were planned for."""
        return sum(line.status.has_failed for line in self.lines.values())

    @property
    def waiting(self) -> int:
        """Return how many trials have not begun, including those that a search has yet to suggest."""
        return max(0, self.planned - self.count(Status.RUNNING) - self.over)

    def epochs_done(self) -> float:
        """Return the epochs done; a trial that is over counts with all of its own, and one more for the untrained probe."""
        return sum(line.epochs + 1 if line.status.is_over else line.epoch for line in self.lines.values())

    def seconds_left(self) -> float | None:
        """Estimate the seconds that the sweep still takes from the epochs done since this driver began; None before the first."""
        if not self.lines:
            return None
        each = sum(line.epochs + 1 for line in self.lines.values()) / len(self.lines)
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
        return self.gpus * sum(line.seconds for line in self.lines.values()) / 3600

    def families(self) -> list[FamilyLine]:
        """Return a line for every family, in the sweep's order."""
        members: dict[str, list[TrialLine]] = {}
        for line in list(self.lines.values()):
            members.setdefault(line.family, []).append(line)
        return [FamilyLine.of(name or "damaged", self.metric, lines) for name, lines in members.items()]


def clock(seconds: float) -> str:
    """Return a time in seconds as ``1:05`` or ``2:03:20``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
