"""Sweeps in a bucket: the lease, the mirror and its order, bringing down, and a bucket that is away or refuses."""

import argparse
import contextlib
import json
import os
import random
import shutil
import threading
import time

import pytest

from orchestrator.storage import lease as lease_module
from orchestrator.storage.driving import claim, mirrored
from orchestrator.storage.lease import Lease
from orchestrator.storage.mirror import Mirror
from results.bucket.address import Address
from results.bucket.fetch import Copy, is_plain
from results.bucket.objects import ABSENT, Bucket, BucketError, Conflict
from results.record.reader import open_sweep
from trainer import UserError

pytestmark = pytest.mark.server


def lost(*nothing):
    """What a lease calls that is lost."""


@pytest.fixture
def driven(address, tmp_path, fake_sweep):
    """``driven(machine)`` → a fake sweep 's' that this machine drives, its lease and its mirror; all are ended in the end."""
    with contextlib.ExitStack() as stack:

        def drive(machine="one"):
            copy = Copy(Bucket(Address(address)), tmp_path / machine, "s")
            lease = Lease(copy, lost)
            before = lease.take()
            stack.callback(lease.release)
            if before:
                copy.bring_down(whole=True, lease=before)
                sweep = None
            else:
                sweep = fake_sweep(storage=tmp_path / machine)
            copy.own(lease.owner)
            mirror = Mirror(copy, lease)
            mirror.start()
            stack.callback(mirror.close)
            return sweep, lease, mirror

        yield drive


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and "lock" not in p.name}


def test_writes_keep_their_conditions_under_races(address):
    """Eight writers, ten keys: of each one writer wins, and it is its content that is there."""
    bucket, won = Bucket(Address(address)), []

    def write(writer):
        for key in range(10):
            with contextlib.suppress(Conflict):
                bucket.put(f"k{key}", f"{writer}".encode(), ABSENT)
                won.append((f"k{key}", writer))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for key, _ in won) == [f"k{n}" for n in range(10)]
    for key, writer in won:
        assert bucket.get(key)[0] == str(writer).encode()
    _, tag = bucket.get("k0")
    bucket.put("k0", b"new", tag)
    with pytest.raises(Conflict):
        bucket.put("k0", b"newer", tag)
    assert bucket.get("nothing") is None


def test_a_file_of_many_parts_is_whole(address, tmp_path, seed):
    content = random.Random(seed).randbytes(20_000_000)
    (tmp_path / "file").write_bytes(content)
    bucket = Bucket(Address(address))
    with open(tmp_path / "file", "rb") as file:
        bucket.put("big", file)
    assert bucket.get("big")[0] == content


def test_the_bucket_holds_what_the_folder_holds_and_another_machine_goes_on_with_it(driven, tmp_path, s3):
    sweep, lease, mirror = driven()
    first, second, third, *_ = sweep.digests
    sweep.run(first)
    mirror.settle(first)
    sweep.begin(second)
    sweep.report(second, 0)
    sweep.report(second, 1)
    sweep.stop(third, 1)
    mirror.mark([second, third])
    assert mirror.close() == ""
    written = [key for method, key in s3.writes if method == "PUT"]
    assert written.index("s/sweep.json") > max(n for n, key in enumerate(written) if key.endswith("config.json"))
    for file in ("reports.jsonl", "encoder.pt"):
        assert written.index(f"s/trials/{first}/attempt-0001/{file}") < written.index(f"s/trials/{first}/result.json")
    reports, checkpoint = (f"s/trials/{second}/attempt-0001/{name}" for name in ("reports.jsonl", "checkpoint.pt"))
    assert written.index(reports) < written.index(checkpoint)
    left = f"s/trials/{first}/attempt-0001/checkpoint.pt"
    mirror.bucket.put(left, b"killed before it went")
    lease.release()

    here = files(sweep.folder.path)
    shutil.rmtree(tmp_path / "one")  # the head and its disk are gone
    _, _, other = driven("two")
    there = files(tmp_path / "two" / "s")
    assert there == here
    assert not other.bucket.has(left)
    record = open_sweep(tmp_path / "two", "s")
    assert [t.status for t in record.trials()][:3] == ["finished", "started", "stopped"]
    (tmp_path / "two/s/trials" / second / "attempt-0001/checkpoint.pt").unlink()
    other.mark([second])
    other.close()
    assert not [e for e in other.bucket.entries("s") if e.key.endswith("checkpoint.pt") and second in e.key]


def test_at_any_moment_the_bucket_can_be_gone_on_with(driven, tmp_path, address, seed):
    """A copy is brought down again and again while a driver works: it is never damaged, and lacks no settled trial."""
    sweep, _, mirror = driven()
    settled, over = set(), threading.Event()
    copy, seen = Copy(Bucket(Address(address)), tmp_path / "reader", "s"), []

    def read():
        while not over.is_set():
            before = set(settled)
            copy.bring_down(whole=True)
            trials = {t.digest: t for t in open_sweep(tmp_path / "reader", "s").trials()}
            assert len(trials) == 10
            assert not [t.problem for t in trials.values() if t.problem]
            assert all(trials[digest].status == "finished" for digest in before)
            for trial in trials.values():
                assert trial.status != "finished" or [r["epoch"] for r in trial.reports] == [0, 1, 2, 3]
                for checkpoint in trial.folder.glob("*/checkpoint.pt"):
                    assert trial.status == "finished" or checkpoint.stat().st_size
            seen.append(len(before))

    failed = []

    def reader():
        try:
            read()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    for digest in sweep.digests:
        sweep.begin(digest)
        for epoch in range(4):
            sweep.report(digest, epoch)
            mirror._trial(digest, final=True)
        mirror.settle(digest)
        settled.add(digest)
    over.set()
    thread.join()
    assert not failed, failed
    assert len(seen) > 1


