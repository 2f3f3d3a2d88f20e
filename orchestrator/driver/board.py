"""The board: what a driver knows of its trials, told by their folders and by Tune."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from trainer.metrics import SELECTION, metric_of


@dataclass
class TrialLine:
    """One trial on the board."""

    label: str
    epochs: int
    metric: str = SELECTION  # what the sweep chooses by
    status: Status = Status.WAITING
    epoch: int = 0
    best: float | None = None  # the best value of the metric since training began
    last: str = ""
    family: str = ""
    seconds: float = 0.0  # spent on its epochs

    @classmethod
    def of(cls, trial: TrialRecord, metric: str) -> TrialLine:
        """Return the line of a trial as its folder tells it."""
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
        """Take in a report. What the untrained encoder reached, epoch 0, is no best."""
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
    """A family's trials on the board: how many stand where, and the best one by the metric that the sweep chooses by."""

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
        told = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        return told + (f"; best {self.metric} {self.best.best_text} ({self.best.label})" if self.best else "")


@dataclass
class Board:
    """The sweep as its driver knows it; the driver's listener writes it, the display reads it."""

    name: str
    planned: int
    metric: str = SELECTION  # what the sweep chooses by
    lines: dict[str, TrialLine] = field(default_factory=dict)
    gpus: float = 0.0  # that one trial occupies
    began: float = field(default_factory=time.monotonic)
    done_before: float = 0.0  # epochs that were done when this driver began
    note: str = ""

    @classmethod
    def of(cls, sweep: SweepRecord, trials: list[TrialRecord], gpus: float = 0.0) -> Board:
        """Return the board of what the sweep folder holds; ``gpus`` is what one trial occupies."""
        metric = sweep.metric
        board = cls(sweep.name, sweep.planned, metric, {t.digest: TrialLine.of(t, metric) for t in trials}, gpus)
        board.done_before = board.epochs_done()
        return board

    def enter(self, trial: TrialRecord) -> TrialLine:
        """Put a trial on the board as its folder tells it."""
        line = self.lines[trial.digest] = TrialLine.of(trial, self.metric)
        return line

    def tell(self, line: str) -> None:
        """Show a note below the board until an empty one comes."""
        self.note = line

    def count(self, *statuses: Status) -> int:
        """Return how many trials stand at one of the statuses."""
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
        """Return how many trials have not begun, those that a search has yet to suggest among them."""
        return max(0, self.planned - self.count(Status.RUNNING) - self.over)

    def epochs_done(self) -> float:
        """Epochs done; an ended trial counts whole, and one more stands for the untrained probe."""
        return sum(line.epochs + 1 if line.status.is_over else line.epoch for line in self.lines.values())

    def seconds_left(self) -> float | None:
        """Estimate from the epochs this driver has seen done; None before there are any."""
        if not self.lines:
            return None
        each = sum(line.epochs + 1 for line in self.lines.values()) / len(self.lines)
        done = self.epochs_done()
        seen = done - self.done_before
        if seen <= 0:
            return None
        return (time.monotonic() - self.began) / seen * max(0.0, each * self.planned - done)

    def summary(self) -> str:
        """``8 of 14 done, 2 running, 0 failed, 4 waiting, about 1:20 left``."""
        stopped = self.count(Status.STOPPED)
        words = [
            f"{self.count(Status.FINISHED)} of {self.planned} done",
            f"{self.count(Status.RUNNING)} running",
            *([f"{stopped} stopped early"] if stopped else []),
            f"{self.failed} failed",
            f"{self.waiting} waiting",
        ]
        left = self.seconds_left()
        if left is not None and self.waiting + self.count(Status.RUNNING) > 0:
            words.append(f"about {clock(left)} left")
        if self.gpus:
            words.append(f"{self.gpu_hours():.2f} GPU-hours")
        return ", ".join(words)

    def gpu_hours(self) -> float:
        """GPU-hours of the trials so far, whichever driver ran them."""
        return self.gpus * sum(line.seconds for line in self.lines.values()) / 3600

    def families(self) -> list[FamilyLine]:
        """What the board says of every family, in the sweep's order."""
        members: dict[str, list[TrialLine]] = {}
        for line in list(self.lines.values()):
            members.setdefault(line.family, []).append(line)
        return [FamilyLine.of(name or "damaged", self.metric, lines) for name, lines in members.items()]


def clock(seconds: float) -> str:
    """``1:05`` or ``2:03:20``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
