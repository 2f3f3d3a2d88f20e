"""The best encoders of a sweep as MLflow models: ``mlflow.pytorch.load_model`` gives a module that needs PyTorch alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from orchestrator.tracking.experiment_store import ExperimentStore, pages
from results.record.mlflow_names import KEY_TAG
from results.record.ranking import best_per_dataset
from results.record.reader import TrialRecord
from trainer.errors import UserError

RANK_TAG = "best encoder"


def log_best(store: ExperimentStore, trials: list[TrialRecord], metric: str, keep: int) -> list[str]:
    """Log the best encoders of a sweep as models of their runs, and remove those that are no longer among the best.

    The model of a run is its ``encoder``, found at ``runs:/RUN/encoder``.

    Args:
        store: the sweep's experiment.
        trials: all trials of the sweep.
        metric: what ranks them: the metric that the sweep chooses by.
        keep: how many are logged per dataset.

    Returns:
        What went wrong, a message for every encoder that could not be read.
    """
    best = {t.digest: t for t in best_per_dataset(trials, metric, keep) if t.digest in store.runs}
    problems, logged = [], set()
    for model in list(pages(store.client.search_logged_models, [store.experiment])):
        key = model.tags.get(KEY_TAG)
        whole = key in best and model.source_run_id == store.runs[key].run_id and model.status == LoggedModelStatus.READY
        if key is not None and (not whole or key in logged):
            store.client.delete_logged_model(model.model_id)
        elif key is not None:
            logged.add(key)
    for key, trial in best.items():
        try:
            if key not in logged:
                _log(store.client, store.experiment, store.runs[key].run_id, trial)
        except UserError as error:
            problems.append(str(error))
    ranks = _ranks(best, metric)
    for key, known in store.runs.items():
        if known.tags.get(RANK_TAG) == ranks.get(key):
            continue
        if key in ranks:
            store.client.set_tag(known.run_id, RANK_TAG, ranks[key])
            known.tags[RANK_TAG] = ranks[key]
        else:
            store.client.delete_tag(known.run_id, RANK_TAG)
            del known.tags[RANK_TAG]
    return problems


def _ranks(best: dict[str, TrialRecord], metric: str) -> dict[str, str]:
    """Return ``1 of 3 by val/linear`` for every trial, counted within its dataset."""
    members: dict[str, list[str]] = {}
    for key, trial in best.items():
        members.setdefault(str(trial.config["dataset"]), []).append(key)
    return {key: f"{rank} of {len(keys)} by {metric}" for keys in members.values() for rank, key in enumerate(keys, start=1)}


def _scores(trial: TrialRecord, model: str) -> list[Metric]:
    """Return a trial's final accuracies as metrics of its model, for MLflow's list of models.

    The list loads all metrics of all models, so a model gets these few of its last epoch alone.
    """
    epoch, at = int(trial.config["epochs"]), round(float(trial.reports[-1]["at"]) * 1000) if trial.reports else 0
    return [
        Metric(name, round(trial.metrics[name], 4), at, epoch, model_id=model)
        for name in ("val/linear", "val/knn", "test/linear", "test/knn")
        if name in trial.metrics
    ]


def _log(client: MlflowClient, experiment: str, run: str, trial: TrialRecord) -> None:
    from orchestrator.tracking.exported_encoder import load_encoder, save_encoder  # with PyTorch

    module, example = load_encoder(trial)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        tags = {KEY_TAG: trial.digest, "objective": trial.label}
        model = client.create_logged_model(experiment, "encoder", run, tags, model_type="encoder")
        facts = {
            "artifact_path": model.artifact_location,
            "model_uuid": model.model_id,
            "model_id": model.model_id,
            "run_id": run,
        }
        save_encoder(module, example, path, Model(**facts))
        client.log_model_artifacts(model.model_id, str(path))
        client.log_batch(run, _scores(trial, model.model_id))
        client.log_outputs(run, [LoggedModelOutput(model.model_id, step=int(trial.config["epochs"]))])
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
