import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from results.record.checkpoint_policy import CheckpointPolicy
from results.record.reader import TrialRecord
from results.record.sweep_writer import SweepWriter
from results.record.trial_writer import Superseded, TrialWriter
from search_spaces import load_spec
from trainer import Report, TrialConfig, UserError
from trainer.files import load_checkpoint, save_checkpoint

CONFIG = TrialConfig(epochs=3)


def report(epoch, final=False):
    record = {"digest": CONFIG.digest, "metrics": {"test/linear": 1.0}} if final else None
    return Report(epoch, 3, {"train/loss": float(epoch)}, lambda: {"epoch": epoch, "encoder": {"w": torch.ones(2)}}, record)


def make(tmp_path):
    folder = TrialWriter(tmp_path / CONFIG.digest)
    folder.plan(CONFIG, 0)
    return folder


def test_a_trial_goes_on_from_its_last_checkpoint_and_forgets_later_reports(tmp_path):
    folder = make(tmp_path)
    assert folder.begin() is None
    for epoch in (0, 1):
        folder.add(report(epoch))
    save_checkpoint(folder.attempt / "checkpoint.pt", report(1).state())
    with open(folder.attempt / "reports.jsonl", "a", encoding="utf-8") as file:
        file.write('{"epoch": 2, "at": 1, "train/loss": 9.0}\n{"epoch": 3, "tr')  # written after it, then the power went
    folder.fail("failed", "boom")
    assert folder.attempt.name == "attempt-0001"
    assert TrialWriter(folder.folder).begin()["epoch"] == 1
    record = TrialRecord(folder.folder)
    assert [row["epoch"] for row in record.reports] == [0, 1]
    assert record.status == "started"


def test_a_sweep_is_there_whole_or_not_at_all(tmp_path, write, monkeypatch):
    spec = load_spec(write("trial: {epochs: 1}\nspace: {seed: [0, 1]}\n"))

    def full(*words):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("results.record.schema.write_json", full)
        with pytest.raises(UserError, match=r"cannot write the sweep folder .*: No space left on device"):
            SweepWriter.create(tmp_path / "runs", "s", spec, {})
    folder = SweepWriter.create(tmp_path / "runs", "s", spec, {})  # the name is still free
    assert len(folder.record.trials()) == 2
    assert [f.name for f in (tmp_path / "runs").iterdir()] == ["s"]


def test_status_follows_the_files(tmp_path):
    folder = make(tmp_path)
    assert TrialRecord(folder.folder).status == "waiting"
    folder.begin()
    folder.add(report(0))
    assert TrialRecord(folder.folder).status == "started"
    folder.fail("diverged", "x")
    assert TrialRecord(folder.folder).status == "diverged"
    folder = TrialWriter(folder.folder)
    folder.begin()
    folder.add(report(3, final=True))
    record = TrialRecord(folder.folder)
    assert record.status == "finished"
    assert not list(folder.folder.glob("*/checkpoint.pt"))
    assert load_checkpoint(record.encoder)["w"].tolist() == [1, 1]


def test_a_damaged_checkpoint_starts_the_trial_again(tmp_path):
    folder = make(tmp_path)
    folder.begin()
    folder.add(report(0))
    (folder.attempt / "checkpoint.pt").write_bytes(b"PK garbage")
    assert TrialWriter(folder.folder).begin() is None
    assert TrialRecord(folder.folder).reports == []


def test_what_is_written_is_for_whoever_shares_the_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from pathlib import Path; from trainer.files import write_json; write_json(Path('x.json'), {})"],
        cwd=tmp_path, umask=0o027, env={**os.environ, "PYTHONPATH": os.getcwd()}, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert oct((tmp_path / "x.json").stat().st_mode & 0o777) == "0o640"


