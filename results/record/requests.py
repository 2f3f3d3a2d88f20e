"""Requests to the driver of a running sweep, which any machine that sees the sweep folder may write: a file for each.

The driver looks into the folder ``requests`` every second, and removes a request when it has taken it in.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from results.record import schema
from trainer.errors import UserError

REQUESTS = "requests"  # the folder of the requests in a sweep folder


@dataclass(frozen=True)
class StopRequest:
    """The request to stop trials, or the whole sweep.

    Args:
        file: the request's file.
        digests: the trials to stop; empty for the whole sweep.
        by: who asks, as ``HOST, process N``.
    """

    file: Path
    digests: tuple[str, ...] = ()
    by: str = ""

    def take(self) -> None:
        """Remove the request, which has been taken in."""
        self.file.unlink(missing_ok=True)

    def is_taken(self, seconds: float) -> bool:
        """Wait until the driver has taken the request in, and return whether it has; wait for ``seconds`` at most."""
        deadline = time.monotonic() + seconds
        while self.file.exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


def request_stop(sweep: Path, digests: list[str]) -> StopRequest:
    """Ask the driver of a sweep to stop these trials, or the whole sweep where none is given, and return the request.

    Args:
        sweep: the sweep folder.
        digests: the trials.

    Raises:
        UserError: if the folder cannot be written.
    """
    file = sweep / REQUESTS / f"stop-{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    by = f"{os.uname().nodename}, process {os.getpid()}"
    try:
        file.parent.mkdir(exist_ok=True)
        schema.write(file, {"stop": digests, "by": by}, schema.STOP_REQUEST_FILE)
    except OSError as error:
        raise UserError(f"cannot write {file.parent}: {error.strerror or error}") from None
    return StopRequest(file, tuple(digests), by)


def read_requests(sweep: Path) -> list[StopRequest]:
    """Return the requests in a sweep folder, oldest first; one that cannot be read is removed."""
    found = []
    for file in sorted((sweep / REQUESTS).glob("stop-*.json")):
        try:
            value = schema.read(file, schema.STOP_REQUEST_FILE)
        except UserError:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            continue
        if value is not None:
            found.append(StopRequest(file, tuple(value["stop"]), value.get("by", "")))
    return found
