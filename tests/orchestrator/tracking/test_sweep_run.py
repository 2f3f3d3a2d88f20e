"""What the parent run says is what the command line says."""

import shutil
from pathlib import Path

import mlflow
import pytest

from orchestrator.driver.board import Board
from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.sweep_run import experiment_tags
from results.best import best_of
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from results.table import sweep_table
from results.tables.sweep import sweep_tables

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
    first = parent.data.tags["mlflow.note.content"].splitlines()[0]
    assert first.startswith("**Chosen by val/knn, direct(p=5.219), tau 0.3732 is best: ")


@pytest.mark.server
def test_the_parent_run_carries_the_sweeps_answer_as_every_other_view_gives_it(tmp_path, empty_store):
    shutil.copytree(OLD / "search", tmp_path / "search")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    sweep = open_sweep(tmp_path, "search")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for _ in range(2):  # again changes nothing
        rebuild(SweepWriter(sweep), uri, keep=0)
    client = mlflow.MlflowClient(uri)
    parent = next(r for e in client.search_experiments() for r in client.search_runs([e.experiment_id], "run_name = 'search'"))
    (best,) = best_of(sweep)
    row = next(r for r in sweep_tables(sweep)[0].rows if r.kind != "untrained")
    metrics = parent.data.metrics
    for name in ("val/knn", "test/linear", "test/knn"):
        assert metrics[f"best/{name}"] == round(best.cell(name).mean, 4) == round(row.cells[name].mean, 4)
    leading = max((f.best for f in Board.of(sweep, sweep.trials()).families() if f.best), key=lambda b: b.mean)
    assert (leading.label, leading.n, round(leading.mean, 4)) == (best.label, 3, metrics["best/val/knn"])
    assert metrics["best/n"] == row.done == 3
    assert metrics["best/untrained"] < metrics["best/test/linear"]
    assert parent.data.tags["best"].replace(", ", " · ") == best.label
    assert len(client.get_metric_history(parent.info.run_id, "best/test/linear")) == 1


def test_the_view_of_the_best_runs_is_sorted_by_the_sweeps_metric():
    assert '"orderByKey": "metrics.`val/knn`"' in experiment_tags("val/knn")["mlflow.sharedViewState.best"].replace("\\", "")
