"""Finished sweeps of any size, made by hand for ``growth.py``: nothing is trained.

A trial's figures are drawn from its settings, but its digest, its files and its record with the checksum are those of a real one.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import functools
import importlib.metadata
import itertools
import json
import math
import multiprocessing
import os
import platform
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results.record.layout import CONFIG, LAYOUT, REPORTS, RESULT, SPACE, STUDY, SWEEP, TRIALS
from results.record.schema import SEALED_SINCE
from trainer import TrialConfig
from trainer.files import checksum

EPOCHS, BEGAN = 10, 1_790_000_000.0  # of a trial; when the first one began, in seconds since 1970
METRIC = "val/linear"  # what a search chooses by

GRID = ("infonce", "direct(p=4)", "entropy", "uniform", "inverse(k=2)", "square", "direct(p=2)", "tsallis(q=1.5)")
TAUS = (0.1, 0.5, 0.05, 0.2, 0.3, 0.7, 1.0, 1.5, 2.0, 3.0)
SUGGESTED = {"infonce": None, "entropy": None, "square": None, "uniform": None,
             "direct": ("p", 1, 8), "inverse": ("k", 0.5, 4), "tsallis": ("q", 0.5, 2.5)}  # fmt: skip
SEARCH_SPACE = """
description: {trials} trials that were made by hand
trial: {{dataset: digits, epochs: {epochs}}}
search: {{sampler: random, trials: {suggested}, seed: 0, metric: {metric}}}
confirm: {{top: {top}, seeds: {seeds}}}
keep_encoders: 0
space:
  objective:
    - infonce
    - entropy
    - square
    - uniform
    - direct: {{p: {{float: [1, 8]}}}}
    - inverse: {{k: {{float: [0.5, 4]}}}}
    - tsallis: {{q: {{float: [0.5, 2.5]}}}}
  tau: {{float: [0.02, 2], log: true}}
  lr: {{float: [0.0003, 0.01], log: true}}
"""
GRID_SPACE = """
description: {trials} trials that were made by hand, the first of this grid
trial: {{dataset: digits, epochs: {epochs}}}
keep_encoders: 0
space:
  objective: {objectives}
  tau: {taus}
  lr: {rates}
  seed: {seeds}
"""

Settings = dict[str, Any]  # what tells a trial from the others: objective, tau (None where it has none), lr, seed
Entry = tuple[int, str, Settings]  # a trial's place in its sweep, its role, its settings


# ---------------------------------------------------------------------------------------------------- which trials


def plan_grid(trials: int) -> tuple[list[Entry], str]:
    """Return the first trials of a grid and its YAML: 2 seeds where it is small, else 5, and as many rates as are needed."""
    seeds = range(5 if trials >= 100 else 2)
    per_rate = len(seeds) * sum(len(TAUS) if objective != "uniform" else 1 for objective in GRID)
    rates = [float(f"{0.001 * 1.03**place:.4g}") for place in range(math.ceil(trials / per_rate))]
    every = (
        {"objective": objective, "tau": tau if objective != "uniform" else None, "lr": rate, "seed": seed}
        for rate, tau, objective, seed in itertools.product(rates, TAUS, GRID, seeds)
        if objective != "uniform" or tau == TAUS[0]  # which has no temperature
    )
    entries = [(place, "trial", settings) for place, settings in enumerate(itertools.islice(every, trials))]
    lists = {"objectives": json.dumps(GRID), "taus": list(TAUS), "rates": rates, "seeds": list(seeds)}
    return entries, GRID_SPACE.format(trials=trials, epochs=EPOCHS, **lists)


def plan_search(trials: int) -> tuple[list[Entry], str]:
    """Return the trials of a search and its YAML: random suggestions, then the best of them again with fresh seeds."""
    top, seeds = (5, 5) if trials >= 100 else (2, 2)
    suggested = list(itertools.islice(suggest(), trials - top * seeds))
    best = sorted(suggested, key=lambda settings: -metrics_of(settings, EPOCHS)[METRIC])[:top]
    confirmed = [{**settings, "seed": seed} for settings in best for seed in range(1, seeds + 1)]
    roles = ["trial"] * len(suggested) + ["confirm"] * len(confirmed)
    entries = [(place, role, settings) for place, (role, settings) in enumerate(zip(roles, suggested + confirmed, strict=True))]
    sizes = {"trials": trials, "suggested": len(suggested), "top": top, "seeds": seeds}
    return entries, SEARCH_SPACE.format(epochs=EPOCHS, metric=METRIC, **sizes)


def suggest() -> Iterator[Settings]:
    """Yield settings at random, four digits each and none twice, as a search draws them."""
    draw, seen = random.Random(0), set[str]()
    while True:
        name = draw.choice(list(SUGGESTED))
        parameter = SUGGESTED[name]
        objective = f"{name}({parameter[0]}={draw.uniform(*parameter[1:]):.4g})" if parameter else name
        tau, rate = (math.exp(draw.uniform(math.log(low), math.log(high))) for low, high in ((0.02, 2), (0.0003, 0.01)))
        short = float(f"{tau:.4g}") if name != "uniform" else None
        settings = {"objective": objective, "tau": short, "lr": float(f"{rate:.4g}"), "seed": 0}
        if str(settings) not in seen:
            seen.add(str(settings))
            yield settings


# ---------------------------------------------------------------------------------------------- what a trial reported


def metrics_of(settings: Settings, epoch: int) -> dict[str, float]:
    """Return what a trial reports after an epoch: accuracies that depend on its settings and its seed, and the diagnostics."""
    if epoch == 0:
        draw = random.Random(settings["seed"])
        return {name: 50 + 4 * draw.random() for name in ("val/linear", "val/knn", "untrained/linear", "untrained/knn")}
    draw = random.Random(f"{settings} {epoch}")
    off = math.log((settings["tau"] or 0.3) / 0.3) ** 2 + math.log(settings["lr"] / 0.002) ** 2
    accuracy = 92 - 20 / (1 + epoch) - 2 * off / (1 + off / 8) + 2 * random.Random(settings["objective"]).random()
    entropy = 5.5 - draw.random()
    metrics = {
        "train/loss": 2 / (1 + epoch) + 0.1 * draw.random(), "alpha/entropy": entropy,
        "alpha/effective_negatives": math.exp(entropy), "alpha/hardest_1pct": 0.02 + 0.1 * draw.random(), "alpha/sparsity": 0.0,
        "alpha/energy": -draw.random(), "embedding/alignment": draw.random(), "embedding/uniformity": -1 - draw.random(),
        "embedding/rank": 12 + 4 * draw.random(), "feature/rank": 10 + 4 * draw.random(),
        "time/epoch_s": 1 + 0.1 * draw.random(), "val/linear": accuracy + draw.random(), "val/knn": accuracy - 2 + draw.random(),
    }  # fmt: skip
    if epoch == EPOCHS:
        metrics |= {"test/linear": accuracy - 1 + draw.random(), "test/knn": accuracy - 3 + draw.random()}
    return {**metrics, "time/probe_s": 0.2 + 0.1 * draw.random()}


@functools.cache
def environment() -> dict[str, Any]:
    """Return what a record says that it was made with; the versions are those that are installed."""
    return {
        "python": platform.python_version(), "torch": importlib.metadata.version("torch"),
        "torchvision": importlib.metadata.version("torchvision"), "device": "cpu: none, made by hand", "threads": 1,
        "precision": "float32", "layout": "contiguous", "engine": "eager", "deterministic": True, "parameters": 93_000,
        "commit": "0123456789ab",
    }  # fmt: skip


def record_of(config: TrialConfig, history: list[dict[str, float]], finished: float) -> dict[str, Any]:
    """Return the JSON record of a finished trial, as :mod:`trainer.trial` makes it."""
    untrained = {name: value for name, value in history[0].items() if name.startswith("untrained/")}
    record = {
        "version": SEALED_SINCE, "digest": config.digest, "config": config.to_dict(), "protocol": config.protocol,
        "metrics": {**untrained, **{name: value for name, value in history[-1].items() if name != "epoch"}},
        "history": history, "seconds": 12.345,
        "finished": datetime.datetime.fromtimestamp(finished, datetime.timezone.utc).isoformat(timespec="seconds"),
        "environment": environment(),
    }  # fmt: skip
    return {**record, "checksum": checksum(record)}


# ------------------------------------------------------------------------------------------------- the sweep's folder


def config_of(settings: Settings) -> TrialConfig:
    """Return a trial's configuration."""
    return TrialConfig(dataset="digits", epochs=EPOCHS, **settings)


