"""A sweep in a bucket whose head is killed and whose disk is removed; then resumed elsewhere, from the bucket alone."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from results.bucket.address import Address
from results.bucket.objects import Bucket
from results.record.reader import open_sweep
from results.table import sweep_table

DONE_S = 420  # seconds; where the machine was given half of its processors, the resumed sweep took more than 240


def start(address, file, cache, log, command="sweep"):
    words = [sys.executable, "-m", "orchestrator", command, *([str(file), "--name"] if command == "sweep" else []), "s"]
    environment = {**os.environ, "ALPHACL_CACHE": str(cache), "ALPHACL_SAVE_SHARE": "inf", "HOME": str(cache.parent)}
    with open(log, "ab") as out:
        return subprocess.Popen([*words, "--storage", address], stdout=out, stderr=out, env=environment, start_new_session=True)


def wait_for(condition, process, log):
    deadline = time.monotonic() + DONE_S
    while not (found := condition()):
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.3)  # a look at the bucket is many requests
    return found


@pytest.mark.ray
@pytest.mark.timeout(1500)
def test_a_head_that_is_killed_and_whose_disk_is_gone_is_replaced_from_the_bucket(
    tmp_path, calm_grid, address, s3, alphacl, monkeypatch
):
    (file, calm), log, bucket = calm_grid, tmp_path / "log", Bucket(Address(address))
    folder = Address(address).folder().name

    def held(ending):
        return {e.key: bucket.get(e.key)[0] for e in bucket.entries("s") if e.key.endswith(ending)}

    def under_way():
        finished = {key.split("/")[2] for key in held("/result.json")}
        return {key: content for key, content in held("/checkpoint.pt").items() if key.split("/")[2] not in finished}

    process = start(address, file, tmp_path / "first/cache", log)
    try:
        wait_for(lambda: held("/reports.jsonl"), process, log)
        s3.stop()  # the bucket is away for a while
        threading.Timer(6, s3.start).start()
        time.sleep(8)
        wait_for(lambda: len(held("/result.json")) >= 1 and under_way(), process, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    results, checkpoints, reports = held("/result.json"), under_way(), held("/reports.jsonl")
    assert 1 <= len(results) < 4
    while (tmp_path / "first").exists():  # its workers take a moment to notice that they are alone, and write until then
        shutil.rmtree(tmp_path / "first", ignore_errors=True)

    # The bucket is read where it is, from a machine that never saw the sweep.
    code, out, err = alphacl("status", "s", "--storage", address, "--json")
    assert code == 0, err
    assert json.loads(out)["counts"]["finished"] == len(results)
    assert f"--storage {address}" in alphacl("table", "s", "--storage", address, "--format", "md")[1]

    process = start(address, file, tmp_path / "second/cache", log, "resume")
    assert process.wait(DONE_S) == 0, log.read_text()[-3000:]
    text = log.read_text()
    assert "waiting up to 30 s to see whether the driver of 's' still lives" in text
    assert f"Everything lies in:  {address}/s" in text
    after = held("/result.json")
    assert len(after) == 4
    assert {key: after[key] for key in results} == results, "what was mirrored was not computed again"
    assert not held("/checkpoint.pt")
    for key, content in checkpoints.items():  # nor an epoch up to a checkpoint: its row is the old one, with its time
        digest, epoch = key.split("/")[2], torch.load(io.BytesIO(content))["epoch"]
        rows = [json.loads(line) for line in reports[key.replace("checkpoint.pt", "reports.jsonl")].splitlines()]
        (mine,) = (t for t in open_sweep(tmp_path / "second/cache" / folder, "s").trials() if t.digest == digest)
        assert mine.reports[: epoch + 1] == rows[: epoch + 1]
        print(f"{digest}: went on from epoch {epoch}; {len(rows) - 1} epochs were mirrored")
    assert checkpoints
    print(f"{len(results)} of 4 results were mirrored when the head was killed")

    monkeypatch.setenv("ALPHACL_CACHE", str(tmp_path / "third"))
    assert alphacl("table", "s", "--storage", address, "--format", "csv")[0] == 0
    copy = open_sweep(Address(address).folder(), "s")
    assert sweep_table(copy, "csv") == sweep_table(calm, "csv")
    for mine, undisturbed in zip(copy.trials(), calm.trials(), strict=True):
        assert [r["epoch"] for r in mine.reports] == list(range(41))
        assert [r.get("train/loss") for r in mine.reports] == [r.get("train/loss") for r in undisturbed.reports]
    code, out, _ = alphacl("compare", "s", calm.folder, "--storage", address)
    assert code == 0
    assert "Settings and environment are the same in both" in out
    code, _, err = alphacl("sweep", file, "--name", "s", "--storage", address)
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"exists in {address}" in err
