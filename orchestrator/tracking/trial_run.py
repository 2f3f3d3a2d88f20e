"""Derives a trial's run in MLflow from the trial's folder alone: status, tags, parameters and metrics.

The names of tags, and which facts of the environment become tags, are in :mod:`results.record.mlflow_names`; a best trial's
encoder is added by :mod:`orchestrator.tracking.models`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID

from orchestrator.tracking.experiment_store import TRANSIENT, Known, MetricRow, Wanted
from results.record import mlflow_names
from results.record.reader import TrialRecord
from results.record.status import Status
from trainer.calls import parse_call
from trainer.config import describe_fields
from trainer.errors import UserError
from trainer.files import digest_of_files
from trainer.metrics import is_accuracy

ALWAYS = ("dataset", "objective", "tau", "seed", "epochs", "encoder", "batch_size", "lr")
NOT_LISTED = ("read_at",)  # a list says little in a column


def wanted_run(trial: TrialRecord, parent: str, running: bool) -> Wanted | None:
    """Return what a trial's run in MLflow should hold, or None before the trial's first report.

    Args:
        trial: as its folder holds it.
        parent: the parent run's id.
        running: whether a driver is at work on the sweep.

    Raises:
        UserError: if the trial's files are damaged.
    """
    if trial.problem:
        raise UserError(trial.problem)
    status = trial.status
    rows = [_row(row, trial) for row in trial.reports]
    if not rows and not status.is_over:
        return None
    ended = _ended(trial, rows)
    return Wanted(
        key=trial.digest,
        name=trial.label,
        status=_run_status(status, running),
        start=rows[0].at if rows else ended,
        end=None if running and not status.is_over else ended,
        tags=tags_of(trial, parent),
        params=params_of(trial.config),
        rows=rows,
        inputs=[_dataset(trial.config)],
    )


def is_written(run: Known, trial: TrialRecord, parent: str) -> bool:
    """Tell whether a finished trial's run holds all that the trial's folder says. Of any other trial this returns False.

    Args:
        run: as MLflow holds it.
        trial: as its folder holds it.
        parent: the parent run's id.
    """
    if run.status != "FINISHED" or run.end is None or not run.inputs or trial.problem or not trial.is_sealed:
        return False
    tags = tags_of(trial, parent)
    stale = any(key in run.tags and key not in tags for key in TRANSIENT)
    return not stale and tags.items() <= run.tags.items() and run.params.issuperset(params_of(trial.config))


def tags_of(trial: TrialRecord, parent: str) -> dict[str, str]:
    """Return the tags of a trial's run, without the one that is written with its metrics.

    Args:
        trial: as its folder holds it.
        parent: the parent run's id.
    """
    status = trial.status
    tags = {
        MLFLOW_PARENT_RUN_ID: parent,
        mlflow_names.FAMILY_TAG: trial.family,
        mlflow_names.DATASET_TAG: str(trial.config["dataset"]),
        mlflow_names.ROLE_TAG: trial.role,
        mlflow_names.INDEX_TAG: str(trial.index),
        mlflow_names.CONFIG_TAG: json.dumps(trial.config, sort_keys=True),
    }
    tags |= {key: str(trial.environment[key]) for key in mlflow_names.TRIAL_ENVIRONMENT_TAGS if key in trial.environment}
    outcome = mlflow_names.outcome_of(status)
    if outcome is not None:
        tags[mlflow_names.OUTCOME_TAG] = outcome
    if trial.error is not None and status.has_failed:
        tags[mlflow_names.ERROR_TAG] = str(trial.error.get("message", ""))[:5000]
    if trial.is_sealed:
        tags[mlflow_names.RECORD_TAG] = f"{_code()} {(trial.summary or {})['checksum'][:16]}"
    return tags


@functools.cache
def _code() -> str:
    """Return a digest of the code that says what MLflow is to hold of a trial: what other code wrote is compared as a whole."""
    return digest_of_files([Path(__file__), Path(mlflow_names.__file__)])[:8]


def _run_status(status: Status, running: bool) -> str:
    """Return MLflow's status of a run for a trial's; one that was stopped early is KILLED, as no final score came of it."""
    if not status.is_over:
        return "RUNNING" if running else "KILLED"
    if status == Status.STOPPED:
        return "KILLED"
    return "FAILED" if status.has_failed else "FINISHED"


def _row(row: dict[str, Any], trial: TrialRecord) -> MetricRow:
    """Return the metrics of a line of ``reports.jsonl``; values that are no numbers (a file edited by hand) are left out."""
    try:
        step, at = int(row["epoch"]), round(float(row["at"]) * 1000)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{trial.attempt}: a report without epoch or time; restore it, or remove the trial's folder") from None
    metrics = {k: _rounded(k, float(v)) for k, v in row.items() if k not in ("epoch", "at") and type(v) in (int, float)}
    return MetricRow(step, at, metrics)


def _rounded(name: str, value: float) -> float:
    """Return an accuracy with the four decimals that a column of MLflow has room for; another value as it is."""
    return round(value, 4) if is_accuracy(name) else value


def _ended(trial: TrialRecord, rows: list[MetricRow]) -> int:
    """Return the time of a trial's last report or error, in milliseconds since 1970."""
    times = [row.at for row in rows[-1:]]
    if trial.error is not None and isinstance(trial.error.get("at"), (int, float)):
        times.append(round(trial.error["at"] * 1000))
    return max(times, default=0)


def params_of(config: dict[str, Any]) -> dict[str, str]:
    """Return a run's parameters: usual settings, those not at their default, and the objective's own as ``objective.p``."""
    defaults = {name: default for name, default, _ in describe_fields()}
    kept = {
        key: value
        for key, value in config.items()
        if value not in (None, []) and key not in NOT_LISTED and (key in ALWAYS or value != defaults.get(key))
    }
    try:
        own = dict(parse_call(str(config["objective"])).kwargs)
    except UserError:
        own = {}
    return {key: _shown(value) for key, value in {**kept, **{f"objective.{k}": v for k, v in own.items()}}.items()}


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and math.isclose(value, float(f"{value:g}")) else str(value)


def _dataset(config: dict[str, Any]) -> DatasetInput:
    """Return the data that a trial was pretrained on, described so that equal data have an equal digest."""
    facts = {key: config.get(key) for key in ("dataset", "images", "image_size", "held_out", "pretrain_on_held_out")}
    text = json.dumps(facts, sort_keys=True)
    name = str(config["dataset"]).removeprefix("folder:").rstrip("/").rpartition("/")[2] or str(config["dataset"])
    dataset = Dataset(
        name, hashlib.sha256(text.encode()).hexdigest()[:8], "alphacl", json.dumps({"name": config["dataset"]}), None, text
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "pretraining")])