def test_a_checkpoint_is_old_or_new_and_never_half(tmp_path):
    file = tmp_path / "c.pt"
    save_checkpoint(file, {"epoch": 1})

    class Bomb:
        def __reduce__(self):
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        save_checkpoint(file, {"epoch": 2, "bomb": Bomb()})
    assert load_checkpoint(file) == {"epoch": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["c.pt"]


def test_a_worker_that_was_cut_off_cannot_overwrite_a_newer_attempt(tmp_path):
    stale = make(tmp_path)
    stale.begin()
    stale.add(report(0))
    fresh = TrialWriter(stale.folder)
    assert fresh.begin()["epoch"] == 0
    fresh.add(report(1))
    with pytest.raises(Superseded):
        stale.add(report(1))
    stale.fail("failed", "the link was down")  # it may still say so, in its own attempt
    record = TrialRecord(stale.folder)
    assert (record.status, [row["epoch"] for row in record.reports]) == ("started", [0, 1])
    fresh.add(report(3, final=True))
    assert TrialRecord(stale.folder).result["attempt"] == "attempt-0002"


def test_of_two_attempts_that_finish_at_once_the_first_is_the_result(tmp_path, monkeypatch):
    first, second = make(tmp_path), make(tmp_path)
    first.begin()
    second.begin()
    monkeypatch.setattr("results.record.trial_writer.newest_attempt", lambda folder: first.attempt)  # the newer one not seen yet
    first.add(report(3, final=True))
    monkeypatch.undo()
    with pytest.raises(Superseded):
        second._finish(report(3, final=True))
    record = TrialRecord(first.folder)
    assert record.result["attempt"] == "attempt-0001"
    assert record.encoder == first.attempt / "encoder.pt"


def test_workers_that_begin_a_trial_at_once_have_an_attempt_each(tmp_path):
    folder = make(tmp_path).folder
    together = threading.Barrier(8)

    def begin(number):
        writer = TrialWriter(folder)
        together.wait()
        writer.begin()
        writer.append({"epoch": 0, "at": 1.0, "worker": number})
        return writer.attempt.name

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            names = list(pool.map(begin, range(8)))
            assert len(set(names)) == 8
    attempts = sorted(path.name for path in folder.glob("attempt-*"))
    assert attempts == [f"attempt-{number:04}" for number in range(1, 41)], "none is left out"
    assert all(len((folder / name / "reports.jsonl").read_text().splitlines()) == 1 for name in attempts)


def test_without_hard_links_the_result_is_renamed_into_place(tmp_path, monkeypatch):
    def refuse(*words):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder = make(tmp_path)
    folder.begin()
    late = TrialWriter(folder.folder)
    late.begin()
    late.add(report(3, final=True))
    with pytest.raises(Superseded):
        folder.add(report(3, final=True))
    record = TrialRecord(folder.folder)
    assert (record.status, record.result["attempt"]) == ("finished", "attempt-0002")
    assert not (late.attempt / "result.json").exists(), "no draft is left"
    assert not list(folder.folder.glob("*/checkpoint.pt"))


@pytest.mark.parametrize(("epoch_s", "save_s"), [(1.0, 0.01), (1.0, 1.0), (0.1, 3.0)])
def test_saving_takes_no_more_than_its_share(monkeypatch, epoch_s, save_s):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    policy, saved, since, longest = CheckpointPolicy(share=0.05), 0, 0.0, 0.0
    for _ in range(2000):
        now[0] += epoch_s
        since += epoch_s
        if policy.is_due():
            with policy.saving():
                now[0] += save_s
            longest, since, saved = max(longest, since), 0.0, saved + 1
    assert saved * save_s <= 0.05 * now[0] + save_s
    assert longest <= max(epoch_s, 20 * save_s) + 2 * epoch_s, "what a crash costs is bounded as well"


def test_a_clock_that_is_set_back_changes_no_order(tmp_path, monkeypatch):
    folder = TrialWriter(make(tmp_path).folder, policy=CheckpointPolicy(share=float("inf")))
    folder.begin()
    folder.add(report(0))
    hour_ago = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: hour_ago)
    folder.add(report(1))
    folder.add(report(1))  # computed again: the later line counts, whatever the clock says
    later = TrialWriter(folder.folder)
    assert later.begin()["epoch"] == 1
    later.add(report(2))
    with pytest.raises(Superseded):
        folder.add(report(2))
    later.add(report(3, final=True))
    record = TrialRecord(folder.folder)
    assert [row["epoch"] for row in record.reports] == [0, 1, 2, 3]
    assert record.result["attempt"] == "attempt-0002"


def test_a_damaged_record_is_told_and_spoils_nothing_else(tmp_path):
    folder = make(tmp_path)
    (folder.folder / "result.json").write_text('{"digest": "')
    record = TrialRecord(folder.folder)
    assert record.status == "damaged"
    assert "result.json is damaged" in record.problem
