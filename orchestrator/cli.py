"""The command line ``alphacl``: its commands with their help. Their options are added by what does the work.

That is a module of :mod:`orchestrator.commands`, with the exit codes, or one of :mod:`results` for what only reads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from orchestrator.commands import best, doctor, log, remove, retry, status, stop, sweep, track, trials, views
from orchestrator.commands.exit_codes import BAD_INPUT, INTERRUPTED, OK
from orchestrator.commands.reuse import EVERYWHERE
from results import compare, exporting, importing, report, sensitivity, table
from results.bucket.reading import located
from results.options import add_source, add_storage
from trainer.errors import UserError
from trainer.options import Parser
from trainer.terminal import complain, harmless_output, to_nowhere

DESCRIPTION = """Sweeps of α-CL contrastive learning: a YAML search space in, an accuracy table out.
Ray Tune runs the trials, Optuna suggests them, MLflow records them."""

EPILOG = """examples:
  alphacl spaces                          what sweeps there are
  alphacl sweep quickstart                run one (minutes on a laptop)
  alphacl sweep alpha_families --dry-run  what it would do, and how long that takes here
  alphacl resume quickstart               go on after Ctrl-C or a crash
  alphacl log quickstart 1a2b3c4d -f      what a trial prints
  alphacl table quickstart --format tex   its accuracy table
  alphacl report quickstart               all about it on one page
  alphacl ui                              browse all runs

