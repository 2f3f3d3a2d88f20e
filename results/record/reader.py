"""Read a sweep folder back: its trials, their reports and results, and what they are called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from results.record.layout import CONFIG, ENCODER, ERROR, LAYOUT, REPORTS, RESULT, SPACE, STOPPED, STUDY, SWEEP, TRIALS
from trainer.errors import UserError, did_you_mean, is_number


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
        lacking = [key for key in ("dataset", "objective", "seed", "epochs") if found["config"].get(key) is None]
        if lacking or found.get("digest", self.digest) != self.digest:
            wrong = f"lacks {', '.join(lacking)}" if lacking else f"is that of trial {found['digest']}"
            raise UserError(f"{self.folder / CONFIG} {wrong}; restore it, or remove the trial's folder")
        return found

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self._config_file["config"]
        return config

    @property
    def place(self) -> int:
        """The trial's place in its sweep, from 0."""
        return int(self._config_file.get("place", 0))

    @property
    def role(self) -> str:
        """``confirm`` for a fresh seed of a search's winner, else ``trial``; that also where it can't be read."""
        try:
            return str(self._config_file.get("role", "trial"))
        except UserError:
            return "trial"

    @cached_property
    def attempt(self) -> Path | None:
        """The folder of the attempt that counts: the one that finished, else the newest; None before the first."""
        if self.result is not None and "attempt" in self.result:
            return self.folder / str(self.result["attempt"])
        return newest_attempt(self.folder)

    @cached_property
    def reports(self) -> list[dict[str, Any]]:
        """A row per epoch: ``epoch``, ``at`` (seconds since 1970) and the metrics; the last of those that were written twice."""
        return read_reports(self.attempt / REPORTS) if self.attempt else []

    @cached_property
    def result(self) -> dict[str, Any] | None:
        found = read_json(self.folder / RESULT)
        if found is not None and found.get("digest") != self.digest:
            raise UserError(
                f"{self.folder / RESULT} is the record of trial {found.get('digest')}, not of this one;"
                " remove it to have it computed again"
            )
        if found is not None:
            fault = record_fault(found, whole=False)
            if not fault and any(found.get("config", {}).get(k, v) != v for k, v in self.config.items()):
                fault = f"its configuration is not that of {CONFIG}"
            if fault:
                raise UserError(f"{self.folder / RESULT} has been changed: {fault}; remove it to have it computed again")
        return found

    @cached_property
    def error(self) -> dict[str, Any] | None:
        return read_json(self.attempt / ERROR) if self.attempt else None

    @cached_property
    def stopped(self) -> dict[str, Any] | None:
        """At which ``epoch`` the pruner stopped the trial, for what ``value`` of which ``metric``."""
        return read_json(self.folder / STOPPED)

    @property
    def encoder(self) -> Path | None:
        """The file of the finished encoder, where it was kept."""
        file = self.attempt / ENCODER if self.result is not None and self.attempt else None
        return file if file is not None and file.exists() else None

    @cached_property
    def problem(self) -> str:
        """What is wrong with the trial's files, in one line; empty where they can be read."""
        try:
            _ = self.config, self._status
        except UserError as error:
            return str(error)
        return ""

    @property
    def status(self) -> str:
        """finished, stopped (by the pruner), failed, diverged, started (running, or interrupted), waiting, damaged."""
        return "damaged" if self.problem else self._status

    @property
    def _status(self) -> str:
        if self.result is not None:
            return "finished"
        if self.stopped is not None:
            return "stopped"
        if self.error is not None:
            return str(self.error["kind"])
        return "started" if self.reports else "waiting"

    @property
    def family(self) -> str:
        """The objective without its hyper-parameters."""
        return str(self.config["objective"]).partition("(")[0]

    @property
    def label(self) -> str:
        """``objective · tau · seed``, the trial's name for people."""
        return trial_label(self.config)


def record_fault(record: dict[str, Any], whole: bool = True) -> str:
    """What can't be true of a finished trial's JSON record; empty where nothing is wrong. Accuracies are 0 to 100 %.

    ``whole``: configuration, metrics and history must all be there.
    """
    for key, kind in (("config", dict), ("metrics", dict), ("history", list)):
        if (whole or key in record) and not isinstance(record.get(key), kind):
            return f"it has no {key}"
    history = record.get("history", [])
    rows = [record.get("metrics", {}), *history]
    if not all(isinstance(row, dict) for row in rows) or not all(is_number(row.get("epoch")) for row in history):
        return "a row of its history is none"
    for name, value in ((k, v) for row in rows for k, v in row.items() if is_accuracy(k)):
        if not is_number(value) or not 0 <= value <= 100:
            return f"expected 0 <= {name} <= 100, got {value!r}"
    return ""


def is_accuracy(metric: str) -> bool:
    """Whether a metric is an accuracy in percent."""
    return metric.partition("/")[0] in ("test", "val", "untrained")


def newest_attempt(folder: Path) -> Path | None:
    """The newest attempt in a trial's folder."""
    return max(folder.glob("attempt-*"), key=lambda path: path.name, default=None)


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
    def study(self) -> Path:
        """The journal of a search's study, where it is not in a database."""
        return self.folder / STUDY

    @property
    def space(self) -> str:
        """The YAML that it was launched with; empty where there is none."""
        file = self.folder / SPACE
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @property
    def planned(self) -> int:
        """How many trials the sweep is to have; once it is over, how many it had: a space may hold fewer, or some be stopped."""
        return int(self.meta.get("settled_at") or self.meta["trials"])

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
    if meta.get("layout", LAYOUT) != LAYOUT:
        raise UserError(
            f"{storage / name / SWEEP}: expected layout {LAYOUT}, got {meta['layout']!r}; read it with the alphacl that made it"
        )
    return SweepRecord(storage / name, meta)


def selection_metric(sweep: SweepRecord) -> str:
    """The metric that the sweep chooses by: a search's own, else ``val/linear``."""
    return str(search_of(sweep).get("metric") or "val/linear")


def space_of(sweep: SweepRecord) -> dict[str, Any]:
    """The sweep's YAML; empty where there is none, or none that can be read."""
    import yaml

    try:
        space = yaml.safe_load(sweep.space)
    except yaml.YAMLError:
        return {}
    return space if isinstance(space, dict) else {}


def search_of(sweep: SweepRecord) -> dict[str, Any]:
    """The ``search:`` part of the sweep's YAML; empty for a grid."""
    found = space_of(sweep).get("search")
    return found if isinstance(found, dict) else {}


def last_line(text: str) -> str:
    """The end of an error, which says what it was."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")
