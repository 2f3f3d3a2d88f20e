"""Writes all that a worker prints while it runs a trial into a file of the trial's attempt, for ``alphacl log``."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 16 << 20  # of one attempt: code that prints in every step must not fill the storage
LEFT_OUT = "… what was printed after this is left out: an attempt's log ends at 16 MiB\n"


class _Stream(io.TextIOBase):
    """Standard output or error of a worker; a disk that is full or away costs lines, and no trial.

    Args:
        file: the file descriptor to write to.
    """

    encoding = "utf-8"

    def __init__(self, file: int) -> None:
        self.file, self.left = file, MOST_BYTES

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self.file

    def write(self, text: str) -> int:
        """Write a text, unless the log is as long as it may be, and return the text's length."""
        data = text.encode("utf-8", "backslashreplace")
        if self.left > 0:
            self.left -= len(data)
            with contextlib.suppress(OSError):
                os.write(self.file, data if self.left > 0 else LEFT_OUT.encode())
        return len(text)


class _Redirection:
    """The redirection of this process's standard output and error, of which there is one at a time.

    A trial that is stopped early is unwound late: by then the next one may have redirected the output to a file of its own,
    which the first must leave as it is.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: tuple[int, int] | None = None  # copies of the descriptors as they were
        self.streams = (sys.stdout, sys.stderr)
        self.owner: object = None

    def begin(self, file: int) -> object:
        with self.lock:
            if self.kept is None:
                self.streams = (sys.stdout, sys.stderr)
                self.kept = (os.dup(1), os.dup(2))
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.stdout = sys.stderr = _Stream(1)
            self.owner = object()
            return self.owner

    def end(self, owner: object) -> None:
        with self.lock:
            if self.owner is not owner or self.kept is None:
                return
            for number, copy in zip((1, 2), self.kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            sys.stdout, sys.stderr = self.streams
            self.kept = self.owner = None


_redirection = _Redirection()


@contextlib.contextmanager
def output_into(path: Path) -> Iterator[None]:
    """Append all that this process prints while the block runs to a file, what libraries in C print included.

    The descriptors themselves are redirected, so that the last words of a process that crashes are in the file. Where the file
    cannot be opened the output goes where it went before.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        yield
        return
    owner = _redirection.begin(file)
    os.close(file)
    try:
        yield
    finally:
        _redirection.end(owner)
