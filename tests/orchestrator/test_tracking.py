"""The tracker against a real SQLite store: what MLflow holds is what the folder says, however often and whatever came between."""

import math
import shutil
import time

import mlflow
import pytest

from orchestrator import machine
from orchestrator.folder import SweepFolder
from orchestrator.tracking import Tracker, default_uri, rebuild, tracking_uri
from results.records import open_sweep
from trainer.errors import UserError


@pytest.fixture(autouse=True)
def no_encoders(monkeypatch, request):
    """Exporting an encoder takes a second; only what is about encoders does it."""
    if "encoders" not in request.node.name:
        monkeypatch.setattr("orchestrator.tracking.KEEP", 0)
        monkeypatch.setattr(Tracker.__init__, "__defaults__", (None, "val/linear", 0))
        monkeypatch.setattr(rebuild, "__defaults__", (None, "val/linear", 0))


def store_of(sweep):
    return tracking_uri(sweep.folder.record)


def follow(sweep, status="FINISHED"):
    tracker = Tracker(sweep.folder, store_of(sweep), "x")
    tracker.start()
    assert tracker.close(status), tracker.problem
    return tracker


def test_a_run_says_what_its_trial_is_and_how_it_ended(fake_sweep, holdings):
    sweep = fake_sweep()
    finished, stopped, diverged, failed, begun, waiting, *_ = sweep.digests
    sweep.run(finished)
    sweep.stop(stopped, 1)
    sweep.run(diverged, range(2))
    sweep.workers[diverged].fail("diverged", "the loss is nan at epoch 2")
    sweep.run(failed, range(1))
    sweep.workers[failed].fail("failed", "out of memory")
    sweep.run(begun, range(2))
    follow(sweep, "KILLED")
    held = holdings(store_of(sweep))
    assert waiting not in held
    told = {key: (held[key]["status"], held[key]["tags"].get("outcome")) for key in (finished, stopped, diverged, failed, begun)}
    assert list(told.values()) == [
        ("FINISHED", "finished"), ("FINISHED", "stopped_early"), ("FAILED", "diverged"), ("FAILED", "failed"), ("KILLED", None),
    ]  # fmt: skip
    assert held[diverged]["tags"]["error"] == "the loss is nan at epoch 2"
    run = held[finished]
    assert run["name"] == "infonce · tau 0.1 · seed 0"
    assert {k: run["tags"][k] for k in ("family", "dataset", "role", "mlflow.parentRunId")} == {
        "family": "infonce", "dataset": "digits", "role": "trial", "mlflow.parentRunId": "sweep",
    }  # fmt: skip
    assert run["params"] == {
        "dataset": "digits", "objective": "infonce", "tau": "0.1", "seed": "0", "epochs": "3", "encoder": "convnet(width=4)",
        "batch_size": "128", "lr": "0.001",
    }  # fmt: skip
    assert [step for step, _, _ in run["metrics"]["val/linear"]] == [0, 1, 2, 3]
    rows = sweep.folder.read(finished).reports
    assert [value for _, value, _ in run["metrics"]["val/linear"]] == [row["val/linear"] for row in rows]
    assert run["times"] == (round(rows[0]["at"] * 1000), round(rows[-1]["at"] * 1000))
    assert [name for name, _ in run["inputs"]] == ["digits"]
    objectives = {held[t]["params"]["objective"] for t in sweep.digests if t in held}
    assert objectives == {"infonce", "direct(p=2)"}
    assert held[begun]["params"]["objective.p"] == "2"


