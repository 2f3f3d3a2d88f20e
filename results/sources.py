"""Where results come from: a sweep in the storage, a folder of single runs' JSON records, or MLflow; one record model for all."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from results.records import SWEEP, SweepRecord, TrialRecord, default_storage, open_sweep, read_json, record_fault
from trainer.errors import UserError
from trainer.options import Parser

EVIDENCE = Path(__file__).with_name("evidence")


@dataclass(frozen=True)
class GivenSweep(SweepRecord):
    """A sweep whose trials were read from elsewhere than its folder."""

    given: tuple[TrialRecord, ...] = ()
    yaml: str = ""

    @property
    def space(self) -> str:
        return self.yaml

    def trials(self) -> list[TrialRecord]:
        return list(self.given)


def given_trial(folder: Path, digest: str, config: dict[str, Any], **known: Any) -> TrialRecord:
    """A trial record that is told its facts instead of reading them; ``known`` holds any of its properties."""
    trial = TrialRecord(folder / digest)
    facts = {"result": None, "reports": [], "error": None, "stopped": None, "attempt": None, **known}
    trial.__dict__.update(facts)  # where cached_property keeps what it has read
    trial.__dict__["_config_file"] = {"config": config, "role": facts.pop("role", "trial"), "place": facts.pop("place", 0)}
    return trial


@dataclass(frozen=True)
class DamagedTrial(TrialRecord):
    """A record that can't be believed: a gap that says why, whose configuration counts for nothing."""

    fault: str = ""

    @cached_property
    def _config_file(self) -> dict[str, Any]:
        raise UserError(self.fault)


def damaged_trial(file: Path, problem: str) -> TrialRecord:
    """The gap in the place of a record."""
    trial = DamagedTrial(file, problem)
    trial.__dict__.update(reports=[], result=None, error=None, stopped=None, attempt=None)
    return trial


# ------------------------------------------------------------------------------------- records of single runs


def read_records(folder: Path, name: str | None = None) -> GivenSweep:
    """A folder of ``python -m trainer --record`` files, read like a sweep.

    Damaged and hand-edited records become gaps. The same trial twice counts once where its figures agree, and is a gap otherwise.

    Raises:
        UserError: the folder has no JSON file.
    """
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not files:
        raise UserError(
            f"{folder}: expected a sweep folder, or JSON records made by 'python -m trainer … --record FILE'; has neither"
        )
    found: dict[str, TrialRecord] = {}
    for place, file in enumerate(files):
        trial = read_record(file, place)
        other = found.get(trial.digest)
        if other is not None and not other.problem and other.result["metrics"] != (trial.result or {}).get("metrics"):  # type: ignore[index]
            trial = damaged_trial(folder / trial.digest, f"{file}: another record of this trial has other figures; keep one")
        found[trial.digest] = trial
    meta = {"name": name or folder.resolve().name, "id": "", "kind": "records", "trials": len(found), "environment": {}}
    return GivenSweep(folder, meta, tuple(found.values()))


def read_record(file: Path, place: int = 0) -> TrialRecord:
    """One run's JSON record as a trial, damaged where it can't be believed."""
    try:
        record = read_json(file)
        if record is None:
            raise UserError(f"{file} is gone")
        fault = record_fault(record) or digest_fault(record["config"], str(record.get("digest")))
        if fault:
            raise UserError(f"{file} has been changed: {fault}; make it again, or remove it")
    except UserError as error:
        return damaged_trial(file, str(error))
    reports = [{"at": 0.0, **row} for row in record["history"]]
    return given_trial(file.parent, record["digest"], record["config"], result=record, reports=reports, place=place)


def digest_fault(config: dict[str, Any], digest: str) -> str:
    """Why a configuration is not the one that this digest names; empty where it is."""
    from trainer.config import TrialConfig

    try:
        made = TrialConfig.from_dict(config).digest
    except UserError as error:
        return f"its configuration: {error}"
    return "" if made == digest else f"its digest {digest} is not that of its configuration, {made}"


