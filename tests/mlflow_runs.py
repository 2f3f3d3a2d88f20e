"""Runs of a sweep in MLflow, as tests count them."""

import mlflow

from results.record.mlflow_names import KEY_TAG, LOAD_KEY


def runs_of(uri, name):
    """Return the parent run of a sweep and those of its trials, without the machine's load, which a short sweep may not have."""
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id], max_results=1000)
    return [run for run in runs if run.data.tags.get(KEY_TAG) != LOAD_KEY]
