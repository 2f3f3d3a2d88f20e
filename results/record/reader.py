"""Reads a sweep folder back: its trials with their configurations, reports and results."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from results.record.layout import ATTEMPTS, CONFIG, ENCODER, ERROR, LAYOUT, REPORTS, RESULT, SPACE, STOPPED, STUDY, SWEEP, TRIALS
from results.record.naming import family_of, trial_label
from results.record.status import Status
from trainer.config import describe_fields
from trainer.errors import UserError, did_you_mean, is_number
from trainer.files import checksum
from trainer.metrics import SELECTION, is_accuracy

KEEP_ENCODERS = 5  # per dataset, where the YAML does not say
# Settings whose default a record that lacks them must not be given: it was made with something that is not known.
NEVER_FILLED = ("dataset", "objective", "tau", "seed", "epochs")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON file's object, or None where there is no such file.

    Raises:
        UserError: if the file is there but damaged.
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
    """A trial as its folder describes it. Each file is read once and kept: make a new record to see later changes.

    Args:
        folder: the trial's folder, named by the digest of its configuration.
    """

    folder: Path

    @property
    def digest(self) -> str:
        """Return the digest that names the trial."""
        return self.folder.name

    # ------------------------------------------------------------------------- reading; other sources override these

    def _read_entry(self) -> dict[str, Any]:
        entry = read_json(self.folder / CONFIG)
        if entry is None or not isinstance(entry.get("config"), dict):
            raise UserError(
                f"{self.folder / CONFIG} is missing or has no configuration; restore it, or remove the trial's folder"
            )
        lacking = [key for key in ("dataset", "objective", "seed", "epochs") if entry["config"].get(key) is None]
        if lacking or entry.get("digest", self.digest) != self.digest:
            wrong = f"lacks {', '.join(lacking)}" if lacking else f"is that of trial {entry['digest']}"
            raise UserError(f"{self.folder / CONFIG} {wrong}; restore it, or remove the trial's folder")
        return entry

    def _read_result(self) -> dict[str, Any] | None:
        return read_json(self.folder / RESULT)

    def _read_stopped(self) -> dict[str, Any] | None:
        return read_json(self.folder / STOPPED)

    def _read_error(self) -> dict[str, Any] | None:
        return read_json(self.attempt / ERROR) if self.attempt else None

    def _read_reports(self) -> list[dict[str, Any]]:
        return read_reports(self.attempt / REPORTS) if self.attempt else []

    def _find_attempt(self) -> Path | None:
        if self.result is not None and "attempt" in self.result:
            return self.folder / str(self.result["attempt"])
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
        config = self._entry["config"]
        return {**config, **{name: value for name, value in _defaults().items() if name not in config}}

    @property
    def index(self) -> int:
        """Return the trial's index in its sweep, from 0."""
        return int(self._entry.get("place", 0))

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
    def reports(self) -> list[dict[str, Any]]:
        """Return a row per epoch: ``epoch``, ``at`` (seconds since 1970) and the metrics; of a repeated epoch the last."""
        return self._read_reports()

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """Return the final record; None before the trial has finished.

        Raises:
            UserError: if the record is another trial's, or was edited.
        """
        record = self._read_result()
        if record is None:
            return None
        if record.get("digest") != self.digest:
            raise UserError(
                f"{self.folder / RESULT} is the record of trial {record.get('digest')}, not of this one;"
                " remove it to have it computed again"
            )
        fault = record_fault(record, whole=False)
        if not fault and any(record.get("config", {}).get(k, v) != v for k, v in self._entry["config"].items()):
            fault = f"its configuration is not that of {CONFIG}"
        if fault:
            raise UserError(f"{self.folder / RESULT} has been changed: {fault}; remove it to have it computed again")
        return record

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the final metrics by name; empty before the trial has finished."""
        return (self.result or {}).get("metrics") or {}

    @property
    def environment(self) -> dict[str, Any]:
        """Return what the result was made with: versions, device, precision; empty where that is not known."""
        environment = (self.result or {}).get("environment")
        return environment if isinstance(environment, dict) else {}

    @cached_property
    def error(self) -> dict[str, Any] | None:
        """Return why the trial failed or diverged: ``kind``, ``message``, ``at``; None where it did not."""
        return self._read_error()

    @cached_property
    def stopped(self) -> dict[str, Any] | None:
        """Return at which ``epoch`` the pruner stopped the trial, for what ``value`` of which ``metric``."""
        return self._read_stopped()

    @property
    def encoder(self) -> Path | None:
        """Return the file of the finished encoder, where it was kept."""
        file = self.attempt / ENCODER if self.result is not None and self.attempt else None
        return file if file is not None and file.exists() else None

    @property
    def is_sealed(self) -> bool:
        """Tell whether the trial has a result whose checksum was made when it was written, and verified now."""
        return self.result is not None and "checksum" in self.result

    @cached_property
    def problem(self) -> str:
        """Return what is wrong with the trial's files, in one line; empty where they can be read."""
        try:
            _ = self.config, self._status
        except UserError as error:
            return str(error)
        return ""

    @property
    def status(self) -> Status:
        """Return where the trial stands."""
        return Status.DAMAGED if self.problem else self._status

    @cached_property
    def _status(self) -> Status:
        if self.result is not None:
            return Status.FINISHED
        if self.stopped is not None:
            return Status.STOPPED
        if self.error is not None:
            return self._error_status(self.error)
        return Status.STARTED if self.reports else Status.WAITING

    def _error_status(self, error: dict[str, Any]) -> Status:
        kind = error.get("kind")
        if kind not in (Status.FAILED, Status.DIVERGED) or not isinstance(error.get("message"), str):
            raise UserError(
                f"{self.attempt}/{ERROR} is damaged: expected kind failed or diverged and a message, got kind {kind!r};"
                " remove it to have the trial computed again"
            )
        return Status(kind)

    @property
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