def test_the_parent_shows_tables_pictures_and_what_was_launched(fake_sweep, holdings, monkeypatch):
    sweep = fake_sweep()
    for digest in sweep.digests:
        sweep.run(digest)
    follow(sweep)
    parent = holdings(store_of(sweep))["sweep"]
    assert parent["status"] == "FINISHED"
    note = parent["tags"]["mlflow.note.content"]
    for text in (
        "10 finished",
        "| infonce | 0.1 | 2 |",
        "commit abc123+",
        "torch 2.15.0",
        "10 trials on cpu: x",
        "space: {objective:",
    ):
        assert text in note
    assert len(note) < 8000
    assert parent["tags"]["commit"] == "abc123+"
    pictures = {f"digits/{name}.png" for name in ("accuracy_by_tau", "heat_map", "learning_curves", "effective_negatives")}
    assert set(parent["artifacts"]) == {"sweep.yaml", "accuracy.md", "accuracy_digits.json"} | pictures
    assert all(parent["artifacts"][name].startswith(b"\x89PNG") for name in pictures)
    client = mlflow.MlflowClient(store_of(sweep))
    experiment = client.get_experiment_by_name("s").experiment_id
    (run,) = client.search_runs([experiment], "tags.`alphacl.key` = 'sweep'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_of(sweep))
    table = client.load_table(experiment, "accuracy_digits.json", [run.info.run_id])
    columns = {f"{figure} {part}" for figure in ("test/linear@2", "test/linear", "test/knn") for part in ("mean", "std", "best")}
    assert columns | {"objective", "tau", "n"} <= set(table.columns)
    row = table[(table["objective"] == "infonce") & (table["tau"] == 0.1)].iloc[0]
    values = [t.result["metrics"]["test/linear"] for t in sweep.folder.record.trials()[:2]]
    assert row["n"] == 2
    assert row["test/linear mean"] == pytest.approx(sum(values) / 2, abs=1e-4)
    assert row["test/linear best"] == pytest.approx(max(values), abs=1e-4)


def test_pages_are_there_while_the_sweep_runs(fake_sweep, holdings):
    sweep = fake_sweep()
    tracker = Tracker(sweep.folder, store_of(sweep), "x")
    tracker.start()
    sweep.run(sweep.digests[0])
    tracker.mark(sweep.digests[:1])
    tracker._pages_at = 0.0
    deadline = time.monotonic() + 30
    while "accuracy_digits.json" not in holdings(store_of(sweep))["sweep"]["artifacts"]:
        assert time.monotonic() < deadline, tracker.problem
        time.sleep(0.2)
    held = holdings(store_of(sweep))
    assert held["sweep"]["status"] == "RUNNING"
    assert held[sweep.digests[0]]["tags"]["outcome"] == "finished"
    assert tracker.close("KILLED")


def test_rebuilding_gives_the_same_as_following_and_twice_the_same(fake_sweep, tmp_path, holdings, deleted_runs):
    sweep = fake_sweep()
    tracker = Tracker(sweep.folder, store_of(sweep), "x")
    tracker._sampler.every = 0.05
    tracker.start()
    for digest in sweep.digests:
        sweep.run(digest)
        tracker.mark([digest])
        time.sleep(0.05)
    assert tracker.close("FINISHED"), tracker.problem
    followed = holdings(store_of(sweep))
    assert len(followed["sweep"]["metrics"]["system/cpu_utilization_percentage"]) >= 2
    for uri in (store_of(sweep), f"sqlite:///{tmp_path / 'new' / 'other.db'}"):
        (tmp_path / "new").mkdir(exist_ok=True)
        for _ in range(2):
            assert rebuild(sweep.folder, uri, "x").runs == 10
            held = holdings(uri)
            for key in followed:
                assert held[key] == followed[key]
            assert held.keys() == followed.keys()
    assert deleted_runs(store_of(sweep)) == []


def test_a_second_rebuild_writes_nothing_to_the_runs_of_trials(fake_sweep, monkeypatch):
    sweep = fake_sweep()
    for digest in sweep.digests:
        sweep.run(digest)
    follow(sweep)
    written = []
    for name in ("create_run", "log_batch", "set_terminated", "log_inputs", "set_tag", "update_run", "delete_run"):
        real = getattr(mlflow.MlflowClient, name)
        monkeypatch.setattr(
            mlflow.MlflowClient,
            name,
            lambda self, *w, real=real, name=name, **k: written.append((name, w[0])) or real(self, *w, **k),
        )
    rebuild(sweep.folder, store_of(sweep), "x")
    client = mlflow.MlflowClient(store_of(sweep))
    (parent,) = client.search_runs([client.get_experiment_by_name("s").experiment_id], "tags.`alphacl.key` = 'sweep'")
    assert {run for _, run in written} == {parent.info.run_id}


def test_what_a_killed_driver_left_running_is_put_right(fake_sweep, holdings):
    sweep = fake_sweep()
    first, second = sweep.digests[:2]
    tracker = Tracker(sweep.folder, store_of(sweep), "x")
    sweep.run(first, range(2))
    sweep.run(second)
    tracker.mark([first])
    assert tracker._work()
    tracker._lock_file.release()  # as the system does when the driver is killed
    held = holdings(store_of(sweep))
    assert held[first]["status"] == held["sweep"]["status"] == "RUNNING"
    rebuild(sweep.folder, store_of(sweep), "x")
    held = holdings(store_of(sweep))
    assert (held[first]["status"], held[second]["status"], held["sweep"]["status"]) == ("KILLED", "FINISHED", "KILLED")


def test_a_driver_at_work_is_shown_as_running_in_another_store(fake_sweep, tmp_path, holdings):
    sweep = fake_sweep()
    sweep.run(sweep.digests[0], range(2))
    with sweep.folder.driving():
        tracker = Tracker(sweep.folder, store_of(sweep), "x")
        with pytest.raises(UserError, match="by another process"):
            rebuild(sweep.folder, store_of(sweep), "x")
        other = f"sqlite:///{tmp_path / 'other.db'}"
        rebuild(sweep.folder, other, "x")
        held = holdings(other)
        assert held[sweep.digests[0]]["status"] == held["sweep"]["status"] == "RUNNING"
        assert tracker.close("KILLED")


def test_a_failed_trial_that_is_run_again_loses_its_old_outcome(fake_sweep, holdings):
    sweep = fake_sweep()
    digest = sweep.digests[0]
    sweep.run(digest, range(2))
    sweep.workers[digest].fail("failed", "the node was lost")
    follow(sweep, "FAILED")
    assert sweep.begin(digest)["epoch"] == 1
    sweep.report(digest, 2)
    tracker = Tracker(sweep.folder, store_of(sweep), "x")
    tracker.mark([digest])
    assert tracker._work()
    held = holdings(store_of(sweep))[digest]
    assert held["status"] == "RUNNING"
    assert not {"outcome", "error"} & set(held["tags"])
    sweep.report(digest, 3)
    assert tracker.close("FINISHED")
    held = holdings(store_of(sweep))[digest]
    assert (held["status"], held["tags"]["outcome"]) == ("FINISHED", "finished")
    assert [step for step, _, _ in held["metrics"]["val/linear"]] == [0, 1, 2, 3]


def test_epochs_that_were_computed_again_replace_those_that_a_cut_off_worker_reported(fake_sweep, holdings):
    sweep = fake_sweep()
    digest = sweep.digests[0]
    sweep.run(digest, range(2))
    sweep.report(digest, 2, saved=False)
    follow(sweep, "KILLED")
    time.sleep(0.01)
    assert sweep.begin(digest)["epoch"] == 1  # the worker died before its last epoch was saved
    follow(sweep, "KILLED")
    for epoch in (2, 3):
        sweep.report(digest, epoch)
    follow(sweep)
    rows = sweep.folder.read(digest).reports
    logged = holdings(store_of(sweep))[digest]["metrics"]["val/linear"]
    assert [(step, value) for step, value, _ in logged] == [(row["epoch"], row["val/linear"]) for row in rows]


@pytest.mark.parametrize("method", ["log_batch", "create_run", "set_terminated", "log_inputs", "log_text"])
def test_what_fails_once_is_written_later(fake_sweep, method, monkeypatch, holdings):
    sweep = fake_sweep()
    sweep.run(sweep.digests[0])
    tracker = Tracker(sweep.folder, store_of(sweep), "x")
    real, calls = getattr(mlflow.MlflowClient, method), []

    def carried_out_but_not_heard_of(self, *words, **named):
        calls.append(method)
        done = real(self, *words, **named)
        if len(calls) == 1:
            raise ConnectionError("no answer")
        return done

    monkeypatch.setattr(mlflow.MlflowClient, method, carried_out_but_not_heard_of)
    tracker.mark(sweep.digests)
    tracker._work()
    assert tracker.close("FINISHED"), tracker.problem
    assert calls
    assert tracker.problem == ""
    once = holdings(store_of(sweep))
    rebuild(sweep.folder, store_of(sweep), "x")
    again = holdings(store_of(sweep))
    assert once.keys() == again.keys() == {"sweep", sweep.digests[0], "models"}
    assert once[sweep.digests[0]] == again[sweep.digests[0]]


def test_a_run_removed_in_the_pages_is_written_again(fake_sweep, holdings):
    sweep = fake_sweep()
    digest = sweep.digests[0]
    sweep.run(digest, range(2))
    tracker = Tracker(sweep.folder, store_of(sweep), "x")
    tracker.mark([digest])
    assert tracker._work()
    tracker.store.client.delete_run(tracker.store.runs[digest].run_id)
    sweep.report(digest, 2)
    sweep.report(digest, 3)
    tracker.mark([digest])
    assert tracker.close("FINISHED"), tracker.problem
    assert [step for step, _, _ in holdings(store_of(sweep))[digest]["metrics"]["val/linear"]] == [0, 1, 2, 3]


def test_a_trial_whose_folder_was_removed_goes_from_the_pages(fake_sweep, holdings):
    sweep = fake_sweep()
    for digest in sweep.digests[:2]:
        sweep.run(digest)
    follow(sweep)
    shutil.rmtree(sweep.folder.trials / sweep.digests[0])
    kept = sweep.digests[0]
    rebuild(sweep.folder, store_of(sweep), "x")
    assert set(holdings(store_of(sweep))) == {"sweep", "models", kept}


def test_a_damaged_record_is_named_and_stops_nobody(fake_sweep, holdings):
    sweep = fake_sweep()
    broken, strange, whole = sweep.digests[:3]
    for digest in (broken, strange, whole):
        sweep.run(digest)
    (sweep.folder.trials / broken / "result.json").write_text("{")
    reports = sweep.folder.trials / strange / "attempt-0001" / "reports.jsonl"
    reports.write_text(reports.read_text() + '{"epoch": 9, "val/linear": "high", "at": 1e10, "train/loss": NaN}\n{"epoch": 10}\n')
    tracker = follow(sweep)
    assert "result.json is damaged" in tracker.problem
    assert "without epoch or time" in tracker.problem
    held = holdings(store_of(sweep))
    assert set(held) == {"sweep", whole, "models"}
    assert "Damaged" in held["sweep"]["tags"]["mlflow.note.content"]


def test_nan_and_what_mlflow_refuses(fake_sweep, holdings):
    sweep = fake_sweep()
    first, second = sweep.digests[:2]
    for digest in (first, second):
        sweep.run(digest, range(2))
    for digest, line in (
        (first, '{"epoch": 2, "at": 2e9, "no\\nname": 1.0}\n'),
        (second, '{"epoch": 2, "at": 2e9, "train/loss": NaN}\n'),
    ):
        with open(sweep.folder.trials / digest / "attempt-0001" / "reports.jsonl", "a") as file:
            file.write(line)
    tracker = follow(sweep, "KILLED")
    assert f"MLflow refuses trial {first}" in tracker.problem
    held = holdings(store_of(sweep))
    assert math.isnan(held[second]["metrics"]["train/loss"][-1][1])


def test_another_sweep_of_the_same_name_has_an_experiment_of_its_own(fake_sweep, tmp_path):
    first, other = fake_sweep(), fake_sweep(storage=tmp_path / "other")
    uri = store_of(first)
    trackers = [Tracker(sweep.folder, uri, "x") for sweep in (first, other)]
    assert trackers[0].experiment != trackers[1].experiment
    assert all(tracker.close("FINISHED") for tracker in trackers)


def test_an_experiment_is_found_by_its_sweep_when_it_was_renamed_and_made_again_when_it_was_deleted(fake_sweep):
    sweep = fake_sweep()
    tracker = follow(sweep)
    client = mlflow.MlflowClient(store_of(sweep))
    client.rename_experiment(tracker.experiment, "mine")
    assert follow(sweep).experiment == tracker.experiment
    client.rename_experiment(tracker.experiment, "s")
    client.delete_experiment(tracker.experiment)
    assert follow(sweep).experiment != tracker.experiment
    assert f"s ({sweep.folder.record.meta['id'][:8]})" in {e.name for e in client.search_experiments()}


def test_a_storage_folder_that_was_moved_has_its_pages_where_it_is_now(fake_sweep, tmp_path, holdings):
    sweep = fake_sweep()
    sweep.run(sweep.digests[0])
    follow(sweep)
    digest = sweep.digests[0]
    (tmp_path / "runs").rename(tmp_path / "moved")
    record = open_sweep(tmp_path / "moved", "s")
    assert tracking_uri(record) == default_uri(tmp_path / "moved")
    rebuild(SweepFolder(record), tracking_uri(record), "x")
    held = holdings(tracking_uri(record))
    assert set(held) == {"sweep", digest, "models"}
    assert "accuracy_digits.json" in held["sweep"]["artifacts"]
    assert not (tmp_path / "runs").exists()


def test_a_store_that_cannot_be_opened_is_one_line(fake_sweep, tmp_path):
    sweep = fake_sweep()
    for uri in (f"sqlite:///{tmp_path}/space.yaml/mlflow.db", "http://ada:secret@127.0.0.1:9", "nonsense://x"):
        with pytest.raises(UserError, match="cannot open the tracking store") as caught:
            Tracker(sweep.folder, uri, "x")
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_storage_that_takes_no_samples_loses_nothing_else(tmp_path):
    sampler = machine.Sampler(tmp_path / "no such folder", every=0.01)
    sampler.start()
    time.sleep(0.05)
    sampler.stop()
    assert machine.samples(tmp_path / "no such folder") == []
