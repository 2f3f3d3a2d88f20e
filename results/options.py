"""The options of commands that read a sweep, opening the sweep that they ask for, and running such a command as a script."""

from __future__ import annotations

import argparse
import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

from results.bucket.address import storage_place
from results.bucket.reading import located
from results.record.lookup import find_folder, find_sweep, join
from results.record.outside_records import GivenSweep, checked
from results.record.reader import SweepRecord
from trainer import environment_variables
from trainer.errors import UserError
from trainer.options import Parser
from trainer.terminal import complain, harmless_output

COLLECT_EVERY = 100_000  # objects that Python makes before it looks for cycles


@contextlib.contextmanager
def writing(file: Path) -> Iterator[None]:
    """Name the file of ``--out`` in the error that writing it raises while the block runs.

    Raises:
        UserError: if the file can't be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"--out: cannot write {file}: {error.strerror or error}") from None


def add_storage(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where sweeps lie."""
    parser.add_argument(
        "--storage",
        type=storage_place,
        default=environment_variables.storage(),
        metavar="PLACE",
        help="where sweeps lie: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX (default: $ALPHACL_STORAGE, else ./runs)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="the folder for what is brought down from a bucket (default: $ALPHACL_CACHE)"
    )


def add_source(parser: argparse.ArgumentParser, name: bool = True) -> None:
    """Add the options that say which sweep is read, and from where.

    Args:
        parser: the parser to add them to.
        name: whether the sweep is the first positional argument.
    """
    if name:
        parser.add_argument(
            "name", metavar="SWEEP", help="its name, or the path of a sweep folder or of a folder of JSON records"
        )
    add_storage(parser)
    parser.add_argument(
        "--from-mlflow", metavar="URI", help="read the sweep from this MLflow server or database instead of its folder"
    )
    parser.add_argument(
        "--join", action="append", default=[], metavar="FOLDER", help="add the trials of this sweep or folder of JSON records"
    )


def read_source(arguments: argparse.Namespace, name: str | None = None) -> SweepRecord:
    """Read the sweep that the options of :func:`add_source` ask for, its configurations checked against their digests.

    Args:
        arguments: the parsed options.
        name: the sweep's name or folder; ``arguments.name`` when not given.

    Raises:
        UserError: if there is no such sweep, or it can't be read.
    """
    gc.set_threshold(COLLECT_EVERY)  # of a process that ends soon, and whose trials all stay until then
    name = name or arguments.name
    if getattr(arguments, "from_mlflow", None):
        from results.record.from_mlflow import read_mlflow

        sweep: SweepRecord = read_mlflow(arguments.from_mlflow, name)
    else:
        sweep = find_sweep(arguments.storage, name)
    others = [find_folder(arguments.storage, path) for path in getattr(arguments, "join", [])]
    sweep = join(sweep, others) if others else sweep
    return GivenSweep(sweep.folder, sweep.meta, tuple(checked(t) for t in sweep.trials()), sweep.space)


def run_script(
    name: str,
    text: str | None,
    add: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int],
    argv: list[str] | None,
) -> int:
    """Run a command of this package as a script whose option ``--sweep`` says which sweep it reads.

    Args:
        name: the script's name, without its suffix.
        text: the module's docstring, whose first line becomes the description.
        add: adds the command's own options.
        run: runs the command with the parsed options and returns the exit status.
        argv: the arguments; those of the process when not given.

    Returns the exit status, 2 on bad input.
    """
    parser = Parser(prog=f"results/{name}.py", description=(text or "").partition("\n")[0])
    parser.add_argument(
        "--sweep", required=True, dest="name", metavar="NAME", help="name or folder of a sweep, or of JSON records"
    )
    add_source(parser, name=False)
    add(parser)
    return run_parsed(parser, run, argv)


def run_parsed(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], argv: list[str] | None) -> int:
    """Run a script with its parsed options; on bad input print one line and return 2."""
    with harmless_output():
        try:
            arguments = parser.parse_args(argv)
            with located(arguments):
                return run(arguments)
        except UserError as error:
            complain(f"{parser.prog}: error: {error}")
            return 2
