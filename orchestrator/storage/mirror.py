"""Uploads a sweep folder to its bucket (S3, Google Cloud Storage), in an order that keeps the bucket readable at any moment.

At any moment the bucket holds a sweep that a driver elsewhere can go on with: the study before the trials that it has proposed,
a trial's reports before the checkpoint that they lead to, its encoder before its result, what replaces a file before that goes,
and ``sweep.json`` last of all. A trial's end is mirrored before it counts (:meth:`Mirror.settle`), so that the bucket's study
knows of none whose result is not there. Reports and checkpoints follow at a bounded lag.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from orchestrator.storage.lease import Lease
from results.bucket.fetch import Copy, is_mirrored, is_plain
from results.bucket.objects import ABSENT, BucketError, Conflict, remove_sweep
from results.bucket.request_objects import read_requests
from results.record.driver_requests import StopRequest
from results.record.layout import CHECKPOINT, CONFIG, ENCODER, LEASE, REPORTS, RESULT, STOPPED, STUDY, SWEEP, TRIALS
from results.record.patience import patiently
from results.record.sweep_writer import Follower
from results.record.trial_record import attempts_of

REPORTS_LAG_S, CHECKPOINTS_LAG_S = 5.0, 30.0
REQUESTS_EVERY_S = 5.0
AT_ONCE = 8  # trials that are mirrored side by side
PAUSE_PER_ROUND = 10  # the pause after a round is as many times its length, from REPORTS_LAG_S to CHECKPOINTS_LAG_S
CLOSE_S = 60.0  # for which the end of a sweep waits for a bucket that is away
Stamp = tuple[int, int, int]
NEVER: Stamp = (0, 0, 0)  # of an object that the bucket has, and that may be another than the file
KEPT_APART = (CONFIG, REPORTS, CHECKPOINT, ENCODER, RESULT)  # sent in a stated order; other files come between


class Mirror(Follower):
    """Keeps a bucket's copy of a sweep folder up to date from a thread of its own.

    Args:
        copy: the sweep's copy on this machine, which is the folder that the driver works in.
        lease: the right to write, which is checked before every write.
    """

    def __init__(self, copy: Copy, lease: Lease) -> None:
        self.copy, self.lease = copy, lease
        self.folder, self.bucket = copy.folder, copy.bucket
        super().__init__()
        self._held: dict[str, Stamp] = {}  # by path in the folder: the file that the bucket has, as it was on the disk
        self._names: dict[str, set[str]] = {}  # by digest: the trial's paths in _held
        self._sent_at: dict[str, float] = {}  # of checkpoints
        self._marked: set[str] = set()
        self._running: set[str] = set()  # those that were marked and have not ended
        self._busy: dict[str, threading.RLock] = {}  # by digest
        self._pen, self._shared = threading.Lock(), threading.RLock()
        self._over, self._asked_at = threading.Event(), float("-inf")
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mirror")
        self._thread = threading.Thread(target=self._follow, name="mirror", daemon=True)

    # ------------------------------------------------------------------------------------------ for the driver

    def start(self) -> None:
        """Bring the bucket up to the folder, then follow the folder.

        Raises:
            BucketError: if the bucket does not answer, or refuses.
        """
        sizes = {entry.key.partition("/")[2]: entry.size for entry in self.bucket.entries(self.copy.name)}
        for path in self._files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            # Files that are replaced by others of the same size are sent again; the others are written once, or only grow.
            if name in sizes:
                same = sizes[name] == path.stat().st_size and path.name in (CONFIG, RESULT, ENCODER, REPORTS, STUDY)
                self._hold(name, _stamp(path) if same else NEVER)
        self._gone_since(name for name in sizes if is_plain(f"{self.copy.name}/{name}") and is_mirrored(Path(name)))
        self._round(self._digests(), final=True)
        self._thread.start()

    def mark(self, digests: Iterable[str]) -> None:
        """Have these trials' folders mirrored soon."""
        with self._pen:
            digests = set(digests)
            self._marked |= digests
            self._running |= digests

    def settle(self, digest: str) -> None:
        """Upload a trial that has ended, before the study and the board hear of its end. A bucket that is away is waited for.

        Raises:
            BucketError: if it is away for longer than is waited for, or another driver has taken the sweep.
        """
        if not self.lease.lost:
            patiently(lambda: self._trial(digest, final=True), self.tell)
            self._running.discard(digest)

    def requests(self) -> list[StopRequest]:
        """Return what other machines ask of the driver, at most every ``REQUESTS_EVERY_S`` seconds; none in between.

        Raises:
            BucketError: if the bucket does not answer, or refuses.
        """
        if self.lease.lost or time.monotonic() - self._asked_at < REQUESTS_EVERY_S:
            return []
        self._asked_at = time.monotonic()
        return read_requests(self.bucket, self.copy.name)

    def close(self) -> str:
        """Mirror what is left; return in one line what is wrong where not all could be written, else an empty text."""
        self._over.set()
        self._thread.join()
        deadline, problem = time.monotonic() + CLOSE_S, ""
        while not self.lease.lost:
            try:
                self._round(self._marked | self._running, final=True)
                return ""
            except (BucketError, Conflict) as error:
                problem = f"{error}; 'alphacl resume {self.copy.name}' on this machine writes the rest"
            if time.monotonic() > deadline:
                return problem
            time.sleep(2)
        return f"another driver has taken the sweep {self.copy.name!r}; what was computed here since lies in {self.folder}"

    def remove(self) -> None:
        """Remove the sweep from the bucket: it was refused before any of its trials began."""
        self._over.set()
        with contextlib.suppress(BucketError):
            remove_sweep(self.bucket, self.copy.name)

    # ------------------------------------------------------------------------------------------------- rounds

    def _follow(self) -> None:
        wait, is_away = REPORTS_LAG_S, False
        while not self._over.wait(wait) and not self.lease.lost:
            with self._pen:
                marked, self._marked = self._marked, set()
            began = time.monotonic()
            try:
                self._round(marked)
                if is_away:
                    self.tell("")
                is_away = False
            except (BucketError, Conflict, OSError) as error:
                self.mark(marked)
                is_away = True
                self.tell(f"storage: {error}; waiting")
            wait = max(REPORTS_LAG_S, PAUSE_PER_ROUND * (time.monotonic() - began))
            wait = min(wait, CHECKPOINTS_LAG_S)

    def _round(self, digests: Iterable[str], final: bool = False) -> None:
        """Mirror what all trials share, then these trials. ``final``: also checkpoints that are not due yet."""
        self._plans(self._digests())
        for path in self._files(self.folder, but=(SWEEP, TRIALS)):
            self._send(path)
        list(self._pool.map(lambda digest: self._trial(digest, final), digests))
        self._send(self.folder / SWEEP)
        self._gone_since([name for name in list(self._held) if name.endswith(ENCODER) or "/" not in name])

    def _plans(self, digests: Iterable[str]) -> None:
        """Upload the study, then the trials planned before: the bucket never holds a trial that its study does not know."""
        with self._shared:
            planned = [d for d in digests if f"{TRIALS}/{d}/{CONFIG}" not in self._held]
            planned = [d for d in planned if (self.folder / TRIALS / d / CONFIG).exists()]
            if planned or (self.folder / STUDY).exists():
                self._send(self.folder / STUDY)
            with ThreadPoolExecutor(AT_ONCE) as pool:  # its threads start as there is work; the other pool's may wait for this
                list(pool.map(lambda d: self._send(self.folder / TRIALS / d / CONFIG), planned))

    def _trial(self, digest: str, final: bool) -> None:
        folder = self.folder / TRIALS / digest
        with self._pen:
            lock = self._busy.setdefault(digest, threading.RLock())
        with lock:
            if f"{TRIALS}/{digest}/{CONFIG}" not in self._held:
                self._plans([digest])
            is_finished = (folder / RESULT).exists()
            had = list(self._names.get(digest, ()))
            attempts = attempts_of(folder)[::-1]
            for attempt in attempts:
                self._attempt(attempt, final, is_finished)
            for attempt in attempts[:-1]:  # results that a retry has set aside; the newest attempt's is a draft
                self._send(attempt / RESULT)
            self._send(folder / STOPPED)
            for path in self._files(folder, but=(CONFIG, RESULT, STOPPED, *(a.name for a in attempts))):
                self._send(path)
            if is_finished:
                self._send(folder / RESULT, once=True)
            self._gone_since(had)

    def _attempt(self, attempt: Path, final: bool, is_finished: bool) -> None:
        """Mirror an attempt. The checkpoint is opened before the reports are read: they hold the epochs that lead to it."""
        with contextlib.ExitStack() as stack:
            checkpoint = None
            if not is_finished and self._is_due(attempt / CHECKPOINT, final):
                checkpoint = _opened(attempt / CHECKPOINT, stack)
            self._send(attempt / REPORTS)
            for path in self._files(attempt, but=KEPT_APART):
                self._send(path)
            self._send(attempt / ENCODER)
            if checkpoint is not None:
                self._send(attempt / CHECKPOINT, checkpoint)
                self._sent_at[str(attempt)] = time.monotonic()

    def _is_due(self, checkpoint: Path, final: bool) -> bool:
        since = time.monotonic() - self._sent_at.get(str(checkpoint.parent), float("-inf"))
        if final or since >= CHECKPOINTS_LAG_S:
            return True
        if checkpoint.exists() and self._held.get(self._name(checkpoint)) != _stamp(checkpoint):
            self.mark([checkpoint.parent.parent.name])
        return False

    # -------------------------------------------------------------------------------------------------- files

    def _send(self, path: Path, opened: IO[bytes] | None = None, once: bool = False) -> None:
        """Send a file that has changed since it was sent; do nothing where there is none.

        Args:
            path: the file.
            opened: the file, where it was opened before.
            once: whether it must not replace another: the first result counts.
        """
        with contextlib.ExitStack() as stack:
            file = opened or _opened(path, stack)
            if file is None:
                return
            name, stamp = self._name(path), _stamp(file.fileno())
            if self._held.get(name) == stamp:
                return
            self.lease.check()
            key = f"{self.copy.name}/{name}"
            if once and name not in self._held:
                self._send_once(key, file.read())
            elif path.name in (CHECKPOINT, ENCODER):
                self.bucket.put(key, file)
            else:
                self.bucket.put(key, file.read())
            self._hold(name, stamp)

    def _hold(self, name: str, stamp: Stamp) -> None:
        """Note that the bucket has a file as it was on the disk."""
        self._held[name] = stamp
        parts = name.split("/")
        if parts[0] == TRIALS and len(parts) > 2:
            self._names.setdefault(parts[1], set()).add(name)

    def _send_once(self, key: str, content: bytes) -> None:
        """Write an object that is not there; where it is, it must be the same, from a request whose answer was lost."""
        try:
            self.bucket.put(key, content, ABSENT)
        except Conflict:
            found = self.bucket.get(key)
            if found is not None and found[0] != content:
                raise BucketError(f"{self.bucket.address}/{key} is there already, and is another one") from None

    def _gone_since(self, names: Iterable[str]) -> None:
        """Remove from the bucket what the folder had under these names and has no more."""
        gone = [name for name in names if name != LEASE and not (self.folder / name).exists()]
        if gone:
            self.lease.check()
            self.bucket.delete(f"{self.copy.name}/{name}" for name in gone)
        for name in gone:
            self._held.pop(name, None)
            self._names.get(name.partition("/")[2].partition("/")[0], set()).discard(name)

    def _files(self, folder: Path, but: tuple[str, ...] = ()) -> list[Path]:
        """Return the files of the record below a folder, without those whose name, or whose folder's name, is in ``but``."""
        found: list[Path] = []
        with contextlib.suppress(FileNotFoundError):
            for entry in sorted(os.scandir(folder), key=lambda e: e.name):
                path = Path(entry.path)
                if entry.name in but or not is_mirrored(path.relative_to(self.folder)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found += self._files(path, but)
                elif entry.is_file(follow_symlinks=False):
                    found.append(path)
        return found

    def _digests(self) -> list[str]:
        folder = self.folder / TRIALS
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else []

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _opened(path: Path, stack: contextlib.ExitStack) -> IO[bytes] | None:
    """Open a file until the stack is left; None where there is none."""
    try:
        return stack.enter_context(open(path, "rb"))
    except FileNotFoundError:
        return None


def _stamp(file: Path | int) -> Stamp:
    """Return what changes whenever a file is replaced or appended to."""
    found = os.stat(file)
    return found.st_mtime_ns, found.st_size, found.st_ino
