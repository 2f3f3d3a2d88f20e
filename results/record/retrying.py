"""Makes a trial that is over wait again, so that the next driver runs it anew; what it had stays as an older attempt."""

from __future__ import annotations

import os
from pathlib import Path

from results.record import schema
from results.record.layout import CHECKPOINT, RESULT, STOPPED, attempt_name
from results.record.trial_record import attempts_of
from trainer.errors import UserError


def make_wait_again(folder: Path) -> None:
    """Set a trial's result, error or stop aside, into the attempt that they are of.

    A new, empty attempt makes the trial one that waits. It is there before anything is moved, so that a crash between leaves
    the trial as it was or waiting. Checkpoints are removed: the trial begins anew.

    Args:
        folder: the trial's folder, which no worker writes now.

    Raises:
        OSError: if the folder cannot be written.
    """
    attempts = attempts_of(folder)
    if not attempts:  # stopped before it had begun
        (folder / STOPPED).unlink(missing_ok=True)
        return
    newest = attempts[0]
    try:
        finished = (schema.read(folder / RESULT, schema.RESULT_FILE) or {}).get("attempt")
    except UserError:  # a damaged result is a reason to run the trial again
        finished = None
    owner = next((attempt for attempt in attempts if attempt.name == finished), newest)
    for attempt in attempts:
        (attempt / CHECKPOINT).unlink(missing_ok=True)
    (folder / attempt_name(int(newest.name.removeprefix("attempt-")) + 1)).mkdir()
    for name, into in ((RESULT, owner), (STOPPED, newest)):
        if (folder / name).exists():
            os.replace(folder / name, into / name)
