"""Reads a sweep back from MLflow where its folder is not at hand: the runs that :mod:`orchestrator.tracking.tracker` writes."""

from __future__ import annotations

import ast
import dataclasses
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from results.record import mlflow_names, schema
from results.record.fields import cleaned
from results.record.outside_records import GivenSweep, GivenTrial, damaged_trial, digest_fault
from results.record.reader import MOST_SPACE
from results.record.status import Status
from results.record.store_address import ask_database, public, without_password
from results.record.trial_record import TrialRecord
from trainer.errors import UserError, first_line
from trainer.files import read_bounded

PAGE = 1000  # MLflow's limit of runs in one answer


def read_mlflow(uri: str, name: str) -> GivenSweep:
    """Read the MLflow experiment of a sweep's name, whose child runs become one trial record each.

    Args:
        uri: MLflow's tracking URI: a server's address or ``sqlite:///FILE``.
        name: the sweep's name.

    Raises:
        UserError: if the store can't be read, or has no such sweep.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    path = uri.removeprefix("sqlite:///")
    if path != uri and not Path(path).is_file():  # MLflow would make an empty one
        raise UserError(f"--from-mlflow: no database {path}")
    from mlflow.tracking import MlflowClient

    try:
        ask_database(uri)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            known = sorted(e.name for e in client.search_experiments() if mlflow_names.SWEEP_TAG in e.tags)
            raise UserError(f"no sweep {name!r} in {public(uri)}; known: {', '.join(known) or 'none'}")
        runs = _runs(client, experiment.experiment_id)
        parent = next((r for r in runs if r.data.tags.get(mlflow_names.KEY_TAG) == mlflow_names.PARENT_KEY), None)
        children = [
            r for r in runs if r.data.tags.get(mlflow_names.KEY_TAG, mlflow_names.PARENT_KEY) not in mlflow_names.NOT_TRIALS
        ]
        shared = dict(parent.data.tags) if parent else {}
        indices = [int(run.data.tags.get(mlflow_names.INDEX_TAG, index)) for index, run in enumerate(children)]
        ordered = sorted(zip(indices, children, strict=True), key=lambda pair: pair[0])
        trials = [_trial(client, run, index, shared) for index, run in ordered]
        yaml = _space(client, parent, uri) if parent else ""
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - MLflow lets SQLAlchemy's and requests' errors through
        raise UserError(f"cannot read the tracking store {public(uri)}: {public(first_line(error, 300))}") from None
    params = parent.data.params if parent else {}
    environment = {k: shared[k] for k in mlflow_names.ENVIRONMENT_TAGS if k in shared}
    planned = max(int(shared.get(mlflow_names.PLANNED_TAG, 0)), len(trials))
    meta = {
        "name": name, "id": experiment.tags.get(mlflow_names.SWEEP_TAG, ""), "kind": params.get(mlflow_names.KIND_PARAM, "grid"),
        "trials": planned, "environment": environment, "tracking_uri": without_password(uri), "read_from": "MLflow",
    }  # fmt: skip
    return GivenSweep(Path(name), meta, tuple(trials), yaml)


def _runs(client: Any, experiment: str) -> list[Any]:
    """Return all runs of an experiment, oldest first."""
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment], max_results=PAGE, page_token=token, order_by=["attributes.start_time ASC"])
        runs += page
        token = page.token
        if not token:
            return runs


def _space(client: Any, parent: Any, uri: str) -> str:
    """Return the YAML of a sweep's search space; empty where it cannot be had.

    Where the artifacts lie is what the store says, which may be anybody's: they are asked for at the server itself, or read from
    the database's own folder, and nowhere else.
    """
    place = str(parent.info.artifact_uri)
    beside = Path(uri.removeprefix("sqlite:///")).resolve().parent.as_uri() + "/"
    is_near = re.match(r"mlflow-artifacts:/[^/]", place) if uri.startswith("http") else place.startswith(beside)
    if not is_near or ".." in place:
        return ""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            file = client.download_artifacts(parent.info.run_id, mlflow_names.SPACE_ARTIFACT, scratch)
            return read_bounded(Path(file), MOST_SPACE).decode()
    except Exception:  # noqa: BLE001 - the artifacts may lie on another machine: the scores do without
        return ""


def _trial(client: Any, run: Any, index: int, parent: dict[str, str]) -> TrialRecord:
    """Return a child run as a trial, as a damaged one where its parameters are not those of its key."""
    digest, tags = run.data.tags[mlflow_names.KEY_TAG], run.data.tags
    where = Path(run.info.experiment_id) / run.info.run_id
    try:
        config = (
            schema.parse(tags[mlflow_names.CONFIG_TAG].encode()) if mlflow_names.CONFIG_TAG in tags else _config(run.data.params)
        )
        fault = schema.fault_of(config, schema.SETTINGS) or digest_fault(config, digest)
    except UserError as error:
        fault = str(error)
    if fault:
        return damaged_trial(where.parent / digest, f"MLflow run {run.info.run_id}: {fault}")
    rows: dict[int, dict[str, Any]] = {}
    for metric in sorted(m for m in run.data.metrics if not m.startswith(mlflow_names.SYSTEM_PREFIX)):
        for point in client.get_metric_history(run.info.run_id, metric):
            rows.setdefault(point.step, {"epoch": point.step, "at": point.timestamp / 1000})[metric] = point.value
    reports = [rows[epoch] for epoch in sorted(rows) if not schema.fault_of_row(rows[epoch])]
    status = mlflow_names.status_of(tags.get(mlflow_names.OUTCOME_TAG, ""))
    role = "confirm" if "confirm" in (tags.get(mlflow_names.ROLE_TAG), tags.get(mlflow_names.OLD_ROLE_TAG)) else "trial"
    facts: dict[str, Any] = {"reports": reports}
    if status == Status.FINISHED and config["epochs"] in rows:
        facts["result"] = _result(digest, config, reports, parent, run)
        fault = schema.fault_of(facts["result"], schema.RECORD_FILE)
        if fault:
            return damaged_trial(where.parent / digest, f"MLflow run {run.info.run_id}: {fault}")
    elif status == Status.STOPPED:
        facts["stopped"] = {"epoch": max(rows, default=0)}
    elif status is not None and status.has_failed:
        facts["error"] = {"kind": status, "message": cleaned(tags.get(mlflow_names.ERROR_TAG, ""))}
    return GivenTrial(where.parent / digest, config, role, index, facts)


def _result(
    digest: str, config: dict[str, Any], reports: list[dict[str, Any]], parent: dict[str, str], run: Any
) -> dict[str, Any]:
    """Return the trial's final record as the trainer would have written it, with the MLflow run's id beside."""
    history = [{k: v for k, v in row.items() if k != "at"} for row in reports]
    last = next(row for row in history if row["epoch"] == config["epochs"])
    untrained = {k: v for row in history for k, v in row.items() if k.startswith("untrained/")}
    environment = {
        k: run.data.tags.get(k, parent.get(k)) for k in ("python", "torch", "torchvision", "commit", "device", "precision")
    }
    return {
        "digest": digest,
        "config": config,
        "metrics": {**untrained, **{k: v for k, v in last.items() if k != "epoch"}},
        "history": history,
        "environment": {k: v for k, v in environment.items() if v is not None},
        "run": run.info.run_id,
    }


def _config(params: dict[str, str]) -> dict[str, Any]:
    """Return a trial's configuration from its parameters, which MLflow keeps as text."""
    from trainer.config import TrialConfig

    values: dict[str, Any] = {}
    for field in dataclasses.fields(TrialConfig):
        if field.name in params:
            text = params[field.name]
            values[field.name] = text if str(field.type).startswith("str") else _literal(field.name, text)
    return TrialConfig.from_dict(values).to_dict()


def _literal(name: str, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise UserError(f"its parameter {name} is {text!r}") from None
