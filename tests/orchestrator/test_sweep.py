"""Whole sweeps through the command line: real Ray, real MLflow, real Optuna storage, real images."""

import json
import os
import signal
import subprocess
import sys
import time

import mlflow
import optuna
import pytest

from orchestrator import runner
from orchestrator.encoders import BestEncoders
from orchestrator.folder import SweepFolder
from orchestrator.progress import Board
from orchestrator.suggest import GridSearcher
from orchestrator.tracking import Tracker, default_uri
from results.records import open_sweep
from search_spaces import load_spec

pytestmark = pytest.mark.ray

GRID = """
description: a small grid
trial: {dataset: digits, images: 300, epochs: EPOCHS, batch_size: 64}
space:
  objective: [infonce, uniform]
  tau: [0.1, 0.5]
  seed: [0, 1]
"""
SEARCH = """
trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64}
search: {sampler: tpe, trials: 5, seed: 3, metric: val/knn}
space:
  objective: [infonce, {direct: {p: {float: [1, 8]}}}]
  tau: {float: [0.05, 1], log: true}
"""
AT_ONCE = 120  # seconds that a subprocess may take to come to a point


def figures(storage, name):
    """Final figures by trial, times left out."""
    trials = open_sweep(storage, name).trials()
    return {t.label: {k: v for k, v in t.result["metrics"].items() if not k.startswith("time/")} for t in trials if t.result}


@pytest.fixture
def storage(tmp_path, data_root):
    return tmp_path / "runs"


def start(storage, *words):
    """``alphacl`` in a process of its own, with Ray's folder in its own place; it leads a process group."""
    command = [sys.executable, "-m", "orchestrator", *map(str, words), "--storage", str(storage)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def wait_for(condition, process):
    deadline = time.monotonic() + AT_ONCE
    while not condition():
        if time.monotonic() > deadline or process.poll() is not None:
            process.kill()
            raise AssertionError(f"it did not come to that point: {process.communicate()[0]}")
        time.sleep(0.05)


def test_a_grid_from_yaml_to_table_and_mlflow(alphacl, write, storage, ray_here):
    file = write(GRID.replace("EPOCHS", "2"))
    code, out, err = alphacl("sweep", file, "--name", "g", "--storage", storage)
    assert code == 0, err
    assert "Browse it with:  alphacl ui --storage" in out
    assert "untrained encoder" in out
    trials = open_sweep(storage, "g").trials()
    assert len(trials) == 6
    assert {t.status for t in trials} == {"finished"}
    assert all([r["epoch"] for r in t.reports] == [0, 1, 2] for t in trials)
    assert not any(list(t.folder.glob("*/checkpoint.pt")) for t in trials)
    assert not (storage / "g" / "tune").exists()

    client = mlflow.MlflowClient(default_uri(storage))
    experiment = client.get_experiment_by_name("g")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {r.info.run_name for r in children} == {t.label for t in trials}
    assert {r.info.status for r in runs} == {"FINISHED"}
    by_label = {t.label: t for t in trials}
    for run in children:
        trial = by_label[run.info.run_name]
        assert run.data.params["objective"] == trial.config["objective"]
        assert run.data.metrics["test/linear"] == trial.result["metrics"]["test/linear"]
        assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]
    artifacts = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert {"accuracy_digits.json", "accuracy.md", "sweep.yaml"} <= artifacts
    mlflow.set_tracking_uri(default_uri(storage))  # load_table looks for runs there, whatever its client's own is
    table = client.load_table(experiment.experiment_id, "accuracy_digits.json", run_ids=[parent.info.run_id])
    assert list(table["objective"]) == ["untrained encoder", "infonce", "infonce", "uniform"]
    expected = [by_label[f"infonce · tau 0.1 · seed {s}"].result["metrics"]["test/linear"] for s in (0, 1)]
    assert table["test/linear mean"][1] == pytest.approx(sum(expected) / 2, abs=1e-3)

    # Again: nothing is run, nothing is doubled.
    before = {t.digest: (t.folder / "result.json").stat().st_mtime_ns for t in trials}
    assert alphacl("resume", "g", "--storage", storage)[0] == 0
    assert {t.digest: (t.folder / "result.json").stat().st_mtime_ns for t in open_sweep(storage, "g").trials()} == before
    assert len(client.search_runs([experiment.experiment_id])) == 7

    code, _, err = alphacl("sweep", file, "--name", "g", "--storage", storage)
    assert code == 2
    assert "the sweep 'g' exists" in err

    code, out, _ = alphacl("status", "g", "--storage", storage, "--json")
    status = json.loads(out)
    assert (code, status["state"], status["counts"]["finished"]) == (0, "finished", 6)
    code, out, _ = alphacl("table", "g", "--storage", storage, "--format", "md")
    assert "| uniform |" in out


