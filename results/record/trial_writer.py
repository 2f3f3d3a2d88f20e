"""Writes a trial's folder: by the worker that runs the trial, and by the driver where it stops or fails the trial."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record import schema
from results.record.checkpoint_policy import CheckpointPolicy
from results.record.fields import cleaned
from results.record.layout import (
    CHECKPOINT,
    CONFIG,
    ENCODER,
    ERROR,
    OUTPUT,
    REPORTS,
    RESULT,
    STOPPED,
    attempt_name,
)
from results.record.patience import noticing, patiently
from results.record.status import Status
from results.record.trial_record import TrialRecord, attempts_of, newest_attempt, read_reports
from trainer.errors import UserError
from trainer.files import load_checkpoint, portable, replacing, save_checkpoint
from trainer.terminal import printable

if TYPE_CHECKING:
    from trainer import Report, TrialConfig


class Superseded(Exception):
    """Raised where a newer attempt at the trial has begun: this worker was cut off, and is no longer the one that counts."""


class TrialWriter:
    """The trial's folder as the worker that runs the trial writes it.

    Every worker writes into an attempt of its own, so one that was cut off and comes back can spoil nothing; it
    learns at its next report that it was superseded.

    Args:
        folder: the trial's folder.
        tell: is given a message while the storage is waited for, and an empty one when it is there again.
        policy: when checkpoints are saved; the usual one when not given.
    """

    def __init__(
        self, folder: Path, tell: Callable[[str], None] = lambda message: None, policy: CheckpointPolicy | None = None
    ) -> None:
        self.folder, self.tell = folder, tell
        self.policy = policy or CheckpointPolicy()
        self.attempt: Path | None = None

    def plan(self, config: TrialConfig, index: int, role: str = "trial") -> None:
        """Enter the trial into its sweep; do nothing where it is entered already.

        Args:
            config: the trial's configuration.
            index: the trial's index in its sweep, from 0.
            role: ``confirm`` for a fresh seed of a search's winner, else ``trial``.
        """
        if not (self.folder / CONFIG).exists():
            self._enter(config.digest, config.to_dict(), index, role)

    def _enter(self, digest: str, config: dict[str, Any], index: int, role: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        extra = {} if role == "trial" else {"role": role}
        entry = {"digest": digest, "place": index, **extra, "config": config}
        schema.write(self.folder / CONFIG, entry, schema.CONFIG_FILE)

    def adopt(self, record: TrialRecord, index: int, role: str = "trial") -> None:
        """Enter a trial that was finished elsewhere, with its result and its reports. It has no encoder.

        Args:
            record: the finished trial.
            index: the trial's place in this sweep, from 0.
            role: ``trial``, or ``confirm`` for a fresh seed of a search's winner.
        """
        self._enter(record.digest, record.config, index, role)
        attempt = self.folder / attempt_name(1)
        attempt.mkdir(exist_ok=True)
        write_reports(attempt / REPORTS, record.reports)
        schema.write(self.folder / RESULT, {**(record.result or {}), "attempt": attempt.name}, schema.RESULT_FILE)

    def entry(self) -> dict[str, Any] | None:
        """Return what ``config.json`` holds; None where the trial is not entered."""
        return schema.read(self.folder / CONFIG, schema.CONFIG_FILE)

    def result(self) -> dict[str, Any] | None:
        """Return the final record; None before the trial has finished."""
        return schema.read(self.folder / RESULT, schema.RESULT_FILE)

    def was_stopped(self) -> bool:
        """Tell whether the trial was stopped early."""
        return (self.folder / STOPPED).exists()

    @property
    def output(self) -> Path:
        """Return the file for what the worker prints; the attempt must have begun."""
        assert self.attempt is not None
        return self.attempt / OUTPUT

    def close(self) -> None:
        """Do nothing: all that was recorded is on the disk."""

    def begin(self) -> dict[str, Any] | None:
        """Open a new attempt and return the newest checkpoint of the earlier ones; None where there is none.

        Reports of epochs after that checkpoint are forgotten, those up to it are taken over.
        """
        for source in self.open_attempt():
            state = load_checkpoint(self.folder / source / CHECKPOINT, self.tell)
            if state is not None:
                self.take_over(source, state["epoch"])
                return state
        return None

    def add(self, report: Report) -> None:
        """Record a report, save a checkpoint when one is due, and write the result on the last report.

        Storage that is away is waited for, and so is one that was renamed or may no longer be written.

        Raises:
            Superseded: if a newer attempt has begun, another one has finished, or the trial's folder was removed.
            UserError: if the report's metrics do not fit the schema.
        """
        row = row_of(report)
        self._patiently(self.check_counts)
        self._patiently(lambda: self.append(row))
        if report.final:
            self._patiently(lambda: self._finish(report))
        elif self.policy.is_due():
            with self.policy.saving():
                self._patiently(lambda: self.save(lambda file: save_checkpoint(file, report.state())))

    def _patiently(self, work: Callable[[], None]) -> None:
        """Do some work, and wait for the storage meanwhile."""

        def tried() -> None:
            with noticing(self.folder.parent):
                work()

        patiently(tried, self.tell)

    # ------------------------------------------- what begin and add are made of; each may be done again after an error

    def open_attempt(self) -> list[str]:
        """Open a new attempt and return the names of the earlier ones, newest first."""
        earlier = [path.name for path in attempts_of(self.folder)]
        number = int(earlier[0].removeprefix("attempt-")) + 1 if earlier else 1
        while self.attempt is None:  # two workers may be here at once; mkdir lets only one have a number
            with contextlib.suppress(FileExistsError):
                attempt = self.folder / attempt_name(number)
                attempt.mkdir()
                self.attempt = attempt
            number += 1
        return earlier

    def take_over(self, source: str, epoch: int) -> None:
        """Take the reports of an earlier attempt over, up to the epoch of the checkpoint that is gone on from."""
        assert self.attempt is not None
        kept = [row for row in read_reports(self.folder / source / REPORTS)[0] if row["epoch"] <= epoch]
        if kept:
            write_reports(self.attempt / REPORTS, kept)

    def check_counts(self) -> None:
        """Check that no newer attempt has begun, no other one has finished, and the trial's folder is there.

        Raises:
            Superseded: otherwise.
            FileNotFoundError: if the storage is away.
        """
        assert self.attempt is not None
        if newest_attempt(self.folder) != self.attempt or (self.folder / RESULT).exists():
            self.folder.parent.stat()  # raises FileNotFoundError where not the attempt has gone but the storage
            raise Superseded(f"{self.attempt} is no longer the attempt that counts")

    def append(self, row: dict[str, Any]) -> None:
        """Append a row to the attempt's reports."""
        assert self.attempt is not None
        append_line(self.attempt / REPORTS, json.dumps(row))

    def save(self, write: Callable[[Path], None]) -> None:
        """Save the attempt's checkpoint by ``write``, which is given its file; then earlier attempts' checkpoints go."""
        assert self.attempt is not None
        write(self.attempt / CHECKPOINT)
        self.drop_checkpoints(but=self.attempt)

    def _finish(self, report: Report) -> None:
        assert report.record is not None
        self.finish(lambda file: save_checkpoint(file, portable(report.state()["encoder"])), report.record)

    def finish(self, write_encoder: Callable[[Path], None], record: dict[str, Any]) -> None:
        """Write the result of the attempt, unless another one has finished before.

        Args:
            write_encoder: writes the finished encoder into the file that it is given.
            record: the final record.

        Raises:
            Superseded: if another attempt has finished before.
        """
        assert self.attempt is not None
        write_encoder(self.attempt / ENCODER)
        draft = self.attempt / RESULT
        schema.write(draft, {**record, "attempt": self.attempt.name}, schema.RESULT_FILE)
        try:
            os.link(draft, self.folder / RESULT)  # unlike a rename it never replaces
        except FileExistsError:
            if (schema.read(self.folder / RESULT, schema.RESULT_FILE) or {}).get("attempt") != self.attempt.name:
                raise Superseded(f"{self.folder} was finished by another attempt") from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):  # a file system without links
                raise
            os.replace(draft, self.folder / RESULT)
        draft.unlink(missing_ok=True)
        self.drop_checkpoints()

    def drop_checkpoints(self, but: Path | None = None) -> None:
        """Remove the checkpoints of all attempts, or of all but one."""
        for attempt in attempts_of(self.folder):
            if attempt != but:
                (attempt / CHECKPOINT).unlink(missing_ok=True)

    def stop(self, epoch: int, metric: str = "", value: float | None = None, by: str = "pruner") -> None:
        """Record that the trial was stopped after ``epoch``; the driver writes this.

        Args:
            epoch: the last epoch that it reported; 0 where it had not begun.
            metric: what was looked at.
            value: of the metric; None where it is not known.
            by: ``pruner``, or ``user`` where somebody has asked for it.
        """
        row = {"epoch": epoch, "metric": metric, "value": value, "by": by, "at": round(time.time(), 3)}
        schema.write(self.folder / STOPPED, row, schema.STOPPED_FILE)
        self.drop_checkpoints()

    def fail(self, kind: Status, message: str, **place: str | int) -> None:
        """Record why the attempt ended without a result.

        Args:
            kind: failed or diverged.
            message: why, for the user.
            place: where that was raised: the type of the ``error``, its ``file``, ``line``, ``function`` and ``code``.
        """
        attempt = self.attempt or newest_attempt(self.folder) or self.folder / attempt_name(1)
        attempt.mkdir(exist_ok=True)
        shown = {key: printable(value, 500) if isinstance(value, str) else value for key, value in place.items()}
        facts = {"kind": str(kind), "message": cleaned(message), "at": round(time.time(), 3), **shown}
        schema.write(attempt / ERROR, facts, schema.ERROR_FILE)

    def earlier_error(self) -> dict[str, Any] | None:
        """Return what ended the attempt before this one, as ``error.json`` has it; None where none failed just before."""
        attempts = [path for path in attempts_of(self.folder) if path != self.attempt]
        return schema.read(attempts[0] / ERROR, schema.ERROR_FILE) if attempts else None


def row_of(report: Report) -> dict[str, Any]:
    """Return a report as a row of ``reports.jsonl``, with the time.

    Raises:
        UserError: if the report's metrics do not fit the schema.
    """
    row = {"epoch": report.epoch, "at": round(time.time(), 3), **report.metrics}
    fault = schema.fault_of_row(row)
    if fault:  # before the first epoch rather than after the last
        raise UserError(f"a report that could not be read back: {fault}")
    return row


def write_reports(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a ``reports.jsonl`` whole, a line per row."""
    with replacing(path) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def append_line(path: Path, line: str) -> None:
    """Append a line whole, or leave the file as it was where the disk is full."""
    with open(path, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(line.encode() + b"\n") != len(line.encode()) + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(size)
            raise
