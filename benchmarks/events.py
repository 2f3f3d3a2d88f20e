"""How many reports a second a driver takes in while many trials run: the path of an event alone, without Ray and training.

    python benchmarks/events.py                          # 1,000 trials that run, of a search of 20,000
    python benchmarks/events.py --running 10 --known 20000

Every report goes the way that Tune's goes: the scheduler, early stopping, the board and the marks for MLflow; meanwhile the live
view is drawn as often as on a terminal. The trials that are known already lie on the board as finished ones. The JSON holds
processor seconds a report and a picture of the live view, and how many reports a second that makes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from orchestrator.driver.board import Board
from orchestrator.driver.display import Display
from orchestrator.driver.events import TrialEvents
from orchestrator.driver.keep_encoders import EncoderKeeper
from orchestrator.driver.retries import Failures
from orchestrator.driver.scheduler import SweepScheduler
from orchestrator.driver.trial_line import TrialLine
from orchestrator.suggest.early_stopping import FamilyHalving
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from search_spaces.search import EarlyStopping
from trainer.processor import processor

PER_SECOND = 4  # pictures of the live view on a terminal
SPACE = """
trial: {{dataset: digits, epochs: 100, probe_every: 1}}
space: {{objective: [infonce, square, uniform, direct(p=4)], lr: {rates}}}
"""


def make_driver(scratch: Path, running: int, known: int) -> tuple[SweepScheduler, Board, list[Any]]:
    """Return the scheduler and the board of a driver, and what stands for Tune's trials, all of which run."""
    space = scratch / "space.yaml"
    rates = [round(0.001 + number * 1e-6, 9) for number in range(-(-running // 4))]
    space.write_text(SPACE.format(rates=rates), encoding="utf-8")
    spec = load_spec(space)
    folder = SweepWriter.create(scratch / "runs", "events", spec, {})
    records = folder.record.trials()[:running]
    board = Board.of(folder.record, records)
    for number in range(known):
        board.put(
            f"known {number}", TrialLine(f"trial {number}", 100, status=Status.FINISHED, epoch=100, value=90.0, family="square")
        )
    news: set[str] = set()
    events = TrialEvents(folder, board, news.update, EncoderKeeper(0, board.metric, []))
    scheduler = SweepScheduler(events, Failures(2), FamilyHalving(folder, EarlyStopping(grace=200), records))
    trials = [SimpleNamespace(config={"digest": record.digest}, status="RUNNING") for record in records]
    for trial in trials:
        events.started(trial.config["digest"])
    return scheduler, board, trials


def main(argv: list[str] | None = None) -> int:
    """Measure, print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--running", type=int, default=1000, help="trials that run (default: %(default)s)")
    parser.add_argument("--known", type=int, default=20_000, help="trials that have finished before (default: %(default)s)")
    parser.add_argument("--reports", type=int, default=20, help="of each trial that runs (default: %(default)s)")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="alphacl-events-") as scratch:
        scheduler, board, trials = make_driver(Path(scratch), arguments.running, arguments.known)
        console = Console(file=io.StringIO(), width=120, height=50, force_terminal=True)
        display = Display(board, console)
        began = time.process_time()
        for epoch in range(1, arguments.reports + 1):
            for number, trial in enumerate(trials):
                report = {"epoch": epoch, "val/linear": 50 + epoch + number / 1000, "train/loss": 1.0, "time/epoch_s": 1.0}
                scheduler.on_trial_result(None, trial, report)
                scheduler.choose_trial_to_run(None)
        per_report = (time.process_time() - began) / (arguments.reports * len(trials))
        began = time.process_time()
        for _ in range(20):
            console.print(display.render())
        per_view = (time.process_time() - began) / 20
    share = 1 - PER_SECOND * per_view
    result = {
        "running": len(trials), "known": arguments.known, "ms_a_report": round(1000 * per_report, 4),
        "ms_a_live_view": round(1000 * per_view, 2), "live_view_share_of_a_core": round(PER_SECOND * per_view, 4),
        "reports_a_second": round(share / per_report), "machine": f"{processor()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg(),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