def test_a_search_asks_the_study_and_tells_it(alphacl, write, storage, ray_here):
    code, _, err = alphacl("sweep", write(SEARCH), "--name", "s", "--storage", storage)
    assert code == 0, err
    trials = open_sweep(storage, "s").trials()
    assert len({t.digest for t in trials}) == 5
    backend = optuna.storages.journal.JournalFileBackend(str(storage / "s" / "study.log"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    told = {t.user_attrs["digests"][0]: t.value for t in study.trials}
    assert told == {t.digest: t.result["metrics"]["val/knn"] for t in trials}
    assert {t.state.name for t in study.trials} == {"COMPLETE"}


def test_a_space_that_is_smaller_than_the_search(alphacl, write, storage, ray_here):
    text = SEARCH.replace("{float: [0.05, 1], log: true}", "[0.1, 0.5]").replace(", {direct: {p: {float: [1, 8]}}}", "")
    code, _, err = alphacl("sweep", write(text), "--name", "e", "--storage", storage)
    assert code == 0
    assert "the space holds 2 configurations" in err
    assert json.loads(alphacl("status", "e", "--storage", storage, "--json")[1])["state"] == "finished"


def test_a_failing_trial_is_named_and_the_sweep_goes_on(alphacl, write, storage, ray_here):
    text = "trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64, objective: triplet_contrastive}\n"
    text += "space:\n  lr: [0.001, 1e30]\n"
    code, _, err = alphacl("sweep", write(text), "--name", "d", "--storage", storage)
    assert code == 1
    assert "diverged: triplet_contrastive · seed 0: diverged in epoch 1" in err
    statuses = [t.status for t in open_sweep(storage, "d").trials()]
    assert sorted(statuses) == ["diverged", "finished"]
    client = mlflow.MlflowClient(default_uri(storage))
    runs = client.search_runs([client.get_experiment_by_name("d").experiment_id])
    assert sorted(r.info.status for r in runs) == ["FAILED", "FAILED", "FINISHED"]  # the parent and one child
    assert {r.data.tags.get("outcome") for r in runs} == {None, "finished", "diverged"}


def test_a_finished_trial_that_tune_asks_for_again_is_not_computed_again(alphacl, write, storage, ray_here):
    """As when its worker died after writing the result and before Tune heard of it."""
    text = "trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64}\n"
    assert alphacl("sweep", write(text), "--name", "one", "--storage", storage)[0] == 0
    folder = SweepFolder(open_sweep(storage, "one"))
    (trial,) = folder.record.trials()
    before = {f: f.read_bytes() for f in trial.folder.rglob("*.*")}
    board = Board.of("one", 1, [trial])
    listener = runner.Listener(folder, board, Tracker(folder, default_uri(storage), ""), BestEncoders(5, [trial]))
    spec = load_spec(write(text))
    runner.fit(folder, spec, runner.make_trainable(folder, spec, None), GridSearcher(folder, [trial.digest]), listener)
    assert {f: f.read_bytes() for f in trial.folder.rglob("*.*")} == before
    assert board.lines[trial.digest].status == "finished"


CRASHING = '''
import os
from pathlib import Path
from trainer.alphas import constructor

@constructor()
def crashing(d, tau: float):
    """α of a user's own, whose first process dies and whose second raises."""
    log = Path(os.environ["CRASH_LOG"])
    seen = log.read_text() if log.exists() else ""
    log.write_text(seen + "x")
    if len(seen) == 6:
        os.kill(os.getpid(), 9)
    if len(seen) == 8:
        raise MemoryError("out of memory, say")
    return (-d.inter / tau).softmax(dim=1)
'''


def test_a_worker_that_dies_and_one_that_raises_are_retried_from_the_checkpoint(write, storage, tmp_path):
    write(CRASHING, "crashing_plugin.py")
    text = "plugins: [crashing_plugin]\ntrial: {dataset: digits, images: 200, epochs: 4, batch_size: 64, objective: crashing}\n"
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "CRASH_LOG": str(tmp_path / "log"), "ALPHACL_SAVE_SHARE": "inf"}
    command = [sys.executable, "-m", "orchestrator", "sweep", str(write(text)), "--storage", str(storage)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=AT_ONCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = open_sweep(storage, "space").trials()
    assert [r["epoch"] for r in trial.reports] == [0, 1, 2, 3, 4]
    steps = len((tmp_path / "log").read_text())
    # An epoch asks for α three times: two steps and the diagnostics. Two epochs are saved when the 7th call kills the worker; the
    # third is begun again twice, by the 8th call and, the 9th having raised, by the 10th.
    assert steps == 9 + 2 * 3


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_root):
    """The figures of the grid that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "g.yaml").write_text(GRID.replace("EPOCHS", "5"), encoding="utf-8")
    process = start(folder / "runs", "sweep", folder / "g.yaml")
    out = process.communicate(timeout=AT_ONCE)[0]
    assert process.returncode == 0, out
    return figures(folder / "runs", "g")


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_stopped_goes_on_where_it_was(write, storage, undisturbed, blow):
    """Ctrl-C, or kill -9 of the driver and all its workers; then resume: the table is that of an undisturbed sweep."""
    file = write(GRID.replace("EPOCHS", "5"))
    process = start(storage, "sweep", file, "--name", "g")
    wait_for(lambda: len(list(storage.glob("g/trials/*/result.json"))) >= 1, process)
    if blow == signal.SIGINT:
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=AT_ONCE)[0]
        assert process.returncode == 130, out
        assert "Go on with:  alphacl resume g --storage" in out
    else:
        import psutil

        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in family:
            child.kill()
        process.wait()
    finished = {f: f.stat().st_mtime_ns for f in storage.glob("g/trials/*/result.json")}
    assert 1 <= len(finished) < 6
    process = start(storage, "resume", "g")
    out = process.communicate(timeout=AT_ONCE)[0]
    assert process.returncode == 0, out
    assert all(f.stat().st_mtime_ns == at for f, at in finished.items()), "a finished trial was run again"
    trials = open_sweep(storage, "g").trials()
    assert {t.status for t in trials} == {"finished"}
    assert all([r["epoch"] for r in t.reports] == list(range(6)) for t in trials)

    assert figures(storage, "g") == undisturbed
    client = mlflow.MlflowClient(default_uri(storage))
    runs = client.search_runs([client.get_experiment_by_name("g").experiment_id])
    assert len(runs) == 7
    assert {r.info.status for r in runs} == {"FINISHED"}
    for run in runs:
        if "mlflow.parentRunId" in run.data.tags:
            assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == list(range(1, 6))
