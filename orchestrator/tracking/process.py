"""The tracker in a process of its own, so that neither MLflow nor a picture ever holds up the sweep.

The driver writes JSON lines to the process: what to follow, then ``{"news": [digest, …]}``, in the end ``{"close": status}``. The
process answers ``{"ready": true}`` or ``{"error": why}``, ``{"problem": text}`` whenever that changes, in the end ``{"closed":
whether all was written}``; and every few seconds ``{"alive": true}``, without which it counts as hanging, is ended, and another
takes its place. It ends when its input does: when the driver is killed, the process goes too, and the next driver finds the store
free.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from orchestrator.tracking.addresses import database, default_uri, tracking_uri
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError

SEND_EVERY_S, BACK_OFF_S = 0.2, 5.0
HANDOVER_S = 20.0  # for which a driver's recorder waits for that of a killed one to be gone
ALIVE_S = 5.0  # between two signs of life of a recorder
SILENT_S = 60  # without one, after which a recorder counts as hanging
ENDS = 3  # times that a recorder may die while it writes what is left


class TrackingProcess:
    """The driver's side of the tracking process: a context manager that starts it and replaces it when it dies.

    Make it early, since its process starts meanwhile. A database that is new, in the sweep's own storage folder, is not waited
    for: the folder itself could be written, and trials may begin while MLflow makes its tables. Should that fail after all, it is
    tried again.

    ``problem`` is what is wrong now, in one line; empty where nothing is.

    Args:
        folder: the sweep folder.
        uri: the MLflow server or database; the one that the sweep was launched with when not given.
        study_url: the database of the Optuna study; likewise.
    """

    def __init__(self, folder: SweepWriter, uri: str | None = None, study_url: str | None = None) -> None:
        self.order = {
            "storage": str(folder.path.parent),
            "name": folder.record.name,
            "uri": tracking_uri(folder.record, uri),
            "study_url": study_url,
        }
        self.problem = ""
        self._news: set[str] = set()
        self._ending: str | None = None
        self._closed: bool | None = None
        self._silent = 0  # seconds since the process was heard of; the driver's own, so that one that was stopped blames nobody
        self._ready, self._over = threading.Event(), threading.Event()
        if self.order["uri"] == default_uri(folder.path.parent) and not database(folder.path.parent).exists():
            self._ready.set()
        self._lock, self._pen = threading.Lock(), threading.Lock()  # the pen may be held long, by one that writes to a full pipe
        self._process = self._spawn()
        self._threads = [
            threading.Thread(target=f, name=f"recorder {f.__name__}", daemon=True)
            for f in (self._read_answers, self._send_news, self._watch)
        ]

    def __enter__(self) -> TrackingProcess:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the process at once; what it has not written by then, ``alphacl resume`` writes."""
        self._over.set()
        with self._lock:
            self._process.kill()
            self._process.wait()

    # ------------------------------------------------------------------------------------------ for the driver

    @property
    def is_ready(self) -> bool:
        """Tell whether :meth:`wait` returns at once."""
        return self._ready.is_set()

    def wait(self) -> None:
        """Wait until the store is open; a new database in the sweep's storage folder is not waited for.

        Raises:
            UserError: if the store can't be opened.
        """
        self._ready.wait()
        if self._over.is_set():
            raise UserError(self.problem)

    def mark(self, digests: Iterable[str]) -> None:
        """Have the process read the folders of these trials again."""
        with self._lock:
            self._news.update(digests)

    def close(self, status: str) -> bool:
        """Have the process write what is left, and return whether all was written.

        Args:
            status: of the sweep's parent run: FINISHED, FAILED or KILLED.
        """
        self._ending = status
        self._send({"close": status})
        self._over.wait()
        return bool(self._closed)

    # ------------------------------------------------------------------------------------------------ threads

    def _spawn(self) -> subprocess.Popen[str]:
        """Start a process and say which sweep to follow; it has a session of its own, so that Ctrl-C reaches the driver alone."""
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "orchestrator.tracking.process",
            ],  # -P: nothing that lies where the user is
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self._write(process, self.order)
        self._silent = 0
        return process

    def _write(self, process: subprocess.Popen[str], line: dict[str, Any]) -> None:
        assert process.stdin is not None
        with self._pen, contextlib.suppress(OSError, ValueError):  # it has died: the next one begins with everything
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()

    def _send(self, line: dict[str, Any]) -> None:
        with self._lock:
            process = self._process
        self._write(process, line)

    def _send_news(self) -> None:
        """Pass news on until the end; it has a thread of its own, since a process that has been stopped reads nothing."""
        while not self._over.wait(SEND_EVERY_S):
            with self._lock:
                news, self._news = sorted(self._news), set()
            if news:
                self._send({"news": news})

    def _watch(self) -> None:
        """End a process that hangs, whatever it waits for, so that another takes its place."""
        while not self._over.wait(1.0):
            self._silent += 1
            if self._silent > SILENT_S:
                self.problem = f"the process that writes MLflow has not answered for {SILENT_S} seconds"
                self._silent = 0
                with self._lock:
                    self._process.kill()

    def _read_answers(self) -> None:
        """Take in the answers of the process, and start another where it dies."""
        died_at_the_end = 0
        while True:
            process = self._process
            assert process.stdout is not None
            for line in process.stdout:
                self._silent = 0
                with contextlib.suppress(ValueError):  # cut short by its death
                    self._take(json.loads(line))
            if self._closed is not None or self._over.is_set():
                break
            code = process.wait()
            self.problem = self.problem or f"the process that writes MLflow has ended (exit code {code})"
            died_at_the_end += self._ending is not None
            if not self._ready.is_set() or died_at_the_end > ENDS or self._over.wait(BACK_OFF_S):
                break
            with self._lock:
                if self._over.is_set():
                    break
                self._process = self._spawn()
            if self._ending is not None:
                self._send({"close": self._ending})
        self._over.set()
        self._ready.set()

    def _take(self, answer: dict[str, Any]) -> None:
        self.problem = str(answer.get("error", answer.get("problem", self.problem)))
        if "closed" in answer:
            self._closed = bool(answer["closed"])
        elif "ready" in answer:
            self.problem = ""
            self._ready.set()


