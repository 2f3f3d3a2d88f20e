"""Claims, mirrors, renames and removes a sweep that lives in a bucket, for the commands that write one."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.storage.lease import Lease
from orchestrator.storage.mirror import Mirror
from results.bucket.fetch import Copy
from results.bucket.objects import Bucket, BucketError, no_sweep, remove_sweep
from results.record.layout import SWEEP
from results.record.reader import open_sweep
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError


@dataclass
class Claim:
    """A sweep of a bucket that this process may drive.

    Args:
        copy: its copy on this machine.
        lease: what keeps others out.
        new: whether it is being launched.
    """

    copy: Copy
    lease: Lease
    new: bool


def claim(arguments: argparse.Namespace, name: str, new: bool) -> None:
    """Take the sweep of a bucket for this process, as ``arguments.claim``, and bring down what there is of it.

    Nothing is done where the storage is a folder.

    Args:
        arguments: the parsed options, of which :func:`results.bucket.reading.located` has made ``bucket`` and ``cleanup``.
        name: the sweep's name.
        new: whether there must be no such sweep.

    Raises:
        UserError: if another driver has the sweep, it is there or not there against ``new``, or the bucket does not answer.
    """
    bucket: Bucket | None = getattr(arguments, "bucket", None)
    if bucket is None or getattr(arguments, "claim", None) is not None:
        return
    copy = Copy(bucket, arguments.storage, name)
    try:
        with copy.locked():
            _refuse_driven(copy)
            is_there = bucket.has(f"{name}/{SWEEP}")
            if not new and not is_there:
                raise no_sweep(bucket, name)
            if new and is_there:
                raise UserError(
                    f"the sweep {name!r} exists in {bucket.address}; go on with"
                    f" 'alphacl resume {name} --storage {bucket.address}', or choose another --name"
                )
            lease = Lease(copy, on_loss=lambda: os.kill(os.getpid(), signal.SIGINT))
            lease.is_unused = new
            before = lease.take(say=lambda line: print(line, flush=True))
            arguments.cleanup.callback(lease.release)
            if new:
                copy.set_aside()
        if not new:
            copy.bring_down(whole=True, lease=before)
        copy.own(lease.owner)
    except BucketError as error:
        raise UserError(f"--storage: {error}") from None
    arguments.claim = Claim(copy, lease, new)


def _refuse_driven(copy: Copy) -> None:
    """Refuse a sweep that another process of this machine drives."""
    if (copy.folder / SWEEP).exists() and SweepWriter(open_sweep(copy.storage, copy.name)).is_driven():
        raise UserError(
            f"the sweep {copy.name!r} is being run by another process of this machine;"
            f" follow it with 'alphacl status {copy.name} --storage {copy.bucket.address}'"
        )


@contextlib.contextmanager
def mirrored(folder: SweepWriter, arguments: argparse.Namespace) -> Iterator[None]:
    """Mirror the sweep folder into its bucket while the block runs; do nothing where the storage is a folder.

    Raises:
        UserError: if the bucket can't be written.
    """
    held: Claim | None = getattr(arguments, "claim", None)
    if held is None:
        yield
        return
    mirror = Mirror(held.copy, held.lease)
    try:
        mirror.start()
        held.lease.is_unused = False
    except BucketError as error:
        if held.new:
            shutil.rmtree(folder.path, ignore_errors=True)
            mirror.remove()
            held.lease.is_unused = True
        raise UserError(f"--storage: {error}") from None
    folder.mirror = mirror
    try:
        yield
    finally:
        if folder.path.exists():
            problem = mirror.close()
            if problem:
                print(f"alphacl: {problem}", file=sys.stderr)
        else:
            mirror.remove()
            held.lease.is_unused = True


def removed(arguments: argparse.Namespace) -> None:
    """Remove a claimed sweep from its bucket; do nothing where the storage is a folder.

    Raises:
        UserError: if the bucket does not answer, or refuses.
    """
    held: Claim | None = getattr(arguments, "claim", None)
    if held is None:
        return
    try:
        remove_sweep(held.copy.bucket, held.copy.name)
    except BucketError as error:
        raise UserError(f"--storage: {error}") from None
    held.lease.is_unused = True
    held.copy.disown()


def renamed(arguments: argparse.Namespace, new: str) -> None:
    """Give a claimed sweep of a bucket, whose folder here has its new name already, that name in the bucket too.

    It is there whole under its new name before the old one goes. Nothing is done where the storage is a folder.

    Args:
        arguments: the parsed options, with the claim.
        new: the new name, which :func:`check_free` has found free.

    Raises:
        UserError: if the bucket does not answer, or another driver has just taken the name.
    """
    held: Claim | None = getattr(arguments, "claim", None)
    if held is None:
        return
    copy = Copy(held.copy.bucket, held.copy.storage, new)
    lease = Lease(copy, on_loss=lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        lease.take()
        copy.own(lease.owner)
        mirror = Mirror(copy, lease)
        mirror.start()
        problem = mirror.close()
        lease.release()
    except BucketError as error:
        problem = str(error)
    if problem:
        raise UserError(f"--storage: {problem}")
    removed(arguments)


def check_free(arguments: argparse.Namespace, name: str) -> None:
    """Refuse a name that a sweep of the bucket has. Raises UserError, also where the bucket does not answer."""
    bucket: Bucket | None = getattr(arguments, "bucket", None)
    try:
        if bucket is not None and bucket.has(f"{name}/{SWEEP}"):
            raise UserError(f"{bucket.address}/{name} is there already; choose another name")
    except BucketError as error:
        raise UserError(f"--storage: {error}") from None
