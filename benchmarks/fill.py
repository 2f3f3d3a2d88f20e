"""How long a sweep takes until every slot of a cluster has a trial, with a sampler that learns and with one that does not.

    python benchmarks/fill.py                       # 16 logical slots on this machine
    python benchmarks/fill.py --slots 32 --rounds 3

Ray is told of as many CPUs as there are slots. Trials compute nothing: each waits until all slots are taken, so the time is that
of asking the sampler, placing trials and starting workers. The JSON holds the seconds from when the first trial was handed out
until the last slot's trial had begun.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.processor import processor

ROOT = Path(__file__).resolve().parents[1]
SPACE = """
trial: {{dataset: digits, epochs: 1}}
search: {{sampler: {sampler}, trials: {slots}, seed: 0}}
keep_encoders: 0
space:
  objective: [infonce, {{direct: {{p: {{float: [1, 8]}}}}}}]
  tau: {{float: [0.05, 1], log: true}}
"""


def wait_for_all(config: Any, folder: str, slots: int, **others: Any) -> Iterator[Any]:
    """Stand in for a trial: note when it began, wait until all slots have one, and report."""
    from trainer import Report

    (Path(folder) / config.digest).write_text(str(time.time()))
    while len(os.listdir(folder)) < slots:
        time.sleep(0.1)
    metrics = {"val/linear": 50.0, "test/linear": 50.0}
    record = {"digest": config.digest, "config": config.to_dict(), "metrics": metrics, "history": []}
    yield Report(1, 1, metrics, lambda: {"epoch": 1, "encoder": {}}, record)


def fill(sampler: str, slots: int) -> float:
    """Run a sweep of as many trials as slots in this process; return the seconds until the last of them began."""
    import ray

    from orchestrator.driver.run_sweep import run_sweep
    from results.record.sweep_writer import SweepWriter
    from search_spaces import load_spec

    with tempfile.TemporaryDirectory(prefix="alphacl-fill-") as scratch:
        space, began = Path(scratch) / "space.yaml", Path(scratch) / "began"
        space.write_text(SPACE.format(sampler=sampler, slots=slots), encoding="utf-8")
        began.mkdir()
        spec = load_spec(space)
        folder = SweepWriter.create(Path(scratch) / "runs", "fill", spec, {})
        ray.init(address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
        with folder.driving():
            outcome = run_sweep(folder, spec, run=functools.partial(wait_for_all, folder=str(began), slots=slots))
        assert (outcome.failed, outcome.unfinished) == ([], 0), outcome
        first = min((trial.folder / "config.json").stat().st_mtime for trial in folder.record.trials())
        return max(float(file.read_text()) for file in began.iterdir()) - first


def main(argv: list[str] | None = None) -> int:
    """Measure each sampler in processes of their own, print seconds as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--slots", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"], help="(default: tpe random)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # measure the first sampler in this process
    arguments = parser.parse_args(argv)
    if arguments.one:
        print(f"seconds {fill(arguments.samplers[0], arguments.slots):.2f}")
        return 0
    seconds: dict[str, list[float]] = {name: [] for name in arguments.samplers}
    for _ in range(arguments.rounds):
        for name, values in seconds.items():
            argv_one = [sys.executable, __file__, "--one", "--samplers", name, "--slots", str(arguments.slots)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(argv_one, capture_output=True, text=True, env=environment, check=False)
            lines = [line for line in done.stdout.splitlines() if line.startswith("seconds ")]
            if not lines:
                print(done.stdout + done.stderr, file=sys.stderr)
                return 1
            values.append(float(lines[-1].split()[1]))
    rows = {name: {"median_s": statistics.median(values), "s": values} for name, values in seconds.items()}
    machine = f"{processor()}, {os.cpu_count()} cores"
    print(json.dumps({"slots": arguments.slots, "machine": machine, "load_average": os.getloadavg(), "samplers": rows}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
