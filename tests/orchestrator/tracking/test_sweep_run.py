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


@pytest.fixture
def tracked(tmp_path, empty_store):
    """A search that has been written into MLflow twice, which changes nothing: the sweep, a client and the parent run."""
    shutil.copytree(OLD / "search", tmp_path / "search")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    sweep = open_sweep(tmp_path, "search")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for _ in range(2):
        rebuild(SweepWriter(sweep), uri, keep=0)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("search")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`alphacl.key` = 'sweep'")
    return sweep, client, parent


@pytest.mark.server
def test_a_search_by_knn_is_shown_by_knn_as_on_the_command_line(tracked):
    sweep, client, parent = tracked
    shown = Path(client.download_artifacts(parent.info.run_id, "accuracy.md")).read_text()
    assert "val/knn at selection" in shown
    assert "val/linear at selection" not in shown
    headings = [line for line in shown.splitlines() if line.startswith("| objective")]
    assert headings == [line for line in sweep_table(sweep).splitlines() if line.startswith("| objective")]
    first = parent.data.tags["mlflow.note.content"].splitlines()[0]
    assert first.startswith("**Chosen by val/knn, direct(p=5.219), tau 0.3732 is best: ")


@pytest.mark.server
def test_the_parent_run_carries_the_sweeps_answer_as_every_other_view_gives_it(tracked):
    sweep, client, parent = tracked
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
