"""The command line ``alphacl``."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.records import SPACE, SweepRecord, default_storage, list_sweeps, open_sweep
from results.table import FORMATS, build_tables, sweep_table
from trainer.errors import UserError

if TYPE_CHECKING:
    from search_spaces import SweepSpec

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """Sweeps of α-CL contrastive learning: a YAML search space in, an accuracy table out.
Ray Tune runs the trials, Optuna suggests them, MLflow records them."""

EPILOG = """examples:
  alphacl spaces                          what sweeps there are
  alphacl sweep quickstart                run one (minutes on a laptop)
  alphacl resume quickstart               go on after Ctrl-C or a crash
  alphacl table quickstart --format tex   its accuracy table
  alphacl ui                              browse all runs

exit codes: 0 done; 1 a trial failed; 2 bad input; 130 interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="alphacl", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, function: Callable[[argparse.Namespace], int], text: str, epilog: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(function=function)
        return sub

    def storage(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--storage",
            type=Path,
            default=default_storage(),
            metavar="DIR",
            help="where sweeps lie (default: $ALPHACL_STORAGE, else ./runs)",
        )

    def running(sub: argparse.ArgumentParser) -> None:
        storage(sub)
        sub.add_argument(
            "--address",
            metavar="RAY",
            help="a Ray cluster to join, as HOST:6379 or 'auto' (default: $RAY_ADDRESS, else this machine alone)",
        )
        sub.add_argument(
            "--data-dir", metavar="DIR", help="downloads and decoded images (default: $ALPHACL_DATA, else ~/.cache/alphacl)"
        )

    sub = command(
        "sweep",
        sweep,
        "run a search space",
        "example:\n  alphacl sweep quickstart --name first --set epochs=5 --set seed='[0, 1, 2]'",
    )
    sub.add_argument("space", metavar="NAME_OR_FILE.yaml", help="a name from 'alphacl spaces', or a YAML file")
    sub.add_argument("--name", metavar="N", help="the sweep's name (default: the file's)")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the YAML, e.g. epochs=5 or search.trials=10",
    )
    sub.add_argument("--tracking-uri", metavar="URI", help="an MLflow server or database (default: SQLite in the storage folder)")
    sub.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    running(sub)

    sub = command("resume", resume, "go on with a sweep where it was left; finished trials are not run again")
    sub.add_argument("name", metavar="NAME", help="the sweep's name")
    running(sub)

    sub = command("status", status, "say how far a sweep is, from its folder: while it runs or after it died")
    sub.add_argument("name", metavar="NAME", nargs="?", help="the sweep's name (default: all of them, a line each)")
    sub.add_argument("--json", action="store_true", help="as JSON")
    storage(sub)

    sub = command("table", table, "print a sweep's accuracy table: mean ± std over seeds")
    sub.add_argument("name", metavar="NAME", help="the sweep's name")
    sub.add_argument("--format", choices=FORMATS, help="md, csv, tex or html (default: for the terminal)")
    storage(sub)

    sub = command("ui", ui, "browse all runs: MLflow's pages, served to this machine alone")
    sub.add_argument("--port", type=int, default=5000, help="(default: %(default)s)")
    sub.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="the database that the sweeps were recorded in (default: SQLite in the storage folder)",
    )
    storage(sub)

    sub = command("spaces", spaces, "list the search spaces that come with alphacl")
    sub.add_argument("--json", action="store_true", help="as JSON")
    return parser


def sweep(arguments: argparse.Namespace) -> int:
    """``alphacl sweep``."""
    from search_spaces import find_space, load_spec  # with PyTorch; what only reads the folder starts without

    file = find_space(arguments.space)
    spec = load_spec(file, tuple(arguments.set))
    name = arguments.name or file.stem
    from orchestrator.folder import SweepFolder, check_name  # Ray and MLflow take seconds to import: only where they are needed

    check_name(name)
    if arguments.dry_run:
        return _plan(spec, name, arguments)
    from orchestrator.join import prepare_to_join

    prepare_to_join(arguments.address)
    from orchestrator.runner import check_data

    if (arguments.storage / name).exists():  # said before any data are prepared
        SweepFolder.create(arguments.storage, name, spec, {})
    check_data(spec, arguments.data_dir)
    meta = {"tracking_uri": arguments.tracking_uri, "environment": _environment()}
    folder = SweepFolder.create(arguments.storage, name, spec, meta)
    return _run(folder, spec, arguments, new=True)


