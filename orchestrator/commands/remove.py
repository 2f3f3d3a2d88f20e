"""``alphacl remove`` and ``alphacl rename``: of a sweep's folder, its experiment in MLflow and its study in a database."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import uuid

from orchestrator.commands.exit_codes import OK
from orchestrator.storage.driving import check_free, claim, removed, renamed
from orchestrator.tracking.addresses import database, default_uri, tracking_uri
from results.bucket.fetch import Copy
from results.options import add_storage
from results.record.layout import check_name
from results.record.reader import SweepRecord, open_sweep
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl remove``."""
    parser.add_argument("name", metavar="NAME", help="the sweep's name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--keep-mlflow", action="store_true", help="leave its runs in MLflow")
    add_storage(parser)


def add_rename_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl rename``."""
    parser.add_argument("name", metavar="NAME", help="the sweep's name")
    parser.add_argument("new", metavar="NEW", help="the name that it is to have")
    add_storage(parser)


def remove(arguments: argparse.Namespace) -> int:
    """Run ``alphacl remove`` and return the exit code.

    Raises:
        UserError: if there is no such sweep, it is being run, the user does not agree, or its tracking store does not answer.
    """
    claim(arguments, arguments.name, new=False)
    record = open_sweep(arguments.storage, arguments.name)
    folder = SweepWriter(record)
    with folder.driving():
        trials = record.trials()
        finished = sum(t.status == Status.FINISHED for t in trials)
        what = f"{_place(arguments, record)}: {len(trials)} trials, {finished} finished"
        if not arguments.yes:
            _ask(what, record.name)
        left = "" if arguments.keep_mlflow else forget_in_mlflow(record)
        _forget_study(record)
        removed(arguments)
        gone = record.folder.with_name(f".{record.name}.removed-{uuid.uuid4().hex[:8]}")
        try:
            os.rename(record.folder, gone)  # at once, so that no half of it is ever taken for the sweep
            shutil.rmtree(gone)
        except OSError as error:
            raise UserError(f"cannot remove {error.filename or gone}: {error.strerror or error}") from None
    print(f"removed {what}" + ("" if arguments.keep_mlflow else ", and its runs in MLflow"))
    if left:
        print(f"alphacl: {left}", file=sys.stderr)
    return OK


def _place(arguments: argparse.Namespace, record: SweepRecord) -> str:
    """Return where a sweep lies: in its folder, or in the bucket."""
    bucket = getattr(arguments, "bucket", None)
    return f"{bucket.address}/{record.name}" if bucket else str(record.folder)


def _ask(what: str, name: str) -> None:
    """Have the user agree by typing the sweep's name. Raises UserError where that is not done."""
    if not sys.stdin.isatty():
        raise UserError(f"this would remove {what}; give --yes to agree")
    if input(f"This removes {what}, and its runs in MLflow.\nType its name to agree: ").strip() != name:
        raise UserError("nothing was removed")


def forget_in_mlflow(record: SweepRecord) -> str:
    """Remove a sweep's experiment from MLflow, and return what is left, in one line. The errors are those of the store."""
    uri = tracking_uri(record)
    if uri == default_uri(record.folder.parent) and not database(record.folder.parent).exists():
        return ""
    from orchestrator.tracking.experiments import remove_experiment

    return remove_experiment(uri, str(record.meta.get("id")))


def _forget_study(record: SweepRecord) -> None:
    """Remove a search's studies from the database that holds them. Raises UserError if it does not answer."""
    if not record.meta.get("study_storage"):
        return
    from orchestrator.suggest.study import remove_studies

    remove_studies(record)


def rename(arguments: argparse.Namespace) -> int:
    """Run ``alphacl rename`` and return the exit code.

    Raises:
        UserError: if there is no such sweep, it is being run, the new name is bad or taken, or its tracking store does not
            answer.
    """
    from orchestrator.suggest.study import study_name

    check_name(arguments.new)
    check_free(arguments, arguments.new)
    claim(arguments, arguments.name, new=False)
    record = open_sweep(arguments.storage, arguments.name)
    target = arguments.storage / arguments.new
    if getattr(arguments, "bucket", None) is not None:
        Copy(arguments.bucket, arguments.storage, arguments.new).set_aside()  # of a sweep that was there once
    if target.exists():
        raise UserError(f"{target} is there already; choose another name")
    folder = SweepWriter(record)
    with folder.driving():
        uri = tracking_uri(record)
        if uri != default_uri(arguments.storage) or database(arguments.storage).exists():
            from orchestrator.tracking.experiments import rename_experiment

            rename_experiment(uri, str(record.meta.get("id")), arguments.new)
        folder.update(name=arguments.new, study_name=study_name(record))  # the study keeps the name that it was made under
        try:
            os.rename(record.folder, target)
        except OSError as error:
            raise UserError(f"cannot rename {record.folder}: {error.strerror or error}") from None
        renamed(arguments, arguments.new)
    place = _place(arguments, open_sweep(arguments.storage, arguments.new))
    print(f"{arguments.name} is now {arguments.new}, in {place} and in MLflow")
    return OK
