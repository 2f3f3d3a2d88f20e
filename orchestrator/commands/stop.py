"""``alphacl stop``: end a running sweep gently, or stop some of its trials, from any machine that sees the storage."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.commands.exit_codes import OK
from orchestrator.storage.driving import claim, mirrored
from results.bucket import request_objects
from results.bucket.address import storage_option
from results.bucket.fetch import Copy
from results.bucket.objects import BucketError
from results.options import add_storage
from results.record.driver_requests import request_stop
from results.record.reader import TrialRecord, open_sweep
from results.record.selection import named, select_trials
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError

ANSWER_S, BUCKET_ANSWER_S = 15.0, 40.0  # for which the driver's answer is waited for: a driver looks into a bucket less often


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl stop``."""
    parser.add_argument("name", metavar="NAME", help="the sweep's name")
    parser.add_argument(
        "trials",
        metavar="TRIAL",
        nargs="*",
        help="a trial's digest, its beginning, its label, or a status (default: the whole sweep)",
    )
    add_storage(parser)


def stop(arguments: argparse.Namespace) -> int:
    """Run ``alphacl stop`` and return the exit code.

    Raises:
        UserError: if there is no such sweep or trial, or nothing is to be stopped.
    """
    record = open_sweep(arguments.storage, arguments.name)
    folder = SweepWriter(record)
    trials = select_trials(record, arguments.trials) if arguments.trials else []
    chosen = [t for t in trials if t.status.is_resumable]
    for trial in trials:
        if not trial.status.is_resumable:
            print(f"{trial.digest}: is {trial.status} already")
    if trials and not chosen:
        return OK
    bucket, digests = getattr(arguments, "bucket", None), [t.digest for t in chosen]
    lease = _lease(Copy(bucket, arguments.storage, record.name)) if bucket else {}
    if bucket and lease.get("held"):
        driver = lease
        request, patience = request_objects.request_stop(bucket, record.name, digests), BUCKET_ANSWER_S
    elif folder.is_driven():
        driver = folder.driver()
        request, patience = request_stop(folder.path, digests), ANSWER_S
    else:
        return _stop_waiting(folder, chosen, arguments)
    who = f"the driver (process {driver.get('pid')} on {driver.get('host')})"
    if not request.is_taken(patience, every=patience / 100):
        print(f"{who} has not answered within {patience:g} s; the request stays in {request.place}")
    elif chosen:
        print(f"{who} stops {named(chosen)}: what runs ends after its current epoch, what waits is not begun")
    else:
        print(f"{who} is stopping the sweep; go on with:  alphacl resume {record.name}{storage_option(arguments.storage)}")
    return OK


def _lease(copy: Copy) -> dict[str, Any]:
    """Return what the lease of a sweep in a bucket says: ``held``, ``host`` and ``pid`` of what drives it, on whatever machine.

    The lease of a driver of this machine that was killed is held by nobody. Raises UserError if the bucket does not answer.
    """
    try:
        lease = copy.lease()
    except BucketError as error:
        raise UserError(f"--storage: {error}") from None
    is_dead = copy.is_ahead(lease) and not SweepWriter(open_sweep(copy.storage, copy.name)).is_locked()
    return {} if is_dead else lease


def _stop_waiting(folder: SweepWriter, trials: list[TrialRecord], arguments: argparse.Namespace) -> int:
    """Stop trials of a sweep that nobody runs: ``alphacl resume`` will not run them."""
    name, extra = folder.record.name, storage_option(arguments.storage)
    if not trials:
        raise UserError(f"the sweep {name!r} is not running: there is nothing to stop; name trials that 'resume' is not to run")
    claim(arguments, name, new=False)
    with folder.driving(), mirrored(folder, arguments):
        for trial in trials:
            epoch = trial.reports[-1]["epoch"] if trial.status != Status.WAITING and trial.reports else 0
            folder.trial(trial.digest).stop(int(epoch), by="user")
            folder.mirror.settle(trial.digest)
    print(f"'alphacl resume {name}{extra}' will not run {named(trials)}; 'alphacl retry {name} TRIAL{extra}' does after all")
    return OK
