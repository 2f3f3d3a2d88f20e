"""Finds, removes and renames a sweep's experiment in MLflow, for ``alphacl ui``, ``remove``, ``rename`` and failed launches."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator

from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from orchestrator.tracking.store_errors import explain, quieten
from results.record.mlflow_names import BEST_VIEW, KEY_TAG, PARENT_KEY, SWEEP_TAG
from results.record.store_address import ask_database, public
from trainer.errors import UserError, first_line

TRAINING = "workflowType=machine_learning"  # without it MLflow opens its pages for language models
GC_S = 600  # for which MLflow's removal of runs and files is waited for


def remove_experiment(uri: str, sweep_id: str) -> str:
    """Remove the experiments of a sweep: for good from a database, with their files; on a server into its list of deleted ones.

    Args:
        uri: the MLflow server or database.
        sweep_id: by which the experiments are found.

    Returns what is left and why, in one line; empty where nothing is.

    Raises:
        UserError: if the store can't be opened or does not answer.
    """
    ids = []
    with _asking(uri, "remove it from") as client:
        for experiment in _experiments_of(client, sweep_id):
            ids.append(str(experiment.experiment_id))
            # A deleted experiment keeps its name, which the next sweep of that name is to have.
            client.rename_experiment(ids[-1], f"{experiment.name} (removed, {ids[-1]})")
            client.delete_experiment(ids[-1])
    if not ids:
        return ""
    if uri.startswith(("http:", "https:")):
        return f"the server {public(uri)} keeps it among its deleted experiments until 'mlflow gc' is run there"
    return _collect(uri, ids)


def rename_experiment(uri: str, sweep_id: str, name: str) -> None:
    """Give a sweep's experiment and its parent run another name; do nothing where there is none.

    Args:
        uri: the MLflow server or database.
        sweep_id: by which the experiment is found.
        name: the new name.

    Raises:
        UserError: if the store can't be opened or does not answer, or has another experiment of that name.
    """
    with _asking(uri, "rename it in") as client:
        for experiment in _experiments_of(client, sweep_id):
            try:
                client.rename_experiment(experiment.experiment_id, name)
            except MlflowException as error:
                if "already exists" not in str(error) and "UNIQUE" not in str(error):
                    raise
                known = f"the tracking store {public(uri)} has another experiment {name!r}"
                raise UserError(f"{known}; choose another name") from None
            for run in _parents_of(client, experiment):
                client.update_run(run.info.run_id, name=name)


def pages_of(uri: str, sweep_id: str) -> tuple[str, str] | None:
    """Return the addresses of a sweep's pages below an MLflow server: its parent run, and its runs with the best first.

    Args:
        uri: the MLflow server or database.
        sweep_id: by which the experiment is found.

    Returns:
        None where the store has no such sweep.

    Raises:
        UserError: if the store can't be opened or does not answer.
    """
    with _asking(uri, "look into") as client:
        for experiment in _experiments_of(client, sweep_id):
            page = f"/#/experiments/{experiment.experiment_id}"
            for run in _parents_of(client, experiment):
                return f"{page}/runs/{run.info.run_id}?{TRAINING}", f"{page}/runs?{TRAINING}&viewStateShareKey={BEST_VIEW}"
    return None


@contextlib.contextmanager
def _asking(uri: str, doing: str) -> Iterator[MlflowClient]:
    """Yield a client of a store; whatever MLflow, SQLAlchemy or requests raise in the block becomes one line about ``doing``."""
    quieten()
    try:
        ask_database(uri)
        yield MlflowClient(tracking_uri=uri)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - they raise anything
        raise UserError(f"cannot {doing} the tracking store {public(uri)}: {explain(error)}") from None


def _experiments_of(client: MlflowClient, sweep_id: str) -> Iterator[Experiment]:
    yield from client.search_experiments(filter_string=f"tags.`{SWEEP_TAG}` = '{sweep_id}'")


def _parents_of(client: MlflowClient, experiment: Experiment) -> Iterable[Run]:
    runs: Iterable[Run] = client.search_runs([experiment.experiment_id], f"tags.`{KEY_TAG}` = '{PARENT_KEY}'")
    return runs


def _collect(uri: str, ids: list[str]) -> str:
    """Have MLflow remove deleted experiments with their runs, models and files; return what went wrong, in one line."""
    command = [sys.executable, "-m", "mlflow", "gc", "--experiment-ids", ",".join(ids)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}  # with its password, which a command line would show to others
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=GC_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"'mlflow gc' did not end: {first_line(error, 200)}"
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"'mlflow gc' left files of it in {public(uri)}: {public(last)[:200]}"
