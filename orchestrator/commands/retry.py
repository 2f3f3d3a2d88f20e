"""``alphacl retry``: run chosen trials of a sweep again from the start: failed, diverged, stopped or finished ones."""

from __future__ import annotations

import argparse

from orchestrator.commands.sweep import resume
from orchestrator.storage.driving import claim
from results.record.layout import SPACE
from results.record.reader import open_sweep
from results.record.retrying import make_wait_again
from results.record.selection import named, select_trials
from results.record.sweep_writer import SweepWriter
from trainer.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl retry`` besides those of running a sweep."""
    parser.add_argument("name", metavar="NAME", help="the sweep's name")
    parser.add_argument(
        "trials", metavar="TRIAL", nargs="+", help="a trial's digest, its beginning, its label, or a status such as diverged"
    )


def retry(arguments: argparse.Namespace) -> int:
    """Run ``alphacl retry``, which goes on with the sweep after it has made the trials wait again; return the exit code.

    Raises:
        UserError: if there is no such sweep or trial, a trial is damaged, or the sweep is being run.
    """
    claim(arguments, arguments.name, new=False)
    record = open_sweep(arguments.storage, arguments.name)
    if not (record.folder / SPACE).exists():
        raise UserError(f"{record.name!r} holds records of single runs, and no search space to run a trial with")
    from orchestrator.commands.trust import check_trust  # with PyTorch

    check_trust(record, arguments)  # before anything is written: a stranger's folder may hold links
    trials = select_trials(record, arguments.trials)
    for trial in trials:
        if trial.problem:
            raise UserError(trial.problem)
    folder = SweepWriter(record)
    with folder.driving():
        try:
            for trial in trials:
                make_wait_again(trial.folder)
        except OSError as error:
            raise UserError(f"cannot write the sweep folder {folder.path}: {error.strerror or error}") from None
    print(f"running {named(trials)} again from the start; what there was stays as an older attempt", flush=True)
    for_resume = {**vars(arguments), "trials": None, "space": None}
    return resume(argparse.Namespace(**for_resume))
