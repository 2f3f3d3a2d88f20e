"""Imports a sweep that lies in a folder or a bucket, or a folder of single runs' records, as a sweep of one's own storage."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from results.bucket.address import Address, storage_place
from results.bucket.reading import folder_of
from results.options import add_storage
from results.record import schema
from results.record.layout import (
    CONFIG,
    ENCODER,
    ERROR,
    LAYOUT,
    REPORTS,
    RESULT,
    SPACE,
    STOPPED,
    STUDY,
    SWEEP,
    TRIALS,
    check_name,
    is_name,
)
from results.record.lookup import read_records
from results.record.outside_records import checked
from results.record.reader import SweepRecord, open_sweep
from results.record.status import Status
from results.record.trial_record import TrialRecord, attempts_of
from results.record.trial_writer import TrialWriter
from trainer.errors import UserError
from trainer.files import UMASK, write_json

MOST_BYTES = 1 << 30  # a file larger than this is no record


def import_sweep(source: Path, storage: Path, name: str | None = None, damaged: bool = False) -> SweepRecord:
    """Copy a sweep folder, or a folder of JSON records, into the storage under a name that is free there.

    Everything is read and checked first; only the files of the sweep folder's layout are taken, never links.

    Args:
        source: the folder to import.
        storage: the folder that holds the sweeps.
        name: the sweep's name here; its own when not given.
        damaged: whether a sweep with damaged trials is imported, with these as gaps.

    Raises:
        UserError: if there is nothing to import, the name is taken or bad, or trials are damaged and ``damaged`` is not set.
    """
    is_sweep = (source / SWEEP).is_file()
    given: SweepRecord = open_sweep(source.resolve().parent, source.resolve().name) if is_sweep else read_records(source)
    name = name or str(given.meta.get("name") or given.name)
    check_name(name)
    _check_free(storage, name, given)
    trials = [checked(t) for t in given.trials()]
    bad = [t for t in trials if t.status == Status.DAMAGED]
    if not trials or len(bad) == len(trials):
        why = f"; the first: {bad[0].problem}" if bad else ""
        raise UserError(f"{source}: expected a trial that can be read, found none in {len(trials)}{why}")
    if bad and not damaged:
        raise UserError(
            f"{len(bad)} of {len(trials)} trials are damaged, the first: {bad[0].problem}; --damaged takes them as gaps"
        )
    try:
        storage.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=storage))
        try:
            _copy_sweep(given, scratch) if is_sweep else _write_records(trials, scratch)
            write_json(scratch / SWEEP, _meta(given, name, source))
            scratch.chmod(0o777 & ~UMASK)  # mkdtemp's folders are the user's alone
            scratch.rename(storage / name)  # whole or not at all
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    except OSError as error:
        raise UserError(f"cannot import into {storage / name}: {error.strerror or error}") from None
    return open_sweep(storage, name)


def _check_free(storage: Path, name: str, given: SweepRecord) -> None:
    if not (storage / name).exists():
        return
    there = schema.read(storage / name / SWEEP, schema.SWEEP_FILE, "restore it") or {}
    same = there.get("id") and there.get("id") == given.meta.get("id")
    what = "this same sweep is there already" if same else f"another sweep {name!r} is there"
    raise UserError(f"{storage / name}: {what}; choose another --name")


def _meta(given: SweepRecord, name: str, source: Path) -> dict[str, object]:
    """Return what ``sweep.json`` says of an imported sweep: as it was, under its new name, and where it came from."""
    kind = {"id": uuid.uuid4().hex, "kind": "records"} if given.meta.get("kind") == "records" else {}
    named = {"name": name, "study_name": given.study_name}  # by which the study is found, here or in its database
    meta = {**given.meta, **named, **kind, "layout": LAYOUT, "imported_from": source.resolve().name}
    # Someone else's servers and folders are neither ours to write to nor to import from.
    return {**meta, "tracking_uri": None, "study_storage": None, "plugin_path": [], "reuse": [], "seal": None}


def _copy_sweep(given: SweepRecord, target: Path) -> None:
    for part in (SPACE, STUDY):
        _copy(given.folder / part, target / part)
    for trial in given.trials():
        folder = target / TRIALS / trial.folder.name
        for file in _files(trial.folder):
            _copy(file, folder / file.relative_to(trial.folder))


def _files(folder: Path) -> Iterator[Path]:
    yield from (folder / part for part in (CONFIG, RESULT, STOPPED))
    for attempt in attempts_of(folder):
        yield from (attempt / part for part in (REPORTS, ERROR, ENCODER))


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink():
        raise UserError(f"{source}: expected a file, got a link; copy what it points to in its place")
    if source.is_file():
        if source.stat().st_size > MOST_BYTES:
            raise UserError(f"{source}: expected a file of at most 1 GiB, got {source.stat().st_size} bytes")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _write_records(trials: list[TrialRecord], target: Path) -> None:
    """Write single runs as a sweep folder's trials; those that can't be read are left behind."""
    for index, trial in enumerate(t for t in trials if t.status != Status.DAMAGED):
        TrialWriter(target / TRIALS / trial.digest).adopt(trial, index, trial.role)


def _brought_down(source: Address) -> Path:
    """Fetch the sweep at an address, with its encoders, into this machine's copy of its bucket, and return the copy's folder."""
    place, _, name = source.text.rpartition("/")
    if not place.partition("://")[2] or not is_name(name):
        raise UserError(f"{source}: expected a sweep's address, such as {source.scheme}://{source.bucket}/PREFIX/NAME")
    try:
        return folder_of(Address(place), name, whole=True) / name
    except UserError as error:  # which speaks of the option that other commands have
        raise UserError(str(error).removeprefix("--storage").lstrip(": ")) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl import``."""
    parser.add_argument(
        "source",
        type=storage_place,
        metavar="FOLDER",
        help="a sweep folder, a sweep in a bucket as s3://BUCKET/PREFIX/NAME, or a folder of JSON records of single runs",
    )
    parser.add_argument("--name", metavar="N", help="its name here (default: its own)")
    parser.add_argument("--damaged", action="store_true", help="take a sweep with damaged trials; they stay marked gaps")
    add_storage(parser)


def run(arguments: argparse.Namespace) -> int:
    """Import a sweep and print how many trials it has; return the exit status."""
    source = arguments.source if isinstance(arguments.source, Path) else _brought_down(arguments.source)
    sweep = import_sweep(source, arguments.storage, arguments.name, arguments.damaged)
    trials = sweep.trials()
    done = sum(t.status == Status.FINISHED for t in trials)
    print(f"imported {sweep.name}: {len(trials)} trials, {done} finished, in {sweep.folder}")
    return 0
