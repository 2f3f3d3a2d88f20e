"""The board: what a driver knows of its trials, told by their folders and by Tune."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from results.record.reader import TrialRecord

OVER = ("finished", "stopped", "failed", "diverged", "damaged")


@dataclass
class Line:
    """One trial on the board."""

    label: str
    epochs: int
    status: str = "waiting"  # running, waiting, or one of OVER
    epoch: int = 0
    best: float | None = None  # best accuracy on held-out images so far, percent
    last: str = ""
    family: str = ""
    seconds: float = 0.0  # spent on its epochs

    @classmethod
    def of(cls, trial: TrialRecord) -> Line:
        """A trial as its folder tells it."""
        if trial.status == "damaged":
            return cls(trial.digest, 0, "damaged", last=trial.problem)
        confirms = " · confirms" if trial.role == "confirm" else ""
        line = cls(trial.label + confirms, int(trial.config["epochs"]), family=trial.family)
        for row in trial.reports:
            line.note(row)
        line.status = "waiting" if trial.status == "started" else trial.status
        if trial.error is not None:
            line.last = str(trial.error["message"])
        return line

    def note(self, row: dict[str, Any]) -> None:
        """Take in a report."""
        self.epoch = int(row.get("epoch", self.epoch))
        self.seconds += float(row.get("time/epoch_s") or 0.0) + float(row.get("time/probe_s") or 0.0)
        value = row.get("val/linear")
        if value is not None and (self.best is None or value > self.best):
            self.best = value

    @property
    def figure(self) -> str:
        return "–" if self.best is None else f"{self.best:.2f}"


@dataclass(frozen=True)
class Family:
    """A family's trials: how many are in which state, and the best one by held-out accuracy."""

    name: str
    counts: dict[str, int]
    best: Line | None

    @classmethod
    def of(cls, name: str, lines: list[Line]) -> Family:
        states = {
            "done": ("finished",), "running": ("running",), "stopped": ("stopped",), "failed": ("failed", "diverged", "damaged"),
            "waiting": ("waiting", "interrupted"),
        }  # fmt: skip
        counts = {word: sum(line.status in among for line in lines) for word, among in states.items()}
        read = [line for line in lines if line.best is not None]
        return cls(name, counts, max(read, key=lambda line: line.best or 0.0, default=None))

    @property
    def words(self) -> str:
        """``3 done, 1 running; best val/linear 91.20 (infonce · tau 0.5 · seed 0)``."""
        words = ", ".join(f"{count} {word}" for word, count in self.counts.items() if count)
        return words + (f"; best val/linear {self.best.figure} ({self.best.label})" if self.best else "")


@dataclass
class Board:
    """The sweep as its driver knows it; the driver's listener writes it, the display reads it."""

    name: str
    planned: int
    lines: dict[str, Line] = field(default_factory=dict)
    gpus: float = 0.0  # that one trial occupies
    began: float = field(default_factory=time.monotonic)
    done_before: float = 0.0  # epochs that were done when this driver began
    note: str = ""

    @classmethod
    def of(cls, name: str, planned: int, trials: list[TrialRecord], gpus: float = 0.0) -> Board:
        """The board of what the sweep folder holds."""
        board = cls(name, planned, {t.digest: Line.of(t) for t in trials}, gpus)
        board.done_before = board.epochs_done()
        return board

    def enter(self, trial: TrialRecord) -> Line:
        """Put a trial on the board as its folder tells it."""
        line = self.lines[trial.digest] = Line.of(trial)
        return line

    def tell(self, line: str) -> None:
        """Show a note below the board until an empty one comes."""
        self.note = line

    def count(self, *statuses: str) -> int:
        return sum(line.status in statuses for line in self.lines.values())

    @property
    def waiting(self) -> int:
        return max(0, self.planned - self.count("running", *OVER))

    def epochs_done(self) -> float:
        """Epochs done; an ended trial counts whole, and one more stands for the untrained probe."""
        return sum(line.epochs + 1 if line.status in OVER else line.epoch for line in self.lines.values())

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
        stopped = self.count("stopped")
        words = [
            f"{self.count('finished')} of {self.planned} done",
            f"{self.count('running')} running",
            *([f"{stopped} stopped early"] if stopped else []),
            f"{self.count('failed', 'diverged', 'damaged')} failed",
            f"{self.waiting} waiting",
        ]
        left = self.seconds_left()
        if left is not None and self.waiting + self.count("running") > 0:
            words.append(f"about {clock(left)} left")
        if self.gpus:
            words.append(f"{self.gpu_hours():.2f} GPU-hours")
        return ", ".join(words)

    def gpu_hours(self) -> float:
        """GPU-hours of the trials so far, whichever driver ran them."""
        return self.gpus * sum(line.seconds for line in self.lines.values()) / 3600

    def families(self) -> list[Family]:
        """What the board says of every family, in the sweep's order."""
        members: dict[str, list[Line]] = {}
        for line in list(self.lines.values()):
            members.setdefault(line.family, []).append(line)
        return [Family.of(name or "damaged", lines) for name, lines in members.items()]


def clock(seconds: float) -> str:
    """``1:05`` or ``2:03:20``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
