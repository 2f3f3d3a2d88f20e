"""Trial records that were told their facts instead of reading a folder, and records that cannot be believed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from results.record.reader import (
    SweepRecord,
    TrialRecord,
    record_fault,
)
from trainer.errors import UserError


@dataclass(frozen=True)
class GivenSweep(SweepRecord):
    """A sweep whose trials were read from elsewhere than its folder."""

    given: tuple[TrialRecord, ...] = ()
    yaml: str = ""

    @property
    def space(self) -> str:
        return self.yaml

    def trials(self) -> list[TrialRecord]:
        return list(self.given)


def given_trial(folder: Path, digest: str, config: dict[str, Any], **known: Any) -> TrialRecord:
    """A trial record that is told its facts instead of reading them; ``known`` holds any of its properties."""
    trial = TrialRecord(folder / digest)
    facts = {"result": None, "reports": [], "error": None, "stopped": None, "attempt": None, **known}
    trial.__dict__.update(facts)  # where cached_property keeps what it has read
    trial.__dict__["_config_file"] = {"config": config, "role": facts.pop("role", "trial"), "place": facts.pop("place", 0)}
    return trial


@dataclass(frozen=True)
class DamagedTrial(TrialRecord):
    """A record that can't be believed: a gap that says why, whose configuration counts for nothing."""

    fault: str = ""

    @cached_property
    def _config_file(self) -> dict[str, Any]:
        raise UserError(self.fault)


def damaged_trial(file: Path, problem: str) -> TrialRecord:
    """The gap in the place of a record."""
    trial = DamagedTrial(file, problem)
    trial.__dict__.update(reports=[], result=None, error=None, stopped=None, attempt=None)
    return trial


def digest_fault(config: dict[str, Any], digest: str) -> str:
    """Why a configuration is not the one that this digest names; empty where it is."""
    from trainer.config import TrialConfig

    try:
        made = TrialConfig.from_dict(config).digest
    except UserError as error:
        return f"its configuration: {error}"
    return "" if made == digest else f"its digest {digest} is not that of its configuration, {made}"


def checked(trial: TrialRecord) -> TrialRecord:
    """The trial itself, with settings that are newer than it at their defaults; a gap where it was edited after it was named."""
    from trainer.config import TrialConfig

    if trial.status == "damaged":
        return trial
    try:
        config = TrialConfig.from_dict(trial.config)
    except UserError:  # what can't be built here, such as a plug-in's objective, can't be checked
        return trial
    fault = digest_fault(trial.config, trial.digest) if config.digest != trial.digest else ""
    fault = fault or (record_fault(trial.result) if trial.result is not None else "")
    if fault:
        return damaged_trial(trial.folder, f"{trial.folder} has been changed: {fault}; restore it, or remove the trial's folder")
    trial.__dict__["_config_file"] = {**trial._config_file, "config": {**config.to_dict(), **trial.config}}
    return trial
