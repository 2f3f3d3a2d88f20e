"""The tracker against a real SQLite store: what MLflow holds is what the folder says, however often and whatever came between."""

import json
import math
import time

import mlflow
import pytest

from orchestrator.tracking import machine_load as machine
from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.tracker import Tracker
from trainer.errors import UserError

pytestmark = pytest.mark.slow


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
    sweep.follow("KILLED")
    held = holdings(sweep.uri)
    assert waiting not in held
    told = {key: (held[key]["status"], held[key]["tags"].get("outcome")) for key in (finished, stopped, diverged, failed, begun)}
    assert list(told.values()) == [
        ("FINISHED", "finished"), ("KILLED", "stopped_early"), ("FAILED", "diverged"), ("FAILED", "failed"), ("KILLED", None),
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
    assert [value for _, value, _ in run["metrics"]["val/linear"]] == [round(row["val/linear"], 4) for row in rows]
    assert run["times"] == (round(rows[0]["at"] * 1000), round(rows[-1]["at"] * 1000))
    assert [name for name, _ in run["inputs"]] == ["digits"]
    objectives = {held[t]["params"]["objective"] for t in sweep.digests if t in held}
    assert objectives == {"infonce", "direct(p=2)"}
    assert held[begun]["params"]["objective.p"] == "2"


def test_the_parent_shows_tables_pictures_and_what_was_launched(fake_sweep, holdings, monkeypatch):
    sweep = fake_sweep()
    for digest in sweep.digests:
        sweep.run(digest)
    sweep.follow()
    parent = holdings(sweep.uri)["sweep"]
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
    names = ("accuracy_by_family", "accuracy", "accuracy_by_tau", "heat_map", "learning_curves", "effective_negatives")
    pictures = {f"digits/{name}.png" for name in names}
    assert set(parent["artifacts"]) == {"sweep.yaml", "accuracy.md", "accuracy_digits.json"} | pictures
    assert all(parent["artifacts"][name].startswith(b"\x89PNG") for name in pictures)
    client = mlflow.MlflowClient(sweep.uri)
    experiment = client.get_experiment_by_name("s").experiment_id
    (run,) = client.search_runs([experiment], "tags.`alphacl.key` = 'sweep'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sweep.uri)
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
    tracker = Tracker(sweep.folder, sweep.uri)
    tracker.start()
    sweep.run(sweep.digests[0])
    tracker.mark(sweep.digests[:1])
    tracker._pages_at = 0.0
    deadline = time.monotonic() + 30
    while "accuracy_digits.json" not in holdings(sweep.uri)["sweep"]["artifacts"]:
        assert time.monotonic() < deadline, tracker.problem
        time.sleep(0.2)
    held = holdings(sweep.uri)
    assert held["sweep"]["status"] == "RUNNING"
    assert held[sweep.digests[0]]["tags"]["outcome"] == "finished"
    assert tracker.close("KILLED")


def test_a_failed_trial_that_is_run_again_loses_its_old_outcome(fake_sweep, holdings):
    sweep = fake_sweep()
    digest = sweep.digests[0]
    sweep.run(digest, range(2))
    sweep.workers[digest].fail("failed", "the node was lost")
    sweep.follow("FAILED")
    assert sweep.begin(digest)["epoch"] == 1
    sweep.report(digest, 2)
    tracker = Tracker(sweep.folder, sweep.uri)
    tracker.mark([digest])
    assert tracker._work()
    held = holdings(sweep.uri)[digest]
    assert held["status"] == "RUNNING"
    assert not {"outcome", "error"} & set(held["tags"])
    sweep.report(digest, 3)
    assert tracker.close("FINISHED")
    held = holdings(sweep.uri)[digest]
    assert (held["status"], held["tags"]["outcome"]) == ("FINISHED", "finished")
    assert [step for step, _, _ in held["metrics"]["val/linear"]] == [0, 1, 2, 3]


def test_epochs_that_were_computed_again_replace_those_that_a_cut_off_worker_reported(fake_sweep, holdings):
    sweep = fake_sweep()
    digest = sweep.digests[0]
    sweep.run(digest, range(2))
    sweep.report(digest, 2, saved=False)
    sweep.follow("KILLED")
    time.sleep(0.01)
    assert sweep.begin(digest)["epoch"] == 1  # the worker died before its last epoch was saved
    sweep.follow("KILLED")
    for epoch in (2, 3):
        sweep.report(digest, epoch)
    sweep.follow()
    rows = sweep.folder.read(digest).reports
    logged = holdings(sweep.uri)[digest]["metrics"]["val/linear"]
    assert [(step, value) for step, value, _ in logged] == [(row["epoch"], round(row["val/linear"], 4)) for row in rows]


@pytest.mark.parametrize("method", ["log_batch", "create_run", "set_terminated", "log_inputs", "log_text"])
def test_what_fails_once_is_written_later(fake_sweep, method, monkeypatch, holdings):
    sweep = fake_sweep()
    sweep.run(sweep.digests[0])
    tracker = Tracker(sweep.folder, sweep.uri)
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
    once = holdings(sweep.uri)
    rebuild(sweep.folder, sweep.uri)
    again = holdings(sweep.uri)
    assert once.keys() == again.keys() == {"sweep", sweep.digests[0], "models"}
    assert once[sweep.digests[0]] == again[sweep.digests[0]]
    assert [step for step, _, _ in once[sweep.digests[0]]["metrics"]["val/linear"]] == [0, 1, 2, 3]


def test_a_run_removed_in_the_pages_is_written_again(fake_sweep, holdings):
    sweep = fake_sweep()
    digest = sweep.digests[0]
    sweep.run(digest, range(2))
    tracker = Tracker(sweep.folder, sweep.uri)
    tracker.mark([digest])
    assert tracker._work()
    tracker.store.client.delete_run(tracker.store.runs[digest].run_id)
    sweep.report(digest, 2)
    sweep.report(digest, 3)
    tracker.mark([digest])
    assert tracker.close("FINISHED"), tracker.problem
    assert [step for step, _, _ in holdings(sweep.uri)[digest]["metrics"]["val/linear"]] == [0, 1, 2, 3]


def test_a_parent_run_removed_in_the_pages_is_written_again_with_its_children_below(fake_sweep, holdings):
    sweep = fake_sweep()
    sweep.run(sweep.digests[0])
    first = sweep.follow()
    before = holdings(sweep.uri)
    mlflow.MlflowClient(sweep.uri).delete_run(first.parent)
    again = sweep.follow()
    assert again.parent != first.parent
    assert holdings(sweep.uri) == before, "its children have moved below it"


def test_a_damaged_record_is_named_and_stops_nobody(fake_sweep, holdings):
    sweep = fake_sweep()
    broken, strange, whole = sweep.digests[:3]
    for digest in (broken, strange, whole):
        sweep.run(digest)
    (sweep.folder.trials / broken / "result.json").write_text("{")
    reports = sweep.folder.trials / strange / "attempt-0001" / "reports.jsonl"
    reports.write_text(reports.read_text() + '{"epoch": 9, "val/linear": "high", "at": 1e10, "train/loss": NaN}\n{"epoch": 10}\n')
    tracker = sweep.follow()
    assert "result.json is damaged" in tracker.problem
    assert "without epoch or time" in tracker.problem
    held = holdings(sweep.uri)
    assert set(held) == {"sweep", whole, "models"}
    assert "Damaged" in held["sweep"]["tags"]["mlflow.note.content"]


def test_nan_and_what_mlflow_refuses(fake_sweep, holdings):
    sweep = fake_sweep()
    first, second = sweep.digests[:2]
    for digest in (first, second):
        sweep.run(digest, range(2))
    for digest, line in (
        (first, '{"epoch": 2, "at": 2e9, "no!name": 1.0}\n'),
        (second, '{"epoch": 2, "at": 2e9, "train/loss": NaN}\n'),
    ):
        with open(sweep.folder.trials / digest / "attempt-0001" / "reports.jsonl", "a") as file:
            file.write(line)
    tracker = sweep.follow("KILLED")
    assert f"MLflow refuses trial {first}" in tracker.problem
    held = holdings(sweep.uri)
    assert math.isnan(held[second]["metrics"]["train/loss"][-1][1])


def test_another_sweep_of_the_same_name_has_an_experiment_of_its_own(fake_sweep, tmp_path):
    first, other = fake_sweep(), fake_sweep(storage=tmp_path / "other")
    uri = first.uri
    trackers = [Tracker(sweep.folder, uri) for sweep in (first, other)]
    assert trackers[0].experiment != trackers[1].experiment
    assert all(tracker.close("FINISHED") for tracker in trackers)


def test_an_experiment_is_found_by_its_sweep_when_it_was_renamed_and_made_again_when_it_was_deleted(fake_sweep):
    sweep = fake_sweep()
    tracker = sweep.follow()
    client = mlflow.MlflowClient(sweep.uri)
    client.rename_experiment(tracker.experiment, "mine")
    assert sweep.follow().experiment == tracker.experiment
    client.rename_experiment(tracker.experiment, "s")
    client.delete_experiment(tracker.experiment)
    assert sweep.follow().experiment != tracker.experiment
    assert f"s ({sweep.folder.record.meta['id'][:8]})" in {e.name for e in client.search_experiments()}


def test_a_store_that_cannot_be_opened_is_one_line(fake_sweep, tmp_path):
    sweep = fake_sweep()
    for uri in (f"sqlite:///{tmp_path}/space.yaml/mlflow.db", "http://ada:secret@127.0.0.1:9", "nonsense://x"):
        with pytest.raises(UserError, match="cannot open the tracking store") as caught:
            Tracker(sweep.folder, uri)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_torn_lines_of_the_machines_load_cost_these_samples_alone(tmp_path):
    def line(at):
        return json.dumps({"at": at, "metrics": {"cpu": 1.0}})

    torn = line(2)[:20] + line(3)  # a driver was killed, and the next one went on
    lines = [json.dumps({"machine": {"host": "a"}}), line(1), torn, line(4), line(5)[:-5]]
    (tmp_path / "system.jsonl").write_text("\n".join(lines))
    assert [(row.step, row.at) for row in machine.samples(tmp_path)] == [(1, 1000), (3, 4000)]
    assert machine.machines(tmp_path) == [{"host": "a"}]


def test_a_database_that_is_garbage_for_a_while_costs_nothing(fake_sweep, holdings):
    sweep = fake_sweep()
    file, aside = sweep.folder.path.parent / "mlflow.db", sweep.folder.path.parent / "aside.db"
    tracker = Tracker(sweep.folder, sweep.uri, keep=0)
    tracker.back_off = 0.2
    tracker.start()
    file.rename(aside)
    file.write_bytes(b"this is no database" * 1000)
    sweep.run(sweep.digests[0])
    tracker.mark(sweep.digests[:1])
    deadline = time.monotonic() + 60
    while not tracker.problem:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "trying again" in tracker.problem
    aside.rename(file)
    assert tracker.close("KILLED"), tracker.problem
    assert set(holdings(sweep.uri)) == {"sweep", "models", sweep.digests[0]}


def test_a_storage_that_takes_no_samples_loses_nothing_else(tmp_path):
    sampler = machine.LoadRecorder(tmp_path / "no such folder", every=0.01)
    sampler.start()
    time.sleep(0.05)
    sampler.stop()
    assert machine.samples(tmp_path / "no such folder") == []
