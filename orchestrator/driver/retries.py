"""When a failed trial is run again, and when not.

Tune runs a trial again whose worker raised an error, died, or was lost with its node: up to ``retries`` times (a key of the
search space), each time from the trial's last checkpoint (:meth:`results.record.trial_writer.TrialWriter.begin`). What no
retry would mend is written down by the worker and ends the trial: see :func:`ending_for_good`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ray import tune

from results.record.patience import patiently
from results.record.status import Status
from results.record.trial_writer import Superseded, TrialWriter
from trainer import TrialDiverged, UserError


def failure_config(retries: int) -> tune.FailureConfig:
    """Return what Tune needs to know: how often a trial is run again after an error."""
    return tune.FailureConfig(max_failures=retries)


@contextlib.contextmanager
def ending_for_good(writer: TrialWriter) -> Iterator[None]:
    """End the trial, without another try, where the block raises an error that would come again.

    A loss that diverged and bad input are recorded. A worker whose trial has a newer attempt just ends: that attempt reports for
    itself. Every other error passes through to Tune, which runs the trial again.
    """
    try:
        yield
    except Superseded:
        tune.report({"ended": "superseded"})  # Tune prints a line about a trial that has reported nothing
    except TrialDiverged as error:
        _fail(writer, Status.DIVERGED, str(error))
    except UserError as error:
        _fail(writer, Status.FAILED, str(error))


def _fail(writer: TrialWriter, kind: Status, message: str) -> None:
    patiently(lambda: writer.fail(kind, message))
    tune.report({"ended": kind.value})