def write_trials(trials: Path, entries: list[Entry]) -> int:
    """Write the folders of some trials; returns how many they are."""
    for place, role, settings in entries:
        config = config_of(settings)
        attempt = trials / config.digest / "attempt-0001"
        attempt.mkdir(parents=True, exist_ok=True)
        history = [{"epoch": epoch, **metrics_of(settings, epoch)} for epoch in range(EPOCHS + 1)]
        at = BEGAN + 13.0 * place
        lines = [json.dumps({"epoch": row["epoch"], "at": at + row["epoch"], **row}) for row in history]
        (attempt / REPORTS).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        extra = {} if role == "trial" else {"role": role}
        entry = {"digest": config.digest, "place": place, **extra, "config": config.to_dict()}
        put_json(attempt.parent / CONFIG, {**entry, "checksum": checksum(entry)})
        put_json(attempt.parent / RESULT, {**record_of(config, history, at + EPOCHS), "attempt": attempt.name})
    return len(entries)


def put_json(file: Path, value: dict[str, Any]) -> None:
    """Write a file as :func:`trainer.files.write_json` does, but without waiting for the disk."""
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def processes(number: int) -> concurrent.futures.ProcessPoolExecutor:
    """Return fresh processes to work in."""
    return concurrent.futures.ProcessPoolExecutor(number, multiprocessing.get_context("spawn"))


def make_sweep(storage: Path, kind: str, trials: int) -> str:
    """Make a finished sweep with a process per core, unless it is there already; returns its name."""
    name = f"{kind}-{trials}"
    if (storage / name / SWEEP).exists():
        return name
    entries, space = (plan_grid if kind == "grid" else plan_search)(trials)
    folder = storage / name
    (folder / TRIALS).mkdir(parents=True, exist_ok=True)
    chunks = [entries[start : start + 250] for start in range(0, trials, 250)]
    with processes(os.cpu_count() or 1) as pool:
        list(pool.map(write_trials, itertools.repeat(folder / TRIALS), chunks))
    made = sum(1 for _ in (folder / TRIALS).iterdir())
    assert made == trials, f"expected {trials} trials in {folder}, got {made}"
    (folder / SPACE).write_text(space.lstrip(), encoding="utf-8")
    if kind == "search":
        from growth_study import write_study  # with Optuna, in the process that makes sweeps alone

        told = [(s, metrics_of(s, EPOCHS)[METRIC], config_of(s).digest) for _, role, s in entries if role == "trial"]
        write_study(folder / STUDY, name, told)
    facts = {"name": name, "layout": LAYOUT, "id": f"{kind}{trials}", "created": "2026-11-24T00:00:00+00:00", "kind": kind}
    put_json(folder / SWEEP, {**facts, "trials": trials, "gpu": 0.0})  # last: a sweep is there whole or not at all
    return name
