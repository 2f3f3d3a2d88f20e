"""Keeps what was read from the files of a large sweep and found to fit, so that the next command need not read it all again.

A cache is only an accelerator. It lies in the user's own cache folder, never in a sweep's, so nobody else's sweep brings one
along. What it holds of a file counts as long as size, inode, time of modification and time of change are those that the file
had when it was read; the last of them cannot be set, so an edit shows also where somebody puts the other two back. A cache that
is missing, damaged, another user's, or made by other code than today's is none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

import pydantic_core

from results.record import schema
from results.record.layout import TRIALS
from trainer import environment_variables
from trainer.errors import UserError
from trainer.files import digest_of_files, read_with_stat

LEAST = 256  # trials of a sweep from which on a cache is worth its file
SHARE = 0.1  # of the files that a cache knows: so many must be new before it is written again
MOST, MOST_OF_ALL = 1 << 29, 1 << 30  # bytes of a cache, and of all of a user's
SETTLED_NS = 3_000_000_000  # a file that changed so lately may change again within one tick of its file system's clock
CODE = ("config", "errors", "files", "metrics", "terminal")  # modules of trainer that say what fits

Signature = list[int]  # size in bytes, modification and change in ns since 1970, inode


class ReadCache:
    """Reads the files of one sweep's trials, without opening those that are known already.

    Args:
        sweep: the sweep's folder.
        trials: how many trials it has; of few nothing is kept.
    """

    def __init__(self, sweep: Path, trials: int) -> None:
        self._trials = str(sweep / TRIALS)
        self._file = _place(sweep) if trials >= LEAST else None
        self._known: dict[str, list[Any]] = {}
        if self._file:
            _code()  # before anything is read: the code may be replaced while it runs
            self._known = _load(self._file)
        self._kept: dict[str, list[Any]] = {}
        self._new = 0

    def read(self, folder: str, name: str, kind: schema.Kind, remedy: str = schema.REMEDY) -> dict[str, Any] | None:
        """Return the content of a trial's file as :func:`schema.read` does, but of a result only what :func:`thinned` leaves.

        Args:
            folder: the name of the trial's folder.
            name: the file's name.
            kind: what kind of file it is.
            remedy: what to do about a damaged one, for the message.

        Raises:
            UserError: if the file is there but damaged.
        """
        key = f"{folder}/{name}"
        path = f"{self._trials}/{key}"
        entry = self._known.get(key)
        if entry is not None and _signature_of(path) == entry[0]:
            self._kept[key] = entry
            content: dict[str, Any] = entry[1]
            return content
        value, found = schema.read_noting(path, kind, remedy)
        if value is None or found is None:
            return None
        value = thinned(value) if kind is schema.RESULT_FILE else value
        if self._file and time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS:
            self._kept[key] = [_signature(found), value]
            self._new += 1
        return value

    def close(self) -> None:
        """Keep what was read for the next command, where that is much more than is kept already; forget it here."""
        if self._file and self._new > SHARE * len(self._kept):
            with contextlib.suppress(OSError):  # no room, or no right to write there
                _save(self._file, self._kept)
        self._file, self._known, self._kept = None, {}, {}


def thinned(record: dict[str, Any]) -> dict[str, Any]:
    """Return a final record with those rows of its history alone that tables read: before training, and at ``read_at``."""
    read_at = record.get("config", {}).get("read_at")
    epochs = {0, *(read_at if isinstance(read_at, list) else [])}
    return {**record, "history": [row for row in record.get("history", []) if row["epoch"] in epochs]}


# ---------------------------------------------------------------------------------------------------------- signatures


def _signature(found: os.stat_result) -> Signature:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _signature_of(path: str) -> Signature | None:
    """Return the signature of a regular file; None where there is none."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    return _signature(found) if stat.S_ISREG(found.st_mode) else None


@functools.cache
def _code() -> str:
    """Return a digest of the code that decides what fits: what other code has let pass is looked at again."""
    import trainer

    here, there = Path(__file__).parent, Path(trainer.__file__).parent
    code = digest_of_files([*sorted(here.glob("*.py")), *(there / f"{name}.py" for name in CODE)])
    return f"{code} {pydantic_core.__version__}"


# ---------------------------------------------------------------------------------------------------- the cache's file


def _place(sweep: Path) -> Path | None:
    """Return the file of a sweep's cache; None where the user has no cache folder that is his alone to write."""
    folder = environment_variables.read_cache()
    if folder is None:
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = os.fsencode(sweep.resolve())
        return folder / f"{hashlib.sha256(place).hexdigest()[:32]}.json" if _is_own(os.lstat(folder)) else None
    except OSError:
        return None


def _is_own(found: os.stat_result) -> bool:
    """Tell whether the user alone may write a file or folder, which is no link."""
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(found.st_mode)


def _load(file: Path) -> dict[str, list[Any]]:
    """Return what a cache holds: by a file's name its signature and its content; nothing where it cannot be believed."""
    try:
        content, found = read_with_stat(file, MOST)
        head, _, body = content.partition(b"\n")
        if not _is_own(found) or head != _head(body):
            return {}
        known = schema.parse(body)
    except (OSError, UserError):
        return {}
    is_one = isinstance(known, dict) and all(type(entry) is list and len(entry) == 2 for entry in known.values())
    with contextlib.suppress(OSError):
        os.utime(file)  # the caches that are used stay
    return known if is_one else {}


def _head(body: bytes) -> bytes:
    return f"alphacl {_code()} {hashlib.sha256(body).hexdigest()}".encode()


def _save(file: Path, kept: dict[str, list[Any]]) -> None:
    """Replace a cache whole, and remove those that were not used for longest where all take too much room."""
    body = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
    if len(body) > MOST:
        return
    handle, scratch = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as opened:  # not brought to the disk: what a power cut leaves is seen by its checksum
            opened.write(_head(body) + b"\n" + body)
        os.replace(scratch, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise
    _make_room(file.parent)


def _make_room(folder: Path) -> None:
    with os.scandir(folder) as entries:
        found = sorted((e.stat(follow_symlinks=False).st_mtime, e.stat(follow_symlinks=False).st_size, e.path) for e in entries)
    room = MOST_OF_ALL
    for _, size, path in reversed(found):
        room -= size
        if room < 0:
            os.unlink(path)
