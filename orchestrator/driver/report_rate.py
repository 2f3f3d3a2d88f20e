"""Hands a trial's reports to Tune as often as its driver takes them without holding up the trial.

A report waits until the driver has taken it, and a driver takes some hundreds a second (benchmarks/README.md): where the trials
of a sweep have more epochs than that a second, each would wait. Everything is in the trial's folder by then, and what the driver
does not hear of one epoch it hears with a later one.
"""

from __future__ import annotations

import time
from typing import Any

from ray import tune

SHARE = 0.05  # of a trial's time that may go into waiting for the driver
SUMMED = ("time/epoch_s", "time/probe_s")


class Teller:
    """Tells Tune of a trial's reports; those that would hold up the trial are told with a later one.

    Args:
        all_of_them: whether each is told as it comes, as early stopping needs it.
    """

    def __init__(self, all_of_them: bool) -> None:
        self.all_of_them = all_of_them
        self._held: dict[str, Any] = {}
        self._told_at, self._cost_s = time.monotonic(), 0.0

    def tell(self, row: dict[str, Any], final: bool) -> None:
        """Tell a report now, or hold it; of what is held the newest value of a metric is told, and the sum of its times.

        Args:
            row: ``epoch`` and metrics.
            final: whether it is the trial's last, which is told in any case.
        """
        sums = {name: self._held.get(name, 0.0) + row.get(name, 0.0) for name in SUMMED if name in row or name in self._held}
        self._held |= {**row, **sums}
        began = time.monotonic()
        if self.all_of_them or final or began - self._told_at >= self._cost_s / SHARE:
            held, self._held = self._held, {}
            tune.report(held)
            self._told_at = time.monotonic()
            self._cost_s = self._told_at - began