def resume(arguments: argparse.Namespace) -> int:
    """``alphacl resume``."""
    record = open_sweep(arguments.storage, arguments.name)
    from orchestrator.folder import SweepFolder
    from orchestrator.join import prepare_to_join

    prepare_to_join(arguments.address)
    from orchestrator.runner import check_data
    from search_spaces import load_spec

    spec = load_spec(record.folder / SPACE)
    check_data(spec, arguments.data_dir)
    return _run(SweepFolder(record), spec, arguments)


def _run(folder: Any, spec: SweepSpec, arguments: argparse.Namespace, new: bool = False) -> int:
    """Run a sweep and say how it ended."""
    from orchestrator.progress import make_console, print_tables
    from orchestrator.runner import run_sweep

    with folder.driving():
        try:
            outcome = run_sweep(folder, spec, arguments.address, arguments.data_dir)
        except UserError:
            if new:
                folder.discard_unused()
            raise
    record, console = folder.record, make_console()
    trials = record.trials()
    if any(t.result for t in trials):
        print_tables(build_tables(trials), console)
    for trial in outcome.failed:
        print(f"{trial.status}: {trial.label}: {str((trial.error or {}).get('message', '')).splitlines()[-1]}", file=sys.stderr)
    if outcome.problem:
        print(f"alphacl: {outcome.problem}", file=sys.stderr)
    extra = "" if arguments.storage == default_storage() else f" --storage {shlex.quote(str(arguments.storage))}"
    if outcome.interrupted:
        print(
            f"Interrupted with {outcome.unfinished} of {record.planned} trials to go."
            f" Go on with:  alphacl resume {record.name}{extra}"
        )
    print(f"Browse it with:  {_browse(record, extra)}")
    print(f"Everything lies in:  {record.folder}")
    return INTERRUPTED if outcome.interrupted else FAILED if outcome.failed else OK


def _browse(record: SweepRecord, extra: str) -> str:
    uri = record.meta.get("tracking_uri")
    if not uri:
        return f"alphacl ui{extra}"
    if uri.startswith("http"):
        return re.sub(r"//[^/@]*@", "//", uri)
    return f"alphacl ui{extra} --tracking-uri {shlex.quote(re.sub(r':[^:/@]*@', ':PASSWORD@', uri))}"


def _environment() -> dict[str, Any]:
    """What a sweep is launched with."""
    import platform
    from importlib.metadata import version

    from trainer.trial import commit

    packages = ("torch", "torchvision", "ray", "optuna", "mlflow")
    return {"commit": commit(), "python": platform.python_version(), **{p: version(p) for p in packages}}


def _plan(spec: SweepSpec, name: str, arguments: argparse.Namespace) -> int:
    """Print what a sweep would do."""
    from orchestrator.tracking import default_uri

    gpu = f", {spec.resources.gpu:g} GPU" if spec.resources.gpu else ""
    print(f"{name}: {spec.description}")
    if spec.search:
        search = spec.search
        print(f"  {search.trials} trials suggested by Optuna ({search.sampler}, seed {search.seed}), maximising {search.metric}")
        epochs = search.trials * max(config.epochs for config, _ in spec.on_data())
    else:
        leaves = spec.leaves()
        epochs = sum(leaf.epochs for leaf in leaves)
        print(f"  {len(leaves)} trials:")
        groups: dict[str, list[int]] = {}
        for leaf in leaves:
            tau = "" if leaf.tau is None else f" · tau {leaf.tau:g}"
            groups.setdefault(f"{leaf.dataset} · {leaf.objective}{tau}", []).append(leaf.seed)
        for label, seeds in groups.items():
            print(f"    {label} · seeds {', '.join(map(str, dict.fromkeys(seeds)))}")
    print(f"  {epochs} epochs in all; each trial takes {spec.resources.cpu} CPU{gpu}")
    print(f"  sweep folder {arguments.storage / name}, tracking {arguments.tracking_uri or default_uri(arguments.storage)}")
    return OK


