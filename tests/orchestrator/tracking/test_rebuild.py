"""MLflow rebuilt from the sweep folder, in a real SQLite store: as following writes it, twice the same, right after crashes."""

import json
import shutil
import time

import mlflow
import pytest

from orchestrator.tracking.addresses import default_uri, tracking_uri
from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.sweep_run import Pages
from orchestrator.tracking.tracker import Tracker
from results.record.from_mlflow import read_mlflow
from results.record.mlflow_names import LOAD_KEY
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError
from trainer.files import checksum, write_json

pytestmark = pytest.mark.slow


def test_rebuilding_gives_the_same_as_following_and_twice_the_same(fake_sweep, tmp_path, holdings, deleted_runs):
    sweep = fake_sweep()
    tracker = Tracker(sweep.folder, sweep.uri)
    tracker._load.every = 0.05
    tracker.start()
    for digest in sweep.digests:
        sweep.run(digest)
        tracker.mark([digest])
        time.sleep(0.05)
    assert tracker.close("FINISHED"), tracker.problem
    followed = holdings(sweep.uri, load=True)
    assert len(followed["load"]["metrics"]["system/cpu_utilization_percentage"]) >= 2
    assert {name.partition("/")[0] for name in followed["sweep"]["metrics"]} == {"best"}  # which MLflow would list below system/
    assert len(read_mlflow(sweep.uri, "s").trials()) == 10
    for uri in (sweep.uri, f"sqlite:///{tmp_path / 'new' / 'other.db'}"):
        (tmp_path / "new").mkdir(exist_ok=True)
        for _ in range(2):
            assert rebuild(sweep.folder, uri).runs == 10
            held = holdings(uri, load=True)
            for key in followed:
                assert held[key] == followed[key]
            assert held.keys() == followed.keys()
    assert deleted_runs(sweep.uri) == []


def test_a_second_rebuild_writes_nothing_to_the_runs_of_trials(fake_sweep, monkeypatch):
    sweep = fake_sweep()
    for digest in sweep.digests:
        sweep.run(digest)
    sweep.follow()
    written = []
    for name in ("create_run", "log_batch", "set_terminated", "log_inputs", "set_tag", "update_run", "delete_run"):
        real = getattr(mlflow.MlflowClient, name)
        monkeypatch.setattr(
            mlflow.MlflowClient,
            name,
            lambda self, *w, real=real, name=name, **k: written.append((name, w[0])) or real(self, *w, **k),
        )
    rebuild(sweep.folder, sweep.uri)
    client = mlflow.MlflowClient(sweep.uri)
    (parent,) = client.search_runs([client.get_experiment_by_name("s").experiment_id], "tags.`alphacl.key` = 'sweep'")
    load = client.search_runs([parent.info.experiment_id], f"tags.`alphacl.key` = '{LOAD_KEY}'")
    assert parent.info.run_id in {run for _, run in written} <= {run.info.run_id for run in (parent, *load)}


def test_what_a_killed_driver_left_running_is_put_right(fake_sweep, holdings):
    sweep = fake_sweep()
    first, second = sweep.digests[:2]
    tracker = Tracker(sweep.folder, sweep.uri)
    sweep.run(first, range(2))
    sweep.run(second)
    tracker.mark([first])
    assert tracker._work()
    tracker._lock_file.release()  # as the system does when the driver is killed
    held = holdings(sweep.uri)
    assert held[first]["status"] == held["sweep"]["status"] == "RUNNING"
    rebuild(sweep.folder, sweep.uri)
    held = holdings(sweep.uri)
    assert (held[first]["status"], held[second]["status"], held["sweep"]["status"]) == ("KILLED", "FINISHED", "KILLED")


def test_a_driver_at_work_is_shown_as_running_in_another_store(fake_sweep, tmp_path, holdings):
    sweep = fake_sweep()
    sweep.run(sweep.digests[0], range(2))
    with sweep.folder.driving():
        tracker = Tracker(sweep.folder, sweep.uri)
        with pytest.raises(UserError, match="by another process"):
            rebuild(sweep.folder, sweep.uri)
        other = f"sqlite:///{tmp_path / 'other.db'}"
        rebuild(sweep.folder, other)
        held = holdings(other)
        assert held[sweep.digests[0]]["status"] == held["sweep"]["status"] == "RUNNING"
        assert tracker.close("KILLED")


def test_a_trial_whose_folder_was_removed_goes_from_the_pages(fake_sweep, holdings):
    sweep = fake_sweep()
    for digest in sweep.digests[:2]:
        sweep.run(digest)
    sweep.follow()
    shutil.rmtree(sweep.folder.trials / sweep.digests[0])
    kept = sweep.digests[0]
    rebuild(sweep.folder, sweep.uri)
    assert set(holdings(sweep.uri)) == {"sweep", "models", kept}


def test_a_storage_folder_that_was_moved_has_its_pages_where_it_is_now(fake_sweep, tmp_path, holdings):
    sweep = fake_sweep()
    sweep.run(sweep.digests[0])
    sweep.follow()
    digest = sweep.digests[0]
    (tmp_path / "runs").rename(tmp_path / "moved")
    record = open_sweep(tmp_path / "moved", "s")
    assert tracking_uri(record) == default_uri(tmp_path / "moved")
    rebuild(SweepWriter(record), tracking_uri(record))
    held = holdings(tracking_uri(record))
    assert set(held) == {"sweep", digest, "models"}
    assert "accuracy_digits.json" in held["sweep"]["artifacts"]
    assert not (tmp_path / "runs").exists()


def test_what_has_not_changed_is_not_read_and_what_has_is_written(fake_sweep, holdings, monkeypatch):
    sweep = fake_sweep()
    edited, removed, stopped, *others = sweep.digests
    for digest in (edited, removed, *others):
        sweep.run(digest)
        file = sweep.folder.trials / digest / "result.json"
        record = json.loads(file.read_text()) | {"version": 2}
        write_json(file, record | {"checksum": checksum(record)})
    sweep.stop(stopped, 1)
    rebuild(sweep.folder, sweep.uri)
    held = holdings(sweep.uri)
    client = mlflow.MlflowClient(sweep.uri)
    experiment = client.get_experiment_by_name("s").experiment_id
    runs = {run.data.tags["alphacl.key"]: run.info.run_id for run in client.search_runs([experiment])}
    read, pages = set(), []
    real_read, real_write = SweepWriter.read, Pages.write
    monkeypatch.setattr(SweepWriter, "read", lambda self, digest: (read.add(digest), real_read(self, digest))[1])
    monkeypatch.setattr(Pages, "write", lambda self, *rest: (pages.append(1), real_write(self, *rest))[1])
    rebuild(sweep.folder, sweep.uri)
    assert (holdings(sweep.uri), read, pages) == (held, {stopped}, [])
    client.set_tag(runs[edited], "family", "edited")
    client.delete_run(runs[removed])
    shutil.rmtree(next((sweep.folder.path.parent / "mlartifacts").rglob(runs["sweep"])))
    read.clear()
    rebuild(sweep.folder, sweep.uri)
    assert (holdings(sweep.uri), read, pages) == (held, {edited, removed, stopped}, [1])
