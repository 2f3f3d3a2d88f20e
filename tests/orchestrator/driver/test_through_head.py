"""Recording through the driver's node: what workers hand over that do not see the sweep folder."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import ray
import torch

from orchestrator.driver.head_records import serving_records
from orchestrator.driver.head_writer import HeadWriter, sees
from results.record.checkpoint_policy import CheckpointPolicy
from results.record.reader import TrialRecord, open_sweep
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from results.record.trial_writer import Superseded, TrialWriter
from results.table import sweep_table
from search_spaces import load_spec
from trainer import Report

SPACE = "trial: {dataset: digits, epochs: 8}\n"
DONE_S = 240


def report(config, epoch, weights=10, final=False):
    record = {"digest": config.digest, "config": config.to_dict(), "metrics": {"test/linear": 1.0}} if final else None
    state = {"epoch": epoch, "encoder": {"w": torch.full((weights,), float(epoch))}}
    return Report(epoch, 8, {"train/loss": float(epoch)}, lambda: state, record)


@pytest.fixture
def head(ray_here, tmp_path, write):
    """``head()`` → a writer through the head of the one trial of a sweep, which is beside it."""

    spec = load_spec(write(SPACE))
    sweep = SweepWriter.create(tmp_path / "runs", "s", spec, {})
    (trial,) = sweep.record.trials()
    with serving_records(sweep.trials) as name:
        actor = ray.get_actor(name)
        told = []

        def make():
            return HeadWriter(actor, trial.digest, told.append, CheckpointPolicy(share=float("inf")))

        make.config, make.folder, make.actor, make.told, make.sweep = spec.leaves()[0], trial.folder, actor, told, sweep
        yield make


def wait_for(condition, what):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.ray
def test_the_folder_is_as_if_the_worker_had_written_it_itself(head, tmp_path):
    first = head()
    assert first.result() is None
    assert first.entry()["digest"] == head.config.digest
    assert first.begin() is None
    for epoch in (0, 1, 2):
        with open(first.output, "a", encoding="utf-8") as file:
            file.write(f"epoch {epoch}\n")
        first.add(report(head.config, epoch))
        first._checkpoint.result(60)
    assert [row["epoch"] for row in TrialRecord(head.folder).reports] == [0, 1, 2]
    assert (head.folder / "attempt-0001/output.log").read_text() == "epoch 0\nepoch 1\nepoch 2\n"
    first.fail(Status.FAILED, "boom", error="RuntimeError", line=3)
    first.add(report(head.config, 3))
    first._checkpoint.result(60)
    with open(head.folder / "attempt-0001" / "reports.jsonl", "a", encoding="utf-8") as file:
        file.write('{"epoch": 4, "at": 1, "train/loss": 9.0}\n')  # newer than the checkpoint

    second, rival = head(), TrialWriter(head.folder)  # on this very disk: a node that sees the folder
    state = second.begin()
    assert second.earlier_error()["line"] == 3
    assert (state["epoch"], state["encoder"]["w"].tolist()) == (3, [3.0] * 10)
    assert [row["epoch"] for row in TrialRecord(head.folder).reports] == [0, 1, 2, 3]
    second.add(report(head.config, 4))
    second._checkpoint.result(60)
    assert [file.parent.name for file in head.folder.glob("*/checkpoint.pt")] == ["attempt-0002"]
    with pytest.raises(Superseded):
        first.add(report(head.config, 4))

    assert rival.begin()["epoch"] == 4
    rival.add(report(head.config, 8, final=True))
    with pytest.raises(Superseded):
        second.add(report(head.config, 5))
    with pytest.raises(Superseded):
        head()._ask("finish", "attempt-0002", [ray.put(b"")], report(head.config, 8, final=True).record)
    assert TrialRecord(head.folder).result["attempt"] == "attempt-0003"
    assert first.result()["attempt"] == "attempt-0003"


@pytest.mark.ray
def test_a_head_that_stands_still_slows_no_step_and_holds_one_checkpoint_of_a_trial(head):
    writer = head()
    writer.begin()
    writer.add(report(head.config, 0))
    (process,) = (p for p in psutil.Process().children(recursive=True) if "HeadRecords" in " ".join(_cmdline(p)))
    process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        for epoch in range(1, 8):
            writer.add(report(head.config, epoch, weights=1_000_000))
        assert time.monotonic() - began < 4, "only the first report waits, for a second"
        assert writer._files._work.qsize() <= 1
    finally:
        process.send_signal(signal.SIGCONT)
    writer.add(report(head.config, 8, final=True))
    record = TrialRecord(head.folder)
    assert [row["epoch"] for row in record.reports] == list(range(9))
    assert record.encoder.exists()
    assert not list(head.folder.glob("*/checkpoint.pt"))


def _cmdline(process):
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


@pytest.mark.ray
def test_an_actor_that_is_killed_comes_again_and_a_checkpoint_that_comes_too_late_is_left_out(head):
    writer = head()
    writer.begin()
    (process,) = (p for p in psutil.Process().children(recursive=True) if "HeadRecords" in " ".join(_cmdline(p)))
    process.kill()
    for epoch in (0, 1):
        writer.add(report(head.config, epoch))
    writer._checkpoint.result(60)
    assert [row["epoch"] for row in TrialRecord(head.folder).reports] == [0, 1]
    head.sweep.trial(head.config.digest).stop(1, "val/linear", 50.0)
    with pytest.raises(Superseded, match="stopped early"):
        writer._ask("save", "attempt-0001", [ray.put(b"x")])
    assert not list(head.folder.glob("*/checkpoint.pt"))


def test_a_node_sees_the_folder_only_where_it_is_that_of_this_run(tmp_path, write):
    sweep = SweepWriter.create(tmp_path / "runs", "s", load_spec(write(SPACE)), {})
    with sweep.driving():
        run = sweep.driver()
        assert sees(sweep.trials, run)
        assert not sees(sweep.trials, {**run, "started": 0.0})  # a copy from an earlier run
        assert not sees(tmp_path / "elsewhere" / "trials", run)
        (sweep.path / "driver.json").write_text("not JSON")
        assert not sees(sweep.trials, run)


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_sweep_through_the_head_has_the_figures_of_one_on_the_disk(tmp_path, storage, calm_grid):
    """One worker and the recording actor are killed on the way."""
    (file, calm), log = calm_grid, tmp_path / "log"
    command = [sys.executable, "-m", "orchestrator", "sweep", str(file), "--name", "s", "--storage", str(storage)]
    environment = {**os.environ, "ALPHACL_THROUGH_HEAD": "1", "ALPHACL_SAVE_SHARE": "inf"}
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        try:
            reports = storage / "s/trials"
            wait_for(lambda: len(list(reports.glob("*/*/checkpoint.pt"))) > 0 or process.poll() is not None, "checkpoints")
            for name in ("ray::ImplicitFunc", "ray::HeadRecords"):
                victims = [p for p in psutil.Process(process.pid).children(recursive=True) if name in " ".join(_cmdline(p))]
                assert victims, log.read_text()[-3000:]
                victims[0].kill()
            assert process.wait(DONE_S) == 0, log.read_text()[-3000:]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert log.read_text().count("records its trials through this machine") == 1
    disturbed = open_sweep(storage, "s")
    assert sweep_table(disturbed, "csv") == sweep_table(calm, "csv")
    kept = [[t.metrics["test/linear"], [r["train/loss"] for r in t.reports[1:]]] for t in disturbed.trials()]
    assert kept == [[t.metrics["test/linear"], [r["train/loss"] for r in t.reports[1:]]] for t in calm.trials()]
    assert any(len(list(t.folder.glob("attempt-*"))) > 1 for t in disturbed.trials())
    for trial in disturbed.trials():  # what the worker printed came with the reports
        assert f"epoch 40/40: train/loss {trial.reports[-1]['train/loss']:.4g}" in (trial.attempt / "output.log").read_text()
