"""The tracker in its own process: killed and replaced, its driver killed, a store that can't be opened, its end."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from orchestrator.tracking import process as recorder
from orchestrator.tracking.process import TrackingProcess
from orchestrator.tracking.rebuild import rebuild
from orchestrator.tracking.tracker import _hold
from trainer.errors import UserError

pytestmark = pytest.mark.slow

ONE = "keep_encoders: 0\ntrial: {epochs: 3, encoder: convnet(width=4), read_at: [2]}\n"


@pytest.fixture
def make(monkeypatch):
    """``make(sweep)`` → its recorder, which does not wait long before it replaces a process."""
    monkeypatch.setattr(recorder, "BACK_OFF_S", 0.1)
    return lambda sweep: TrackingProcess(sweep.folder)


def run(sweep, digest):
    """A trial from beginning to end; without its encoder, whose export takes a second."""
    sweep.run(digest)
    sweep.folder.read(digest).encoder.unlink()


def eventually(check, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.fixture
def runs(holdings):
    """``runs(sweep)`` → what MLflow holds of its runs."""
    return lambda sweep: {key: run for key, run in holdings(sweep.uri).items() if key != "models"}


def ended(runs):
    return {key for key, run in runs.items() if "outcome" in run["tags"]}


def test_its_process_does_without_pytorch_and_ray():
    """Which would take it seconds, and the driver waits for its last pages."""
    code = "import sys\nfrom orchestrator.suggest import study\nfrom orchestrator.tracking import process, study_plots, tracker\n"
    code += "print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_news_are_written_while_the_sweep_runs_and_the_rest_at_its_end(fake_sweep, make, runs):
    sweep = fake_sweep()
    with make(sweep) as here:
        here.wait()
        first, *others = sweep.digests
        run(sweep, first)
        here.mark([first])
        eventually(lambda: first in ended(runs(sweep)))
        for digest in others:  # never marked
            run(sweep, digest)
        assert here.close("FINISHED")
        assert here.problem == ""
    held = runs(sweep)
    assert set(held) == {"sweep", *sweep.digests}
    assert {run["status"] for run in held.values()} == {"FINISHED"}
    assert not psutil.pid_exists(here._process.pid)
    before = runs(sweep)
    rebuild(sweep.folder, sweep.uri, keep=0)
    assert runs(sweep) == before


def test_a_process_that_is_killed_is_replaced_and_nothing_is_missing(fake_sweep, make, runs):
    sweep = fake_sweep()
    with make(sweep) as here:
        here.wait()
        for digest in sweep.digests[:5]:
            run(sweep, digest)
        here.mark(sweep.digests[:5])
        eventually(lambda: "sweep" in runs(sweep))
        killed = here._process.pid
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: here._process.pid != killed)
        eventually(lambda: ended(runs(sweep)) == set(sweep.digests[:5]))
        for digest in sweep.digests[5:]:
            run(sweep, digest)
        os.kill(here._process.pid, signal.SIGKILL)  # and once more, at the end
        assert here.close("FINISHED"), here.problem
    held = runs(sweep)
    assert set(held) == {"sweep", *sweep.digests}
    assert {run["status"] for run in held.values()} == {"FINISHED"}


def test_a_process_that_hangs_holds_up_nobody_and_is_replaced(fake_sweep, make, runs, monkeypatch):
    sweep = fake_sweep()
    with make(sweep) as here:
        here.wait()
        hanging = here._process.pid
        os.kill(hanging, signal.SIGSTOP)
        more_than_the_pipe_holds = {"news": ["x" * 1_000_000]}
        threading.Thread(target=here._send, args=(more_than_the_pipe_holds,), daemon=True).start()
        time.sleep(0.5)
        here.mark(sweep.digests)  # does not wait
        run(sweep, sweep.digests[0])
        monkeypatch.setattr(recorder, "SILENT_S", 2)
        eventually(lambda: here._process.pid != hanging)
        monkeypatch.undo()
        assert here.close("KILLED"), here.problem
        assert here.problem == ""
    assert ended(runs(sweep)) == {sweep.digests[0]}


def test_one_that_is_stopped_for_a_while_goes_on(fake_sweep, make, runs):
    """As by SIGSTOP, or on a machine that sleeps."""
    sweep = fake_sweep()
    with make(sweep) as here:
        here.wait()
        stopped = here._process.pid
        os.kill(stopped, signal.SIGSTOP)
        run(sweep, sweep.digests[0])
        here.mark(sweep.digests)
        time.sleep(3)
        os.kill(stopped, signal.SIGCONT)
        assert here.close("KILLED"), here.problem
        assert here._process.pid == stopped
    assert ended(runs(sweep)) == {sweep.digests[0]}


def test_a_driver_waits_for_what_a_killed_one_left(fake_sweep):
    sweep = fake_sweep()
    _hold(sweep.folder, sweep.uri, 0).release()
    (lock,) = sweep.folder.path.glob("tracking-*.lock")
    left = open(lock, "rb")  # noqa: SIM115 - closed by the timer
    fcntl.flock(left, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="by another process"):
        _hold(sweep.folder, sweep.uri, 0.2)
    threading.Timer(0.5, left.close).start()
    _hold(sweep.folder, sweep.uri, 20).release()


def test_what_could_not_be_written_at_the_end_is_said_and_resume_writes_it(fake_sweep, alphacl, monkeypatch, runs):
    sweep = fake_sweep(space=ONE)
    run(sweep, sweep.digests[0])
    close = TrackingProcess.close

    storage = sweep.folder.path.parent
    with monkeypatch.context() as patch:

        def die(here, status):
            patch.setattr(sys, "executable", "/bin/false")
            os.kill(here._process.pid, signal.SIGKILL)
            return close(here, status)

        patch.setattr(recorder, "BACK_OFF_S", 0.1)
        patch.setattr(TrackingProcess, "close", die)
        code, _, err = alphacl("resume", "s", "--storage", storage)
    assert (code, len(err.splitlines())) == (0, 1)
    assert "'alphacl resume s' writes the rest" in err
    code, _, err = alphacl("resume", "s", "--storage", storage)
    assert (code, err) == (0, "")
    held = runs(sweep)
    assert {key: run["status"] for key, run in held.items()} == {"sweep": "FINISHED", sweep.digests[0]: "FINISHED"}


def test_one_that_dies_again_and_again_is_given_up_and_said(fake_sweep, make, monkeypatch):
    sweep = fake_sweep()
    with make(sweep) as here:
        here.wait()
        monkeypatch.setattr(sys, "executable", "/bin/false")
        os.kill(here._process.pid, signal.SIGKILL)
        assert not here.close("FINISHED")
        assert here.problem == "the process that writes MLflow has ended (exit code -9)"


def test_it_goes_with_its_driver_and_leaves_the_store_free(fake_sweep, runs):
    sweep = fake_sweep()
    run(sweep, sweep.digests[0])
    driver = f"""
