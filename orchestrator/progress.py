"""What is going on: a board of the sweep's trials, shown live on a terminal or as plain lines in a log; tables on it."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from results.formats import title
from results.model import Table
from results.records import TrialRecord

LINE_EVERY_S = 60.0
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


class Display:
    """Shows a board while the sweep runs: a live table on a terminal, else a line per ended trial and some once a minute."""

    def __init__(self, board: Board, console: Console) -> None:
        self.board, self.console = board, console
        self._last_lines, self._noted = time.monotonic(), ""

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Show until the block is left."""
        if self.console.is_terminal:
            with Live(
                get_renderable=self.render, console=self.console, refresh_per_second=4, transient=True, redirect_stdout=False
            ):
                yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._lines, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _lines(self, stop: threading.Event) -> None:
        shown = {digest: line.status for digest, line in self.board.lines.items()}
        while True:
            last = stop.wait(0.5)
            for digest, line in list(self.board.lines.items()):
                if line.status != shown.get(digest) and line.status in OVER:
                    self._say(
                        f"{line.label}: {line.status}{'' if line.status == 'failed' else f', {line.last}' if line.last else ''}"
                    )
                shown[digest] = line.status
            if self.board.note != self._noted:
                self._noted = self.board.note
                self._say(self._noted or "the storage is there again")
            if time.monotonic() - self._last_lines >= LINE_EVERY_S:
                self._minute()
            if last:
                return

    def _minute(self) -> None:
        """What a log is told once a minute: the running trials, the families, the counts."""
        self._last_lines = time.monotonic()
        for line in list(self.board.lines.values()):
            if line.status == "running":
                self._say(f"{line.label}: epoch {line.epoch}/{line.epochs}, best val/linear {line.figure}")
        for family in self.board.families():
            self._say(f"{family.name}: {family.words}")
        self._say(self.board.summary())

    def _say(self, text: str) -> None:
        at = clock(time.monotonic() - self.board.began)
        self.console.print(f"[{at}] {text}", markup=False, highlight=False, soft_wrap=True)

    def render(self) -> Group:
        """The live view: families, running trials, then the counts."""
        table = RichTable(box=None, pad_edge=False, header_style="bold")
        for heading in ("family", "done", "running", "stopped", "failed", "waiting", "best val/linear"):
            table.add_column(heading, justify="left" if heading == "family" else "right")
        for family in self.board.families():
            figure = "–" if family.best is None else family.best.figure
            table.add_row(family.name, *(str(count or "–") for count in family.counts.values()), figure)
        running = RichTable(box=None, pad_edge=False, header_style="bold")
        for heading, justify in (("running", "left"), ("epoch", "right"), ("best val/linear", "right")):
            running.add_column(heading, justify=justify)  # type: ignore[arg-type]
        for line in list(self.board.lines.values()):
            if line.status == "running":
                running.add_row(line.label, f"{line.epoch}/{line.epochs}", line.figure)
        elapsed = clock(time.monotonic() - self.board.began)
        parts: list[RenderableType] = [table, Text(), running, Text()]
        parts.append(Text(f"{self.board.name}: {self.board.summary()} ({elapsed} so far)"))
        if self.board.note:
            parts.append(Text(self.board.note, style="yellow"))
        return Group(*parts)


def print_tables(tables: list[Table], console: Console) -> None:
    """Accuracy tables on the terminal, the best mean of a column in bold and the second in italics, their notes below."""
    styles = {"best": "bold green", "second": "italic", "": ""}
    for table in tables:
        heading = f"{title(table)}: top-1 accuracy in %, mean ± std over n seeds"
        view = RichTable(title=heading, title_justify="left", title_style="bold")
        for name in table.header():
            view.add_column(name, justify="left" if name in table.settings else "right", no_wrap=True)
        first = len(table.settings) + 1
        marks_of = zip(*(table.marks(column) for column in table.columns), strict=True)
        for cells, row_marks in zip(table.lines(), marks_of, strict=True):
            marks = [""] * first + list(row_marks)
            view.add_row(*(Text(cell, style=styles[mark]) for cell, mark in zip(cells, marks, strict=True)))
        console.print(view)
        for note in table.notes:
            console.print(Text(note.replace("`", "'"), style="dim"), soft_wrap=True)


def make_console(stream: Any = None) -> Console:
    """A console on standard output; wide enough for tables where that is no terminal."""
    stream = stream or sys.stdout
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=140)
