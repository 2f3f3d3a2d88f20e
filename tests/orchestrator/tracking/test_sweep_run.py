"""What the parent run says is what the command line says."""

import json
import shutil
from pathlib import Path

import mlflow
import pytest

from orchestrator.driver.board import Board
from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.saved_views import experiment_tags
from orchestrator.tracking.sweep_run import describe
from results.best_configuration import best_of
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from results.table import sweep_table
from results.tables.model import Cell, Row, Table
from results.tables.sweep import sweep_tables
from trainer.metrics import METRICS

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
    first, _, reached, *_ = parent.data.tags["mlflow.note.content"].splitlines()
    assert first == "**Best: direct(p=5.219), tau 0.3732: 65.73 ± 7.81 % test/knn, n 3**"
    listed = client.get_experiment(parent.info.experiment_id).tags["mlflow.note.content"].splitlines()[0]
    assert f"**{listed}**" == first  # MLflow's list of experiments shows it as plain text
    assert reached.startswith("Chosen by val/knn, direct(p=5.219), tau 0.3732 is best: ")


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


def test_the_charts_of_the_best_runs_begin_with_accuracy_and_fold_what_explains_it():
    view = json.loads(experiment_tags("val/knn")["mlflow.sharedViewState.best"])
    sections = json.loads(view["state"])["compareRunSections"]
    assert [s["name"] for s in sections if s["display"]] == [s["name"] for s in sections][:2] == ["val", "test"]
    assert sections[-1]["name"] == "System metrics"
    assert {name.partition("/")[0] for name in METRICS} <= {s["name"] for s in sections}


def test_a_description_that_mlflow_would_cut_shows_the_best_rows():
    sweep = open_sweep(OLD, "search")
    rows = [Row({"objective": "square", "lr": number}, 1, 1, {"val/linear": Cell((number / 10,), (0,))}) for number in range(300)]
    table = Table("digits", ["objective", "lr"], ["val/linear"], rows).best_first()
    note = describe(sweep, sweep.trials(), [table], [])
    assert len(note) < 8000
    assert [line.split("|")[2].strip() for line in note.splitlines() if "| square |" in line] == [
        str(n) for n in range(299, 279, -1)
    ]
    assert "The best 20 of 300 configurations by mean val/linear; `accuracy.md` among the artifacts has all" in note
