"""What the orchestration costs: trials that compute nothing, under plain Tune, Tune with its MLflow callback, and alphacl.

``python benchmarks/overhead.py`` runs the three in turn, each in a process of its own, ``--rounds`` times: 200 trials with 10
reports each, by one trainer that does nothing but import what a trainer imports. ``plain`` is Tune with nothing attached: no
logger, no callback, actors reused. ``mlflow`` adds Ray's own MLflowLoggerCallback. ``alphacl`` is the whole stack: a durable
Optuna study, the sweep folder, MLflow. Times run from the first trial's request to the last record, Ray's start excluded.

``--one alphacl --trials 2000`` runs a single one and prints time and driver memory for every tenth of it.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIANTS = ("plain", "mlflow", "alphacl")
SPACE = """
description: trials that compute nothing
trial: {{dataset: digits, epochs: {reports}, held_out: 0.1}}
search: {{sampler: random, trials: {trials}, seed: 0}}
keep_encoders: 0
space:
  tau: {{float: [0.01, 10], log: true}}
"""


def figures(epoch: int) -> dict[str, float]:
    """A report's metrics, as many as a trial's."""
    names = ("train/loss", "val/linear", "val/knn", "alpha/entropy", "alpha/effective", "embedding/alignment", "feature/rank")
    return {name: epoch + place / 10 for place, name in enumerate(names)}


def nothing(config: Any, **words: Any) -> Iterator[Any]:
    """Stands in for :func:`trainer.run_trial`: all its reports, none of its work."""
    from trainer import Report

    for epoch in range(1, config.epochs + 1):
        metrics = figures(epoch)
        final = epoch == config.epochs
        record = {"digest": config.digest, "config": config.to_dict(), "metrics": {**metrics, "test/linear": 1.0}, "history": []}
        yield Report(epoch, config.epochs, metrics, functools.partial(dict, epoch=epoch, encoder={}), record if final else None)


def plain_trial(config: dict[str, Any], reports: int) -> None:
    """The same trainer in a plain Tune function."""
    from ray import tune

    from trainer import TrialConfig

    for report in nothing(TrialConfig(dataset="digits", epochs=reports, tau=config["tau"])):
        tune.report({"epoch": report.epoch, **report.metrics})


def run_plain(folder: Path, trials: int, reports: int, with_mlflow: bool) -> float:
    """Tune with its own random search; returns seconds."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    callbacks = [MLflowLoggerCallback(tracking_uri=uri, experiment_name="plain")] if with_mlflow else []
    began = time.perf_counter()
    tune.Tuner(
        tune.with_resources(functools.partial(plain_trial, reports=reports), {"cpu": 1}),
        param_space={"tau": tune.loguniform(0.01, 10)},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(name="plain", storage_path=str(folder), callbacks=callbacks, verbose=0),
    ).fit()
    return time.perf_counter() - began


def run_alphacl(folder: Path, trials: int, reports: int, tell: Any = None) -> float:
    """The whole stack; returns seconds."""
    from orchestrator.driver.run_sweep import run_sweep
    from results.record.sweep_writer import SweepWriter
    from search_spaces import load_spec

    file = folder / "nothing.yaml"
    file.write_text(SPACE.format(trials=trials, reports=reports), encoding="utf-8")
    spec = load_spec(file)
    sweep = SweepWriter.create(folder, "nothing", spec, {})
    stop = threading.Event()
    if tell:
        threading.Thread(target=tell, args=(sweep, stop), daemon=True).start()
    began = time.perf_counter()
    with sweep.driving():
        outcome = run_sweep(sweep, spec, run=nothing)
    seconds = time.perf_counter() - began
    stop.set()
    assert (outcome.unfinished, outcome.failed, outcome.problem) == (0, [], ""), outcome
    return seconds


def watch(trials: int, sweep: Any, stop: threading.Event) -> None:
    """Print time and the driver's resident memory whenever another tenth of the trials is done."""
    import psutil

    process, began, before, done = psutil.Process(), time.perf_counter(), 0.0, 0
    while not stop.wait(0.5):
        now = sum(1 for _ in sweep.trials.glob("*/result.json"))
        if now >= done + trials // 10:
            seconds = time.perf_counter() - began
            each = (seconds - before) / (now - done)
            print(f"{now:6d} trials  {1000 * each:7.1f} ms a trial  {process.memory_info().rss / 2**20:7.0f} MiB", flush=True)
            before, done = seconds, now


def one(variant: str, trials: int, reports: int, cpus: int, watched: bool) -> float:
    """Run one variant in this process."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    import logging

    import ray

    with tempfile.TemporaryDirectory(prefix="alphacl-overhead-") as name:
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100_000_000,
        )
        folder = Path(name)
        if variant == "alphacl":
            seconds = run_alphacl(folder, trials, reports, functools.partial(watch, trials) if watched else None)
        else:
            seconds = run_plain(folder, trials, reports, with_mlflow=variant == "mlflow")
        ray.shutdown()
    return seconds


def main() -> None:
    """Compare, or run one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--reports", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=os.cpu_count() or 1, help="trials at a time (default: %(default)s)")
    parser.add_argument("--one", choices=VARIANTS, help="run only this one, watched")
    parser.add_argument("--quiet", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        seconds = one(arguments.one, arguments.trials, arguments.reports, arguments.cpus, not arguments.quiet)
        print(json.dumps({"variant": arguments.one, "seconds": seconds}))
        return
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    sizes = ["--trials", str(arguments.trials), "--reports", str(arguments.reports), "--cpus", str(arguments.cpus)]
    for round_ in range(arguments.rounds):
        for variant in VARIANTS:
            done = subprocess.run(
                [sys.executable, __file__, "--one", variant, "--quiet", *sizes], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{variant} failed:\n{done.stderr[-3000:]}")
            times[variant].append(json.loads(done.stdout.splitlines()[-1])["seconds"])
            print(f"round {round_ + 1}  {variant:8} {1000 * times[variant][-1] / arguments.trials:7.1f} ms a trial", flush=True)
    report(times, arguments)


def report(times: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    """Print medians and the ratios within each round."""
    for variant, seconds in times.items():
        each = [1000 * s / arguments.trials for s in seconds]
        print(f"{variant:8} {statistics.median(each):7.1f} ms a trial ({min(each):.1f}–{max(each):.1f}, n = {len(each)})")
    to_plain = [ours / plain for ours, plain in zip(times["alphacl"], times["plain"], strict=True)]
    to_mlflow = [theirs / ours for ours, theirs in zip(times["alphacl"], times["mlflow"], strict=True)]
    print(f"alphacl / plain  {statistics.median(to_plain):.2f} ({min(to_plain):.2f}–{max(to_plain):.2f}); aim: at most 2")
    print(f"mlflow / alphacl {statistics.median(to_mlflow):.2f} ({min(to_mlflow):.2f}–{max(to_mlflow):.2f}); aim: at least 4")
    each = statistics.median(times["alphacl"]) / arguments.trials
    print(f"one driver starts {1 / each:.1f} trials a second: {100 / each:,.0f} GPUs kept busy by trials of 100 s")
    if arguments.out:
        machine = {"cores": os.cpu_count(), "python": platform.python_version()}
        arguments.out.write_text(
            json.dumps({"trials": arguments.trials, "reports": arguments.reports, "seconds": times, **machine}, indent=1)
        )


if __name__ == "__main__":
    main()
