"""Brings a sweep down from a bucket into the folder that stands in for it: what has changed since the last time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from results.bucket.objects import Bucket, BucketError, Entry, Tag, no_sweep
from results.record import schema
from results.record.layout import CHECKPOINT, ENCODER, LEASE, REQUESTS, RESULT, SWEEP
from trainer.errors import UserError
from trainer.files import replacing, write_json

AT_ONCE = 16  # objects that are fetched side by side


class Copy:
    """The copy of a sweep of a bucket in a folder of this machine. Beside it, hidden, lies what is known of the copy.

    Args:
        bucket: where the sweep lies.
        storage: the folder that stands in for the address.
        name: the sweep's name.
    """

    def __init__(self, bucket: Bucket, storage: Path, name: str) -> None:
        self.bucket, self.storage, self.name = bucket, storage, name
        self.folder = storage / name
        self._tags, self._owner = storage / f".{name}.tags.json", storage / f".{name}.owner.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this machine from changing the copy while the block runs."""
        self.storage.mkdir(parents=True, exist_ok=True)
        with FileLock(self.storage / f".{self.name}.lock"):
            yield

    def lease(self) -> dict[str, Any]:
        """Return the sweep's lease in the bucket: ``owner``, ``generation``, ``host``, ``held``; empty where it has none.

        Raises:
            BucketError: if the bucket does not answer.
        """
        return lease_of(self.bucket.get(f"{self.name}/{LEASE}"))

    def owners(self) -> list[str]:
        """Return the tokens of this machine's drivers that last wrote the copy; none where it only was brought down."""
        return [str(owner) for owner in _noted(self._owner).get("owners", [])]

    def own(self, *owners: str) -> None:
        """Write down that drivers of this machine write the copy, so that it is ahead of the bucket and not behind it."""
        write_json(self._owner, {"owners": owners})
        self._tags.unlink(missing_ok=True)

    def disown(self) -> None:
        """Forget what was noted of the copy: the sweep is no longer in the bucket under this name."""
        self._owner.unlink(missing_ok=True)
        self._tags.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Move a copy that is not the bucket's out of the way; nothing is removed."""
        if self.folder.exists():
            number = 1
            while (aside := self.storage / f".{self.name}.left-{number}").exists():
                number += 1
            self.folder.rename(aside)
        self.disown()

    def is_ahead(self, lease: dict[str, Any]) -> bool:
        """Tell whether the copy was written by the sweep's last driver, which was this machine's: the bucket only follows it."""
        return lease.get("owner") in self.owners() and (self.folder / SWEEP).exists()

    def bring_down(self, whole: bool = False, lease: dict[str, Any] | None = None) -> None:
        """Make the copy hold what the bucket holds; of a copy that is ahead of the bucket only what is missing is brought.

        Args:
            whole: with checkpoints and encoders, which only a driver needs.
            lease: what the lease said before this process took it; as it is now when not given.

        Raises:
            UserError: if the bucket has no such sweep, or does not answer.
        """
        try:
            with self.locked():
                if self.is_ahead(self.lease() if lease is None else lease):
                    self._complete()
                    return
                if self.owners():
                    self.set_aside()
                self._fetch(whole)
        except BucketError as error:
            raise UserError(f"--storage: {error}") from None
        except OSError as error:
            raise UserError(f"--cache: cannot write to {self.storage}: {error.strerror or error}") from None

    def _fetch(self, whole: bool) -> None:
        left_out = (LEASE,) if whole else (CHECKPOINT, ENCODER)
        entries = [e for e in self._entries() if PurePosixPath(e.key).name not in left_out]
        if not any(e.key == f"{self.name}/{SWEEP}" for e in entries):
            raise no_sweep(self.bucket, self.name)
        finished = {e.key.removesuffix(RESULT) for e in entries if e.key.endswith(f"/{RESULT}")}
        entries = [e for e in entries if not (e.key.endswith(f"/{CHECKPOINT}") and _trial_of(e.key) in finished)]
        had = _noted(self._tags)
        wanted = [e for e in entries if had.get(e.key) != e.tag or not (self.storage / e.key).exists()]
        last = [e for e in wanted if e.key == f"{self.name}/{SWEEP}"]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tags = dict(pool.map(self._fetch_one, [e for e in wanted if e not in last]))
        tags |= dict(map(self._fetch_one, last))
        self._remove_others({e.key for e in entries})
        write_json(self._tags, {**{e.key: had.get(e.key) for e in entries}, **tags})

    def _entries(self) -> Iterator[Entry]:
        """List the sweep's objects that belong to the record, and its lease."""
        return (e for e in self.bucket.entries(self.name) if is_plain(e.key) and is_mirrored(Path(e.key.partition("/")[2])))

    def _complete(self) -> None:
        """Fetch what somebody has removed from a copy that is ahead; a file that its driver removed is none of these."""
        for entry in self._entries():
            path = self.storage / entry.key
            drops = path.name in (CHECKPOINT, ENCODER) and path.parent.is_dir()
            if path.name != LEASE and not drops and not path.exists():
                self._fetch_one(entry)

    def _fetch_one(self, entry: Entry) -> tuple[str, str]:
        found = self.bucket.get(entry.key)
        if found is None:  # it went after the listing
            (self.storage / entry.key).unlink(missing_ok=True)
            return entry.key, ""
        path = self.storage / entry.key
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(found[0])
        return entry.key, str(found[1].e_tag)

    def _remove_others(self, keys: set[str]) -> None:
        for path in list(self.folder.rglob("*")):
            key = path.relative_to(self.storage).as_posix()
            if path.is_file() and key not in keys and is_mirrored(path.relative_to(self.folder)):
                path.unlink(missing_ok=True)


def _trial_of(key: str) -> str:
    """Return the key of the trial's folder, with a slash at its end, of a file in an attempt."""
    return f"{key.rpartition('/')[0].rpartition('/')[0]}/"


def lease_of(found: tuple[bytes, Tag] | None) -> dict[str, Any]:
    """Return what a lease's object says; empty where there is none, or none that can be read."""
    with contextlib.suppress(UserError):
        body = schema.parse(found[0]) if found else None
        if isinstance(body, dict) and not schema.fault_of(body, schema.LEASE_FILE):
            return body
    return {}


def _noted(path: Path) -> dict[str, Any]:
    """Return what this module has noted in a file; empty where it has not, or not whole."""
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def is_plain(key: str) -> bool:
    """Tell whether an object's key may become a file's path: no part of it leads elsewhere or is hidden."""
    parts = key.split("/")
    return len(parts) > 1 and all(part and not part.startswith(".") and "\\" not in part and "\0" not in part for part in parts)


def is_mirrored(path: Path) -> bool:
    """Tell whether a file of a sweep folder belongs to the record: not a lock, a draft, a request or Ray Tune's own.

    Args:
        path: the file's path in the sweep folder.
    """
    is_hidden = any(part.startswith(".") for part in path.parts)
    return not (path.parts[0] in ("tune", REQUESTS) or path.name.endswith(".lock") or is_hidden)
