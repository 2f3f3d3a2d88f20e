"""When a failed trial is run again, and when not.

Tune runs a trial again whose worker raised an error, died, or was lost with its node: up to ``retries`` times (a key of the
search space), each time from the trial's last checkpoint (:meth:`results.record.trial_writer.TrialWriter.begin`). What no
retry would mend is written down by the worker and ends the trial: see :func:`ending_for_good`.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any, Protocol

from ray import tune

from results.record.patience import patiently
from results.record.status import Status
from results.record.trial_writer import Superseded
from trainer import TrialDiverged, UserError


def failure_config(retries: int) -> tune.FailureConfig:
    """Return what Tune needs to know: how often a trial is run again after an error."""
    return tune.FailureConfig(max_failures=retries)


class Fails(Protocol):
    """Recorder of an attempt's error: the writer of a trial's folder, on this disk or on the driver's."""

    def fail(self, kind: Status, message: str, **place: str | int) -> None:
        """Record why the attempt ended without a result."""

    def earlier_error(self) -> dict[str, Any] | None:
        """Return what ended the attempt before this one; None where none failed just before."""


@contextlib.contextmanager
def ending_for_good(writer: Fails) -> Iterator[None]:
    """End the trial, without another try, where the block raises an error that would come again.

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
        from trainer.user_code import explain

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
    from trainer.user_code import place_of

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
