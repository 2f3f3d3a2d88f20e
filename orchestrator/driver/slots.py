"""Decides how many trials a sweep asks its sampler for at a time: one for each place that the cluster has, and a few ahead.

A sampler that learns from results is asked for as few ahead as possible.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

import ray

from search_spaces import SweepSpec
from search_spaces.samplers import SAMPLERS

AHEAD = 16  # trials beyond the slots that are asked for where no sampler learns


class Slots:
    """How many trials of a sweep the nodes of the cluster hold at a time, looked up anew every ``EVERY_S`` seconds.

    Args:
        spec: the sweep, of which the resources per trial are taken.
    """

    EVERY_S = 2.0

    def __init__(self, spec: SweepSpec) -> None:
        self._wanted = [(k, v) for k, v in (("CPU", spec.resources.cpu), ("GPU", spec.resources.gpu)) if v]
        self._count, self._looked_at = 0, -math.inf

    def count(self) -> int:
        """Return the number of slots; the last one known while the cluster does not answer."""
        if time.monotonic() - self._looked_at >= self.EVERY_S:
            with contextlib.suppress(Exception):  # whatever Ray raises; the watch sees to a cluster that is gone
                nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
                self._count = sum(min(int(node.get(k, 0) / v + 1e-9) for k, v in self._wanted) for node in nodes)
            self._looked_at = time.monotonic()
        return self._count


def most_at_once(spec: SweepSpec) -> Callable[[], int]:
    """Return a function that says how many trials may be handed out and not have ended.

    That is one for each slot and a few more, since a worker that has ended a trial must find the next (Tune stops a worker for
    which none is waiting). Where a sampler learns, one alone is ahead, so that the sampler knows as much as it can.

    Args:
        spec: the sweep.
    """
    slots, learns = Slots(spec), spec.search is not None and SAMPLERS[spec.search.sampler].learns
    return lambda: slots.count() + (1 if learns else AHEAD)
