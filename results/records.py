"""The sweep folder, which is the record: where things lie in it, and reading them back.

STORAGE/NAME/sweep.json              what was launched: name, id, kind, number of trials, versions
STORAGE/NAME/sweep.yaml              the search space as it was launched
STORAGE/NAME/study.log               the Optuna study of a search
STORAGE/NAME/trials/DIGEST/          one folder per trial, named by the digest of its configuration
    config.json                      the configuration, and the trial's place in the sweep
    reports.jsonl                    one line per epoch
    checkpoint.pt                    the last state, gone when the trial is finished
    result.json                      the final record; its being there means finished
    error.json                       why the trial failed or diverged
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.errors import UserError, did_you_mean

SWEEP, SPACE, STUDY, TRIALS = "sweep.json", "sweep.yaml", "study.log", "trials"
CONFIG, REPORTS, CHECKPOINT, RESULT, ERROR, ENCODER = (
    "config.json", "reports.jsonl", "checkpoint.pt", "result.json", "error.json", "encoder.pt",
)  # fmt: skip


def default_storage() -> Path:
    """Where sweeps lie: $ALPHACL_STORAGE, else ./runs."""
    return Path(os.environ.get("ALPHACL_STORAGE") or "runs")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's object, or None where there is no such file.

    Raises:
        UserError: it is there but damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}; restore it, or remove it to have it computed again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: expected an object; restore it, or remove it to have it computed again")
    return value


@dataclass(frozen=True)
class TrialRecord:
    """One trial as its folder tells it. What is read once stays: make a new one to see later news."""

    folder: Path

    @property
    def digest(self) -> str:
        return self.folder.name

    @cached_property
    def _config_file(self) -> dict[str, Any]:
        found = read_json(self.folder / CONFIG)
        if found is None or not isinstance(found.get("config"), dict):
            raise UserError(
                f"{self.folder / CONFIG} is missing or has no configuration; restore it, or remove the trial's folder"
            )
        return found

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self._config_file["config"]
        return config

    @property
    def place(self) -> int:
        """The trial's place in its sweep, from 0."""
        return int(self._config_file.get("place", 0))

    @cached_property
    def reports(self) -> list[dict[str, Any]]:
        """A row per epoch: ``epoch``, ``at`` (seconds since 1970) and the metrics; the last of those that were written twice."""
        return read_reports(self.folder / REPORTS)

    @cached_property
    def result(self) -> dict[str, Any] | None:
        found = read_json(self.folder / RESULT)
        if found is not None and found.get("digest") != self.digest:
            raise UserError(
                f"{self.folder / RESULT} is the record of trial {found.get('digest')}, not of this one;"
                " remove it to have it computed again"
            )
        return found

    @cached_property
    def error(self) -> dict[str, Any] | None:
        return read_json(self.folder / ERROR)

    @property
    def status(self) -> str:
        """finished, failed, diverged, started (running, or interrupted), waiting."""
        if self.result is not None:
            return "finished"
        if self.error is not None:
            return str(self.error["kind"])
        return "started" if self.reports else "waiting"

    @property
    def label(self) -> str:
        """``objective · tau · seed``, the trial's name for people."""
        return trial_label(self.config)


def read_reports(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``reports.jsonl``, by epoch. A last line cut short by a crash is left out."""
    rows: dict[int, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
            rows[int(row["epoch"])] = row
        except (ValueError, KeyError, TypeError):
            continue
    return [rows[epoch] for epoch in sorted(rows)]


def trial_label(config: dict[str, Any]) -> str:
    """``direct(p=4) · tau 0.5 · seed 0``; no tau where the objective has none."""
    tau = "" if config.get("tau") is None else f" · tau {config['tau']:g}"
    return f"{config['objective']}{tau} · seed {config['seed']}"


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as its folder tells it."""

    folder: Path
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def planned(self) -> int:
        """How many trials the sweep is to have; fewer than asked for where the space holds no more."""
        return int(self.meta.get("exhausted_at") or self.meta["trials"])

    def trials(self) -> list[TrialRecord]:
        """The trials known so far, in the sweep's order, read anew."""
        folder = self.folder / TRIALS
        found = [TrialRecord(f) for f in folder.iterdir() if (f / CONFIG).exists()] if folder.is_dir() else []
        return sorted(found, key=lambda t: (t.place, t.digest))


def list_sweeps(storage: Path) -> list[str]:
    """Names of the sweeps in a storage folder."""
    return sorted(f.parent.name for f in storage.glob(f"*/{SWEEP}"))


def open_sweep(storage: Path, name: str) -> SweepRecord:
    """The sweep of that name.

    Raises:
        UserError: there is none in this storage folder.
    """
    meta = read_json(storage / name / SWEEP)
    if meta is None:
        known = list_sweeps(storage)
        hint = did_you_mean(name, known) if known else "; it has none yet"
        raise UserError(f"no sweep {name!r} in {storage}{hint}")
    return SweepRecord(storage / name, meta)
