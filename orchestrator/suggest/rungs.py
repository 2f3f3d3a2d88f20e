"""The rungs of asynchronous successive halving, at which a trial goes on or is stopped (Li et al., 2020, arXiv 1810.05934)."""

from __future__ import annotations

import bisect
import math

MOST = 10**9  # epochs up to which there are rungs


class Rungs:
    """The rungs of one family, which decide as one bracket of Ray Tune's ``AsyncHyperBandScheduler`` does.

    Tune sorts all values of a rung anew for each that arrives, which is square in their number, also where a resumed sweep
    enters thousands of old reports; here they stay sorted.

    Args:
        grace: the epoch of the first rung.
        reduction: one in so many goes on from a rung, and each rung is so many times the one before.
    """

    def __init__(self, grace: int, reduction: float) -> None:
        self.share = (1 - 1 / reduction) * 100 / 100  # in the order in which NumPy rounds it
        most = int(math.log(MOST / grace) / math.log(reduction) + 1)
        self.rungs = [_Rung(grace * reduction**number) for number in reversed(range(most))]

    def goes_on(self, trial: str, epoch: int, value: float) -> bool:
        """Enter a report on the highest rung that the trial has reached and is not on yet, and return whether it goes on.

        Args:
            trial: the trial's name.
            epoch: the epoch of the report.
            value: the metric, of which more is better.
        """
        for rung in self.rungs:
            if epoch >= rung.epoch and trial not in rung.trials:
                goes_on = not value < rung.cutoff(self.share)
                rung.enter(trial, value)
                return goes_on
        return True


class _Rung:
    """The values of the trials that have reached an epoch, in order."""

    def __init__(self, epoch: float) -> None:
        self.epoch = epoch
        self.trials: set[str] = set()
        self.values: list[float] = []

    def enter(self, trial: str, value: float) -> None:
        self.trials.add(trial)
        if not math.isnan(value):
            bisect.insort(self.values, value)

    def cutoff(self, share: float) -> float:
        """Return the value below which a share of all lie, interpolated between two of them; NaN where none is known."""
        if not self.values:
            return math.nan
        at = (len(self.values) - 1) * share
        below = math.floor(at)
        low, high = self.values[below], self.values[min(below + 1, len(self.values) - 1)]
        part = at - below
        return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)  # as NumPy, whose rounding it has
