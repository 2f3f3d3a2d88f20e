"""What the reading commands cost as a sweep grows: finished sweeps of given sizes, made by hand, read by a fresh process each.

    python benchmarks/growth.py                                             # a grid of 14, 1,000, 5,000 and 20,000 trials
    python benchmarks/growth.py --kind search --sizes 14,1000 --rounds 3
    python benchmarks/growth.py --folder /tmp/growth --commands report      # keeps the sweeps, and uses them again

Nothing is trained: a trial's figures are drawn from its settings, but its digest, its files and its record with the checksum
are those of a real one (10 epochs, of which each is probed). A command's time and memory are what the kernel says of its process
(``wait4``), its start included. Every command runs once beforehand on the smallest sweep, uncounted; all files are in the page
cache.
"""

from __future__ import annotations

import argparse
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
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results.record.layout import CONFIG, LAYOUT, REPORTS, RESULT, SPACE, SWEEP, TRIALS
from trainer import TrialConfig
from trainer.files import checksum
from trainer.processor import processor

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("--help", "status", "table", "report", "sensitivity")
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
        "version": 1, "digest": config.digest, "config": config.to_dict(), "protocol": config.protocol,
        "metrics": {**untrained, **{name: value for name, value in history[-1].items() if name != "epoch"}},
        "history": history, "seconds": 12.345,
        "finished": datetime.datetime.fromtimestamp(finished, datetime.timezone.utc).isoformat(timespec="seconds"),
        "environment": environment(),
    }  # fmt: skip
    return {**record, "checksum": checksum(record)}


# ------------------------------------------------------------------------------------------------- the sweep's folder


def write_trials(trials: Path, entries: list[Entry]) -> int:
    """Write the folders of some trials; returns how many they are."""
    for place, role, settings in entries:
        config = TrialConfig(dataset="digits", epochs=EPOCHS, **settings)
        attempt = trials / config.digest / "attempt-0001"
        attempt.mkdir(parents=True, exist_ok=True)
        history = [{"epoch": epoch, **metrics_of(settings, epoch)} for epoch in range(EPOCHS + 1)]
        at = BEGAN + 13.0 * place
        lines = [json.dumps({"epoch": row["epoch"], "at": at + row["epoch"], **row}) for row in history]
        (attempt / REPORTS).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        extra = {} if role == "trial" else {"role": role}
        put_json(attempt.parent / CONFIG, {"digest": config.digest, "place": place, **extra, "config": config.to_dict()})
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
    facts = {"name": name, "layout": LAYOUT, "id": f"{kind}{trials}", "created": "2026-11-24T00:00:00+00:00", "kind": kind}
    put_json(folder / SWEEP, {**facts, "trials": trials, "gpu": 0.0})  # last: a sweep is there whole or not at all
    return name


# ---------------------------------------------------------------------------------------------------------- measuring


def argv_of(command: str, storage: Path, name: str, out: Path) -> list[str]:
    """Return the command line of a reading command; what it writes goes into a folder."""
    start = [sys.executable, "-m", "orchestrator", command]
    if command == "--help":
        return start
    files = {"report": ["--out", str(out / "report.html")], "sensitivity": ["--out", str(out / "sensitivity.png")]}
    return [*start, name, "--storage", str(storage), *files.get(command, [])]


def measure(argv: list[str], out: Path, limit: float) -> dict[str, float]:
    """Run a command in a fresh process, what it prints going into ``out``: processor and wall seconds, peak memory, bytes.

    Raises:
        RuntimeError: it failed, or took longer than ``limit`` seconds.
    """
    with open(out / "stdout", "wb") as stdout, open(out / "stderr", "wb") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        timer = threading.Timer(limit, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)  # wait4 took it; Popen would look for it in vain
    if process.returncode:
        lines = (out / "stderr").read_text(encoding="utf-8", errors="replace").splitlines()
        raise RuntimeError(f"exit code {process.returncode} after {wall:.1f} s: {lines[-1] if lines else 'no message'}")
    size = sum(file.stat().st_size for file in out.iterdir())
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "wall_s": wall, "peak_mb": usage.ru_maxrss / 1024, "output_bytes": size}


