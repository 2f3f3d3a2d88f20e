"""A sweep that is stopped from elsewhere, trial by trial and as a whole; one that is removed and renamed."""

import threading
import time

import mlflow
import pytest

from orchestrator.driver import run_sweep as runner
from orchestrator.tracking.addresses import default_uri
from results.record.reader import open_sweep
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from tests.mlflow_runs import runs_of

SPACE = "trial: {dataset: digits, epochs: 200}\nspace: {tau: [0.1, 0.2, 0.3, 0.4]}\nkeep_encoders: 0\n"


@pytest.mark.ray
def test_trials_and_the_sweep_are_stopped_from_another_terminal(alphacl, write, tmp_path, data_root, ray_here):
    storage = tmp_path / "runs"
    storage.mkdir()
    spec = load_spec(write(SPACE))
    folder = SweepWriter.create(storage, "s", spec, {})
    running, waiting = folder.record.trials()[0], folder.record.trials()[3]

    def run(config, **others):
        import time

        from trainer import Report

        for epoch in range(config.epochs):
            time.sleep(0.2)
            yield Report(epoch, config.epochs, {"val/linear": 1.0 + epoch}, lambda e=epoch: {"epoch": e, "encoder": {}}, None)

    def status(trial):
        return folder.read(trial.digest).status

    def ask():
        def until(condition):
            while not condition():
                time.sleep(0.1)

        until(lambda: len(folder.read(running.digest).reports) > 2)
        said.append(alphacl("stop", "s", running.digest[:8], waiting.label, "--storage", storage)[1])
        until(lambda: status(running) == status(waiting) == Status.STOPPED)
        third = folder.record.trials()[2]
        until(lambda: folder.read(third.digest).reports)  # it has taken the place of the one that was stopped
        said.append(alphacl("stop", "s", "--storage", storage)[1])

    said = []
    thread = threading.Thread(target=ask, daemon=True)
    with folder.driving():
        thread.start()
        outcome = runner.run_sweep(folder, spec, run=run)
    thread.join(10)
    assert outcome.interrupted
    assert "stops 2 trials: what runs ends after its current epoch" in said[0]
    assert "is stopping the sweep; go on with:  alphacl resume s" in said[1]
    assert [status(t) for t in folder.record.trials()] == ["stopped", "started", "started", "stopped"]
    stopped = folder.read(running.digest).stopped
    assert (stopped["by"], stopped["metric"]) == ("user", "val/linear")
    assert stopped["value"] == 1 + stopped["epoch"]
    assert folder.read(waiting.digest).attempt is None, "it was never begun"
    runs = runs_of(default_uri(storage), "s")
    assert {r.data.tags.get("outcome") for r in runs} == {None, "stopped_early"}


def test_what_nobody_runs_is_stopped_and_retried_by_its_folder(alphacl, write, tmp_path):
    storage = tmp_path / "runs"
    folder = SweepWriter.create(storage, "s", load_spec(write(SPACE)), {})
    code, _, err = alphacl("stop", "s", "--storage", storage)
    assert code == 2
    assert "is not running: there is nothing to stop" in err
    code, out, _ = alphacl("stop", "s", "waiting", "--storage", storage)
    assert code == 0
    assert "will not run 4 trials" in out
    assert {t.status for t in folder.record.trials()} == {Status.STOPPED}
    assert "is stopped already" in alphacl("stop", "s", "stopped", "--storage", storage)[1]
    code, _, err = alphacl("retry", "s", "failed", "--storage", storage)
    assert (code, "no trial of 's' is failed" in err) == (2, True)


@pytest.mark.parametrize("command", [("remove", "s", "--yes"), ("rename", "s", "new"), ("track", "s"), ("ui", "s"), ("ui",)])
def test_a_database_that_cannot_be_opened_is_told_in_seconds_in_one_line(alphacl, write, tmp_path, command):
    storage = tmp_path / "runs"
    SweepWriter.create(storage, "s", load_spec(write(SPACE)), {})
    (storage / "mlflow.db").write_bytes(b"this is no database" * 1000)
    began = time.monotonic()
    code, _, err = alphacl(*command, "--storage", storage)
    assert time.monotonic() - began < 60
    assert (code, len(err.splitlines()), "not a database" in err) == (2, 1, True), err
    assert open_sweep(storage, "s").name == "s", "it is as it was"


@pytest.mark.slow
def test_a_sweep_is_renamed_and_removed_with_its_pages(alphacl, fake_sweep, tmp_path):
    sweep, other = fake_sweep(), fake_sweep("other")
    uri, storage = sweep.uri, tmp_path / "runs"
    for one in (sweep, other):
        one.run(one.digests[0])
        one.follow()
    client = mlflow.MlflowClient(uri)
    code, _, err = alphacl("rename", "s", "other", "--storage", storage)
    assert (code, "is there already" in err) == (2, True)
    code, out, err = alphacl("rename", "s", "new", "--storage", storage)
    assert (code, err) == (0, "")
    assert not (storage / "s").exists()
    assert open_sweep(storage, "new").meta["name"] == "new"
    experiment = client.get_experiment_by_name("new")
    assert client.get_experiment_by_name("s") is None
    assert [r.info.run_name for r in client.search_runs([experiment.experiment_id]) if "alphacl.planned" in r.data.tags] == [
        "new"
    ]
    artifacts = [p for p in (storage / "mlartifacts").rglob("*") if p.is_file()]

    code, _, err = alphacl("remove", "new", "--storage", storage)
    assert code == 2
    assert "10 trials, 1 finished; give --yes to agree" in err
    code, out, err = alphacl("remove", "new", "--yes", "--storage", storage)
    assert (code, err) == (0, "")
    assert "removed" in out
    assert sorted(p.name for p in storage.iterdir() if p.is_dir()) == ["mlartifacts", "other"]
    assert [e.name for e in client.search_experiments(view_type=mlflow.entities.ViewType.ALL)] == ["other", "Default"]
    left = [p for p in (storage / "mlartifacts").rglob("*") if p.is_file()]
    assert left, "the other sweep's are there"
    assert len(left) < len(artifacts)
