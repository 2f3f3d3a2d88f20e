"""Whole sweeps through the command line: real Ray, real MLflow, real Optuna storage, real images."""

import json

import mlflow
import optuna
import pytest

from orchestrator.suggest.study import open_study
from orchestrator.tracking.addresses import default_uri
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from tests.mlflow_runs import runs_of

pytestmark = pytest.mark.ray

GRID = """
description: a small grid
trial: {dataset: digits, images: 300, epochs: EPOCHS, batch_size: 64}
space:
  objective: [infonce, uniform]
  tau: [0.1, 0.5]
  seed: [0, 1]
"""
ONE_AT_A_TIME = "budget: {trials_at_once: 1}\n"  # short trials take less time than another worker's start
EVERYTHING = """
trial: {dataset: digits, images: 200, epochs: 4, batch_size: 64, probe_every: 1}
search: {sampler: tpe, trials: 4, seed: 3, metric: val/knn}
repeat: {seed: [0, 1]}
confirm: {top: 1, seeds: 2}
early_stopping: {grace: 1, reduction: 2, metric: val/knn}
keep_encoders: 1
space:
  objective: [infonce, {direct: {p: {float: [1, 8]}}}]
  tau: {float: [0.05, 1], log: true}
"""
SEARCH = """
trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64}
search: {sampler: tpe, trials: 5, seed: 3, metric: val/knn}
keep_encoders: 0
space:
  objective: [infonce, {direct: {p: {float: [1, 8]}}}]
  tau: {float: [0.05, 1], log: true}
"""


def test_a_grid_from_yaml_to_table_and_mlflow(alphacl, write, storage, monkeypatch, ray_here):
    file = write(GRID.replace("EPOCHS", "2"))
    code, out, err = alphacl("sweep", file, "--name", "g", "--storage", storage)
    assert code == 0, err
    assert "Browse its runs:     alphacl ui g --storage" in out
    assert "untrained encoder" in out
    trials = open_sweep(storage, "g").trials()
    assert len(trials) == 6
    assert {t.status for t in trials} == {"finished"}
    assert all([r["epoch"] for r in t.reports] == [0, 1, 2] for t in trials)
    assert not any(list(t.folder.glob("*/checkpoint.pt")) for t in trials)
    assert not (storage / "g" / "tune").exists()

    client = mlflow.MlflowClient(default_uri(storage))
    experiment = client.get_experiment_by_name("g")
    runs = runs_of(default_uri(storage), "g")
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {r.info.run_name for r in children} == {t.label for t in trials}
    assert {r.info.status for r in runs} == {"FINISHED"}
    by_label = {t.label: t for t in trials}
    for run in children:
        trial = by_label[run.info.run_name]
        assert run.data.params["objective"] == trial.config["objective"]
        assert run.data.metrics["test/linear"] == round(trial.result["metrics"]["test/linear"], 4)
        assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]
    artifacts = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert {"accuracy_digits.json", "accuracy.md", "sweep.yaml"} <= artifacts
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", default_uri(storage)
    )  # load_table looks for runs there, whatever its client's own is
    table = client.load_table(experiment.experiment_id, "accuracy_digits.json", run_ids=[parent.info.run_id])
    assert list(table["objective"]) == ["untrained encoder", "infonce", "infonce", "uniform"]
    expected = [by_label[f"infonce · tau 0.1 · seed {s}"].result["metrics"]["test/linear"] for s in (0, 1)]
    assert table["test/linear mean"][1] == pytest.approx(sum(expected) / 2, abs=1e-3)

    # Again: nothing is run, nothing is doubled.
    before = {t.digest: (t.folder / "result.json").stat().st_mtime_ns for t in trials}
    left = trials[0].attempt / "checkpoint.pt"
    left.write_bytes(b"its worker was killed before it removed this")
    assert alphacl("resume", "g", "--storage", storage)[0] == 0
    assert {t.digest: (t.folder / "result.json").stat().st_mtime_ns for t in open_sweep(storage, "g").trials()} == before
    assert not left.exists()
    assert len(runs_of(default_uri(storage), "g")) == 7

    code, _, err = alphacl("sweep", file, "--name", "g", "--storage", storage)
    assert code == 2
    assert "the sweep 'g' exists" in err

    code, out, _ = alphacl("status", "g", "--storage", storage, "--json")
    status = json.loads(out)
    assert (code, status["state"], status["counts"]["finished"]) == (0, "finished", 6)
    code, out, _ = alphacl("table", "g", "--storage", storage, "--format", "md")
    assert "| uniform |" in out