def status(arguments: argparse.Namespace) -> int:
    """``alphacl status``."""
    names = [arguments.name] if arguments.name else list_sweeps(arguments.storage)
    found = [_status(open_sweep(arguments.storage, name)) for name in names]
    if arguments.json:
        print(json.dumps(found[0] if arguments.name else found, indent=1, ensure_ascii=False))
        return OK
    if not names:
        print(f"no sweeps in {arguments.storage} yet; 'alphacl spaces' lists what can be run")
    for one in found:
        counts = ", ".join(f"{count} {word}" for word, count in one["counts"].items() if count)
        print(f"{one['name']}: {one['state']}; {one['planned']} trials: {counts}")
        if arguments.name:
            for trial in one["trials"]:
                best = "" if trial["best_val_linear"] is None else f", best val/linear {trial['best_val_linear']:.2f}"
                error = f": {trial['error'].splitlines()[-1]}" if trial["error"] else ""
                print(f"  {trial['status']:<11} {trial['label']}: epoch {trial['epoch']}/{trial['epochs']}{best}{error}")
    return OK


def _status(record: SweepRecord) -> dict[str, Any]:
    """A sweep's state as plain values."""
    from orchestrator.folder import SweepFolder

    driven = SweepFolder(record).is_driven()
    trials = []
    for trial in record.trials():
        rows = trial.reports
        word = ("running" if driven else "interrupted") if trial.status == "started" else trial.status
        figures = [row["val/linear"] for row in rows if "val/linear" in row]
        trials.append({
            "digest": trial.digest, "label": trial.label, "status": word, "epoch": rows[-1]["epoch"] if rows else 0,
            "epochs": trial.config["epochs"], "best_val_linear": max(figures, default=None),
            "error": None if trial.error is None else trial.error["message"],
        })  # fmt: skip
    words = ("finished", "running", "interrupted", "failed", "diverged", "waiting")
    counts = {word: sum(t["status"] == word for t in trials) for word in words}
    counts["waiting"] += record.planned - len(trials)
    left = record.planned - counts["finished"] - counts["failed"] - counts["diverged"]
    state = "running" if driven else "interrupted" if left else "finished"
    return {"name": record.name, "state": state, "planned": record.planned, "counts": counts, "trials": trials}


def table(arguments: argparse.Namespace) -> int:
    """``alphacl table``."""
    record = open_sweep(arguments.storage, arguments.name)
    text = sweep_table(record, arguments.format or "md")
    if arguments.format:
        print(text, end="")
    else:
        from orchestrator.progress import make_console, print_tables

        print_tables(build_tables(record.trials()), make_console())
    return OK


def ui(arguments: argparse.Namespace) -> int:
    """``alphacl ui``."""
    from orchestrator.tracking import artifact_root, default_uri

    uri = arguments.tracking_uri or default_uri(arguments.storage)
    if not arguments.tracking_uri and not (arguments.storage / "mlflow.db").exists():
        known = "; it has none yet" if arguments.storage.exists() else ", which is not there"
        raise UserError(f"no sweeps recorded in {arguments.storage}{known}; run one first, or give --storage")
    if not 0 < arguments.port < 65536:
        raise UserError(f"--port: expected a port from 1 to 65535, got {arguments.port}")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(arguments.port)]
    command += ["--backend-store-uri", uri, "--default-artifact-root", artifact_root(arguments.storage), "--workers", "1"]
    print(f"Open http://127.0.0.1:{arguments.port} in a browser; Ctrl-C ends it.", flush=True)
    os.execve(sys.executable, command, {**os.environ, "MLFLOW_LOGGING_LEVEL": "ERROR"})  # so that what stops us stops it


def spaces(arguments: argparse.Namespace) -> int:
    """``alphacl spaces``."""
    from search_spaces import iter_spaces

    found = [{"name": name, "trials": spec.trials, "description": spec.description} for name, spec in iter_spaces()]
    if arguments.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return OK
    width = max(len(str(one["name"])) for one in found)
    for one in found:
        print(f"{one['name']:<{width}}  {one['trials']:>4} trials  {one['description']}")
    return OK


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code, see ``alphacl --help``."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.function(arguments)
        return code
    except UserError as error:
        print(f"alphacl: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("alphacl: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as in 'alphacl table x | head'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
