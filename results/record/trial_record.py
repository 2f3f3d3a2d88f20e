"""A trial as its folder describes it, read back: configuration, reports, result, and what is wrong with them."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from results.record import schema
from results.record.fields import cleaned
from results.record.layout import ATTEMPT_NAME, CONFIG, DIGEST, ENCODER, ERROR, REPORTS, RESULT, STOPPED
from results.record.mlflow_names import SYSTEM_PREFIX
from results.record.naming import family_of, trial_label
from results.record.status import Status
from trainer.config import describe_fields
from trainer.errors import UserError
from trainer.terminal import printable

# Settings whose default a record that lacks them must not be given: it was made with something that is not known.
NEVER_FILLED = ("dataset", "objective", "tau", "seed", "epochs")
RESTORE = "restore it, or remove the trial's folder"
UNKNOWN_INDEX = 10**9
_FOLDER, _ATTEMPT = re.compile(DIGEST), re.compile(ATTEMPT_NAME)


@dataclass(frozen=True)
class TrialRecord:
    """A trial as its folder describes it. Each file is read once and kept: make a new record to see later changes.

    Args:
        folder: the trial's folder, named by the digest of its configuration.
    """

    folder: Path

    @cached_property
    def digest(self) -> str:
        """Return the digest that names the trial; of a damaged one it may be any text that a terminal can show."""
        return printable(self.folder.name, 100)

    # ------------------------------------------------------------------------- reading; other sources override these

    def _read_file(self, name: str, kind: schema.Kind, remedy: str = schema.REMEDY) -> dict[str, Any] | None:
        return schema.read(self.folder / name, kind, remedy)

    def _read_entry(self) -> dict[str, Any]:
        if not _FOLDER.fullmatch(self.folder.name) or self.folder.is_symlink():
            raise UserError(f"{self.folder} is damaged: expected a folder, no link, named by a trial's digest; remove it")
        entry = self._read_file(CONFIG, schema.CONFIG_FILE, RESTORE)
        if entry is None:
            raise UserError(f"{self.folder / CONFIG} is missing; {RESTORE}")
        if entry.get("digest", self.digest) != self.digest:
            raise UserError(f"{self.folder / CONFIG} is that of trial {entry['digest']}; {RESTORE}")
        return entry

    def _read_result(self) -> dict[str, Any] | None:
        return schema.read(self.folder / RESULT, schema.RESULT_FILE)

    def _read_summary(self) -> dict[str, Any] | None:
        return self.result

    def _read_stopped(self) -> dict[str, Any] | None:
        return self._read_file(STOPPED, schema.STOPPED_FILE)

    def _read_error(self) -> dict[str, Any] | None:
        error = schema.read(self.attempt / ERROR, schema.ERROR_FILE) if self.attempt else None
        return {**error, "message": cleaned(error["message"])} if error else None

    def _read_reports(self) -> tuple[list[dict[str, Any]], str]:
        """Return the reports that fit, in the order of epochs, and what is wrong with the first that does not."""
        return read_reports(self.attempt / REPORTS) if self.attempt else ([], "")

    def _find_attempt(self) -> Path | None:
        if self.summary is not None and "attempt" in self.summary:
            attempt = self.folder / self.summary["attempt"]
            return None if attempt.is_symlink() else attempt
        return newest_attempt(self.folder)

    # ------------------------------------------------------------------------------------------------- what is known

    @cached_property
    def _entry(self) -> dict[str, Any]:
        return self._read_entry()

    @cached_property
    def config(self) -> dict[str, Any]:
        """Return the configuration; settings that are newer than the trial stand at their defaults.

        Raises:
            UserError: if the file is missing or damaged.
        """
        config: dict[str, Any] = self._entry["config"]
        defaults = _defaults()
        if config.keys() >= defaults.keys():
            return config
        return {**config, **{name: value for name, value in defaults.items() if name not in config}}

    @property
    def index(self) -> int:
        """Return the trial's index in its sweep, from 0; one that cannot be read comes after all others."""
        try:
            return int(self._entry.get("place", 0))
        except UserError:
            return UNKNOWN_INDEX

    @property
    def role(self) -> str:
        """Return ``confirm`` for a fresh seed of a search's winner, else ``trial``; that also where it cannot be read."""
        try:
            return str(self._entry.get("role", "trial"))
        except UserError:
            return "trial"

    @cached_property
    def attempt(self) -> Path | None:
        """Return the folder of the attempt that counts: the one that finished, else the newest; None before the first."""
        return self._find_attempt()

    @cached_property
    def _reports(self) -> tuple[list[dict[str, Any]], str]:
        return self._read_reports()

    @cached_property
    def reports(self) -> list[dict[str, Any]]:
        """Return a row per epoch: ``epoch``, ``at`` (seconds since 1970) and the metrics; of a repeated epoch the last.

        The metrics of a finished trial are those of its result, which a checksum guards; only the times and the machine's load
        are the reports'.
        """
        rows = self._reports[0]
        if not self.is_sealed:
            return rows
        beside = {row["epoch"]: {k: v for k, v in row.items() if k == "at" or k.startswith(SYSTEM_PREFIX)} for row in rows}
        return [{**beside[row["epoch"]], **row} for row in self.history if "at" in beside.get(row["epoch"], ())]

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """Return the final record; None before the trial has finished.

        Raises:
            UserError: if the record is another trial's, or was edited.
        """
        return self._own(self._read_result())

    @cached_property
    def summary(self) -> dict[str, Any] | None:
        """Return the final record, of whose history rows may be missing: all that a table of many trials needs.

        Raises:
            UserError: as :attr:`result`.
        """
        return self._own(self._read_summary())

    def _own(self, record: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return a record of this trial; raise UserError where it is another's, or was edited."""
        if record is None:
            return None
        if record.get("digest") != self.digest:
            raise UserError(
                f"{self.folder / RESULT} is the record of trial {record.get('digest')}, not of this one;"
                " remove it to have it computed again"
            )
        config, planned = record.get("config", {}), self._entry["config"]
        if config != planned and any(config.get(k, v) != v for k, v in planned.items()):
            raise UserError(
                f"{self.folder / RESULT} has been changed: its configuration is not that of {CONFIG};"
                " remove it to have it computed again"
            )
        return record

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the final metrics by name; empty before the trial has finished."""
        return (self.summary or {}).get("metrics") or {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """Return a finished trial's metrics, a row per epoch with its ``epoch``; empty before the trial has finished."""
        rows: list[dict[str, Any]] = (self.result or {}).get("history", [])
        return rows

    def metrics_at(self, epoch: int) -> dict[str, Any]:
        """Return the metrics of a finished trial after an epoch; empty where it has none."""
        if self.summary is None:
            return {}
        for rows in (self.summary.get("history", []), self.history):  # the latter are read only where the first are not enough
            for row in rows:
                if row["epoch"] == epoch:
                    return dict(row)
        return {}

    @property
    def environment(self) -> dict[str, Any]:
        """Return what the result was made with: versions, device, precision; empty where that is not known."""
        environment: dict[str, Any] = (self.summary or {}).get("environment", {})
        return environment

    @cached_property
    def error(self) -> dict[str, Any] | None:
        """Return why the trial failed or diverged: ``kind``, ``message``, ``at``; None where it did not."""
        return None if self.summary is not None or self.stopped is not None else self._read_error()

    @cached_property
    def stopped(self) -> dict[str, Any] | None:
        """Return at which ``epoch`` the pruner stopped the trial, for what ``value`` of which ``metric``."""
        return self._read_stopped()

    @property
    def encoder(self) -> Path | None:
        """Return the file of the finished encoder, where it was kept."""
        file = self.attempt / ENCODER if self.summary is not None and self.attempt else None
        return file if file is not None and file.is_file() and not file.is_symlink() else None

    @property
    def is_sealed(self) -> bool:
        """Tell whether the trial has a result whose checksum was made when it was written, and verified now."""
        return self.summary is not None and "checksum" in self.summary

    @cached_property
    def problem(self) -> str:
        """Return what is wrong with the trial's files, in one line; empty where they can be read."""
        try:
            _ = self.config, self._status
        except UserError as error:
            return printable(str(error), 1000)
        return ""

    @property
    def status(self) -> Status:
        """Return where the trial stands."""
        return Status.DAMAGED if self.problem else self._status

    @cached_property
    def _status(self) -> Status:
        if self.summary is not None:
            return Status.FINISHED
        if self.stopped is not None:
            return Status.STOPPED
        if self.error is not None:
            return Status(self.error["kind"])
        rows, fault = self._reports
        if fault:
            raise UserError(fault)
        return Status.STARTED if rows else Status.WAITING

    @cached_property
    def family(self) -> str:
        """Return the objective without its hyper-parameters."""
        return family_of(str(self.config["objective"]))

    @property
    def label(self) -> str:
        """Return ``objective · tau · seed``, the trial's name for people."""
        return trial_label(self.config)


@functools.cache
def _defaults() -> dict[str, Any]:
    """Return the defaults of the settings that a record may lack because it is older than they are."""
    plain = {name: list(default) if isinstance(default, tuple) else default for name, default, _ in describe_fields()}
    return {name: default for name, default in plain.items() if name not in (*NEVER_FILLED, "protocol")}


def attempts_of(folder: Path) -> list[Path]:
    """Return the folders of the attempts in a trial's folder, the newest first; links are none."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if _ATTEMPT.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=lambda name: (len(name), name), reverse=True)]


def newest_attempt(folder: Path) -> Path | None:
    """Return the folder of the newest attempt in a trial's folder; None where no attempt has begun."""
    return next(iter(attempts_of(folder)), None)


def read_reports(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of a ``reports.jsonl``, ordered by epoch, and what is wrong with the first that does not fit.

    A line that a crash cut short is left out; of a repeated epoch the last row counts.
    """
    rows, fault = schema.read_lines(path)
    by_epoch = {row["epoch"]: row for row in rows}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)], fault
