"""Prints the accuracy tables of a sweep: mean ± std over seeds for every configuration, per dataset; nothing unlike is averaged.

As a script: ``python results/table.py --sweep NAME [--storage DIR] [--format md|csv|tex|html] [--paper]``.
"""

from __future__ import annotations

import argparse
import sys

from results.record.reader import SweepRecord

FORMATS = ("md", "csv", "tex", "html")


def sweep_table(sweep: SweepRecord, form: str = "md", paper: bool = False, everything: bool = False) -> str:
    """Return a sweep's tables as text; of many rows the best alone, and none of a stopped trial, but in CSV all.

    Args:
        sweep: the sweep.
        form: one of :data:`FORMATS`.
        paper: whether they are laid out as the paper's Table 2.
        everything: whether all rows are shown in every format.

    Raises:
        UserError: if the sweep has no finished trial.
    """
    from results.tables.paper import paper_tables
    from results.tables.render import RENDERERS
    from results.tables.sweep import shown_tables, sweep_tables

    if paper:
        return RENDERERS[form](paper_tables(sweep))
    return RENDERERS[form](sweep_tables(sweep) if form == "csv" else shown_tables(sweep, everything))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl table`` besides those that say which sweep."""
    parser.add_argument("--format", choices=FORMATS, help="md, csv, tex or html (default: drawn on the terminal; as a script md)")
    parser.add_argument(
        "--all",
        action="store_true",
        help="show every configuration, also those stopped early (default: of a search the best 100; CSV has all)",
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="lay them out as the paper's Table 2, datasets and epochs across, with the paper's figures under ours",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a sweep's tables; return the exit status."""
    from results.options import read_source

    print(sweep_table(read_source(arguments), arguments.format or "md", arguments.paper, arguments.all), end="")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Print a sweep's tables as a script; return the exit status, 2 on bad input."""
    from results.options import run_script

    return run_script("table", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
