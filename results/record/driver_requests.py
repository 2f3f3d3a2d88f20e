"""Requests to the driver of a running sweep, which any machine that sees the sweep may write: a file, or an object of its bucket.

The driver looks into the folder ``requests`` every second, into the bucket every few seconds
(:mod:`results.bucket.request_objects`), and removes a request when it has taken it in.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from results.record import schema
from results.record.layout import REQUESTS
from trainer.errors import UserError


@dataclass(frozen=True)
class StopRequest:
    """The request to stop trials, or the whole sweep.

    Args:
        place: where it lies, for messages.
        digests: the trials to stop; empty for the whole sweep.
        by: who asks, as ``HOST, process N``.
        take: removes the request, which has been taken in.
        is_left: tells whether the request has not been taken in yet.
    """

    place: str
    digests: tuple[str, ...]
    by: str
    take: Callable[[], None]
    is_left: Callable[[], bool]

    def is_taken(self, seconds: float, every: float = 0.1) -> bool:
        """Wait until the driver has taken the request in, and return whether it has.

        Args:
            seconds: how long to wait at most.
            every: seconds between two looks.
        """
        deadline = time.monotonic() + seconds
        while self.is_left():
            if time.monotonic() > deadline:
                return False
            time.sleep(every)
        return True


def new_request(digests: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the name and the content of a request to stop these trials, or the whole sweep where none is given."""
    body = {"stop": digests, "by": f"{os.uname().nodename}, process {os.getpid()}"}
    return f"stop-{time.time_ns()}-{uuid.uuid4().hex[:8]}.json", body


def request_stop(sweep: Path, digests: list[str]) -> StopRequest:
    """Ask the driver of a sweep to stop these trials, or the whole sweep where none is given, and return the request.

    Args:
        sweep: the sweep folder.
        digests: the trials.

    Raises:
        UserError: if the folder cannot be written.
    """
    name, body = new_request(digests)
    file = sweep / REQUESTS / name
    try:
        file.parent.mkdir(exist_ok=True)
        schema.write(file, body, schema.STOP_REQUEST_FILE)
    except OSError as error:
        raise UserError(f"cannot write {file.parent}: {error.strerror or error}") from None
    return _of(file, body)


def _of(file: Path, body: dict[str, Any]) -> StopRequest:
    digests, by = tuple(body["stop"]), str(body.get("by", ""))
    return StopRequest(str(file), digests, by, partial(file.unlink, missing_ok=True), file.exists)


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
            found.append(_of(file, value))
    return found