def checked(trial: TrialRecord) -> TrialRecord:
    """The trial itself, with settings that are newer than it at their defaults; a gap where it was edited after it was named."""
    from trainer.config import TrialConfig

    if trial.status == "damaged":
        return trial
    try:
        config = TrialConfig.from_dict(trial.config)
    except UserError:  # what can't be built here, such as a plug-in's objective, can't be checked
        return trial
    fault = digest_fault(trial.config, trial.digest) if config.digest != trial.digest else ""
    fault = fault or (record_fault(trial.result) if trial.result is not None else "")
    if fault:
        return damaged_trial(trial.folder, f"{trial.folder} has been changed: {fault}; restore it, or remove the trial's folder")
    trial.__dict__["_config_file"] = {**trial._config_file, "config": {**config.to_dict(), **trial.config}}
    return trial


# ------------------------------------------------------------------------------------------- what was asked for


def find_sweep(storage: Path, name: str) -> SweepRecord:
    """A sweep by its name in the storage, or by the path of its folder; a folder of JSON records is read like one.

    Raises:
        UserError: there is no such thing, or it can't be read.
    """
    folder = Path(name)
    if os.sep in name or name in (".", ".."):
        if (folder / SWEEP).is_file():
            return open_sweep(folder.resolve().parent, folder.resolve().name)
        return read_records(folder)
    if name == EVIDENCE.name and not (storage / name / SWEEP).is_file():
        return read_records(EVIDENCE)
    return open_sweep(storage, name)


def join(sweep: SweepRecord, others: list[SweepRecord]) -> SweepRecord:
    """A sweep with the trials of others beside its own; a trial that is in several is taken from the first that finished it."""
    known = {t.digest: t for t in sweep.trials()}
    for other in others:
        for trial in other.trials():
            if trial.digest not in known or (known[trial.digest].status != "finished" and trial.status == "finished"):
                known[trial.digest] = trial
    return GivenSweep(sweep.folder, {**sweep.meta, "trials": len(known)}, tuple(known.values()), sweep.space)


def add_storage(parser: argparse.ArgumentParser) -> None:
    """The option that says where sweeps lie."""
    parser.add_argument(
        "--storage",
        type=Path,
        default=default_storage(),
        metavar="DIR",
        help="where sweeps lie (default: $ALPHACL_STORAGE, else ./runs)",
    )


def add_source(parser: argparse.ArgumentParser, name: bool = True) -> None:
    """Options that say which sweep is read, and from where."""
    if name:
        parser.add_argument(
            "name", metavar="SWEEP", help="its name, or the path of a sweep folder or of a folder of JSON records"
        )
    add_storage(parser)
    parser.add_argument(
        "--from-mlflow", metavar="URI", help="read the sweep from this MLflow server or database instead of its folder"
    )
    parser.add_argument(
        "--join", action="append", default=[], metavar="FOLDER", help="add the trials of this sweep or folder of JSON records"
    )


def read_source(arguments: argparse.Namespace, name: str | None = None) -> SweepRecord:
    """The sweep that the options of :func:`add_source` ask for, its configurations checked against their names."""
    name = name or arguments.name
    if getattr(arguments, "from_mlflow", None):
        from results.from_mlflow import read_mlflow

        sweep: SweepRecord = read_mlflow(arguments.from_mlflow, name)
    else:
        sweep = find_sweep(arguments.storage, name)
    others = [
        find_sweep(arguments.storage, one if os.sep in one else f".{os.sep}{one}") for one in getattr(arguments, "join", [])
    ]
    sweep = join(sweep, others) if others else sweep
    return GivenSweep(sweep.folder, sweep.meta, tuple(checked(t) for t in sweep.trials()), sweep.space)


def run_script(
    name: str,
    text: str | None,
    add: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int],
    argv: list[str] | None,
) -> int:
    """Run a command of this package as a script of its own; ``--sweep NAME`` says which, 2 on bad input."""
    parser = Parser(prog=f"results/{name}.py", description=(text or "").partition("\n")[0])
    parser.add_argument(
        "--sweep", required=True, dest="name", metavar="NAME", help="name or folder of a sweep, or of JSON records"
    )
    add_source(parser, name=False)
    add(parser)
    return run_parsed(parser, run, argv)


def run_parsed(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], argv: list[str] | None) -> int:
    """Run a script with its options; 2 and one line on bad input."""
    try:
        return run(parser.parse_args(argv))
    except UserError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