def test_a_search_asks_the_study_and_tells_it(alphacl, write, storage, tmp_path, ray_here):
    code, _, err = alphacl("sweep", write(SEARCH + ONE_AT_A_TIME), "--name", "s", "--storage", storage)
    assert code == 0, err
    trials = open_sweep(storage, "s").trials()
    assert len({t.digest for t in trials}) == 5
    backend = optuna.storages.journal.JournalFileBackend(str(storage / "s" / "study.log"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    told = {t.user_attrs["digests"][0]: t.value for t in study.trials}
    assert told == {t.digest: t.result["metrics"]["val/knn"] for t in trials}
    assert {t.state.name for t in study.trials} == {"COMPLETE"}

    # MLflow is a view: elsewhere, later, and twice with the same result.
    uri = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    for _ in range(2):
        code, out, err = alphacl("track", "s", "--tracking-uri", uri, "--storage", storage)
        assert (code, err) == (0, "")
        assert "5 trials are in MLflow" in out
        runs = runs_of(uri, "s")
        assert [r.info.status for r in runs] == ["FINISHED"] * 6
        assert {r.data.tags["alphacl.key"] for r in runs} == {"sweep", *(t.digest for t in trials)}


def test_a_search_repeats_stops_early_confirms_and_is_extended(alphacl, write, storage, ray_here):
    code, _, err = alphacl("sweep", write(EVERYTHING + ONE_AT_A_TIME), "--name", "e", "--storage", storage)
    assert code == 0, err
    check_everything(storage, suggestions=4)
    code, _, err = alphacl("sweep", "e.yaml", "--name", "e", "--trials", "+2", "--storage", storage)
    assert (code, err) == (2, "alphacl: error: no file e.yaml; expected a YAML file or a name from 'alphacl spaces'\n")
    code, _, err = alphacl("resume", "e", "--trials", "+2", "--storage", storage)
    assert code == 0, err
    check_everything(storage, suggestions=6)
    assert json.loads(alphacl("status", "e", "--storage", storage, "--json")[1])["state"] == "finished"


def check_everything(storage, suggestions):
    sweep = open_sweep(storage, "e")
    trials = sweep.trials()
    assert {t.status for t in trials} <= {"finished", "stopped"}
    assert len(trials) == sweep.planned
    assert {t.config["seed"] for t in trials if t.role == "confirm"} == {2, 3}
    assert {t.status for t in trials if t.role == "confirm"} == {"finished"}
    assert len([t for t in trials if t.encoder]) == 1
    study = open_study(sweep, load_spec(sweep.folder / "sweep.yaml"))
    by_digest = {t.digest: t for t in trials}
    assert len(study.trials) == suggestions
    for told in study.trials:
        members = [by_digest[d] for d in told.user_attrs["digests"] if d in by_digest]
        if told.state.name == "COMPLETE":
            values = [t.result["metrics"]["val/knn"] for t in members]
            assert (len(values), told.value) == (2, pytest.approx(sum(values) / 2))
        else:
            assert told.state.name == "PRUNED"
            assert "stopped" in {t.status for t in members}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["resume", "g", "--trials", "+2"], "--trials: a grid has the trials that its space says"),
        (["resume", "g", "--trials", "two"], "--trials: expected a number such as 40, or +20"),
        (["sweep", "quickstart", "--trials", "7"], "--trials: a grid has the trials that its space says"),
        (["sweep", "quickstart", "--study-storage", "postgresql://h/d"], "--study-storage: a grid has no study"),
        (
            ["sweep", "quickstart", "--trials", "+7", "--set", "epochs=1"],
            "--set: the sweep 'quickstart' keeps what it was launched",
        ),
    ],
)
def test_what_a_grid_does_not_take(alphacl, write, storage, words, says):
    SweepWriter.create(storage, "g", load_spec(write("space: {seed: [0, 1]}\n")), {})
    code, _, err = alphacl(*words, "--storage", storage)
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_space_that_is_smaller_than_the_search(alphacl, write, storage, ray_here):
    text = SEARCH.replace("{float: [0.05, 1], log: true}", "[0.1, 0.5]").replace(", {direct: {p: {float: [1, 8]}}}", "")
    text += ONE_AT_A_TIME
    code, _, err = alphacl("sweep", write(text), "--name", "e", "--storage", storage)
    assert code == 0
    assert "the space holds 2 configurations" in err
    assert json.loads(alphacl("status", "e", "--storage", storage, "--json")[1])["state"] == "finished"
