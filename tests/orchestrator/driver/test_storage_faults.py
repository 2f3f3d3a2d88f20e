"""Storage that fails in the middle of a sweep: a disk that fills up, one that turns read-only, a database that goes away."""

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import psutil
import pytest

from orchestrator.suggest.study import Journal, open_storage, open_study
from results.record import trial_writer
from results.record.checkpoint_policy import CheckpointPolicy
from results.record.patience import may_pass, patiently
from results.record.reader import TrialRecord, open_sweep
from results.record.trial_writer import Superseded, TrialWriter, append_line
from search_spaces import load_spec
from trainer import Report, TrialConfig, UserError
from trainer.files import save_checkpoint

SEARCH = """
trial: {dataset: digits, images: 200, epochs: 6, batch_size: 64}
search: {trials: 4, seed: 1, metric: val/knn}
keep_encoders: 0
space: {tau: {float: [0.05, 1], log: true}}
"""
DONE_S = 240


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB of its own, at ``tmp_path/disk``."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, text=True, check=False)
    if mount.returncode:
        pytest.skip(f"cannot mount a file system here: {mount.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk):
    """Take all that is left on a disk; returns what to call to give it back."""
    file = disk / "filler"
    with open(file, "wb", buffering=0) as out:
        for size in (1 << 16, 1 << 8, 1):
            with contextlib.suppress(OSError):
                while out.write(b"x" * size) == size:
                    pass
    return file.unlink


def read_only(disk):
    """Let nobody open a file there to write, as after an error of the device; returns what to call to undo it."""
    # A disk that is in use is not remounted; its own read-only image is laid over it.
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", disk], check=True)
    return lambda: subprocess.run(["umount", "-l", disk], check=True)


def standing_still(process):
    """Stop a sweep's workers and the process that writes MLflow; returns what to call to have them go on."""
    family = psutil.Process(process.pid).children(recursive=True)
    stopped = [one for one in family if "ImplicitFunc" in one.name() or "orchestrator.tracking.process" in one.cmdline()]
    assert len(stopped) > 1
    for one in stopped:
        one.suspend()
    return lambda: [one.resume() for one in stopped]


# Runs a command where /dev/shm, in which Ray keeps objects, has 1 MB, all of which is taken.
SHARED_MEMORY_FULL = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && dd if=/dev/zero of=/dev/shm/all bs=1k 2>/dev/null; exec "$@"'


def start(storage, file, log, *options, has_shared_memory=True, **pipes):
    """Start a sweep without a home folder, in a folder that cannot be written, and with few file descriptors."""
    command = [sys.executable, "-m", "orchestrator", "sweep", str(file), "--name", "s", "--storage", str(storage), *options]
    few = ["prlimit", "--nofile=128", "--"] if shutil.which("prlimit") else []
    if not has_shared_memory and os.getuid() == 0 and shutil.which("unshare"):
        few = ["unshare", "--mount", "sh", "-c", SHARED_MEMORY_FULL, "sh", *few]
    environment = {**os.environ, "HOME": "/proc/no-home", "PYTHONPATH": os.getcwd(), "MPLCONFIGDIR": str(storage)}
    pipes = {"stdout": log, **pipes}
    return subprocess.Popen([*few, *command], stderr=log, start_new_session=True, cwd="/proc", env=environment, **pipes)


def fill_pipe(end):
    """Leave no room in a pipe that nobody reads, opened once more so that the sweep's own writing still waits."""
    with open(f"/proc/self/fd/{end}", "wb", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as own:
        while own.write(b"." * 512):
            pass


def wait_for(condition, process, log):
    deadline = time.monotonic() + DONE_S
    while not condition():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


def complete(storage, file):
    """All trials finished with all their reports, and the study knows their values."""
    sweep = open_sweep(storage, "s")
    trials = sweep.trials()
    assert len(trials) == 4
    assert {t.status for t in trials} == {"finished"}
    assert all([r["epoch"] for r in t.reports] == list(range(7)) for t in trials)
    study = open_study(sweep, load_spec(file))
    told = {t.user_attrs["digests"][0]: t.value for t in study.trials if t.state.name == "COMPLETE"}
    assert told == {t.digest: t.result["metrics"]["val/knn"] for t in trials}


@pytest.mark.ray
def test_a_disk_that_fills_up_or_turns_read_only_workers_that_stand_still_and_a_reader_that_sleeps_are_waited_for(
    small_disk, write, tmp_path, data_root
):
    file, log = write(SEARCH), tmp_path / "log"
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    pipe, end = os.pipe()
    with open(log, "wb") as out, open(pipe, "rb") as printed:
        process = start(small_disk, file, out, "--tracking-uri", uri, stdout=end)
        try:
            faults = (fill, read_only, lambda disk: standing_still(process))
            for count, break_it in enumerate(faults, start=1):
                wait_for(lambda count=count: len(list(small_disk.glob("s/trials/*/*/reports.jsonl"))) > count, process, log)
                mend = break_it(small_disk)
                time.sleep(4)
                assert process.poll() is None, log.read_text()[-3000:]
                mend()
            fill_pipe(end)
            wait_for(lambda: len(list(small_disk.glob("s/trials/*/result.json"))) == 4, process, log)
            os.close(end)
            text = printed.read().decode()
            assert process.wait(DONE_S) == 0, log.read_text()[-3000:]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert "waiting" in text
    complete(small_disk, file)


@pytest.mark.ray
def test_a_study_in_postgresql_that_goes_away_and_a_locked_mlflow_are_waited_for_also_by_a_driver_that_stood_still(
    postgresql, write, tmp_path, storage
):
    file, log, url = write(SEARCH), tmp_path / "log", postgresql("away")
    with open(log, "wb") as out:
        process = start(storage, file, out, "--study-storage", url, stdout=subprocess.PIPE, has_shared_memory=False)
        try:
            process.stdout.readline()
            process.stdout.close()  # as by 'alphacl sweep … | head -1'
            wait_for(lambda: len(list(storage.glob("s/trials/*/result.json"))) >= 1, process, log)
            postgresql.stop()
            with contextlib.closing(sqlite3.connect(storage / "mlflow.db", timeout=60)) as mlflow:
                mlflow.execute("BEGIN EXCLUSIVE")
                time.sleep(2)
                process.send_signal(signal.SIGSTOP)
                time.sleep(4)
                process.send_signal(signal.SIGCONT)
            postgresql.start()
            assert process.wait(DONE_S) == 0, log.read_text()[-3000:]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    complete(storage, file)
    assert not (storage / "s" / "study.log").exists()


def test_a_line_is_appended_whole_or_not_at_all(small_disk):
    file = small_disk / "reports.jsonl"
    append_line(file, '{"epoch": 0}')
    mend = fill(small_disk)
    page = os.sysconf("SC_PAGE_SIZE")
    with pytest.raises(OSError, match="No space"):
        append_line(file, "x" * 2 * page)  # more than what is left of the file's last page
    assert file.read_text() == '{"epoch": 0}\n'
    mend()
    append_line(file, '{"epoch": 1}')
    assert len(file.read_text().splitlines()) == 2


def test_a_journal_on_a_full_disk_stays_readable(small_disk):
    journal = Journal(small_disk / "study.log")
    journal.append_logs([{"op_code": 0}])
    mend = fill(small_disk)
    with pytest.raises(OSError, match="No space"):
        journal.append_logs([{"op_code": 1, "text": "x" * 2 * os.sysconf("SC_PAGE_SIZE")}])
    mend()
    journal.append_logs([{"op_code": 2}])
    assert [log["op_code"] for log in Journal(small_disk / "study.log").read_logs(0)] == [0, 2]


@pytest.mark.slow
def test_a_checkpoint_on_a_full_disk_is_waited_for(small_disk):
    import torch

    state = {"epoch": 1, "weights": torch.ones(500_000)}
    mend = fill(small_disk)
    told = []
    threading.Timer(1.0, mend).start()
    patiently(lambda: save_checkpoint(small_disk / "c.pt", state), told.append)
    assert torch.load(small_disk / "c.pt")["epoch"] == 1
    assert told[0].startswith("storage: ")
    assert told[-1] == ""
    assert {f.name for f in small_disk.iterdir()} == {"c.pt"}


@pytest.fixture
def trial(tmp_path):
    """A trial that has begun, in ``tmp_path/runs/s/trials``; what it tells is in ``trial.told``."""
    config, told = TrialConfig(epochs=3), []
    writer = TrialWriter(tmp_path / "runs/s/trials" / config.digest, told.append, CheckpointPolicy(share=float("inf")))
    writer.plan(config, 0)
    writer.begin()
    writer.told = told
    return writer


def report(epoch):
    record = {"digest": TrialConfig(epochs=3).digest, "metrics": {"test/linear": 1.0}} if epoch == 3 else None
    return Report(epoch, 3, {"train/loss": float(epoch)}, lambda: {"epoch": epoch, "encoder": {}}, record)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_storage_that_is_renamed_and_put_back_is_waited_for(trial, tmp_path, epoch):
    trial.add(report(0))
    os.rename(tmp_path / "runs", tmp_path / "away")
    threading.Timer(1.0, os.rename, (tmp_path / "away", tmp_path / "runs")).start()
    trial.add(report(epoch))
    assert trial.told[0].endswith("runs/s/trials'; waiting")
    assert trial.told[-1] == ""
    record = TrialRecord(trial.folder)
    assert [row["epoch"] for row in record.reports] == [0, epoch]
    assert record.status == ("finished" if epoch == 3 else "started")


@pytest.mark.slow
def test_a_storage_whose_mode_is_taken_away_is_waited_for(trial, monkeypatch):
    """Root may write everywhere: the system's refusal is made up."""
    append, refused = trial_writer.append_line, []

    def refuse_first(path, line):
        if len(refused) < 2:
            refused.append(path)
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        append(path, line)

    monkeypatch.setattr(trial_writer, "append_line", refuse_first)
    trial.add(report(0))
    assert "may not be written any more" in trial.told[0]
    assert [row["epoch"] for row in TrialRecord(trial.folder).reports] == [0]


def test_a_trial_whose_folder_is_removed_while_it_runs_ends(trial):
    trial.add(report(0))
    shutil.rmtree(trial.folder)
    with pytest.raises(Superseded):
        trial.add(report(1))
    assert trial.told == []
    assert not trial.folder.exists(), "what was removed stays so"


def test_what_does_not_pass_is_raised_at_once():
    assert may_pass(OSError(errno.ENOSPC, "full"))
    assert not may_pass(PermissionError(errno.EACCES, "no"))
    assert not may_pass(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        patiently(lambda: (_ for _ in ()).throw(ValueError("a bug")))


def test_patience_runs_out(monkeypatch):
    monkeypatch.setenv("ALPHACL_PATIENCE_S", "1")

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        patiently(full)


def test_a_password_is_written_nowhere(alphacl, write, tmp_path, data_root):
    with pytest.raises(UserError, match="--study-storage: expected a database URL") as caught:
        open_storage("postgresql:/me:secret@host/db", tmp_path)
    assert "secret" not in str(caught.value)
    file = write(SEARCH)
    url = "postgresql://me:secret@127.0.0.1:1/db"
    code, _, err = alphacl("sweep", file, "--study-storage", url, "--storage", tmp_path / "runs")
    assert code == 2
    assert "cannot open the study's storage postgresql://me@127.0.0.1:1/db" in err
    assert "secret" not in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
