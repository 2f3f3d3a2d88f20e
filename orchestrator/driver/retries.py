"""Decides whether a failed trial is run again.

A trial whose worker raised an error or died is run again up to ``retries`` times (a key of the search space), each time from the
trial's last checkpoint (:meth:`results.record.trial_writer.TrialWriter.begin`). A trial that was lost with its node has not
failed: see :class:`Failures`. An error that no retry would mend, such as a loss that is not finite, ends the trial: see
:func:`ending_for_good`.
"""

from __future__ import annotations

import contextlib
import re
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial

from results.record.patience import patiently
from results.record.status import Status
from results.record.trial_writer import Superseded
from trainer import TrialDiverged, UserError

# How Ray's error begins where a node was lost; the second where the connection broke before anybody knew why.
NODE_LOST = re.compile(r"The actor (died unexpectedly .*The actor died because its node has died|[0-9a-f]+ is unavailable)", re.S)
# What Ray's memory monitor says of a worker that it has killed, before two screens of advice.
MEMORY_SHORT = re.compile(r"killed due to the node running low on memory\. Memory .*? was ([\d.]+GB used / [\d.]+GB) limit")
MOST_IN_VAIN = 3  # nodes that a trial may lose one after the other without a report, before each counts: it may be the cause


class Failures:
    """Counts the failures of each trial, and tells when its retries are used up.

    Tune itself would count a lost node as a failure of the trial, and decides before anybody can say otherwise; so Tune is told
    to run every trial again, and the scheduler ends those whose retries are used up. A node that was lost, cut off or preempted
    is no failure, unless its trial has lost ``MOST_IN_VAIN`` before without a report in between.

    Args:
        retries: how often a trial is run again after a failure.
    """

    FOR_EVER = tune.FailureConfig(max_failures=-1)

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self._failures: Counter[str] = Counter()  # by digest
        self._in_vain: Counter[str] = Counter()

    def reported(self, digest: str) -> None:
        """Reset the count of nodes that a trial has lost one after the other without a report, since it has reported."""
        self._in_vain.pop(digest, None)

    def are_too_many(self, trial: Trial) -> bool:
        """Count an attempt at a trial that has ended with an error, and tell whether the trial has no retry left."""
        digest = trial.config["digest"]
        if NODE_LOST.match(error_of(trial)):
            self._in_vain[digest] += 1
            if self._in_vain[digest] <= MOST_IN_VAIN:
                return False
        self._failures[digest] += 1
        return self._failures[digest] > self.retries


def error_of(trial: Trial) -> str:
    """Return what Tune has written down of a trial's newest error; empty where there is none."""
    with contextlib.suppress(OSError):
        if trial.error_file:
            newest = Path(trial.error_file).read_text(encoding="utf-8").rpartition("Failure # ")[2]
            return newest.partition("\n")[2]
    return ""


def last_lines(trial: Trial, count: int = 8) -> str:
    """Return the end of a failed trial's newest error, or that memory ran short, and how much was in use."""
    error = error_of(trial)
    short = MEMORY_SHORT.search(error)
    if short:
        return (
            f"Ray killed the worker because memory ran short on its node ({short[1]});"
            " with a larger 'cpu' under 'resources', or a 'trials_at_once' under 'budget', fewer trials run side by side"
        )
    lines = [line for line in error.splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "the worker died without an error message"


class Fails(Protocol):
    """Recorder of an attempt's error: the writer of a trial's folder, on this disk or on the driver's."""

    def fail(self, kind: Status, message: str, **place: str | int) -> None:
        """Record why the attempt ended without a result."""

    def earlier_error(self) -> dict[str, Any] | None:
        """Return what ended the attempt before this one; None where none failed just before."""


@contextlib.contextmanager
def ending_for_good(writer: Fails) -> Iterator[None]:
    """End the trial without a retry where the block raises an error that a retry would only meet again.

    Recorded as final are a loss that diverged, bad input, and an error that has ended the attempt before at the same line. A
    worker whose trial has a newer attempt just ends: that attempt reports for itself. Every other error is recorded, and passes
    through to Tune, which runs the trial again.
    """
    try:
        yield
    except Superseded:
        tune.report({"ended": "superseded"})  # Tune prints a line about a trial that has reported nothing
    except TrialDiverged as error:
        _fail(writer, Status.DIVERGED, str(error))
    except UserError as error:
        _fail(writer, Status.FAILED, str(error))
    except Exception as error:
        from trainer.plugin_errors import explain

        traceback.print_exc()  # into the trial's log
        place, message = _place(error), explain(error)
        has_come_before = not _may_pass(error) and _is_same(writer.earlier_error(), place)
        with contextlib.suppress(OSError):  # the driver writes it down then
            patiently(lambda: writer.fail(Status.FAILED, message, **place))
        if not has_come_before:
            raise
        tune.report({"ended": Status.FAILED.value})


def _place(error: Exception) -> dict[str, Any]:
    """Return what ``error.json`` says of where an error was raised."""
    from trainer.plugin_errors import place_of

    place = place_of(error)
    known = {} if place is None else {"file": place.file, "line": place.line, "function": place.function, "code": place.code}
    return {"error": type(error).__name__, **known}


def _is_same(earlier: dict[str, Any] | None, place: dict[str, Any]) -> bool:
    """Tell whether an earlier attempt was ended by the same kind of error at the same line."""
    return earlier is not None and "line" in place and all(earlier.get(key) == place[key] for key in ("error", "file", "line"))


def _may_pass(error: Exception) -> bool:
    """Tell whether an error is of a kind that another try may mend: memory, storage, a GPU."""
    return isinstance(error, (MemoryError, OSError)) or "OutOfMemory" in type(error).__name__ or "CUDA" in str(error)


def _fail(writer: Fails, kind: Status, message: str) -> None:
    patiently(lambda: writer.fail(kind, message))
    tune.report({"ended": kind.value})
