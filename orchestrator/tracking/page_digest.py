"""Tells by a digest what a sweep's pages in MLflow are made of, so that pages that would come out the same are not remade."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import orchestrator.tracking
import results
from orchestrator.tracking.machine_load import machines
from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from trainer.files import digest_of_files


def pages_made_of(record: SweepRecord, damaged: list[str]) -> str:
    """Return a digest of all that a sweep's pages are made of, the code included; empty while that may still change.

    Args:
        record: the sweep.
        damaged: messages about trials that are left out.
    """
    trials = record.trials()
    if not all(trial.status.is_over and (trial.status != Status.FINISHED or trial.is_sealed) for trial in trials):
        return ""
    facts = [_code(), record.meta, record.space, _study(record), machines(record.folder), damaged, [_facts(t) for t in trials]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _facts(trial: TrialRecord) -> list[Any]:
    """Return what a trial that is over adds to pages: a checksum stands for a result."""
    if trial.problem:
        return [trial.digest, trial.problem]
    return [
        trial.digest,
        trial.index,
        trial.role,
        trial.status,
        (trial.summary or {}).get("checksum"),
        trial.stopped,
        trial.error,
    ]


def _study(record: SweepRecord) -> list[int]:
    """Return what tells whether a study's journal has changed."""
    try:
        found = record.study.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


@functools.cache
def _code() -> str:
    folders = [Path(results.__file__).parent, Path(orchestrator.tracking.__file__ or "").parent]
    return digest_of_files(file for folder in folders for file in sorted(folder.rglob("*.py")))