def measure_all(storage: Path, names: dict[int, str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every command on every sweep, the smallest first; a row each, with the values of all rounds."""
    jobs = [(command, size) for command in arguments.commands for size in (names if command != "--help" else [0])]
    smallest = min(names)
    for command in arguments.commands:  # a rehearsal: files into the page cache, matplotlib's list of fonts
        run(command, 0 if command == "--help" else smallest, storage, names, arguments.limit)
    rows = [{"command": command, "trials": size, "rounds": list[dict[str, float]]()} for command, size in jobs]
    for round_, row in itertools.product(range(arguments.rounds), rows):
        found = run(row["command"], row["trials"], storage, names, arguments.limit)
        if found:
            row["rounds"].append(found)
            print(
                f"round {round_ + 1}  {row['trials']:6d}  {row['command']:11} {found['cpu_s']:7.2f} s",
                file=sys.stderr,
                flush=True,
            )
    return [{"command": row["command"], "trials": row["trials"], **summary(row["rounds"])} for row in rows]


def run(command: str, size: int, storage: Path, names: dict[int, str], limit: float) -> dict[str, float] | None:
    """Measure one command once; None, after a message, where it failed."""
    with tempfile.TemporaryDirectory(prefix="alphacl-growth-out-") as out:
        try:
            return measure(argv_of(command, storage, names.get(size, ""), Path(out)), Path(out), limit)
        except RuntimeError as error:
            print(f"{command} of {size} trials failed: {error}", file=sys.stderr, flush=True)
            return None


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Return each value's median over the rounds, and the processor seconds of all; of a command that failed nothing."""
    if not rounds:
        return {"n": 0}
    middle = {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}
    return {**middle, "n": len(rounds), "cpu_s_of_rounds": [round(one["cpu_s"], 3) for one in rounds]}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text; the last column is the processor time of each trial more than in the row above."""
    lines = [f"{'command':11} {'trials':>7} {'cpu s':>8} {'wall s':>8} {'peak MB':>8} {'output kB':>10} {'ms a trial more':>16}"]
    before: dict[str, Any] = {}
    for row in rows:
        start = f"{row['command']:11} {row['trials'] or '–':>7}"
        if not row["n"]:
            lines.append(f"{start}  failed")
            continue
        more = ""
        if before.get("command") == row["command"]:
            more = f"{1000 * (row['cpu_s'] - before['cpu_s']) / (row['trials'] - before['trials']):.2f}"
        figures = f"{row['cpu_s']:8.2f} {row['wall_s']:8.2f} {row['peak_mb']:8.0f} {row['output_bytes'] / 1000:10.1f} {more:>16}"
        lines.append(f"{start} {figures}")
        before = row
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------- the command line


def sizes_of(text: str) -> list[int]:
    """Return the sizes in ``14,1000``, the smallest first."""
    sizes = sorted({int(part) for part in text.split(",")})
    if sizes[0] < 14:
        raise argparse.ArgumentTypeError(f"expected sizes of at least 14 trials, got {sizes[0]}")
    return sizes


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes = "trials of the sweeps, with commas between (default: 14,1000,5000,20000)"
    parser.add_argument("--sizes", type=sizes_of, default=[14, 1000, 5000, 20_000], metavar="N,N", help=sizes)
    parser.add_argument("--kind", choices=("grid", "search"), default="grid", help="(default: %(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="keep the sweeps here, and use those that are here (default: a scratch folder)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often each is measured (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=900, metavar="S", help="wall seconds of a command (default: %(default)s)")
    names = "which are measured (default: all)"
    parser.add_argument("--commands", nargs="+", choices=[c.lstrip("-") for c in COMMANDS], metavar="NAME", help=names)
    arguments = parser.parse_args(argv)
    arguments.commands = [c for c in COMMANDS if not arguments.commands or c.lstrip("-") in arguments.commands]
    return arguments


def versions() -> dict[str, str | None]:
    """Return the versions of what is measured; asks for the commit last, since that imports PyTorch."""
    from trainer.environment import commit

    found = {name: importlib.metadata.version(name) for name in ("torch", "matplotlib", "scipy", "rich")}
    return {"python": platform.python_version(), **found, "commit": commit()}


def main(argv: list[str] | None = None) -> int:
    """Make the sweeps, measure, print a table on stderr and JSON on stdout; 1 where a command failed."""
    arguments = parse(argv)
    with tempfile.TemporaryDirectory(prefix="alphacl-growth-") as scratch:
        storage = (arguments.folder or Path(scratch)).resolve()
        names = {}
        for size in arguments.sizes:
            began = time.perf_counter()
            with processes(1) as maker:  # not here: what this process holds would count as its children's peak memory
                names[size] = maker.submit(make_sweep, storage, arguments.kind, size).result()
            print(f"{names[size]} is there after {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
        rows = measure_all(storage, names, arguments)
    print(table(rows), file=sys.stderr)
    result = {
        "kind": arguments.kind,
        "reports": EPOCHS + 1,
        "rows": rows,
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg(),
        "versions": versions(),
    }
    print(json.dumps(result, indent=1))
    return 0 if all(row["n"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
