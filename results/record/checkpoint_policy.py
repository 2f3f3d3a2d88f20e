"""Decides when a trial saves a checkpoint, so that saving takes at most a set share (a twentieth) of its time.

A trial's writer asks it after every epoch: :mod:`results.record.trial_writer` where the worker sees the storage, else
:mod:`orchestrator.driver.head_writer`. :mod:`orchestrator.driver.leaving` tells it that a node will be taken away.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from trainer import environment_variables


class CheckpointPolicy:
    """Decides after every epoch whether a checkpoint is due, from what the last one cost.

    Args:
        share: the share of a trial's time that may go into saving, above 0; ``inf`` saves after every epoch. When it is not
            given, it is $ALPHACL_SAVE_SHARE, or a twentieth where that is not set.
        is_urgent: tells whether the machine will be taken away soon, so that a checkpoint is due whatever it costs.
    """

    def __init__(self, share: float | None = None, is_urgent: Callable[[], bool] = lambda: False) -> None:
        self.share = environment_variables.save_share() if share is None else share
        self.is_urgent = is_urgent
        self._saved_at = time.monotonic()
        self._cost_s = 0.0

    def is_due(self) -> bool:
        """Tell whether a checkpoint is due: enough time has passed since the last one, or the machine will be taken away soon."""
        return self.is_urgent() or time.monotonic() - self._saved_at >= self._cost_s / self.share

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure what saving costs while the block runs."""
        began = time.monotonic()
        yield
        self.saved(time.monotonic() - began)

    def saved(self, cost_s: float) -> None:
        """Note that a checkpoint has just been saved, and how many seconds that took."""
        self._saved_at, self._cost_s = time.monotonic(), cost_s
