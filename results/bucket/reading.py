"""Lets a command that reads sweeps read them from a bucket: what it needs is brought down before the command begins."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from results.bucket.address import STANDS_FOR, Address
from results.bucket.fetch import Copy
from results.bucket.objects import Bucket, BucketError
from results.record.layout import SPACE, SWEEP
from trainer.errors import UserError

HERE = ("doctor", "ui")  # they look at this machine
DRIVES = ("sweep", "resume", "retry", "remove", "rename")  # they bring down, and write, what they need
READS = ("stop", "status", "table", "report", "sensitivity", "compare", "export", "track", "log", "best", "trials")


@contextlib.contextmanager
def located(arguments: argparse.Namespace) -> Iterator[None]:
    """Have ``arguments.storage`` be a folder while the block runs, where ``--storage`` gave the address of a bucket.

    ``arguments.bucket`` is then the bucket, else None, and ``arguments.cleanup`` an ExitStack that is closed at the end.

    Raises:
        UserError: if the command does not work on a bucket, the bucket does not answer, or has no such sweep.
    """
    address, command = getattr(arguments, "storage", None), getattr(arguments, "command", "table")
    arguments.bucket = None
    if not isinstance(address, Address):
        yield
        return
    if command not in (*DRIVES, *READS, *HERE):
        raise UserError(f"--storage {address}: 'alphacl {command}' works on a folder alone; give one, such as --storage runs")
    arguments.bucket = bucket = Bucket(address)
    bucket.check()
    arguments.storage = address.folder(getattr(arguments, "cache", None))
    try:
        arguments.storage.mkdir(parents=True, exist_ok=True)
        (arguments.storage / STANDS_FOR).write_text(f"{address}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--cache: cannot write to {arguments.storage}: {error.strerror or error}") from None
    if command in READS and not getattr(arguments, "from_mlflow", None):
        for name in _names(arguments, bucket):
            Copy(bucket, arguments.storage, name).bring_down()
    with contextlib.ExitStack() as arguments.cleanup:
        yield


def folder_of(place: Path | Address, name: str, whole: bool = False) -> Path:
    """Return the folder in which a sweep of a place can be read: of a bucket, one to which the sweep has been brought down.

    Args:
        place: the folder, or the address.
        name: the sweep's name.
        whole: whether checkpoints and encoders are brought down, too.

    Raises:
        UserError: if the bucket has no such sweep, or does not answer.
    """
    if not isinstance(place, Address):
        return place
    folder = place.folder()
    Copy(Bucket(place), folder, name).bring_down(whole)
    return folder


def launched_space(place: Path | Address, name: str) -> str | None:
    """Return the YAML that the sweep of a place was launched with; None where there is no such sweep.

    Raises:
        UserError: if the bucket does not answer.
    """
    if not isinstance(place, Address):
        is_there = (place / name / SWEEP).exists()
        return (place / name / SPACE).read_text(encoding="utf-8") if is_there else None
    bucket = Bucket(place)
    try:
        found = bucket.get(f"{name}/{SPACE}") if bucket.has(f"{name}/{SWEEP}") else None
    except BucketError as error:
        raise UserError(f"--storage: {error}") from None
    return found[0].decode("utf-8") if found else None


def _names(arguments: argparse.Namespace, bucket: Bucket) -> list[str]:
    """Return the sweeps that a command names; all that there are where it names none."""
    given = [value for value in (getattr(arguments, key, None) for key in ("name", "a", "b")) if value]
    try:
        names = given or bucket.sweeps()
    except BucketError as error:
        raise UserError(f"--storage: {error}") from None
    return [name for name in names if os.sep not in name]
