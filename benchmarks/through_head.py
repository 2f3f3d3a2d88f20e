"""Measures what a report and a checkpoint cost a trial: written to the disk by the worker itself, or handed to the driver's node.

    python benchmarks/through_head.py                       # checkpoints of 1 and 100 MB, 5 rounds
    python benchmarks/through_head.py --megabytes 10 --rounds 3

Everything is on this machine: a local Ray, the actor in a process of its own, a sweep folder in a temporary folder. What a trial
waits for is the time of ``add``; what is handed over in the background is counted until it lies on the disk ("arrives").
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ray
import torch

from orchestrator.driver.head_records import serving_records
from orchestrator.driver.head_writer import HeadWriter
from results.record.checkpoint_policy import CheckpointPolicy
from results.record.sweep_writer import SweepWriter
from results.record.trial_writer import TrialWriter
from search_spaces import load_spec
from trainer import Report
from trainer.processor import processor

EPOCHS = 50  # reports of a round, the first of which is not counted


class Never(CheckpointPolicy):
    """Saves no checkpoint."""

    def is_due(self) -> bool:
        """Return False."""
        return False


def measure(make: Callable[[CheckpointPolicy], TrialWriter | HeadWriter], weights: int) -> tuple[float, float]:
    """Return the milliseconds of ``add`` for a report, the median of a round, and those until all of it has arrived.

    Args:
        make: makes the writer with a policy.
        weights: float32 numbers of the checkpoint that every report saves; 0 for none.
    """
    writer = make(CheckpointPolicy(float("inf")) if weights else Never())
    writer.begin()
    state = {"epoch": 0, "encoder": {"w": torch.zeros(weights)}}
    waits, arrivals = [], []
    for epoch in range(EPOCHS if not weights else 6):
        began = time.perf_counter()
        writer.add(Report(epoch, EPOCHS, {"train/loss": float(epoch)}, lambda: state))
        waits.append(time.perf_counter() - began)
        for work in (getattr(writer, "_row", None), getattr(writer, "_checkpoint", None)):
            if work is not None:
                work.result()
        arrivals.append(time.perf_counter() - began)
    writer.close()
    return statistics.median(waits[1:]) * 1e3, statistics.median(arrivals[1:]) * 1e3


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 100], help="sizes of checkpoints (default: 1 100)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    arguments = parser.parse_args()
    ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=1_000_000_000)
    with tempfile.TemporaryDirectory(prefix="alphacl-") as scratch:
        space = Path(scratch) / "space.yaml"
        space.write_text("trial: {dataset: digits, epochs: 50}\n", encoding="utf-8")
        sweep = SweepWriter.create(Path(scratch), "s", load_spec(space), {})
        (trial,) = sweep.record.trials()
        with serving_records(sweep.trials) as name:
            actor = ray.get_actor(name)
            places: dict[str, Callable[[CheckpointPolicy], TrialWriter | HeadWriter]] = {
                "disk": lambda policy: TrialWriter(trial.folder, policy=policy),
                "head": lambda policy: HeadWriter(actor, trial.digest, policy=policy),
            }
            print(f"{processor()}; {arguments.rounds} rounds; ms, mean ± std over rounds of a round's median")
            print("| checkpoint | by | a trial waits | arrives |\n|---|---|---:|---:|")
            for megabytes in (0, *arguments.megabytes):
                for place, make in places.items():
                    rounds = [measure(make, megabytes * 250_000) for _ in range(arguments.rounds)]
                    cells = [f"{statistics.mean(c):.1f} ± {statistics.stdev(c):.1f}" for c in zip(*rounds, strict=True)]
                    print(f"| {f'{megabytes} MB' if megabytes else 'none'} | {place} | {' | '.join(cells)} |", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
