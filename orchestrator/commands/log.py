"""``alphacl log``: print what a trial's worker and the code that it ran have printed, attempt by attempt."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
from pathlib import Path

from orchestrator.commands.exit_codes import OK
from results.options import add_storage
from results.record.layout import OUTPUT
from results.record.lookup import find_sweep
from results.record.reader import TrialRecord
from results.record.selection import select_trial
from results.record.trial_record import attempts_of
from trainer.errors import UserError
from trainer.files import PIECE, open_regular

EVERY_S = 0.5
# Control characters, of which a terminal would take orders; line feeds and tabs are left.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl log``."""
    parser.add_argument("name", metavar="NAME", help="the sweep's name, or the path of its folder")
    parser.add_argument(
        "trial", metavar="TRIAL", help="the trial's digest, its beginning, or its label, as 'alphacl status NAME' lists them"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="print what comes, too, until the trial is over")
    add_storage(parser)


def log(arguments: argparse.Namespace) -> int:
    """Run ``alphacl log`` and return the exit code.

    Raises:
        UserError: if there is no such sweep or trial, or the trial has not begun or left no log.
    """
    trial = select_trial(find_sweep(arguments.storage, arguments.name), arguments.trial)
    shown: dict[Path, int] = {}
    while True:
        over = TrialRecord(trial.folder).status.is_over  # asked first: what was written before it is still printed
        _print_new(trial.folder, shown)
        if over or not arguments.follow:
            break
        time.sleep(EVERY_S)
    if not shown:
        raise UserError(_why_none(TrialRecord(trial.folder)))
    return OK


def _print_new(folder: Path, shown: dict[Path, int]) -> None:
    """Print what the attempts' logs hold beyond what was printed; ``shown`` keeps how many bytes that was."""
    for attempt in reversed(attempts_of(folder)):
        file = attempt / OUTPUT
        while data := _read_from(file, shown.get(file, 0)):
            whole = data[: data.rfind(b"\n") + 1]  # a line that is being written is printed when it has ended
            if not whole and len(data) < PIECE:
                break
            text = (whole or data).decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
            sys.stdout.write(_CONTROL.sub("�", text))
            shown[file] = shown.get(file, 0) + len(whole or data)
    sys.stdout.flush()


def _read_from(file: Path, place: int) -> bytes:
    """Return the next piece of a log; empty where there is nothing more, or no log."""
    with contextlib.suppress(FileNotFoundError, UserError), open_regular(file) as stream:
        stream.seek(place)
        return stream.read(PIECE)
    return b""


def _why_none(trial: TrialRecord) -> str:
    if trial.attempt is None:
        return f"the trial {trial.digest} has not begun yet; -f waits for it"
    return f"the trial {trial.digest} has no log: it was made before logs were kept, or elsewhere"
