"""``alphacl track``: write a sweep into an MLflow store from its folder."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from orchestrator.commands.exit_codes import OK
from results.record.layout import SPACE
from results.record.reader import open_sweep

if TYPE_CHECKING:
    pass


def track(arguments: argparse.Namespace) -> int:
    """``alphacl track``."""
    record = open_sweep(arguments.storage, arguments.name)
    from orchestrator.tracking.addresses import tracking_uri
    from orchestrator.tracking.rebuild import rebuild
    from results.record.sweep_writer import SweepFolder
    from search_spaces import load_spec

    spec = load_spec(record.folder / SPACE) if (record.folder / SPACE).exists() else None
    folder, uri = SweepFolder(record), arguments.tracking_uri or tracking_uri(record)
    study = None
    if spec is not None and spec.search and not folder.is_driven():
        from orchestrator.suggest.study import open_study

        with folder.driving():  # opening a journal mends what a killed driver left
            study = open_study(record, spec)
    metric = spec.metric if spec else "val/linear"
    done = rebuild(folder, uri, spec.description if spec else "", lambda: study, metric)
    print(f"{record.name}: {done.runs} trials are in MLflow's experiment {done.experiment}")
    if done.problem:
        print(f"alphacl: {done.problem}", file=sys.stderr)
    return OK