import time
from pathlib import Path
from results.record.sweep_writer import SweepWriter
from orchestrator.tracking.process import TrackingProcess
from results.record.reader import open_sweep
folder = SweepWriter(open_sweep(Path({str(sweep.folder.path.parent)!r}), "s"))
with TrackingProcess(folder) as recorder:
    recorder.wait()
    print(recorder._process.pid, flush=True)
    time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True) as process:
        child = psutil.Process(int(process.stdout.readline()))
        with pytest.raises(UserError, match=r"is being written to .* by another process"):
            rebuild(sweep.folder, sweep.uri, keep=0)
        for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and the like are the driver's to answer
            child.send_signal(number)
        time.sleep(0.5)
        assert child.is_running()
        process.kill()
    child.wait(timeout=10)
    rebuild(sweep.folder, sweep.uri, keep=0)
    assert sweep.digests[0] in runs(sweep)


def test_a_store_that_cannot_be_opened_is_said_at_once(fake_sweep, make):
    sweep = fake_sweep()
    (sweep.folder.path.parent / "mlflow.db").write_bytes(b"this is no database" * 1000)
    with make(sweep) as here, pytest.raises(UserError, match=r"cannot open the tracking store sqlite:///.*: .*not a database"):
        here.wait()


def test_a_new_database_is_not_waited_for(fake_sweep, make, runs):
    sweep = fake_sweep()
    (sweep.folder.path.parent / "mlflow.db").unlink()
    with make(sweep) as here:
        here.wait()
        assert not (sweep.folder.path.parent / "mlflow.db").exists()
        run(sweep, sweep.digests[0])
        assert here.close("KILLED"), here.problem
    assert set(runs(sweep)) == {"sweep", sweep.digests[0]}


def test_what_is_wrong_is_told_while_it_runs_and_at_the_end(fake_sweep, make):
    sweep = fake_sweep()
    run(sweep, sweep.digests[0])
    damaged = sweep.folder.trials / sweep.digests[0] / "result.json"
    damaged.write_text("{")
    with make(sweep) as here:
        here.mark(sweep.digests[:1])
        eventually(lambda: "result.json" in here.problem)
        assert here.close("FINISHED")
        assert "result.json" in here.problem


def test_the_process_imports_neither_pytorch_nor_ray():
    code = "import sys, json\nfrom orchestrator.tracking import process, tracker\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ray"} & set(json.loads(done.stdout))


def test_a_driver_that_dies_in_the_middle_of_a_line_ends_it_too():
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.tracking.process"],
        input='{"storage": "/ru',
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
