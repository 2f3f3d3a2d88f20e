"""Commands that change a sweep in a bucket, given on another machine than its driver's."""

import pytest

from orchestrator.driver.board import Board
from orchestrator.driver.incoming_requests import Requests
from orchestrator.storage import mirror as mirror_module
from orchestrator.storage.driving import mirrored
from results.bucket.fetch import Copy
from results.bucket.request_objects import request_stop
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter

pytestmark = pytest.mark.server


def test_trials_and_the_sweep_are_stopped_from_another_machine(head, alphacl, address, monkeypatch):
    monkeypatch.setattr(mirror_module, "REQUESTS_EVERY_S", 0.2)
    interrupted = []
    monkeypatch.setattr("orchestrator.driver.incoming_requests.os.kill", lambda *words: interrupted.append(words))
    record = head.sweep.folder.record
    first = record.trials()[0]
    request_stop(head.bucket, "s", [first.digest])  # to a driver of before
    head.bucket.put("s/requests/stop-0.json", b"no request")
    board = Board.of(record, record.trials())
    with Requests(head.sweep.folder, board) as requests:
        code, out, err = alphacl("stop", "s", record.trials()[1].digest, "--storage", address)
        assert (code, err) == (0, "")
        assert "stops " in out
        assert requests.stopping == {record.trials()[1].digest}
        code, out, _ = alphacl("stop", "s", "--storage", address)
        assert f"is stopping the sweep; go on with:  alphacl resume s --storage {address}\n" in out
    assert len(interrupted) == 1
    assert [t.status for t in record.trials()[:2]] == ["waiting", "stopped"]
    assert list(head.bucket.entries("s/requests")) == []
    assert not (head.sweep.folder.path / "requests").exists()
    head.leave()


def test_a_trial_is_run_again_from_another_machine(head, alphacl, address, monkeypatch):
    def resume(arguments):  # without Ray
        folder = SweepWriter(open_sweep(arguments.storage, "s"))
        with folder.driving(), mirrored(folder, arguments):
            return 0

    monkeypatch.setattr("orchestrator.commands.retry.resume", resume)
    digest = head.sweep.digests[0]
    head.sweep.run(digest)
    head.mirror.settle(digest)
    code, _, err = alphacl("retry", "s", digest, "--storage", address)
    assert (code, "is being run by process" in err) == (2, True)
    head.leave()
    code, _, err = alphacl("retry", "s", digest, "--storage", address)
    assert (code, err) == (0, "")
    assert not head.bucket.has(f"s/trials/{digest}/result.json")
    assert head.bucket.has(f"s/trials/{digest}/attempt-0001/result.json")
    code, _, err = alphacl("import", "somewhere", "--storage", address)
    assert (code, "works on a folder alone; give one, such as --storage runs" in err) == (2, True)


def test_what_nobody_drives_is_stopped_renamed_and_removed_in_the_bucket(head, alphacl, address, tmp_path):
    code, _, err = alphacl("remove", "s", "--yes", "--storage", address)
    assert (code, "is being run by process" in err) == (2, True)
    digests = head.sweep.digests
    head.sweep.run(digests[0])
    head.mirror.settle(digests[0])
    head.leave()
    code, out, err = alphacl("stop", "s", digests[1], "--storage", address)
    assert (code, err) == (0, "")
    assert f"'alphacl resume s --storage {address}' will not run" in out
    assert head.bucket.has(f"s/trials/{digests[1]}/stopped.json")
    code, _, err = alphacl("rename", "s", "s", "--storage", address)
    assert (code, "is there already" in err) == (2, True)

    before = {e.key.partition("/")[2] for e in head.bucket.entries("s")}
    code, out, err = alphacl("rename", "s", "new", "--storage", address)
    assert (code, err) == (0, "")
    assert f"s is now new, in {address}/new" in out
    assert head.bucket.sweeps() == ["new"]
    assert list(head.bucket.entries("s")) == []
    assert {e.key.partition("/")[2] for e in head.bucket.entries("new")} == before
    Copy(head.bucket, tmp_path / "third", "new").bring_down(whole=True)
    record = open_sweep(tmp_path / "third", "new")
    assert (record.meta["name"], record.study_name) == ("new", "s")
    assert [t.status for t in record.trials()].count("finished") == 1
    assert record.trials()[0].encoder or record.trials()[1].encoder

    code, out, err = alphacl("remove", "new", "--yes", "--storage", address)
    assert (code, err) == (0, "")
    assert f"removed {address}/new: 10 trials, 1 finished" in out
    assert list(head.bucket.entries("")) == []


def test_a_sweep_in_a_bucket_is_imported_with_its_encoders_into_a_folder(head, alphacl, address, tmp_path):
    digest = head.sweep.digests[0]
    head.sweep.run(digest)
    head.mirror.settle(digest)
    head.leave()
    encoder = f"s/trials/{digest}/attempt-0000/encoder.pt"
    head.bucket.put(encoder, b"weights")
    code, out, err = alphacl("import", f"{address}/s", "--name", "mine", "--storage", tmp_path / "runs")
    assert (code, err) == (0, "")
    assert f"imported mine: {len(head.sweep.digests)} trials, 1 finished" in out
    mine = open_sweep(tmp_path / "runs", "mine")
    assert [t.status for t in mine.trials() if t.digest == digest] == ["finished"]
    assert (tmp_path / "runs" / "mine" / encoder.removeprefix("s/")).read_bytes() == b"weights"
    code, _, err = alphacl("import", f"{address}/nothing", "--storage", tmp_path / "runs")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "nothing" in err
    assert "--storage" not in err
    for wrong in (address.partition("://")[0] + "://bucket-alone", f"{address}/.."):
        code, _, err = alphacl("import", wrong, "--storage", tmp_path / "runs")
        assert (code, "expected a sweep's address" in err) == (2, True)
