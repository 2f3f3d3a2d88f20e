"""Measures what commands cost as a sweep grows: finished sweeps of given sizes, made by hand, read by a fresh process each.

    python benchmarks/growth.py                                             # a grid of 14, 1,000, 5,000 and 20,000 trials
    python benchmarks/growth.py --kind search --sizes 14,1000 --rounds 3
    python benchmarks/growth.py --folder /tmp/growth --commands report      # keeps the sweeps, and uses them again
    python benchmarks/growth.py --kind search --sizes 1000 --commands track resume     # with MLflow: minutes

Nothing is trained: a trial's figures are drawn from its settings, but its digest, its files and its record with the checksum
are those of a real one (10 epochs, of which each is probed). A command's time and memory are what the kernel says of its process
and of those that it waited for (``wait4``), its start included. Every command runs twice: with nothing that an earlier command
has left (no cache of what was read, a new MLflow store), then again. Every command runs once beforehand on the smallest sweep,
uncounted; all files are in the page cache.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from growth_sweeps import EPOCHS, make_sweep, processes

from trainer.processor import processor

ROOT = Path(__file__).resolve().parents[1]
READING = ("--help", "status", "table", "report", "sensitivity")
COMMANDS = (*READING, "track", "resume")

# ---------------------------------------------------------------------------------------------------------- measuring


def argv_of(command: str, storage: Path, name: str, out: Path, kept: Path) -> list[str]:
    """Return the command line of a command; what it writes goes into a folder, what it leaves for the next one into another."""
    start = [sys.executable, "-m", "orchestrator", command]
    if command == "--help":
        return start
    files = {"report": ["--out", str(out / "report.html")], "sensitivity": ["--out", str(out / "sensitivity.png")]}
    files |= {key: ["--tracking-uri", f"sqlite:///{kept / 'mlflow.db'}"] for key in ("track", "resume")}
    return [*start, name, "--storage", str(storage), *files.get(command, [])]


def measure(argv: list[str], out: Path, kept: Path, limit: float) -> dict[str, float]:
    """Run a command in a fresh process, what it prints going into ``out``: processor and wall seconds, peak memory, bytes.

    Its cache of what was read, and the key that marks sweeps as the user's own, lie in ``kept``.

    Raises:
        RuntimeError: it failed, or took longer than ``limit`` seconds.
    """
    with open(out / "stdout", "wb") as stdout, open(out / "stderr", "wb") as stderr:
        began = time.perf_counter()
        own = {"ALPHACL_READ_CACHE": str(kept / "read"), "ALPHACL_KEY": str(kept / "key")}
        process = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env={**os.environ, **own}
        )
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
    rounds: dict[tuple[str, int, bool], list[dict[str, float]]] = {}
    for command, again in itertools.product(arguments.commands, (False, True)):
        if command != "--help" or not again:
            rounds |= {(command, size, again): [] for one, size in jobs if one == command}
    for round_, (command, size) in itertools.product(range(arguments.rounds), jobs):
        for again, figures in zip((False, True), run(command, size, storage, names, arguments.limit), strict=False):
            rounds[command, size, again].append(figures)
            which = "again" if again else "first"
            print(f"round {round_ + 1}  {size:6d}  {command:11} {which} {figures['cpu_s']:7.2f} s", file=sys.stderr, flush=True)
    return [
        {"command": command, "again": again, "trials": size, **summary(found)} for (command, size, again), found in rounds.items()
    ]


def run(command: str, size: int, storage: Path, names: dict[int, str], limit: float) -> list[dict[str, float]]:
    """Measure one command, and again with what it has left; fewer, after a message, where it failed."""
    found = []
    with tempfile.TemporaryDirectory(prefix="alphacl-growth-kept-") as kept:
        for _ in range(1 if command == "--help" else 2):
            with tempfile.TemporaryDirectory(prefix="alphacl-growth-out-") as out:
                try:
                    argv = argv_of(command, storage, names.get(size, ""), Path(out), Path(kept))
                    found.append(measure(argv, Path(out), Path(kept), limit))
                except RuntimeError as error:
                    print(f"{command} of {size} trials failed: {error}", file=sys.stderr, flush=True)
                    break
    return found


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Return each value's median over the rounds, and the processor seconds of all; of a command that failed nothing."""
    if not rounds:
        return {"n": 0}
    middle = {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}
    return {**middle, "n": len(rounds), "cpu_s_of_rounds": [round(one["cpu_s"], 3) for one in rounds]}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text; the last column is the processor time of each trial more than in the row above."""
    lines = [f"{'command':17} {'trials':>7} {'cpu s':>8} {'wall s':>8} {'peak MB':>8} {'output kB':>10} {'ms a trial more':>16}"]
    before: dict[str, Any] = {}
    for row in rows:
        name = f"{row['command']}{' again' if row['again'] else ''}"
        start = f"{name:17} {row['trials'] or '–':>7}"
        if not row["n"]:
            lines.append(f"{start}  failed")
            continue
        more = ""
        if (before.get("command"), before.get("again")) == (row["command"], row["again"]):
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
    names = "which are measured (default: those that only read)"
    parser.add_argument("--commands", nargs="+", choices=[c.lstrip("-") for c in COMMANDS], metavar="NAME", help=names)
    arguments = parser.parse_args(argv)
    arguments.commands = [c for c in COMMANDS if c.lstrip("-") in (arguments.commands or [c.lstrip("-") for c in READING])]
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
