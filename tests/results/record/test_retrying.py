"""Trials that are made to wait again, and requests to a driver."""

import pytest

from results.record.driver_requests import read_requests, request_stop
from results.record.retrying import make_wait_again
from results.record.status import Status


@pytest.mark.slow
def test_a_trial_that_is_over_waits_again_and_keeps_what_it_had(fake_sweep):
    sweep = fake_sweep()
    finished, stopped, failed, waiting = sweep.digests[:4]
    sweep.run(finished)
    sweep.stop(stopped, 1)
    sweep.run(failed, range(2))
    sweep.workers[failed].fail(Status.DIVERGED, "nan")
    sweep.folder.trial(waiting).stop(0, by="user")
    before = sweep.folder.read(finished).metrics
    for digest in (finished, stopped, failed, waiting):
        assert sweep.folder.read(digest).status.is_over
        make_wait_again(sweep.folder.trials / digest)
        assert sweep.folder.read(digest).status == Status.WAITING
        assert not list((sweep.folder.trials / digest).glob("*/checkpoint.pt")), "it begins anew"
    first = sweep.folder.trials / finished / "attempt-0001"
    assert {f.name for f in first.iterdir()} >= {"result.json", "reports.jsonl", "encoder.pt"}
    assert (sweep.folder.trials / stopped / "attempt-0001" / "stopped.json").exists()
    assert (sweep.folder.trials / failed / "attempt-0001" / "error.json").exists()

    sweep.run(finished)
    again = sweep.folder.read(finished)
    assert again.status == Status.FINISHED
    assert again.attempt.name == "attempt-0003", "the second was empty: it made the trial wait"
    assert again.metrics != before


def test_a_request_is_there_until_it_is_taken(tmp_path):
    request = request_stop(tmp_path, ["a", "b"])
    assert not request.is_taken(0.2)
    (tmp_path / "requests" / "stop-0-x.json").write_text("{")
    (tmp_path / "requests" / "stop-1-x.json").write_text('{"stop": "all"}')
    (found,) = read_requests(tmp_path)
    assert (found.digests, found.by) == (("a", "b"), request.by)
    found.take()
    assert request.is_taken(0)
    assert list((tmp_path / "requests").iterdir()) == [], "what cannot be read is removed"
