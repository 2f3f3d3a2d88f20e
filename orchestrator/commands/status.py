"""``alphacl status``: say how far a sweep is, from its folder alone."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
import time
from typing import Any

from orchestrator.commands.exit_codes import OK
from results.record.naming import last_line
from results.record.reader import SweepRecord, list_sweeps, open_sweep
from results.record.selection import SHORT
from results.record.status import Status

SCREEN = 24  # trials that are listed where not all are asked for


def status(arguments: argparse.Namespace) -> int:
    """Run ``alphacl status``, which prints the state of one sweep or of all in a storage folder, and return the exit code.

    Raises:
        UserError: if there is no such sweep.
    """
    names = [arguments.name] if arguments.name else list_sweeps(arguments.storage)
    states = [_status(open_sweep(arguments.storage, name)) for name in names]
    if arguments.json:
        print(json.dumps(states[0] if arguments.name else states, indent=1, ensure_ascii=False))
        return OK
    if not names:
        print(f"no sweeps in {arguments.storage} yet; 'alphacl spaces' lists what can be run")
    for state in states:
        counts = ", ".join(f"{count} {name}" for name, count in state["counts"].items() if count)
        left = f"; about {state['left']} left" if state["left"] else ""
        gpu = f"; {state['gpu_hours']:.2f} GPU-hours" if state["gpu_hours"] else ""
        _say(f"{state['name']}: {state['state']}; {state['planned']} trials: {counts}{left}{gpu}")
        if arguments.name:
            for family in state["families"]:
                _say(f"  {family['family']}: {family['summary']}")
            _print_trials(state, arguments.all)
    return OK


def _say(line: str) -> None:
    """Print a line, on a terminal wrapped between words with the next lines set in; elsewhere one line stays one."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    wrapped = [line]
    if columns > 40:
        wrapped = textwrap.wrap(line, columns, subsequent_indent="      ", break_on_hyphens=False, drop_whitespace=False)
    print("\n".join(part.rstrip() for part in wrapped))


def _print_trials(state: dict[str, Any], everything: bool) -> None:
    """Print a line per trial; of a large sweep, unless all are asked for, only of those that failed and those that run."""
    trials = state["trials"]
    if len(trials) > SCREEN and not everything:
        failed = [t for t in trials if t["status"].has_failed][: SCREEN // 2]
        under_way = [t for t in trials if t["status"] in (Status.RUNNING, Status.INTERRUPTED)]
        trials = [*failed, *under_way[: SCREEN - len(failed)]]
    for trial in trials:
        value = "" if trial["value"] is None else f", {state['metric']} {trial['value']:.2f}"
        error = f": {last_line(trial['error'])}" if trial["error"] else ""
        digest, epoch = trial["digest"][:SHORT], f"epoch {trial['epoch']}/{trial['epochs']}"
        _say(f"  {digest}  {trial['status']:<11} {trial['label']}: {epoch}{value}{error}")
    if len(trials) < len(state["trials"]):
        print(f"  and {len(state['trials']) - len(trials):,} more trials; --all lists them")


def _status(record: SweepRecord) -> dict[str, Any]:
    """Return a sweep's state as plain values, all from its folder."""
    from orchestrator.driver.board import Board, clock
    from results.record.sweep_writer import SweepWriter

    folder = SweepWriter(record)
    driven = folder.is_driven()
    records = record.trials()
    board = Board.of(record, records, float(record.meta.get("gpu") or 0))
    under_way = Status.RUNNING if driven else Status.INTERRUPTED
    for trial in records:
        if trial.status == Status.STARTED:
            board.set_status(trial.digest, under_way)
    order = (Status.FINISHED, under_way, Status.STOPPED, Status.FAILED, Status.DIVERGED, Status.DAMAGED, Status.WAITING)
    counts = {status: board.count(status) for status in order}
    counts[Status.WAITING] += max(0, record.planned - len(records))
    if driven:  # what this driver has done since it began tells how long the rest takes
        started = float(folder.driver().get("started", time.time()))
        board.began = time.monotonic() - max(0.0, time.time() - started)  # the clock may have been set back
        board.done_before = sum(row.get("at", 0) < started for trial in records if not trial.problem for row in trial.reports)
    left = board.seconds_left() if driven else None
    return {
        "name": record.name,
        "state": "running" if driven else "interrupted" if board.over < record.planned else "finished",
        "metric": record.metric,
        "planned": record.planned,
        "counts": counts,
        "left": None if left is None else clock(left),
        "gpu_hours": round(board.gpu_hours(), 3),
        "families": [
            {
                "family": family.name,
                "counts": family.counts,
                "best": family.best and family.best.label,
                "best_value": family.best and family.best.mean,
                "summary": family.summary,
            }
            for family in board.families()
        ],
        "trials": [
            {
                "digest": digest,
                "label": line.label,
                "status": line.status,
                "epoch": line.epoch,
                "epochs": line.epochs,
                "value": line.value,
                "error": line.last or None,
            }
            for digest, line in board.lines.items()
        ],
    }
