"""Writes the sweep folder, whose layout :mod:`results.record.layout` describes."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout

from results.record import schema
from results.record.driver_requests import StopRequest
from results.record.layout import LAYOUT, LEASE, SPACE, SWEEP, TRIALS, check_name
from results.record.reader import SweepRecord, open_sweep
from results.record.seal import seal_of
from results.record.trial_record import TrialRecord
from results.record.trial_writer import TrialWriter
from trainer.errors import UserError

if TYPE_CHECKING:
    from trainer import TrialConfig


class Space(Protocol):
    """The part of a search space that a sweep folder needs to know."""

    @property
    def text(self) -> str:
        """Return the YAML as launched."""

    @property
    def kind(self) -> str:
        """Return ``grid`` or ``search``."""

    @property
    def trials(self) -> int:
        """Return how many trials the sweep is to have."""

    def leaves(self) -> list[TrialConfig]:
        """Return the configurations of a grid."""


LOCK, DRIVER = "driver.lock", "driver.json"
LEASE_S = 60.0  # for which a lease that was brought down from a bucket means that a driver lives


class Follower:
    """Hears what its driver does to a sweep folder. This one does nothing; the mirror of a bucket is another."""

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = lambda message: None  # is given a message while the follower waits

    def mark(self, digests: Iterable[str]) -> None:
        """Take in that these trials' folders have news."""

    def settle(self, digest: str) -> None:
        """Take in that a trial has ended, before its end counts."""

    def requests(self) -> list[StopRequest]:
        """Return what other machines ask of the driver, beside what lies in the sweep folder."""
        return []


class SweepWriter:
    """The sweep's folder as its driver writes it.

    Args:
        record: the sweep, opened from its folder.
    """

    def __init__(self, record: SweepRecord) -> None:
        self.record = record
        self.path = record.folder.resolve()
        self.trials = self.path / TRIALS
        self.mirror = Follower()

    @classmethod
    def create(
        cls,
        storage: Path,
        name: str,
        spec: Space,
        meta: dict[str, Any],
        finished: Mapping[str, TrialRecord] | None = None,
    ) -> SweepWriter:
        """Create the folder of a new sweep: its search space as launched, and for a grid a folder for every configuration.

        Args:
            storage: the folder that holds the sweeps.
            name: the sweep's name.
            spec: the search space.
            meta: what ``sweep.json`` says besides, such as versions.
            finished: finished trials by digest, which a grid takes over where it has the same configuration.

        Raises:
            UserError: if the name is bad or taken, or the folder can't be written.
        """
        check_name(name)
        folder, scratch = storage / name, None
        leaves = spec.leaves() if spec.kind == "grid" else []
        try:
            if (folder / SWEEP).exists():
                raise UserError(
                    f"the sweep {name!r} exists in {storage}; go on with 'alphacl resume {name}', or choose another --name"
                )
            if folder.exists():
                raise UserError(f"{folder} is there and is no sweep; choose another --name")
            storage.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=storage))
            (scratch / TRIALS).mkdir()
            (scratch / SPACE).write_text(spec.text, encoding="utf-8")
            for index, leaf in enumerate(leaves):
                writer = TrialWriter(scratch / TRIALS / leaf.digest)
                if finished and leaf.digest in finished:
                    writer.adopt(finished[leaf.digest], index)
                else:
                    writer.plan(leaf, index)
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            fixed = {
                "name": name,
                "layout": LAYOUT,
                "id": uuid.uuid4().hex,
                "created": now,
                "kind": spec.kind,
                "trials": spec.trials,
            }
            whole = {**fixed, **meta}
            schema.write(scratch / SWEEP, {**whole, "seal": seal_of(whole, spec.text, make=True)}, schema.SWEEP_FILE)
            scratch.chmod(0o755)
            os.rename(scratch, folder)  # a sweep is there whole or not at all
        except OSError as error:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            raise UserError(f"cannot write the sweep folder {folder}: {error.strerror or error}") from None
        return cls(open_sweep(storage, name))

    def trial(self, digest: str) -> TrialWriter:
        """Return the writer of the trial that a digest names."""
        return TrialWriter(self.trials / digest)

    def read(self, digest: str) -> TrialRecord:
        """Return a new record of the trial that a digest names."""
        return TrialRecord(self.trials / digest)

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Hold the sweep for one driver while the block runs; the lock goes with the process, however it dies.

        Raises:
            UserError: if another driver holds it, or the folder can't be written.
        """
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"the sweep {self.record.name!r} is being run by another process;"
                f" follow it with 'alphacl status {self.record.name}'"
            ) from None
        except OSError as error:
            raise UserError(f"cannot write the sweep folder {self.path}: {error.strerror or error}") from None
        try:
            facts = {"pid": os.getpid(), "host": os.uname().nodename, "started": time.time()}
            schema.write(self.path / DRIVER, facts, schema.DRIVER_FILE)
            yield
        finally:
            lock.release()

    def is_driven(self) -> bool:
        """Tell whether a driver holds the sweep now."""
        lease = schema.read(self.path / LEASE, schema.LEASE_FILE, "remove it") or {}
        if lease.get("held") and abs(time.time() - float(lease.get("renewed") or 0)) < LEASE_S:
            return True
        return self.is_locked()

    def is_locked(self) -> bool:
        """Tell whether a driver of a machine that shares the folder holds the sweep now."""
        if not (self.path / LOCK).exists():  # looking must not write into a folder
            return False
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        lock.release()
        return False

    def driver(self) -> dict[str, Any]:
        """Return the last driver's ``pid``, its ``host`` and when it ``started`` (seconds since 1970); empty before the first."""
        return schema.read(self.path / DRIVER, schema.DRIVER_FILE, "remove it") or {}

    def update(self, **changes: Any) -> None:
        """Change entries of ``sweep.json`` and open the record anew."""
        schema.write(self.path / SWEEP, {**self.record.meta, **changes}, schema.SWEEP_FILE)
        self.record = open_sweep(self.record.folder.parent, self.record.name)

    def trust(self, **launched: Any) -> None:
        """Make the sweep the user's own: what it names outside its folder is opened from now on without being asked for again.

        Args:
            launched: entries of ``sweep.json`` that change with that, such as the address of a database.
        """
        meta = {**self.record.meta, **launched}
        self.update(**launched, seal=seal_of(meta, self.record.space, make=True))

    def discard_unused(self) -> bool:
        """Remove a sweep that ended before any of its trials had begun, so that its name is free again; return whether it has."""
        if any(trial.attempt for trial in self.record.trials()):
            return False
        shutil.rmtree(self.path, ignore_errors=True)
        return True

    def clear_scratch(self) -> None:
        """Remove the folder that Ray Tune writes for itself; the record does not need it."""
        shutil.rmtree(self.path / "tune", ignore_errors=True)
