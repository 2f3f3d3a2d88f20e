"""``alphacl export``: write a sweep's finished trials as JSON records of single runs, to be committed, shared or reused."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from results.options import add_source, read_source
from results.record.layout import SPACE, SWEEP
from results.record.reader import SweepRecord
from results.record.status import Status
from trainer.errors import UserError
from trainer.files import checksum, write_json


def export_records(sweep: SweepRecord, folder: Path) -> int:
    """Write a record per finished trial into ``folder`` as DIGEST.json; return how many were new.

    A record that is there already is left as it is: a finished trial's record never changes. A fresh seed of a search's winner
    is marked as such, and the search space lies beside the records as ``sweep.yaml``, so that their tables are the sweep's.

    Raises:
        UserError: if the folder is a sweep's own, whose search space would be overwritten, or cannot be written.
    """
    if (folder / SWEEP).exists():
        raise UserError(f"{folder}: expected a folder for records, got a sweep's; choose another")
    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if sweep.space:
            (folder / SPACE).write_text(sweep.space, encoding="utf-8")
        for trial in sweep.trials():
            file = folder / f"{trial.digest}.json"
            if trial.status == Status.FINISHED and not file.exists() and trial.result is not None:
                write_json(file, _record(trial.role, trial.result))
                written += 1
    except OSError as error:
        raise UserError(f"cannot write records into {folder}: {error.strerror or error}") from None
    return written


def _record(role: str, result: dict[str, Any]) -> dict[str, Any]:
    record = {key: value for key, value in result.items() if key != "attempt"}
    if role == "trial":
        return record
    record["role"] = role
    return {**record, "checksum": checksum(record)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl export``."""
    add_source(parser)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to; a record that is there already is left as it is")


def run(arguments: argparse.Namespace) -> int:
    """Export a sweep's records and say how many were new."""
    sweep = read_source(arguments)
    written = export_records(sweep, arguments.folder)
    finished = sum(t.status == Status.FINISHED for t in sweep.trials())
    print(f"{sweep.name}: {finished} finished trials, {written} new records in {arguments.folder}")
    return 0
