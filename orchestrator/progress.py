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

from results.records import TrialRecord
from results.table import Table

LINE_EVERY_S = 60.0


@dataclass
class Line:
    """One trial on the board."""

    label: str
    epochs: int
    status: str = "waiting"  # waiting, running, finished, failed, diverged
    epoch: int = 0
    best: float | None = None  # best accuracy on held-out images so far, percent
    last: str = ""

    def note(self, row: dict[str, Any]) -> None:
        """Take in a report."""
        self.epoch = int(row.get("epoch", self.epoch))
        value = row.get("val/linear")
        if value is not None and (self.best is None or value > self.best):
            self.best = value

    @property
    def figure(self) -> str:
        return "–" if self.best is None else f"{self.best:.2f}"


@dataclass
class Board:
    """The sweep as its driver knows it; the driver's callbacks write it, the display reads it."""

    name: str
    planned: int
    lines: dict[str, Line] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    done_before: float = 0.0  # epochs that were done when this driver began
    note: str = ""

    @classmethod
    def of(cls, name: str, planned: int, trials: list[TrialRecord]) -> Board:
        """The board of what the sweep folder holds."""
        board = cls(name, planned)
        for trial in trials:
            board.enter(trial)
        board.done_before = board.epochs_done()
        return board

    def enter(self, trial: TrialRecord) -> Line:
        """Put a trial on the board as its folder tells it."""
        line = Line(trial.label, int(trial.config["epochs"]))
        for row in trial.reports:
            line.note(row)
        line.status = "waiting" if trial.status == "started" else trial.status
        self.lines[trial.digest] = line
        return line

    def count(self, *statuses: str) -> int:
        return sum(line.status in statuses for line in self.lines.values())

    @property
    def waiting(self) -> int:
        return self.planned - self.count("running", "finished", "failed", "diverged")

    def epochs_done(self) -> float:
        """Epochs done; an ended trial counts whole, and one more stands for the untrained probe."""
        ended = ("finished", "failed", "diverged")
        return sum(line.epochs + 1 if line.status in ended else line.epoch for line in self.lines.values())

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
        failed = self.count("failed", "diverged")
        words = [
            f"{self.count('finished')} of {self.planned} done",
            f"{self.count('running')} running",
            f"{failed} failed",
            f"{self.waiting} waiting",
        ]
        left = self.seconds_left()
        if left is not None and self.waiting + self.count("running") > 0:
            words.append(f"about {clock(left)} left")
        return ", ".join(words)


def clock(seconds: float) -> str:
    """``1:05`` or ``2:03:20``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """Shows a board while the sweep runs: a live table on a terminal, else a line per ended trial and one a minute."""

    def __init__(self, board: Board, console: Console) -> None:
        self.board, self.console = board, console
        self._last_line = time.monotonic()

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
                if line.status != shown.get(digest) and line.status in ("finished", "failed", "diverged"):
                    self._say(
                        f"{line.label}: {line.status}{'' if line.status == 'failed' else f', {line.last}' if line.last else ''}"
                    )
                shown[digest] = line.status
            if time.monotonic() - self._last_line >= LINE_EVERY_S:
                for line in list(self.board.lines.values()):
                    if line.status == "running":
                        self._say(f"{line.label}: epoch {line.epoch}/{line.epochs}, best val/linear {line.figure}")
                self._say(self.board.summary())
            if last:
                return

    def _say(self, text: str) -> None:
        self._last_line = time.monotonic()
        self.console.print(f"[{clock(self._last_line - self.board.began)}] {text}", markup=False, highlight=False, soft_wrap=True)

    def render(self) -> Group:
        """The live view: running trials, then the counts."""
        table = RichTable(box=None, pad_edge=False, header_style="bold")
        for heading, justify in (("running", "left"), ("epoch", "right"), ("best val/linear", "right")):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        for line in list(self.board.lines.values()):
            if line.status == "running":
                table.add_row(line.label, f"{line.epoch}/{line.epochs}", line.figure)
        elapsed = clock(time.monotonic() - self.board.began)
        parts: list[RenderableType] = [table, Text(f"{self.board.name}: {self.board.summary()} ({elapsed} so far)")]
        if self.board.note:
            parts.append(Text(self.board.note, style="yellow"))
        return Group(*parts)


def print_tables(tables: list[Table], console: Console) -> None:
    """Accuracy tables on the terminal, the best mean of a column in bold."""
    for table in tables:
        view = RichTable(
            title=f"{table.dataset}: top-1 accuracy in %, mean ± std over n seeds", title_justify="left", title_style="bold"
        )
        for heading in table.header():
            view.add_column(heading, justify="left" if heading in table.settings else "right", no_wrap=True)
        for row, cells in zip(table.rows, table.lines(), strict=True):
            first = len(table.settings) + 1
            marked = [
                Text(t, style="bold green" if i >= first and table.best(table.columns[i - first]) is row else "")
                for i, t in enumerate(cells)
            ]
            view.add_row(*marked)
        console.print(view)


def make_console(stream: Any = None) -> Console:
    """A console on standard output; wide enough for tables where that is no terminal."""
    stream = stream or sys.stdout
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=140)
