"""The tracker against real stores: what fails once is written later, nothing is doubled, moved folders are followed."""

import mlflow
import pytest

from orchestrator.folder import SweepFolder
from orchestrator.tracking import Tracker, default_uri, tracking_uri
from results.records import open_sweep
from search_spaces import load_spec
from trainer import Report


@pytest.fixture
def folder(tmp_path, write):
    """A sweep of two trials, the first finished."""
    folder = SweepFolder.create(tmp_path / "runs", "s", load_spec(write("trial: {epochs: 1}\nspace: {seed: [0, 1]}\n")), {})
    trial = folder.record.trials()[0]
    metrics = {"val/linear": 1.0, "test/linear": 50.0, "test/knn": 40.0, "untrained/linear": 9.0, "untrained/knn": 8.0}
    record = {"digest": trial.digest, "config": trial.config, "metrics": metrics, "history": []}
    worker = folder.trial(trial.digest)
    worker.begin()
    worker.add(Report(0, 1, {"val/linear": 1.0}, lambda: {"encoder": {}}))
    worker.add(Report(1, 1, metrics, lambda: {"encoder": {}}, record))
    return folder


def artifacts(folder):
    client = mlflow.MlflowClient(tracking_uri(folder.record))
    runs = client.search_runs([client.get_experiment_by_name("s").experiment_id])
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    return runs, {f.path for f in client.list_artifacts(parent.info.run_id)}


@pytest.mark.parametrize("method", ["_write_tables", "_sync", "_terminate"])
def test_what_fails_once_is_written_later(folder, method, monkeypatch):
    tracker = Tracker(folder, tracking_uri(folder.record), "x")
    tracker.start()
    real, calls = getattr(tracker, method), []

    def once(*words):
        calls.append(words)
        if len(calls) == 1:
            raise OSError("the disk was full for a moment") if method != "_terminate" else ConnectionError("no answer")
        return real(*words)

    if method != "_terminate":
        monkeypatch.setattr(tracker, method, once)
    assert tracker.close("FINISHED")
    runs, files = artifacts(folder)
    assert {"accuracy_digits.json", "accuracy.md", "sweep.yaml"} <= files
    assert len(runs) == 2
    assert {r.info.status for r in runs} == {"FINISHED"}
    if method != "_terminate":
        assert len(calls) > 1


def test_following_twice_doubles_nothing(folder):
    for _ in range(2):
        tracker = Tracker(folder, tracking_uri(folder.record), "x")
        tracker.start()
        assert tracker.close("FINISHED")
    runs, _ = artifacts(folder)
    assert len(runs) == 2
    client = mlflow.MlflowClient(tracking_uri(folder.record))
    (child,) = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert [m.step for m in client.get_metric_history(child.info.run_id, "val/linear")] == [0, 1]


def test_another_sweep_of_the_same_name_has_an_experiment_of_its_own(folder, tmp_path, write):
    other = SweepFolder.create(tmp_path / "other", "s", load_spec(write("trial: {epochs: 1}\n")), {})
    uri = default_uri(tmp_path / "runs")
    first, second = Tracker(folder, uri, "x"), Tracker(other, uri, "y")
    assert first.experiment != second.experiment


def test_a_storage_folder_that_was_moved_is_recorded_where_it_is(folder, tmp_path):
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert tracking_uri(open_sweep(tmp_path / "moved", "s")) == default_uri(tmp_path / "moved")
