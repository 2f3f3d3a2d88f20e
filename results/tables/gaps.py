"""Finds what is missing from a sweep's tables, why, and the command that would fill the gap."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from results.bucket.address import storage_option
from results.record.layout import SPACE
from results.record.naming import label_of, last_line, without_seed
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from results.tables.build import readable
from results.tables.model import key_of


@dataclass(frozen=True)
class Gap:
    """Trials of one configuration that have no score.

    Args:
        what: the configuration and its seeds, in words.
        why: why they have no score.
        command: the command that would make it; empty where none would.
        trials: the trials; empty for those that were not begun and are not known.
    """

    what: str
    why: str
    command: str
    trials: tuple[TrialRecord, ...]


def resume_command(sweep: SweepRecord, status: Status | None = None) -> str:
    """Return the command that goes on with a sweep, or runs its trials of a status again; empty for one of records alone."""
    if not (sweep.folder / SPACE).is_file() or sweep.meta.get("kind") == "records":
        return ""
    name, storage = shlex.quote(sweep.name), storage_option(sweep.folder.parent)
    return f"alphacl retry {name} {status}{storage}" if status else f"alphacl resume {name}{storage}"


def find_gaps(sweep: SweepRecord, trials: list[TrialRecord]) -> list[Gap]:
    """Return every trial that is planned and has no score, grouped by configuration and reason."""
    groups: dict[str, list[tuple[TrialRecord, str, str]]] = {}
    for trial in trials:
        if trial.status != Status.FINISHED:
            what, why, command = _explain(sweep, trial)
            groups.setdefault(key_of([what, trial.status, why, command]), []).append((trial, why, command))
    gaps = [
        Gap(_what([t for t, _, _ in members]), members[0][1], members[0][2], tuple(t for t, _, _ in members))
        for members in groups.values()
    ]
    unknown = sweep.planned - len(trials)
    if unknown > 0:
        gaps.append(Gap(f"{unknown} of {sweep.planned} trials", "not begun", resume_command(sweep), ()))
    return gaps


def _explain(sweep: SweepRecord, trial: TrialRecord) -> tuple[str, str, str]:
    """Return what a trial is without its seed, why it has no score, and the command that would make one."""
    if trial.status == Status.DAMAGED:
        return trial.digest, f"damaged: {trial.problem}", ""
    what = without_seed(trial.config)
    if trial.status == Status.STOPPED:
        stopped = trial.stopped or {}
        how = "by hand" if stopped.get("by") == "user" else "early"
        return what, f"stopped {how} at epoch {stopped.get('epoch', '?')}: no final figure", trainer_command(sweep, trial)
    if trial.status.has_failed:
        why = f"{trial.status}: {last_line(str((trial.error or {}).get('message', '')))}"
        return what, why, resume_command(sweep, trial.status) or trainer_command(sweep, trial)
    reasons = {Status.WAITING: "not begun", Status.STARTED: f"under way or interrupted, at epoch {_epoch(trial)}"}
    return what, reasons[trial.status], resume_command(sweep)


def _epoch(trial: TrialRecord) -> str:
    return f"{trial.reports[-1]['epoch'] if trial.reports else 0} of {trial.config['epochs']}"


def _what(trials: list[TrialRecord]) -> str:
    if not readable(trials[:1]):
        return f"trial {trials[0].digest}"
    config = trials[0].config
    role = "confirmation of " if trials[0].role == "confirm" else ""
    seeds = ", ".join(str(t.config["seed"]) for t in trials)
    return f"{role}{label_of(config, separator=', ')} on {config['dataset']}, seed{'s' * (len(trials) > 1)} {seeds}"


def plugins_of(sweep: SweepRecord) -> list[str]:
    """Return the modules that the sweep's YAML names as plug-ins."""
    modules = sweep.space_values.get("plugins")
    return [str(module) for module in modules] if isinstance(modules, list) else []


def trainer_command(sweep: SweepRecord, trial: TrialRecord) -> str:
    """Return the command that makes the record of a single trial by itself."""
    return f"{training_command(trial.config, plugins_of(sweep))} --record records/{trial.digest}.json"


def training_command(config: Mapping[str, Any], plugins: Iterable[str] = (), always: Iterable[str] = ()) -> str:
    """Return the command that trains one encoder with a configuration.

    Args:
        config: the configuration, of which settings at their defaults are left out.
        plugins: the modules whose components the configuration may name.
        always: settings that are written out also where they are at their defaults.
    """
    from trainer.config import describe_fields

    argv = [part for module in plugins for part in ("--plugin", shlex.quote(module))]
    defaults = {name: default for name, default, _ in describe_fields()}
    for name, value in config.items():
        if name not in defaults or value in (None, []) or (value == defaults[name] and name not in always):
            continue
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            argv.append(option if value else "--no-" + option[2:])
        else:
            text = (
                ",".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, str) else json.dumps(value)
            )
            argv += [option, shlex.quote(text)]
    return " ".join(["python -m trainer", *argv])
