"""``alphacl stop``: end a running sweep gently, or stop some of its trials, from any machine that sees the storage."""

from __future__ import annotations

import argparse

from orchestrator.commands.exit_codes import OK
from results.options import add_storage
from results.record.reader import TrialRecord, open_sweep
from results.record.requests import request_stop
from results.record.selection import named, select_trials
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError

ANSWER_S = 15.0  # for which the driver's answer is waited for


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
    if not folder.is_driven():
        return _stop_waiting(folder, chosen)
    request = request_stop(folder.path, [t.digest for t in chosen])
    driver = folder.driver()
    who = f"the driver (process {driver.get('pid')} on {driver.get('host')})"
    if not request.is_taken(ANSWER_S):
        print(f"{who} has not answered within {ANSWER_S:g} s; the request stays in {request.file}")
    elif chosen:
        print(f"{who} stops {named(chosen)}: what runs ends after its current epoch, what waits is not begun")
    else:
        print(f"{who} is stopping the sweep; go on with:  alphacl resume {record.name}")
    return OK


def _stop_waiting(folder: SweepWriter, trials: list[TrialRecord]) -> int:
    """Stop trials of a sweep that nobody runs: ``alphacl resume`` will not run them."""
    name = folder.record.name
    if not trials:
        raise UserError(f"the sweep {name!r} is not running: there is nothing to stop; name trials that 'resume' is not to run")
    with folder.driving():
        for trial in trials:
            epoch = trial.reports[-1]["epoch"] if trial.status != Status.WAITING and trial.reports else 0
            folder.trial(trial.digest).stop(int(epoch), by="user")
    print(f"'alphacl resume {name}' will not run {named(trials)}; 'alphacl retry {name} TRIAL' does after all")
    return OK
