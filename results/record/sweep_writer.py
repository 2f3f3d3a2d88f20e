"""Writing the sweep folder, whose layout :mod:`results.record.reader` describes."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout

from results.record.layout import (
    LAYOUT,
    SPACE,
    SWEEP,
    TRIALS,
    check_name,
)
from results.record.reader import (
    SweepRecord,
    TrialRecord,
    open_sweep,
    read_json,
)
from results.record.trial_writer import TrialWriter
from trainer.errors import UserError
from trainer.files import write_json

if TYPE_CHECKING:
    from trainer import TrialConfig


class Space(Protocol):
    """What a sweep folder needs to know of a search space."""

    @property
    def text(self) -> str:
        """The YAML, as launched."""

    @property
    def kind(self) -> str:
        """``grid`` or ``search``."""

    @property
    def trials(self) -> int:
        """How many trials the sweep is to have."""

    def leaves(self) -> list[TrialConfig]:
        """The configurations of a grid."""


LOCK, DRIVER = "driver.lock", "driver.json"


class SweepWriter:
    """A sweep's folder, seen by its driver."""

    def __init__(self, record: SweepRecord) -> None:
        self.record = record
        self.path = record.folder.resolve()
        self.trials = self.path / TRIALS

    @classmethod
    def create(cls, storage: Path, name: str, spec: Space, meta: dict[str, Any]) -> SweepWriter:
        """Lay out a new sweep: its search space as launched, and for a grid a folder for every leaf.

        Raises:
            UserError: a bad name, a sweep of that name is there already, or the folder can't be written.
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
            for place, leaf in enumerate(leaves):
                TrialWriter(scratch / TRIALS / leaf.digest).plan(leaf, place)
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            fixed = {
                "name": name,
                "layout": LAYOUT,
                "id": uuid.uuid4().hex,
                "created": now,
                "kind": spec.kind,
                "trials": spec.trials,
            }
            write_json(scratch / SWEEP, {**fixed, **meta})
            scratch.chmod(0o755)
            os.rename(scratch, folder)  # a sweep is there whole or not at all
        except OSError as error:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            raise UserError(f"cannot write the sweep folder {folder}: {error.strerror or error}") from None
        return cls(open_sweep(storage, name))

    def trial(self, digest: str) -> TrialWriter:
        return TrialWriter(self.trials / digest)

    def read(self, digest: str) -> TrialRecord:
        return TrialRecord(self.trials / digest)

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Hold the sweep for one driver; the lock goes with the process, however it dies.

        Raises:
            UserError: another driver holds it.
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
            write_json(self.path / DRIVER, {"pid": os.getpid(), "host": os.uname().nodename, "started": time.time()})
            yield
        finally:
            lock.release()

    def is_driven(self) -> bool:
        """Whether a driver holds the sweep now."""
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
        """The last driver: its ``pid``, ``host`` and when it ``started`` (seconds since 1970)."""
        return read_json(self.path / DRIVER) or {}

    def update(self, **changes: Any) -> None:
        """Change what sweep.json says."""
        write_json(self.path / SWEEP, {**self.record.meta, **changes})
        self.record = open_sweep(self.record.folder.parent, self.record.name)

    def discard_unused(self) -> None:
        """Remove a sweep that ended before any of its trials had begun, so that its name is free again."""
        if not any(trial.attempt for trial in self.record.trials()):
            shutil.rmtree(self.path, ignore_errors=True)

    def clear_scratch(self) -> None:
        """Remove what Tune leaves for itself; the record does not need it."""
        shutil.rmtree(self.path / "tune", ignore_errors=True)
