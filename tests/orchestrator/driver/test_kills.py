"""kill -9 at random instants: of the driver, of a worker, of Ray's own processes, of all; then resume, until the sweep is done.

What survives a kill, and by which function, is listed in ``docs/durability.md``. A few kills in every test run; ``make soak``
runs at least 25, with the study in a journal and in PostgreSQL.
"""

import contextlib
import functools
import os
import random
import signal
import subprocess
import sys
import time

import mlflow
import psutil
import pytest

from orchestrator.suggest.study import open_study
from orchestrator.tracking.addresses import default_uri
from results.record.reader import open_sweep
from search_spaces import load_spec
from tests.mlflow_runs import runs_of
from tests.orchestrator.conftest import computed_here

GRID = """
trial: {dataset: digits, images: 300, epochs: EPOCHS, batch_size: 64}
keep_encoders: 0
space:
  objective: [infonce, uniform]
  tau: [0.1, 0.5]
  seed: [0, 1]
"""
ONE_AT_A_TIME = "budget: {trials_at_once: 1}\n"  # short trials take less time than another worker's start
SEARCH = """
trial: {dataset: digits, images: 300, epochs: EPOCHS, batch_size: 64}
search: {sampler: tpe, trials: 6, seed: 1, metric: val/knn}
repeat: {seed: [0, 1]}
confirm: {top: 1, seeds: 2}
space:
  objective: [infonce, {direct: {p: {float: [1, 8]}}}]
  tau: {float: [0.05, 1], log: true}
"""
PATIENCE_S = 240  # for one run of the driver


def run(storage, log, *words, until=None):
    """Run ``alphacl`` in a session of its own and return its exit code; ``until(process)`` may kill while it runs."""
    command = [sys.executable, "-m", "orchestrator", *map(str, words), "--storage", str(storage)]
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        if until is not None:
            until(process)
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        print("a driver did nothing any more, and was killed")
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Killer:
    """Kills one of a sweep's processes when its time has come: at a random report, or at a random moment of the start.

    What is left of the sweep is shared among the kills that are to come, so that there is something left for each.
    """

    def __init__(self, seed, storage, kills, planned, epochs):
        self.random = random.Random(seed)
        self.storage, self.left, self.total = storage, kills, planned * (epochs + 1)
        self.kills = []

    def rows(self):
        """Count the sweep's reports so far."""
        if not (self.storage / "k" / "sweep.json").exists():
            return 0
        return sum(len(t.reports) for t in open_sweep(self.storage, "k").trials())

    def __call__(self, process):
        while self.left and process.poll() is None:
            now = self.rows()
            target = now + self.random.randint(1, max(1, (self.total - now) // (self.left + 1)))
            early = time.monotonic() + (self.random.uniform(0.5, 8) if self.random.random() < 0.3 else PATIENCE_S)
            while time.monotonic() < early and self.rows() < target and process.poll() is None:
                time.sleep(0.1)
            time.sleep(self.random.uniform(0, 0.3))
            if process.poll() is None:
                self.strike(process)
                if self.kills[-1] in ("raylet", "gcs_server"):  # a driver without its Ray ends by itself, or is ended
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(3)
                    process.kill()

    def strike(self, process):
        family = psutil.Process(process.pid).children(recursive=True)
        what = self.random.choice(["driver", "worker", "raylet", "gcs_server", "all"])
        named = {"worker": "ray::", "raylet": "raylet", "gcs_server": "gcs_server"}
        victims = [child for child in family if what == "all" or named.get(what, " ") in _line(child)]
        if what in ("driver", "all") or not victims:  # too early for workers: then the driver
            process.kill()
        self.kills.append(what)
        self.left -= 1
        for child in victims if what == "all" else self.random.sample(victims, min(1, len(victims))):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        # Whoever is left behind goes on as it likes while the next driver begins: it must do no harm.


def _line(process):
    try:
        return " ".join(process.cmdline()[:2])
    except psutil.Error:
        return ""


def figures(sweep):
    """Return the final figures by trial, without times."""
    return {
        t.label: {k: v for k, v in t.result["metrics"].items() if not k.startswith("time/")} for t in sweep.trials() if t.result
    }


def survive(storage, file, seed, kills, least, planned, epochs, tmp_path, options=()):
    """Launch, and resume after every kill; a sweep may end by itself after ``least`` of the ``kills`` that are meant for it."""
    killer, words, code = Killer(seed, storage, kills, planned, epochs), ("sweep", file, "--name", "k", *options), None
    for _ in range(6 * kills):
        code = run(storage, tmp_path / "log", *words, until=killer if killer.left else None)
        if (storage / "k" / "sweep.json").exists():
            words = ("resume", "k")
        if code == 0:
            break
    print(f"killed: {killer.kills}")
    assert code == 0, (tmp_path / "log").read_text()[-4000:]
    assert len(killer.kills) >= least, "the sweep ended too soon; make it longer"
    return open_sweep(storage, "k")


def check(sweep, storage, epochs, planned):
    """Assert that no trial is lost and none doubled, and that the folder and MLflow agree."""
    trials = sweep.trials()
    assert len(trials) == planned
    assert {t.status for t in trials} == {"finished"}
    assert all([r["epoch"] for r in t.reports] == list(range(epochs + 1)) for t in trials)
    assert not list(sweep.folder.glob("trials/*/*/checkpoint.pt"))
    client = mlflow.MlflowClient(default_uri(storage))
    runs = runs_of(default_uri(storage), "k")
    assert sorted(r.data.tags["alphacl.key"] for r in runs) == sorted(["sweep", *(t.digest for t in trials)])
    assert {r.info.status for r in runs} == {"FINISHED"}
    by_digest = {t.digest: t for t in trials}
    for found in runs:
        trial = by_digest.get(found.data.tags["alphacl.key"])
        if trial is not None:
            assert found.data.metrics["test/linear"] == round(trial.result["metrics"]["test/linear"], 4)
            history = client.get_metric_history(found.info.run_id, "train/loss")
            assert [m.step for m in history] == list(range(1, epochs + 1))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_root):
    """The figures of the grid that nobody disturbs, by its epochs."""

    @functools.cache
    def ask(epochs):
        folder = tmp_path_factory.mktemp("whole")
        (folder / "g.yaml").write_text(GRID.replace("EPOCHS", str(epochs)), encoding="utf-8")
        return figures(computed_here(folder / "g.yaml", folder / "runs"))

    return ask


@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kills", "least", "epochs"), [(2, 1, 8), pytest.param(10, 9, 60, marks=[pytest.mark.soak, pytest.mark.timeout(2400)])]
)
def test_a_grid_survives_to_the_last_digit(tmp_path, write, undisturbed, seed, kills, least, epochs):
    sweep = survive(tmp_path / "runs", write(GRID.replace("EPOCHS", str(epochs))), seed, kills, least, 6, epochs, tmp_path)
    check(sweep, tmp_path / "runs", epochs, planned=6)
    assert figures(sweep) == undisturbed(epochs)


