"""What the parent run says is what the command line says."""

import shutil
from pathlib import Path

import mlflow
import pytest

from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.sweep_run import experiment_tags
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from results.table import sweep_table

OLD = Path(__file__).parents[2] / "data" / "made_by_853551f"


@pytest.mark.server
def test_a_search_by_knn_is_shown_by_knn_as_on_the_command_line(tmp_path, empty_store):
    shutil.copytree(OLD / "search", tmp_path / "search")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    sweep = open_sweep(tmp_path, "search")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    rebuild(SweepWriter(sweep), uri, keep=0)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("search")
    parent = next(r for r in client.search_runs([experiment.experiment_id]) if r.data.tags["alphacl.key"] == "sweep")
    shown = Path(client.download_artifacts(parent.info.run_id, "accuracy.md")).read_text()
    assert "val/knn at selection" in shown
    assert "val/linear at selection" not in shown
    headings = [line for line in shown.splitlines() if line.startswith("| objective")]
    assert headings == [line for line in sweep_table(sweep).splitlines() if line.startswith("| objective")]
    best = parent.data.tags["mlflow.note.content"].split("Best on held-out images: ")[1].splitlines()[0]
    assert "(val/knn 73.33, test/linear" in best


def test_the_view_of_the_best_runs_is_sorted_by_the_sweeps_metric():
    assert '"orderByKey": "metrics.`val/knn`"' in experiment_tags("val/knn")["mlflow.sharedViewState.best"].replace("\\", "")
