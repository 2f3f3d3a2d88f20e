"""The budget of a sweep while it runs: hours and GPU-hours, those of earlier drivers included. What runs then still ends."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from orchestrator.driver.board import Board
from results.record.layout import SYSTEM
from search_spaces.search import Budget

GAP_S = 60.0  # samples of a driver's machine further apart than this are of two drivers


class BudgetWatch:
    """Tells whether a sweep's budget is used up, which no trial is begun after.

    Args:
        budget: what the search space allows.
        folder: the sweep folder, whose samples of the machine's load say how long earlier drivers ran.
        board: knows the GPU-hours of all trials.
    """

    def __init__(self, budget: Budget, folder: Path, board: Board) -> None:
        self.budget, self.board = budget, board
        self._began = time.monotonic() - (driven_seconds(folder) if budget.hours else 0.0)

    def used_up(self) -> str:
        """Return the budget that is used up, such as ``8 hours``; empty where none is."""
        if self.budget.hours and time.monotonic() - self._began >= self.budget.hours * 3600:
            return f"{self.budget.hours:g} hours"
        if self.budget.gpu_hours and self.board.gpu_hours() >= self.budget.gpu_hours:
            return f"{self.budget.gpu_hours:g} GPU-hours"
        return ""


def driven_seconds(folder: Path) -> float:
    """Return for how many seconds drivers have run a sweep, to ten seconds each, from the samples of their machine's load."""
    total, last = 0.0, None
    with contextlib.suppress(OSError), open(folder / SYSTEM, encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
                at = float(line["at"])
            except (ValueError, KeyError, TypeError):
                continue
            if last is not None and 0 < at - last < GAP_S:
                total += at - last
            last = at
    return total
