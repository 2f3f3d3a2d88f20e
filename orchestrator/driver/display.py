"""Shows a running sweep to the user: its board, live on a terminal or as plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from orchestrator.driver.board import Board, clock
from orchestrator.driver.trial_line import TrialLine
from results.record.status import Status
from trainer.terminal import own_stream, printable, to_nowhere

LINE_EVERY_S = 60.0
MOST_RUNNING, MOST_FAMILIES = 12, 24  # that are shown by name


class Display:
    """Shows a board while a sweep runs: a live table on a terminal, else a line per trial that ends and a summary every minute.

    Args:
        board: what is shown.
        console: where it is shown.
    """

    def __init__(self, board: Board, console: Console) -> None:
        self.board, self.console = board, console
        self._minute_at, self._noted, self._said = time.monotonic(), "", 0

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Show the board until the ``with`` block is left."""
        if self.console.is_terminal:
            with Live(
                get_renderable=self.render, console=self.console, refresh_per_second=4, transient=True, redirect_stdout=False
            ):
                yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._log, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _log(self, stop: threading.Event) -> None:
        """Print a line for every trial that ends and every new note, and a summary every minute, until ``stop`` is set."""
        while True:
            last = stop.wait(0.5)
            while self.board.ended:
                line = self.board.ended.popleft()
                why = f", {line.last}" if line.last and line.status != Status.FAILED else ""
                self._print(f"{line.label}: {line.status}{why}")
            for message in self.board.said[self._said :]:
                self._said += 1
                self._print(message)
            if self.board.note != self._noted:
                self._noted = self.board.note
                self._print(self._noted or "the storage is there again")
            if time.monotonic() - self._minute_at >= LINE_EVERY_S:
                self._log_summary()
            if last:
                return

    def _log_summary(self) -> None:
        """Print the running trials, the families and the counts."""
        self._minute_at = time.monotonic()
        running, more = self._running()
        for line in running:
            self._print(f"{line.label}: epoch {line.epoch}/{line.epochs}, {self.board.metric} {line.value_text}")
        if more:
            self._print(more)
        families = self.board.families()
        for family in families[:MOST_FAMILIES]:
            self._print(f"{family.name}: {family.summary}")
        if len(families) > MOST_FAMILIES:
            self._print(f"and {len(families) - MOST_FAMILIES:,} more families")
        self._print(self.board.summary())

    def _running(self) -> tuple[list[TrialLine], str]:
        """Return the trials that have run longest, at most :data:`MOST_RUNNING`, and a text that counts the others."""
        running = list(self.board.running.values())
        others = len(running) - MOST_RUNNING
        return running[:MOST_RUNNING], f"and {others:,} more" if others > 0 else ""

    def _print(self, text: str) -> None:
        at = clock(time.monotonic() - self.board.began)
        self.console.print(f"[{at}] {printable(text)}", markup=False, highlight=False, soft_wrap=True)

    def render(self) -> Group:
        """Return the live view: families, running trials, then the counts."""
        table = RichTable(box=None, pad_edge=False, header_style="bold")
        for heading in ("family", "done", "running", "stopped", "failed", "waiting", f"best {self.board.metric}"):
            table.add_column(heading, justify="left" if heading == "family" else "right")
        families = self.board.families()
        for family in families[:MOST_FAMILIES]:
            best = "–" if family.best is None else f"{family.best.mean:.2f}"
            table.add_row(Text(family.name), *(str(count or "–") for count in family.counts.values()), best)
        if len(families) > MOST_FAMILIES:
            table.add_row(f"and {len(families) - MOST_FAMILIES:,} more")
        running = RichTable(box=None, pad_edge=False, header_style="bold")
        for heading, justify in (("running", "left"), ("epoch", "right"), (self.board.metric, "right")):
            running.add_column(heading, justify=justify)  # type: ignore[arg-type]
        lines, more = self._running()
        for line in lines:
            running.add_row(Text(line.label), f"{line.epoch}/{line.epochs}", line.value_text)
        if more:
            running.add_row(more)
        elapsed = clock(time.monotonic() - self.board.began)
        parts: list[RenderableType] = [table, Text(), running, Text()]
        parts.append(Text(f"{self.board.name}: {self.board.summary()} ({elapsed} so far)"))
        parts += [Text(message, style="dim") for message in self.board.said]
        if self.board.note:
            parts.append(Text(self.board.note, style="yellow"))
        return Group(*parts)


class _Console(Console):
    """A console that falls silent when its reader goes; rich's own would end the program with exit code 1."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        to_nowhere(self.file)


def make_console(stream: Any = None) -> Console:
    """Return a console on a stream, standard output when not given; 140 columns wide for tables where it is no terminal."""
    stream = own_stream(stream or sys.stdout)
    return _Console(file=stream) if stream.isatty() else _Console(file=stream, width=140)
