"""The commands that read what sweeps have left: status, table, ui, spaces. They start without PyTorch, Ray or MLflow."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from orchestrator.exits import OK
from results import table as results_table
from results.gaps import sweep_tables
from results.records import SweepRecord, list_sweeps, open_sweep
from results.sources import read_source
from trainer.errors import UserError


def status(arguments: argparse.Namespace) -> int:
    """``alphacl status``."""
    names = [arguments.name] if arguments.name else list_sweeps(arguments.storage)
    found = [_status(open_sweep(arguments.storage, name)) for name in names]
    if arguments.json:
        print(json.dumps(found[0] if arguments.name else found, indent=1, ensure_ascii=False))
        return OK
    if not names:
        print(f"no sweeps in {arguments.storage} yet; 'alphacl spaces' lists what can be run")
    for one in found:
        counts = ", ".join(f"{count} {word}" for word, count in one["counts"].items() if count)
        left = f"; about {one['left']} left" if one["left"] else ""
        gpu = f"; {one['gpu_hours']:.2f} GPU-hours" if one["gpu_hours"] else ""
        print(f"{one['name']}: {one['state']}; {one['planned']} trials: {counts}{left}{gpu}")
        if arguments.name:
            for family in one["families"]:
                print(f"  {family['family']}: {family['words']}")
            _print_trials(one)
    return OK


def _print_trials(one: dict[str, Any]) -> None:
    for trial in one["trials"]:
        best = "" if trial["best_val_linear"] is None else f", best val/linear {trial['best_val_linear']:.2f}"
        error = f": {trial['error'].splitlines()[-1]}" if trial["error"] else ""
        print(f"  {trial['status']:<11} {trial['label']}: epoch {trial['epoch']}/{trial['epochs']}{best}{error}")


def _status(record: SweepRecord) -> dict[str, Any]:
    """A sweep's state as plain values, all from its folder."""
    from orchestrator.folder import SweepFolder
    from orchestrator.progress import OVER, Board, clock

    folder = SweepFolder(record)
    driven = folder.is_driven()
    records = record.trials()
    board = Board.of(record.name, record.planned, records, float(record.meta.get("gpu") or 0))
    word = "running" if driven else "interrupted"
    for trial in records:
        if trial.status == "started":
            board.lines[trial.digest].status = word
    counts = {state: board.count(state) for state in ("finished", word, "stopped", "failed", "diverged", "damaged", "waiting")}
    counts["waiting"] += max(0, record.planned - len(records))
    ended = board.count(*OVER)
    if driven:  # what this driver has done since it began tells how long the rest takes
        started = float(folder.driver().get("started", time.time()))
        board.began = time.monotonic() - (time.time() - started)
        board.done_before = sum(row["at"] < started for trial in records if not trial.problem for row in trial.reports)
    left = board.seconds_left() if driven else None
    return {
        "name": record.name,
        "state": "running" if driven else "interrupted" if ended < record.planned else "finished",
        "planned": record.planned,
        "counts": counts,
        "left": None if left is None else clock(left),
        "gpu_hours": round(board.gpu_hours(), 3),
        "families": [
            {
                "family": family.name,
                "counts": family.counts,
                "best": family.best and family.best.label,
                "best_val_linear": family.best and family.best.best,
                "words": family.words,
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
                "best_val_linear": line.best,
                "error": line.last or None,
            }
            for digest, line in board.lines.items()
        ],
    }


def table(arguments: argparse.Namespace) -> int:
    """``alphacl table``: on a terminal with rules and colours, else as ``results/table.py`` prints it."""
    if arguments.format or arguments.paper:
        return results_table.run(arguments)
    from orchestrator.progress import make_console, print_tables

    print_tables(sweep_tables(read_source(arguments)), make_console())
    return OK


def ui(arguments: argparse.Namespace) -> int:
    """``alphacl ui``."""
    from orchestrator.addresses import artifact_root, database, default_uri

    uri = arguments.tracking_uri or default_uri(arguments.storage)
    if not arguments.tracking_uri and not database(arguments.storage).exists():
        known = "; it has none yet" if arguments.storage.exists() else ", which is not there"
        raise UserError(f"no sweeps recorded in {arguments.storage}{known}; run one first, or give --storage")
    if not 0 < arguments.port < 65536:
        raise UserError(f"--port: expected a port from 1 to 65535, got {arguments.port}")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(arguments.port)]
    command += ["--backend-store-uri", uri, "--default-artifact-root", artifact_root(arguments.storage), "--workers", "1"]
    # Without the workflow MLflow opens its pages for language models.
    page = f"http://127.0.0.1:{arguments.port}/#/experiments?workflowType=machine_learning"
    print(f"Open {page} in a browser; Ctrl-C ends it.", flush=True)
    quiet = {"MLFLOW_LOGGING_LEVEL": "ERROR", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, command, {**os.environ, **quiet})  # so that what stops us stops it


def spaces(arguments: argparse.Namespace) -> int:
    """``alphacl spaces``."""
    from search_spaces import iter_spaces

    found = [{"name": name, "trials": spec.trials, "description": spec.description} for name, spec in iter_spaces()]
    if arguments.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return OK
    width = max(len(str(one["name"])) for one in found)
    for one in found:
        print(f"{one['name']:<{width}}  {one['trials']:>4} trials  {one['description']}")
    return OK