exit codes: 0 done; 1 a trial failed; 2 bad input; 130 interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands of ``alphacl``."""
    parser = Parser(prog="alphacl", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, function: Callable[[argparse.Namespace], int], text: str, epilog: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(function=function, parser=sub)
        return sub

    def running(sub: argparse.ArgumentParser) -> None:
        add_storage(sub)
        sub.add_argument(
            "--address",
            metavar="RAY",
            help="a Ray cluster to join, as HOST:6379 or 'auto' (default: $RAY_ADDRESS, else this machine alone)",
        )
        sub.add_argument(
            "--data-dir", metavar="DIR", help="downloads and decoded images (default: $ALPHACL_DATA, else ~/.cache/alphacl)"
        )

    def going_on(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--trust-plugins", action="store_true", help="import the plug-ins of a sweep that came from elsewhere")
        sub.add_argument("--trust-paths", action="store_true", help="read the folders of images that such a sweep names")
        text = "an MLflow server or database (default: the one it was launched with)"
        sub.add_argument("--tracking-uri", metavar="URI", help=text)
        sub.add_argument("--study-storage", metavar="URL", help="the study's database (default: the one it was launched with)")
        running(sub)

    sub = command(
        "sweep",
        sweep.sweep,
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
    sub.add_argument(
        "--study-storage",
        metavar="URL",
        help="a database for the Optuna study of a search (default: a journal in the sweep folder)",
    )
    sub.add_argument("--trials", metavar="N", help="how many trials a search has; +N extends one that was launched before")
    sub.add_argument(
        "--reuse",
        action="append",
        default=[],
        nargs="?",
        const=EVERYWHERE,
        metavar="FOLDER",
        help="take finished trials of the same configuration from this sweep or folder of JSON records, instead of running them;"
        " without FOLDER, a grid takes those of the storage's other sweeps, made with the same PyTorch and kind of device",
    )
    sub.add_argument("--warm-start", metavar="SWEEP", help="tell the study of a search the finished trials of this sweep first")
    sub.add_argument(
        "--grow", action="store_true", help="add what is new in this space to the sweep of that name; what it has stays"
    )
    sub.add_argument("--dry-run", action="store_true", help="print the plan, with the hours it takes on this machine, and stop")
    running(sub)

    sub = command("resume", sweep.resume, "go on with a sweep where it was left; finished trials are not run again")
    sub.add_argument("name", metavar="NAME", help="the sweep's name")
    sub.add_argument(
        "space", metavar="FILE.yaml", nargs="?", help="an edited search space: what is new in it is added, what there is stays"
    )
    suggested = (
        "how many trials a search's sampler is to suggest in all, with per_family of each objective; +N adds to those it has"
    )
    sub.add_argument("--trials", metavar="N", help=suggested)
    going_on(sub)

    sub = command("status", status.status, "say how far a sweep is, from its folder: while it runs or after it died")
    sub.add_argument("name", metavar="NAME", nargs="?", help="the sweep's name (default: all of them, a line each)")
    sub.add_argument("--all", action="store_true", help="list every trial, also of a large sweep")
    sub.add_argument("--json", action="store_true", help="as JSON, every trial included")
    add_storage(sub)

    sub = command("stop", stop.stop, "end a running sweep gently, or stop some of its trials, from any terminal")
    stop.add_arguments(sub)

    sub = command("retry", retry.retry, "run chosen trials again from the start, also finished, diverged or stopped ones")
    retry.add_arguments(sub)
    going_on(sub)

    sub = command("remove", remove.remove, "remove a sweep: its folder, its runs in MLflow, its study")
    remove.add_arguments(sub)

    sub = command("rename", remove.rename, "give a sweep another name, in MLflow too")
    remove.add_rename_arguments(sub)

    sub = command("log", log.log, "print all that a trial's worker has printed, its errors with file and line")
    log.add_arguments(sub)

    sub = command("table", views.table, "print a sweep's accuracy tables: mean ± std over seeds, with paired tests")
    add_source(sub)
    table.add_arguments(sub)

    sub = command("best", best.best, "print the best configuration, as a command or as YAML")
    best.add_arguments(sub)

    sub = command("trials", trials.trials, "print the trials, or their epochs, as a flat table: CSV or Parquet")
    trials.add_arguments(sub)

    sub = command("report", report.run, "write a sweep's report: one HTML page that needs no network")
    add_source(sub)
    report.add_arguments(sub)

    sub = command("sensitivity", sensitivity.run, "draw accuracy against temperature, or another hyper-parameter, per family")
    add_source(sub)
    sensitivity.add_arguments(sub)

    sub = command("compare", views.compare, "put two sweeps side by side: figures, settings, environments")
    compare.add_arguments(sub)

    sub = command("import", importing.run, "take over somebody else's sweep, or a folder of single runs' JSON records")
    importing.add_arguments(sub)

    sub = command("export", exporting.run, "write a sweep's finished trials as JSON records of single runs")
    exporting.add_arguments(sub)

    sub = command("track", track.track, "write a sweep into an MLflow store from its folder; again changes nothing")
    sub.add_argument("name", metavar="NAME", help="the sweep's name")
    sub.add_argument("--tracking-uri", metavar="URI", help="an MLflow server or database (default: the one it was launched with)")
    add_storage(sub)

    sub = command("ui", views.ui, "browse all runs: MLflow's pages, served to this machine alone")
    sub.add_argument("name", nargs="?", metavar="NAME", help="print the addresses of this sweep's pages")
    sub.add_argument("--port", type=int, default=5000, help="(default: %(default)s)")
    sub.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="the database that the sweeps were recorded in (default: SQLite in the storage folder)",
    )
    add_storage(sub)

    sub = command("doctor", doctor.doctor, "look at what a sweep needs on this machine, on one screen")
    doctor.add_arguments(sub)

    sub = command("spaces", views.spaces, "list the search spaces that come with alphacl")
    sub.add_argument("--json", action="store_true", help="as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command that the arguments name and return its exit code; ``alphacl --help`` lists the codes.

    Args:
        argv: the arguments after the program's name; those of this process when not given.
    """
    with harmless_output():
        arguments = build_parser().parse_args(argv)
        try:
            with located(arguments):
                code: int = arguments.function(arguments)
            sys.stdout.flush()
            return code
        except UserError as error:
            complain(f"alphacl: error: {error}")
            return BAD_INPUT
        except KeyboardInterrupt:
            complain("alphacl: interrupted")
            return INTERRUPTED
        except BrokenPipeError:  # the reader of our output has gone, as in 'alphacl table x | head'
            to_nowhere(sys.stdout)
            return OK
