"""The statuses that a trial can have, and what each of them means."""

from __future__ import annotations

import enum


class Status(enum.StrEnum):
    """The state of a trial, as its folder and its driver know it; each status equals its own text.

    A folder alone knows ``waiting``, ``started``, ``finished``, ``stopped``, ``failed``, ``diverged`` and ``damaged``. Whoever
    knows whether a driver is at work calls a started trial ``running`` or ``interrupted``.
    """

    WAITING = "waiting"  # planned; no report yet
    STARTED = "started"  # has reported; the folder does not say whether a worker is alive
    RUNNING = "running"  # a worker is at it
    INTERRUPTED = "interrupted"  # no worker is at it; it goes on from its checkpoint
    FINISHED = "finished"  # has a result
    STOPPED = "stopped"  # stopped by the pruner
    FAILED = "failed"  # raised, ran out of memory or lost its worker more often than it may
    DIVERGED = "diverged"  # its loss is no finite number
    DAMAGED = "damaged"  # its files cannot be read or believed

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will come of the trial in this run of the driver."""
        return self in _OVER

    @property
    def has_failed(self) -> bool:
        """Tell whether the trial ended without the scores that it was planned for, and not on purpose."""
        return self in _FAILED

    @property
    def is_resumable(self) -> bool:
        """Tell whether ``alphacl resume`` runs the trial: a failed one is tried again, a diverged loss would diverge again."""
        return self in _RESUMABLE


_FAILED = frozenset({Status.FAILED, Status.DIVERGED, Status.DAMAGED})
_OVER = _FAILED | {Status.FINISHED, Status.STOPPED}
_RESUMABLE = frozenset({Status.WAITING, Status.STARTED, Status.RUNNING, Status.INTERRUPTED, Status.FAILED})