# ------------------------------------------------------------------------------------------ the process itself


def main() -> None:
    """Follow the sweep that the first line of standard input names until the last line says to close."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the driver ends gently, and closes this
        signal.signal(number, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is not an answer

    pen = threading.Lock()

    def say(**answer: Any) -> None:
        with pen, contextlib.suppress(OSError):
            out.write(json.dumps(answer) + "\n")
            out.flush()

    lines: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin, lines), daemon=True).start()
    threading.Thread(target=_show_life, args=(say,), daemon=True).start()
    order = lines.get()
    from orchestrator.tracking.tracker import Tracker  # with MLflow, while the driver is busy with Ray

    folder = SweepWriter(open_sweep(Path(order["storage"]), order["name"]))
    from orchestrator.suggest.study import find_study

    study = functools.cache(lambda: find_study(folder.record, order["study_url"]))
    try:
        tracker = Tracker(folder, order["uri"], study, patience=HANDOVER_S)
    except UserError as error:
        say(error=str(error))
        return
    tracker.start()
    from results.plots import figures  # noqa: F401 - they take a while, and the first trials take longer

    say(ready=True)
    reported = ""
    while True:
        line: dict[str, Any] = {}
        with contextlib.suppress(queue.Empty):
            line = lines.get(timeout=0.5)
        tracker.mark(line.get("news", ()))
        if tracker.problem != reported:
            reported = tracker.problem
            say(problem=reported)
        if "close" in line:
            closed = tracker.close(line["close"])
            say(closed=closed, problem=tracker.problem)
            return


def _show_life(say: Callable[..., None]) -> None:
    """Say for as long as this process lives that it does."""
    while True:
        say(alive=True)
        time.sleep(ALIVE_S)


def _read(source: IO[str], lines: queue.Queue[dict[str, Any]]) -> None:
    """Pass lines on; at the end of the input this process ends, whatever it is waiting for."""
    for line in source:
        with contextlib.suppress(ValueError):  # cut short: its writer was killed
            lines.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
