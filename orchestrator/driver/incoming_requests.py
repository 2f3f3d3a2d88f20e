"""Takes in what other processes ask of the driver while a sweep runs: ``alphacl stop`` of trials or of the whole sweep."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

from orchestrator.driver.board import Board
from results.record.driver_requests import StopRequest, read_requests
from results.record.status import Status
from results.record.sweep_writer import SweepWriter


class Requests:
    """Looks for requests in the sweep folder and its bucket while its ``with`` block runs; older ones are forgotten at its begin.

    ``stopping`` holds the digests of trials to be stopped: the scheduler stops one that runs at its next report, a worker that
    is given one that waits ends at once.

    Args:
        folder: the sweep folder.
        board: is told of what was asked.
    """

    EVERY_S = 1.0

    def __init__(self, folder: SweepWriter, board: Board) -> None:
        self.folder, self.board = folder, board
        self.stopping: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="requests", daemon=True)

    def __enter__(self) -> Requests:
        with contextlib.suppress(OSError):
            for request in [*read_requests(self.folder.path), *self.folder.mirror.requests()]:
                request.take()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(self.EVERY_S):
            with contextlib.suppress(OSError):  # a storage that is away holds no requests
                for request in [*read_requests(self.folder.path), *self.folder.mirror.requests()]:
                    self._take(request)

    def _take(self, request: StopRequest) -> None:
        for digest in request.digests:
            self.stopping.add(digest)
            if (self.folder.trials / digest).is_dir() and self.folder.read(digest).status == Status.WAITING:
                self.folder.trial(digest).stop(0, by="user")
                self.board.enter(self.folder.read(digest))
        request.take()
        if not request.digests:
            self.board.tell(f"stopping, as asked from {request.by}")
            os.kill(os.getpid(), signal.SIGINT)  # the gentle end, as by Ctrl-C
