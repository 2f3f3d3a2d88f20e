"""``alphacl trials``: a sweep's trials or epochs as a flat table, for other programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from orchestrator.commands.exit_codes import OK
from results.frames import PER, frame
from results.options import add_source, read_source, writing
from trainer.errors import UserError

FORMATS = ("csv", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl trials``."""
    add_source(parser)
    parser.add_argument("--format", choices=FORMATS, default="csv", help="(default: %(default)s)")
    parser.add_argument("--per", choices=PER, default="trial", help="what a row is (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to (default: standard output, which parquet has not)")


def trials(arguments: argparse.Namespace) -> int:
    """Run ``alphacl trials`` and return the exit code.

    Raises:
        UserError: if there is no such sweep, --out is missing for parquet, or the file can't be written.
    """
    if arguments.format == "parquet" and arguments.out is None:
        raise UserError("--format parquet: give a file by --out, as in --out trials.parquet")
    table = frame(read_source(arguments), arguments.per)
    if arguments.format == "parquet":
        with writing(arguments.out):
            table.to_parquet(arguments.out, index=False)
    elif arguments.out is not None:
        with writing(arguments.out):
            table.to_csv(arguments.out, index=False)
    else:
        table.to_csv(sys.stdout, index=False)
    if arguments.out is not None:
        print(f"{len(table)} rows, {len(table.columns)} columns in {arguments.out}")
    return OK
