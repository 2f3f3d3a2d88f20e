"""Trials and sweeps that were read from elsewhere than a sweep folder, and damaged trials, which cannot be believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results.record import schema
from results.record.reader import SweepRecord
from results.record.trial_record import TrialRecord
from trainer.errors import UserError


@dataclass(frozen=True)
class GivenSweep(SweepRecord):
    """A sweep whose trials were read from elsewhere than its folder.

    Args:
        given: its trials, in order.
        yaml: the text of its search space; empty where there is none.
    """

    given: tuple[TrialRecord, ...] = ()
    yaml: str = ""

    @property
    def space(self) -> str:
        """Return the YAML of the search space; empty where there is none."""
        return self.yaml

    def trials(self) -> list[TrialRecord]:
        """Return the given trials, in order."""
        return list(self.given)


@dataclass(frozen=True)
class GivenTrial(TrialRecord):
    """A trial whose facts are handed to it instead of being read from a folder's files.

    Args:
        settings: its configuration.
        role_given: ``trial`` or ``confirm``.
        position: its index in the sweep, from 0.
        facts: any of ``result``, ``reports``, ``error`` and ``stopped``, as a folder's files would hold them.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    role_given: str = "trial"
    position: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def _read_entry(self) -> dict[str, Any]:
        return {"config": self.settings, "role": self.role_given, "place": self.position}

    def _read_result(self) -> dict[str, Any] | None:
        return self.facts.get("result")

    def _read_stopped(self) -> dict[str, Any] | None:
        return self.facts.get("stopped")

    def _read_error(self) -> dict[str, Any] | None:
        return self.facts.get("error")

    def _read_reports(self) -> tuple[list[dict[str, Any]], str]:
        return self.facts.get("reports", []), ""

    def _find_attempt(self) -> Path | None:
        return None


@dataclass(frozen=True)
class DamagedTrial(GivenTrial):
    """A trial that cannot be believed: it is a gap in tables, says what is wrong, and has no configuration.

    Args:
        fault: what is wrong, in one line that names the file.
    """

    fault: str = ""

    def _read_entry(self) -> dict[str, Any]:
        raise UserError(self.fault)


def damaged_trial(path: Path, fault: str) -> TrialRecord:
    """Return a damaged trial in place of a record that cannot be believed.

    Args:
        path: the record's file or folder; its last part becomes the trial's digest.
        fault: what is wrong, in one line that names the file.
    """
    return DamagedTrial(path, fault=fault)


def digest_fault(config: dict[str, Any], digest: str) -> str:
    """Return why a configuration is not the one that a digest names; empty where it is. Imports PyTorch."""
    from trainer.config import TrialConfig

    try:
        actual = TrialConfig.from_dict(config).digest
    except UserError as error:
        return f"its configuration: {error}"
    return "" if actual == digest else f"its digest {digest} is not that of its configuration, {actual}"


def checked(trial: TrialRecord) -> TrialRecord:
    """Return the trial, or a damaged one in its place where its record was edited after it was named by its digest.

    A result whose checksum holds is believed without building its configuration, which needs PyTorch.
    """
    if trial.problem or trial.is_sealed:
        return trial
    from trainer.config import TrialConfig

    try:
        digest = TrialConfig.from_dict(trial.config).digest
    except UserError:  # what can't be built here, such as a plug-in's objective, can't be checked
        return trial
    fault = f"its digest {trial.digest} is not that of its configuration, {digest}" if digest != trial.digest else ""
    fault = fault or (schema.fault_of(trial.result, schema.RECORD_FILE) if trial.result is not None else "")
    if fault:
        return damaged_trial(trial.folder, f"{trial.folder} has been changed: {fault}; restore it, or remove the trial's folder")
    return trial
