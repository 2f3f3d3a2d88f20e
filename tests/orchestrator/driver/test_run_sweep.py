"""The fate of a sweep's trials under Ray Tune: failing, asked for again, shown, never begun, retried."""

import os
import subprocess
import sys
import threading
import time
import types

import pytest

from orchestrator.driver import run_sweep as runner
from orchestrator.driver.board import Board
from orchestrator.driver.events import TrialEvents
from orchestrator.driver.keep_encoders import EncoderKeeper
from orchestrator.driver.retries import Failures
from orchestrator.driver.scheduler import SweepScheduler
from orchestrator.suggest.searchers import GridSearcher
from orchestrator.suggest.study import open_study
from orchestrator.tracking.addresses import default_uri
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from tests.mlflow_runs import runs_of

pytestmark = pytest.mark.ray

AT_ONCE = 400  # seconds that a subprocess may take to come to a point: long enough for two cores that run other tests as well
SEARCH = """
trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64}
search: {sampler: tpe, trials: 2, seed: 3, metric: val/knn}
keep_encoders: 0
retries: 0
space:
  objective: [infonce, {direct: {p: {float: [1, 8]}}}]
  tau: {float: [0.05, 1], log: true}
"""


def test_a_failing_trial_is_named_and_the_sweep_goes_on(alphacl, write, storage, ray_here):
    text = "trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64, objective: triplet_contrastive}\n"
    text += "keep_encoders: 0\nbudget: {trials_at_once: 1}\nspace:\n  lr: [0.001, 1e30]\n"
    code, _, err = alphacl("sweep", write(text), "--name", "d", "--storage", storage)
    assert code == 1
    assert "diverged: triplet_contrastive · seed 0: diverged in epoch 1" in err
    statuses = [t.status for t in open_sweep(storage, "d").trials()]
    assert sorted(statuses) == ["diverged", "finished"]
    runs = runs_of(default_uri(storage), "d")
    assert sorted(r.info.status for r in runs) == ["FAILED", "FAILED", "FINISHED"]  # the parent and one child
    assert {r.data.tags.get("outcome") for r in runs} == {None, "finished", "diverged"}


def test_a_finished_trial_that_tune_asks_for_again_is_not_computed_again(alphacl, write, storage, ray_here):
    """As when its worker died after writing the result and before Tune heard of it."""
    text = "trial: {dataset: digits, images: 200, epochs: 1, batch_size: 64}\nkeep_encoders: 0\n"
    assert alphacl("sweep", write(text), "--name", "one", "--storage", storage)[0] == 0
    folder = SweepWriter(open_sweep(storage, "one"))
    (trial,) = folder.record.trials()
    before = {f: f.read_bytes() for f in trial.folder.rglob("*.*")}
    board = Board.of(folder.record, [trial])
    events = TrialEvents(folder, board, lambda digests: None, EncoderKeeper(5, "val/linear", [trial]))
    spec = load_spec(write(text))
    searcher = GridSearcher(folder, [trial.digest], on_end=events.ended)
    runner.fit(folder, spec, runner.make_trainable(folder, spec, None), searcher, SweepScheduler(events, Failures(spec.retries)))
    assert {f: f.read_bytes() for f in trial.folder.rglob("*.*")} == before
    assert board.lines[trial.digest].status == "finished"


def test_a_trial_is_shown_as_running_before_its_first_report(write, storage, tmp_path, ray_here):
    spec = load_spec(write("trial: {dataset: digits, epochs: 1}\n"))
    folder = SweepWriter.create(storage, "r", spec, {})
    (trial,) = folder.record.trials()
    board = Board.of(folder.record, [trial])
    seen = tmp_path / "seen"

    def run(config, **words):
        import time

        from trainer import Report

        deadline = time.monotonic() + 60
        while not seen.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        record = {"digest": config.digest, "config": config.to_dict(), "metrics": {"test/linear": 1.0}, "history": []}
        yield Report(1, 1, {"val/linear": 1.0}, lambda: {"epoch": 1, "encoder": {}}, record)

    def look():
        line = board.lines[trial.digest]
        while line.status != "running":
            time.sleep(0.05)
        shown.append(line.epoch)
        seen.touch()

    shown = []
    threading.Thread(target=look, daemon=True).start()
    events = TrialEvents(folder, board, lambda digests: None, EncoderKeeper(0, "val/linear", []))
    searcher = GridSearcher(folder, [trial.digest], on_end=events.ended)
    with folder.driving():
        runner.fit(
            folder, spec, runner.make_trainable(folder, spec, None, run), searcher, SweepScheduler(events, Failures(spec.retries))
        )
    assert shown == [0], "it was running, and had no epoch yet"
    assert board.lines[trial.digest].status == "finished"


def test_workers_that_never_come_up_fail_their_trials(write, storage, monkeypatch, ray_here):
    """As when a package is missing on the nodes: Tune tells of an error without having told of a start."""
    here_only = types.ModuleType("here_only")
    exec("def run(*words, **named): yield", here_only.__dict__)
    monkeypatch.setitem(sys.modules, "here_only", here_only)  # pickled by its name, which a worker does not know
    spec = load_spec(write(SEARCH))
    folder = SweepWriter.create(storage, "n", spec, {})
    with folder.driving():
        outcome = runner.run_sweep(folder, spec, run=here_only.run)
    assert [t.status for t in outcome.failed] == ["failed", "failed"]
    assert all("No module named 'here_only'" in t.error["message"] for t in outcome.failed)
    assert [t.state.name for t in open_study(folder.record, spec).trials] == ["FAIL", "FAIL"], "the study has heard of it"


CRASHING = '''
import os
from pathlib import Path
from trainer.alphas import constructor

@constructor()
def crashing(d, tau: float):
    """α of a user's own, whose first process dies and whose second raises; a batch has 128 anchors, the check of a plug-in 32."""
    if len(d.inter) != 128:
        return (-d.inter / tau).softmax(dim=1)
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
    text += "keep_encoders: 0\n"
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

    # Its plugin lies beside the YAML, which a resumed sweep does not need any more.
    elsewhere = {k: v for k, v in env.items() if k != "PYTHONPATH"}
    command = [os.path.join(os.path.dirname(sys.executable), "alphacl"), "resume", "space", "--storage", str(storage)]
    done = subprocess.run(command, env=elsewhere, cwd=storage, capture_output=True, text=True, timeout=AT_ONCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
