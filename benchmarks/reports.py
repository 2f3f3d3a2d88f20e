"""How many reports a second a driver takes in through Ray and Tune, and what part of a core each costs it.

    python benchmarks/reports.py                             # 8 workers that report without a pause, 1,000 trials under way
    python benchmarks/reports.py --under-way 8 --rounds 3    # only those of the workers
    python benchmarks/reports.py --epoch-ms 10 --hold        # epochs of 10 ms, told as a worker tells them without early stopping

Workers that compute nothing report as fast as Tune lets them, through real Ray, Tune, the scheduler with early stopping, the
board and a live view; what a worker writes to the disk, and MLflow's process, cost the driver nothing and are left out. A machine
holds few workers, so the trials beyond those are calls of Ray's that never end: Tune waits for them at every report, as it would
for a trial's. The JSON has a row a round: reports a second, the driver's processor time a report, and its share of one core,
counted from the first tenth of the reports to the last tenth, in which workers start and end. With ``--epoch-ms`` it says besides
by how much the driver made the trials longer.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.air.execution._internal.actor_manager import RayActorManager
from rich.console import Console

from orchestrator.driver.board import Board
from orchestrator.driver.display import Display
from orchestrator.driver.events import TrialEvents
from orchestrator.driver.keep_encoders import EncoderKeeper
from orchestrator.driver.report_rate import Teller
from orchestrator.driver.retries import Failures
from orchestrator.driver.run_sweep import fit
from orchestrator.driver.scheduler import SweepScheduler
from orchestrator.driver.tune_log import tune_is_quiet
from orchestrator.suggest.early_stopping import FamilyHalving
from orchestrator.suggest.searchers import GridSearcher
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from search_spaces.search import EarlyStopping
from trainer.processor import processor

SPACE = "trial: {{dataset: digits, epochs: {epochs}}}\nspace: {{seed: {seeds}}}\nresources: {{cpu: 1}}\n"
EDGE = 0.1  # the share of the reports at both ends that does not count


class Counting(SweepScheduler):
    """The sweep's scheduler, which notes when a report has come and how much processor time this process had used by then."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[tuple[float, float]] = []
        self.slowed: list[float] = []  # a number of each trial that has ended: 0.5 where it took half as long again

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Handle a report as a sweep does, and note it."""
        decision = super().on_trial_result(tune_controller, trial, result)
        self.seen.append((time.perf_counter(), time.process_time()))
        if "slowed" in result:
            self.slowed.append(result["slowed"])
        return decision


class Endless:
    """An actor whose calls do not end."""

    def wait(self) -> None:
        """Wait for ever."""
        threading.Event().wait()


@contextlib.contextmanager
def waiting_besides(count: int) -> Iterator[None]:
    """Have Tune wait for this many calls besides those of its trials, while the block runs."""
    actor: Any = ray.remote(num_cpus=0)(Endless).remote()
    others = {actor.wait.remote() for _ in range(count)}
    begin = RayActorManager.__init__

    def begin_with_others(self: Any, *arguments: Any, **words: Any) -> None:
        begin(self, *arguments, **words)
        events = self._actor_task_events
        own = events.get_futures
        events.get_futures = lambda: own() | others

    RayActorManager.__init__ = begin_with_others
    try:
        yield
    finally:
        RayActorManager.__init__ = begin
        ray.kill(actor)


def measure(scratch: Path, workers: int, under_way: int, reports: int, epoch_s: float, hold: bool) -> dict[str, Any]:
    """Return what one sweep of ``workers`` trials showed, each with ``reports`` epochs that last ``epoch_s`` seconds."""
    space = scratch / "space.yaml"
    space.write_text(SPACE.format(epochs=reports, seeds=list(range(workers))), encoding="utf-8")
    spec = load_spec(space)
    folder = SweepWriter.create(scratch / "runs", "reports", spec, {})
    records = folder.record.trials()
    board = Board.of(folder.record, records)
    events = TrialEvents(folder, board, set[str]().update, EncoderKeeper(0, board.metric, []))
    scheduler = Counting(events, Failures(2), FamilyHalving(folder, EarlyStopping(grace=reports + 1), records))
    searcher = GridSearcher(folder, [record.digest for record in records], on_end=events.ended)

    def trial(config: dict[str, Any]) -> None:
        teller, worked, began = Teller(all_of_them=not hold), 0.0, time.monotonic()
        for epoch in range(1, reports + 1):
            began_epoch = time.monotonic()
            time.sleep(epoch_s)
            worked += time.monotonic() - began_epoch
            row = {"epoch": epoch, "val/linear": 50.0, "val/knn": 50.0, "train/loss": 1.0, "time/epoch_s": 1.0}
            if epoch == reports and epoch_s:
                row["slowed"] = (time.monotonic() - began) / worked - 1
            teller.tell(row, final=epoch == reports)

    console = Console(file=io.StringIO(), width=120, height=50, force_terminal=True)
    with waiting_besides(max(0, under_way - workers)), Display(board, console).showing(), tune_is_quiet(board.tell):
        fit(folder, spec, trial, searcher, scheduler)
    edge = round(EDGE * len(scheduler.seen))
    (began, before), (ended, after) = scheduler.seen[edge], scheduler.seen[-edge - 1]
    counted = len(scheduler.seen) - 2 * edge - 1
    return {
        "workers": workers, "under_way": max(workers, under_way), "reports": len(scheduler.seen),
        "reports_a_second": round(counted / (ended - began), 1), "ms_a_report": round(1000 * (after - before) / counted, 3),
        "share_of_a_core": round((after - before) / (ended - began), 3), "load_average": round(os.getloadavg()[0], 1),
        **({"trials_longer_by": round(statistics.mean(scheduler.slowed), 3)} if epoch_s else {}),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Measure, print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=8, help="that report (default: %(default)s)")
    parser.add_argument("--under-way", type=int, default=1000, help="trials that Tune waits for (default: %(default)s)")
    parser.add_argument("--reports", type=int, default=300, help="of each worker (default: %(default)s)")
    parser.add_argument("--epoch-ms", type=float, default=0, help="milliseconds of an epoch (default: %(default)g)")
    parser.add_argument("--hold", action="store_true", help="hold reports that would hold up a trial")
    parser.add_argument("--rounds", type=int, default=1, help="(default: %(default)s)")
    arguments = parser.parse_args(argv)
    ray.init(address="local", num_cpus=arguments.workers, include_dashboard=False, log_to_driver=False)
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(prefix="alphacl-reports-") as scratch:
            sizes = (arguments.workers, arguments.under_way, arguments.reports)
            rounds.append(measure(Path(scratch), *sizes, arguments.epoch_ms / 1000, arguments.hold))
    ray.shutdown()
    print(json.dumps({"machine": f"{processor()}, {os.cpu_count()} cores", "rounds": rounds}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