def record_fault(record: dict[str, Any], whole: bool = True) -> str:
    """Return what cannot be true of a finished trial's JSON record; empty where nothing is wrong.

    Args:
        record: the JSON record. Accuracies are 0 to 100 %; a ``checksum`` must be that of the content.
        whole: whether configuration, metrics and history must all be there.
    """
    for key, kind in (("config", dict), ("metrics", dict), ("history", list)):
        if (whole or key in record) and not isinstance(record.get(key), kind):
            return f"it has no {key}"
    if "checksum" in record:  # what is as the trainer wrote it needs no closer look
        edited = record["checksum"] != checksum(record)
        return "it was edited after it was written: its checksum is not that of its content" if edited else ""
    history = record.get("history", [])
    rows = [record.get("metrics", {}), *history]
    if not all(isinstance(row, dict) for row in rows) or not all(is_number(row.get("epoch")) for row in history):
        return "a row of its history is none"
    for name, value in ((k, v) for row in rows for k, v in row.items() if is_accuracy(k)):
        if not is_number(value) or not 0 <= value <= 100:
            return f"expected 0 <= {name} <= 100, got {value!r}"
    return ""


def newest_attempt(folder: Path) -> Path | None:
    """Return the folder of the newest attempt in a trial's folder; None where no attempt has begun."""
    return max(folder.glob(ATTEMPTS), key=lambda path: path.name, default=None)


def read_reports(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a ``reports.jsonl``, ordered by epoch; a last line that a crash cut short is left out."""
    rows: dict[int, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
            rows[int(row["epoch"])] = row
        except (ValueError, KeyError, TypeError):
            continue
    return [rows[epoch] for epoch in sorted(rows)]


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as its folder describes it.

    Args:
        folder: the sweep's folder, whose name is the sweep's.
        meta: the content of ``sweep.json``.
    """

    folder: Path
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the sweep's name."""
        return self.folder.name

    @property
    def study(self) -> Path:
        """Return the file of a search's Optuna study; it does not exist where the study is in a database."""
        return self.folder / STUDY

    @property
    def space(self) -> str:
        """Return the YAML that the sweep was launched with; empty where there is none."""
        file = self.folder / SPACE
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @cached_property
    def space_values(self) -> dict[str, Any]:
        """Return what the YAML holds; empty where there is none, or none that can be read."""
        import yaml

        try:
            values = yaml.safe_load(self.space)
        except yaml.YAMLError:
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def search(self) -> dict[str, Any]:
        """Return the ``search`` section of the YAML; empty for a grid."""
        section = self.space_values.get("search")
        return section if isinstance(section, dict) else {}

    @property
    def description(self) -> str:
        """Return what the YAML says of the sweep; empty where it says nothing."""
        return str(self.space_values.get("description") or "")

    @property
    def keep_encoders(self) -> int:
        """Return how many of the best finished encoders are kept per dataset."""
        keep = self.space_values.get("keep_encoders")
        return keep if isinstance(keep, int) else KEEP_ENCODERS

    @property
    def metric(self) -> str:
        """Return the metric that the sweep chooses by: a search's own, else ``val/linear``."""
        return str(self.search.get("metric") or SELECTION)

    @property
    def planned(self) -> int:
        """Return how many trials the sweep is to have.

        Once the sweep is over this is how many it had: a space may hold fewer, or some trials be stopped.
        """
        return int(self.meta.get("settled_at") or self.meta["trials"])

    def trials(self) -> list[TrialRecord]:
        """Read the trials known so far from the folder, in the sweep's order."""
        folder = self.folder / TRIALS
        trials = [TrialRecord(f) for f in folder.iterdir() if (f / CONFIG).exists()] if folder.is_dir() else []
        return sorted(trials, key=lambda t: (t.index, t.digest))


def list_sweeps(storage: Path) -> list[str]:
    """Return the names of the sweeps in a storage folder, sorted."""
    return sorted(f.parent.name for f in storage.glob(f"*/{SWEEP}") if not f.parent.name.startswith("."))


def open_sweep(storage: Path, name: str) -> SweepRecord:
    """Open the sweep of a name in a storage folder.

    Raises:
        UserError: if the folder has no sweep of that name, or one of another layout.
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
