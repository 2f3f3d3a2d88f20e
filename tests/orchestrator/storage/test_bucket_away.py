"""A bucket that is away, or refuses, for longer than a test may take: the clock that the driver waits by is the test's."""

import time

import pytest

from orchestrator.storage import lease as lease_module
from results.bucket import objects
from results.record import patience

pytestmark = pytest.mark.server


class Clock:
    """Stands in for the module time: nobody sleeps, and after so many seconds of sleep something happens."""

    time = staticmethod(time.time)

    def __init__(self, after, happens):
        self.began = self.now = time.monotonic()
        self.after, self.happens = after, happens

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.now - self.began >= self.after and self.happens:
            happens, self.happens = self.happens, None
            happens()


@pytest.fixture
def clock(monkeypatch):
    """``clock(seconds, happens)`` → the clock of patience and of the lease, by which that happens after so many seconds."""
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 0})

    def set_clock(after, happens):
        made = Clock(after, happens)
        for module in (patience, lease_module):
            monkeypatch.setattr(module, "time", made)
        return made

    return set_clock


def test_a_bucket_that_is_away_for_minutes_is_waited_for_and_the_lease_still_holds(clock, head, s3):
    told = []
    head.mirror.tell = told.append
    first = head.sweep.digests[0]
    head.sweep.run(first)
    s3.stop()
    passed = clock(90, s3.start)
    head.mirror.settle(first)
    assert 90 <= passed.now - passed.began < 120
    assert told[0].endswith(": the bucket does not answer; waiting")
    assert told[-1] == ""
    assert head.bucket.get(f"s/trials/{first}/result.json") is not None
    assert not head.lease.lost
    head.leave()


def test_a_patience_that_runs_out_is_an_error(clock, head, s3, monkeypatch):
    monkeypatch.setenv("ALPHACL_PATIENCE_S", "600")
    first = head.sweep.digests[0]
    head.sweep.run(first)
    s3.stop()
    passed = clock(3600, None)
    with pytest.raises(objects.BucketError, match="the bucket does not answer"):
        head.mirror.settle(first)
    assert 560 < passed.now - passed.began <= 600
    s3.start()
    head.mirror.settle(first)
    head.leave()


def test_credentials_that_expire_are_waited_for_and_new_ones_are_found(clock, s3, tmp_path, monkeypatch, request):
    def write(key):
        (tmp_path / "keys").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")

    write("oldkey")
    address = request.getfixturevalue("address")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setattr(objects, "CREDENTIALS_HOLD", objects.CREDENTIALS_HOLD * 0)
    head, told = request.getfixturevalue("head"), []
    head.mirror.tell = told.append
    first = head.sweep.digests[0]
    head.sweep.run(first)
    s3.has_expired = "oldkey"
    try:
        clock(600, lambda: write("newkey"))
        head.mirror.settle(first)
    finally:
        s3.has_expired = False
    assert "the bucket refused (ExpiredToken: The provided token has expired.); waiting" in told[0]
    assert head.bucket.address.text == address
    assert head.bucket.get(f"s/trials/{first}/result.json") is not None
    head.leave()