@pytest.mark.ray
@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]], ids=["ctrl-c", "term", "twice"]
)
def test_a_sweep_that_is_stopped_gently_goes_on_where_it_was(tmp_path, write, storage, undisturbed, signals):
    log, file = tmp_path / "log", write(GRID.replace("EPOCHS", "8") + ONE_AT_A_TIME)

    def stop(process):
        while process.poll() is None and not list(storage.glob("k/trials/*/result.json")):
            time.sleep(0.05)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)

    assert run(storage, log, "sweep", file, "--name", "k", until=stop) == 130, log.read_text()
    if len(signals) == 1:  # the second Ctrl-C may come while that is being said
        assert "Go on with:  alphacl resume k --storage" in log.read_text()
    assert "Traceback" not in log.read_text()
    finished = {f: f.stat().st_mtime_ns for f in storage.glob("k/trials/*/result.json")}
    assert 1 <= len(finished) < 6
    if signals == [signal.SIGINT]:  # resumed once is enough: the killed sweeps are all resumed
        assert run(storage, log, "resume", "k") == 0, log.read_text()
        assert all(f.stat().st_mtime_ns == at for f, at in finished.items()), "a finished trial was run again"
        check(open_sweep(storage, "k"), storage, epochs=8, planned=6)
        assert figures(open_sweep(storage, "k")) == undisturbed(8)


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("storage", ["journal", "postgresql"])
def test_a_search_survives_and_its_study_knows_all(tmp_path, write, data_root, seed, storage, request):
    text = SEARCH.replace("EPOCHS", "60")
    file, options = write(text), ()
    if storage == "postgresql":
        url = request.getfixturevalue("postgresql")("soak")
        options = ("--study-storage", url)
    sweep = survive(tmp_path / "runs", file, seed, 10, 9, 14, 60, tmp_path, options)
    check(sweep, tmp_path / "runs", 60, planned=6 * 2 + 2)
    study = open_study(sweep, load_spec(file))
    trials = {t.digest: t for t in sweep.trials()}
    complete = [t for t in study.trials if t.state.name == "COMPLETE"]
    assert len(complete) == 6
    assert {d for t in complete for d in t.user_attrs["digests"]} == {d for d, t in trials.items() if t.role == "trial"}
    for told in complete:
        mean = sum(trials[d].result["metrics"]["val/knn"] for d in told.user_attrs["digests"]) / 2
        assert told.value == pytest.approx(mean)
