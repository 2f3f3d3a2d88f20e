"""Drives a sweep for the commands that run one, and says in the end how it went; what a launch that fails has made is removed."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.commands.exit_codes import FAILED, INTERRUPTED, OK
from orchestrator.commands.failures import print_failures
from orchestrator.storage.driving import mirrored
from orchestrator.tracking.addresses import database, default_uri, tracking_uri
from results.bucket.address import storage_option
from results.record.reader import SweepRecord, TrialRecord, list_sweeps
from results.record.status import Status
from results.tables.sweep import shown_tables
from trainer import environment_variables
from trainer.errors import UserError
from trainer.terminal import complain, outlive_reader

if TYPE_CHECKING:
    from orchestrator.driver.outcome import Outcome
    from results.record.sweep_writer import SweepWriter
    from search_spaces import SweepSpec


def run(
    folder: SweepWriter,
    spec: SweepSpec,
    arguments: argparse.Namespace,
    new: bool = False,
    prepare: Callable[[], None] = lambda: None,
    offered: Mapping[str, TrialRecord] | None = None,
) -> int:
    """Run a sweep, say how it ended, and return the exit code.

    Args:
        folder: the sweep folder.
        spec: the sweep.
        arguments: those of the command.
        new: whether the sweep is removed where it fails before any trial has begun.
        prepare: changes the sweep folder, once it is held for this driver.
        offered: finished trials by digest, which a search takes over where it asks for them.

    Raises:
        UserError: what :func:`orchestrator.driver.run_sweep.run_sweep` raises, or the folder can't be written.
    """
    from orchestrator.driver.outcome import interrupted_outcome
    from orchestrator.driver.run_sweep import run_sweep

    outlive_reader()
    is_store_new = not database(arguments.storage).exists()
    with folder.driving(), mirrored(folder, arguments):
        try:
            prepare()
        except OSError as error:
            raise UserError(f"cannot write the sweep folder {folder.path}: {error.strerror or error}") from None
        try:
            outcome = run_sweep(
                folder,
                spec,
                arguments.address,
                arguments.data_dir,
                getattr(arguments, "tracking_uri", None),
                getattr(arguments, "study_storage", None),
                offered=offered,
            )
        except KeyboardInterrupt:  # one more Ctrl-C, while the sweep was being wound up
            outcome = interrupted_outcome(folder)
        except UserError:
            if new and folder.discard_unused():
                _forget(folder.record, getattr(arguments, "tracking_uri", None), is_store_new)
            raise
    return _say(folder.record, outcome, arguments)


def _say(record: SweepRecord, outcome: Outcome, arguments: argparse.Namespace) -> int:
    """Print tables, failures, and what to do next; return the exit code."""
    from orchestrator.driver.display import make_console
    from results.tables.terminal import print_tables

    has_finished = any(t.status == Status.FINISHED for t in record.trials())
    if has_finished:
        print_tables(shown_tables(record), make_console())
    extra = storage_option(arguments.storage)
    print_failures(outcome.failed, record.name, extra)
    if outcome.problem:
        complain(f"alphacl: {outcome.problem}")
    joined = arguments.address or environment_variables.ray_address()  # the next shell may lack the variable
    address = f" --address {shlex.quote(joined)}" if joined else ""
    if outcome.used_up:
        print(
            f"The budget of {outcome.used_up} is used up: {outcome.unfinished} of {record.planned} trials are left."
            f" Give it more in its YAML, and go on with:  alphacl resume {record.name} FILE.yaml{extra}{address}"
        )
    elif outcome.interrupted:
        print(
            f"Interrupted with {outcome.unfinished} of {record.planned} trials to go."
            f" Go on with:  alphacl resume {record.name}{extra}{address}"
        )
    bucket = getattr(arguments, "bucket", None)
    print(f"Everything lies in:  {f'{bucket.address}/{record.name}' if bucket else record.folder}")
    if has_finished:
        print(f"One page about it:   alphacl report {shlex.quote(record.name)}{extra}")
    print(f"Browse its runs:     {_browse(record, extra)}")
    return INTERRUPTED if outcome.interrupted else FAILED if outcome.failed else OK


def _forget(record: SweepRecord, given_uri: str | None, is_store_new: bool) -> None:
    """Remove what a launch that failed has left in MLflow: its experiment, or the database that was made for it."""
    uri, storage = tracking_uri(record, given_uri), record.folder.parent
    if uri == default_uri(storage) and is_store_new and not list_sweeps(storage):
        for file in storage.glob(f"{database(storage).name}*"):
            file.unlink(missing_ok=True)
        return
    from orchestrator.tracking.experiments import remove_experiment

    with contextlib.suppress(UserError):  # the store may be why the launch failed
        remove_experiment(uri, str(record.meta["id"]))


def _browse(record: SweepRecord, extra: str) -> str:
    """Return the command or the address that shows a sweep in MLflow."""
    uri = record.meta.get("tracking_uri")
    command = f"alphacl ui {shlex.quote(record.name)}{extra}"
    if not uri:
        return command
    if not uri.startswith("http"):
        return f"{command} --tracking-uri {shlex.quote(uri)}"
    from orchestrator.tracking.experiments import pages_of

    with contextlib.suppress(UserError):  # the table is printed, whether the server answers or not
        found = pages_of(tracking_uri(record), str(record.meta["id"]))
        return f"{uri.rstrip('/')}{found[0]}" if found else str(uri)
    return str(uri)
