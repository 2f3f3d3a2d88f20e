"""``alphacl track``: write a sweep into an MLflow store from its folder."""

from __future__ import annotations

import argparse

from orchestrator.commands.exit_codes import OK
from results.record.reader import open_sweep
from trainer.terminal import complain


def track(arguments: argparse.Namespace) -> int:
    """Run ``alphacl track`` and return the exit code. The folder is read as data: no plug-in is imported."""
    record = open_sweep(arguments.storage, arguments.name)
    from orchestrator.suggest.study import find_study
    from orchestrator.tracking.addresses import tracking_uri
    from orchestrator.tracking.rebuild import rebuild
    from results.record.sweep_writer import SweepWriter

    uri = arguments.tracking_uri or tracking_uri(record)
    done = rebuild(SweepWriter(record), uri, lambda: find_study(record))
    print(f"{record.name}: {done.runs} trials are in MLflow's experiment {done.experiment}")
    if done.problem:
        complain(f"alphacl: {done.problem}")
    return OK