def test_a_sweep_has_one_driver_and_a_dead_one_is_replaced(driven, address, tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "HELD_S", 4.0)
    monkeypatch.setattr(lease_module, "RENEWED_S", 0.5)
    _, lease, mirror = driven()
    other = Copy(Bucket(Address(address)), tmp_path / "two", "s")
    with pytest.raises(UserError, match=r"'s' is being run by process \d+ on .*; follow it with 'alphacl status s --storage s3:"):
        Lease(other, lost).take()
    lease._over.set()  # as if it was killed: it renews no more
    lease._thread.join()
    said, took = [], Lease(other, lost)
    took.take(said.append)
    assert said[0].startswith("waiting up to 4 s to see whether the driver of 's' still lives")
    lease._over.clear()
    lease._renew_once()  # it was only cut off, and comes back
    assert lease.lost
    with pytest.raises(BucketError, match="another driver has taken the sweep 's'"):
        lease.check()
    assert "another driver has taken the sweep 's'; what was computed here since lies in" in mirror.close()
    took.release()


def test_a_killed_driver_goes_on_at_once_on_its_own_machine_with_what_was_not_mirrored(driven, address, tmp_path):
    sweep, lease, mirror = driven()
    lease._over.set()
    mirror._over.set()
    sweep.run(sweep.digests[0])  # finished on the disk alone
    began = time.monotonic()
    _, _, again = driven("one")
    assert time.monotonic() - began < 20
    assert again.bucket.get(f"s/trials/{sweep.digests[0]}/result.json") is not None


def test_what_another_driver_made_since_wins_and_what_lay_here_is_set_aside(driven, address, tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "HELD_S", 1.5)
    sweep, lease, mirror = driven()
    lease._over.set()
    mirror._over.set()
    sweep.run(sweep.digests[0])
    _, other, _ = driven("two")
    other.release()
    driven("one")
    assert open_sweep(tmp_path / "one", "s").trials()[0].status == "waiting"
    assert open_sweep(tmp_path / "one", ".s.left-1").trials()[0].status == "finished"


def test_a_bucket_that_goes_away_and_credentials_that_expire_are_waited_for(driven, s3, tmp_path):
    sweep, _, mirror = driven()
    told = []
    mirror.tell = told.append
    first, second, *_ = sweep.digests
    sweep.run(first)
    s3.stop()
    threading.Timer(3, s3.start).start()
    mirror.settle(first)
    assert told[0].startswith("storage: s3://")
    assert told[0].endswith(": the bucket does not answer; waiting")
    assert told[-1] == ""
    assert mirror.bucket.get(f"s/trials/{first}/result.json") is not None
    sweep.run(second)
    s3.has_expired = True
    threading.Timer(3, lambda: setattr(s3, "has_expired", False)).start()
    told.clear()
    mirror.settle(second)
    assert "the bucket refused (ExpiredToken: The provided token has expired.); waiting" in told[0]
    assert mirror.bucket.get(f"s/trials/{second}/result.json") is not None


def test_a_launch_that_is_refused_leaves_nothing_in_the_bucket(address, tmp_path, fake_sweep):
    bucket = Bucket(Address(address))
    with contextlib.ExitStack() as cleanup:
        arguments = argparse.Namespace(bucket=bucket, storage=tmp_path / "one", cleanup=cleanup)
        claim(arguments, "s", new=True)
        sweep = fake_sweep(storage=tmp_path / "one")

        def launch():
            with mirrored(sweep.folder, arguments):
                assert bucket.has("s/sweep.json")
                sweep.folder.discard_unused()
                raise UserError("no node can hold a trial")

        with pytest.raises(UserError, match="no node can hold a trial"):
            launch()
    assert list(bucket.entries("")) == []


def test_a_wrong_address_is_one_line(alphacl, s3, address, monkeypatch):
    def refused(place, *words):
        code, _, err = alphacl(*words, "--storage", place)
        assert code == 2
        assert len(err.splitlines()) == 1
        return err

    assert "there is no bucket 'no-such-bucket'" in refused("s3://no-such-bucket/x", "sweep", "quickstart")
    assert f"no sweep 'nothing' in {address}; it has none yet" in refused(address, "resume", "nothing")
    assert "no sweep 'x' in" in refused(address, "table", "x")
    assert "works on a folder alone" in refused(address, "import", "somewhere")
    code, _, err = alphacl("table", "x", "--storage", "ftp://host/x")
    assert code == 2
    assert "expected a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, got 'ftp://host/x'" in err
    s3.has_expired = True
    try:
        assert "the bucket refused (ExpiredToken" in refused(address, "sweep", "quickstart")
    finally:
        s3.has_expired = False
    s3.stop()
    try:
        assert "the bucket does not answer" in refused(address, "table", "x")
    finally:
        s3.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "no credentials; 'aws configure' writes them" in refused(address, "status")


def test_a_key_that_leads_elsewhere_is_no_file(address, tmp_path):
    assert is_plain("s/trials/x/result.json")
    assert not any(is_plain(key) for key in ("s/../x", "s//x", "/s/x", "s/.ssh/x", "s", "s\\..\\x/y"))
    bucket = Bucket(Address(address))
    bucket.put("s/sweep.json", json.dumps({"name": "s", "trials": 0, "kind": "grid"}).encode())
    bucket.put("s/.hidden/authorized_keys", b"x")
    Copy(bucket, tmp_path / "here", "s").bring_down()
    assert sorted(os.listdir(tmp_path / "here" / "s")) == ["sweep.json"]
