"""A head that drives a sweep of a bucket, without training."""

import contextlib
import types

import pytest

from orchestrator.storage.lease import Lease
from orchestrator.storage.mirror import Mirror
from results.bucket.address import Address
from results.bucket.fetch import Copy
from results.bucket.objects import Bucket


@pytest.fixture
def head(address, tmp_path, fake_sweep):
    """A head that drives the fake sweep 's' of the bucket, until ``head.leave()``."""
    copy = Copy(Bucket(Address(address)), tmp_path / "head", "s")
    with contextlib.ExitStack() as stack:
        lease = Lease(copy, on_loss=lambda: None)
        lease.take()
        stack.callback(lease.release)
        sweep = fake_sweep(storage=tmp_path / "head")
        copy.own(lease.owner)
        sweep.folder.mirror = mirror = Mirror(copy, lease)
        mirror.start()
        stack.callback(mirror.close)
        yield types.SimpleNamespace(sweep=sweep, mirror=mirror, bucket=copy.bucket, leave=stack.pop_all().close, lease=lease)
