"""Finds finished trials that a sweep need not compute: in folders that ``--reuse`` names, or in all sweeps of the storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record.layout import RESULT, TRIALS
from results.record.lookup import find_folder
from results.record.outside_records import checked
from results.record.reader import TrialRecord, list_sweeps
from results.record.status import Status
from trainer.errors import UserError

if TYPE_CHECKING:
    from search_spaces import SweepSpec

EVERYWHERE = "*"  # what --reuse without a folder means


def reused_trials(folders: list[str], storage: Path, spec: SweepSpec) -> dict[str, TrialRecord]:
    """Return the finished trials that others have and a sweep may take over, by digest, and print how many there are.

    Of a grid these are trials that it wants: from a folder that is named, all; from the storage's other sweeps those that were
    made in this sweep's class of environments (:func:`environment_class`). What a search will ask for is not known yet: all that
    the named folders have are returned.

    Args:
        folders: what --reuse was given; :data:`EVERYWHERE` for the storage's other sweeps.
        storage: the folder that holds the sweeps.
        spec: the sweep.

    Raises:
        UserError: if no folder is named for a search, or a folder holds neither a sweep nor records.
    """
    if not folders:
        return {}
    if spec.kind == "search":
        return _offered(folders, storage)
    wanted = {leaf.digest for leaf in spec.leaves()}
    found: dict[str, TrialRecord] = {}
    for path in (p for p in folders if p != EVERYWHERE):
        for digest, trial in _finished_in(storage, path):
            if digest in wanted:
                found.setdefault(digest, trial)
    others: Counter[str] = Counter()
    if EVERYWHERE in folders:
        here = this_class(spec)
        for trial in map(checked, _in_storage(storage, wanted - set(found))):
            if trial.digest in found or trial.status != Status.FINISHED:
                continue
            if environment_class(trial.environment) == here:
                found[trial.digest] = trial
            else:
                others["torch {} on {}".format(*environment_class(trial.environment))] += 1
    where = ", ".join("the storage's other sweeps" if p == EVERYWHERE else p for p in folders)
    saved = f", {_hours(found.values())} of computing saved" if found else ""
    print(f"reusing {len(found)} of {spec.trials} trials from {where}{saved}", flush=True)
    for environment, count in others.items():
        print(
            f"not reusing {count} made with {environment}: figures may differ; --reuse FOLDER takes them all the same", flush=True
        )
    return found


def _offered(folders: list[str], storage: Path) -> dict[str, TrialRecord]:
    """Return what a search may take over from the folders, and print how much that is."""
    if EVERYWHERE in folders:
        raise UserError("--reuse: expected a folder of records or a sweep's, from which a search takes its trials over; got none")
    found: dict[str, TrialRecord] = {}
    for path in folders:
        for digest, trial in _finished_in(storage, path):
            found.setdefault(digest, trial)
    print(f"{len(found)} finished trials in {', '.join(folders)} are taken over where the search asks for them", flush=True)
    return found


def _finished_in(storage: Path, path: str) -> Iterator[tuple[str, TrialRecord]]:
    """Yield the digests and records of the finished trials in a folder; none that were edited."""
    yield from ((t.digest, t) for t in map(checked, find_folder(storage, path).trials()) if t.status == Status.FINISHED)


def _in_storage(storage: Path, wanted: Iterable[str]) -> Iterator[TrialRecord]:
    """Yield the records of these trials in all sweeps of the storage; only folders that have a result are read."""
    digests = sorted(wanted)
    for name in list_sweeps(storage):
        folder = storage / name / TRIALS
        yield from (TrialRecord(folder / digest) for digest in digests if (folder / digest / RESULT).exists())


def environment_class(environment: dict[str, Any]) -> tuple[str, str]:
    """Return what tells environments apart whose figures may differ: PyTorch's release, and the kind of device.

    Within a class figures differ by rounding alone: another processor or GPU of the same kind, another number of threads.
    """
    release = ".".join(str(environment.get("torch")).partition("+")[0].split(".")[:2])
    return release, str(environment.get("device")).partition(":")[0]


def this_class(spec: SweepSpec) -> tuple[str, str]:
    """Return the class of environments that a sweep launched here would compute in."""
    import torch

    return environment_class({"torch": torch.__version__, "device": "cuda" if spec.resources.gpu else "cpu"})


def _hours(trials: Iterable[TrialRecord]) -> str:
    seconds = sum(float((t.summary or {}).get("seconds") or 0) for t in trials)
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
