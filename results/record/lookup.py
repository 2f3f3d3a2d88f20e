"""Finds the sweep that a user names: in the storage, by its folder, as a folder of JSON records, or in MLflow."""

from __future__ import annotations

import os
from pathlib import Path

from results.record import schema
from results.record.layout import SWEEP
from results.record.outside_records import GivenSweep, GivenTrial, damaged_trial, digest_fault
from results.record.reader import SweepRecord, open_sweep
from results.record.status import Status
from results.record.trial_record import TrialRecord
from trainer.errors import UserError


def read_records(folder: Path, name: str | None = None) -> GivenSweep:
    """Read a folder of JSON records, as ``python -m trainer --record`` and ``alphacl export`` write them, like a sweep.

    Damaged and hand-edited records become damaged trials. A trial that is there twice counts once where its scores agree, and
    is damaged otherwise.

    Args:
        folder: the folder of the JSON records.
        name: the sweep's name; the folder's when not given.

    Raises:
        UserError: if the folder has no JSON file.
    """
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not files:
        raise UserError(
            f"{folder}: expected a sweep folder, or JSON records made by 'python -m trainer … --record FILE'; has neither"
        )
    trials: dict[str, TrialRecord] = {}
    for index, file in enumerate(files):
        trial = read_record(file, index)
        other = trials.get(trial.digest)
        if other is not None and not other.problem and other.metrics != (None if trial.problem else trial.metrics):
            trial = damaged_trial(folder / trial.digest, f"{file}: another record of this trial has other figures; keep one")
        trials[trial.digest] = trial
    meta = {"name": name or folder.resolve().name, "id": "", "kind": "records", "trials": len(trials), "environment": {}}
    return GivenSweep(folder, meta, tuple(trials.values()), SweepRecord(folder, meta).space)


def read_record(file: Path, index: int = 0) -> TrialRecord:
    """Read the JSON record of one run as a trial, as a damaged one where the record can't be believed."""
    try:
        record = schema.read(file, schema.RECORD_FILE, "make it again, or remove it")
        if record is None:
            raise UserError(f"{file} is gone")
        fault = "" if "checksum" in record else digest_fault(record["config"], record["digest"])
        if fault:
            raise UserError(f"{file} has been changed: {fault}; make it again, or remove it")
    except UserError as error:
        return damaged_trial(file, str(error))
    reports = [{"at": 0.0, **row} for row in record["history"]]
    return GivenTrial(
        file.parent / record["digest"],
        settings=record["config"],
        role_given=record.get("role", "trial"),
        position=index,
        facts={"result": record, "reports": reports},
    )


def find_sweep(storage: Path, name: str) -> SweepRecord:
    """Return a sweep by its name in the storage, or by the path of its folder; a folder of JSON records is read like one.

    Args:
        storage: the folder that holds the sweeps.
        name: a sweep's name; a path where it contains a slash or is ``.`` or ``..``.

    Raises:
        UserError: if there is no such sweep or folder, or it can't be read.
    """
    folder = Path(name)
    if os.sep in name or name in (".", ".."):
        if (folder / SWEEP).is_file():
            return open_sweep(folder.resolve().parent, folder.resolve().name)
        return read_records(folder)
    return open_sweep(storage, name)


def find_folder(storage: Path, path: str) -> SweepRecord:
    """Return the sweep or the JSON records in a folder; unlike in :func:`find_sweep`, a bare name is a folder here, too.

    Raises:
        UserError: if the folder holds neither, or cannot be read.
    """
    return find_sweep(storage, path if os.sep in path else f".{os.sep}{path}")


def join(sweep: SweepRecord, others: list[SweepRecord]) -> SweepRecord:
    """Return a sweep with the trials of others added; a trial that is in several is taken from the first that finished it."""
    known = {t.digest: t for t in sweep.trials()}
    for other in others:
        for trial in other.trials():
            if trial.digest not in known or (known[trial.digest].status != Status.FINISHED and trial.status == Status.FINISHED):
                known[trial.digest] = trial
    return GivenSweep(sweep.folder, {**sweep.meta, "trials": len(known)}, tuple(known.values()), sweep.space)
