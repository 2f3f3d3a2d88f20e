"""Draws accuracy by family with 95 % intervals, a PNG file per dataset, from a sweep or a folder of JSON records.

As a script: ``python results/draw_by_family.py --sweep results/evidence/paper_small --out results/evidence/paper_small``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from results.options import read_source, run_script
from results.record.layout import file_name
from results.record.naming import short_name
from results.tables.best_of_families import best_of_families
from results.tables.build import build_tables, finished_or_refuse
from trainer.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the script's own option."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("by_family"),
        metavar="STEM",
        help="the files are STEM_DATASET.png (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw the pictures and return the exit status.

    Of a search that has confirmed its winners, these are drawn.

    Raises:
        UserError: if there is no such sweep, no dataset of it has two families with finished trials, or a file can't be written.
    """
    from results.plots.by_family import by_family
    from results.plots.style import save

    sweep = read_source(arguments)
    tables = {table.dataset: table for table in reversed(build_tables(finished_or_refuse(sweep), sweep.metric))}
    drawn = 0
    for dataset, table in tables.items():
        figure = by_family(best_of_families(table, sweep.metric), table.versus[1])
        if figure is not None:
            file = arguments.out.with_name(f"{arguments.out.name}_{file_name(short_name(dataset))}.png")
            save(figure, file)
            print(f"wrote {file}")
            drawn += 1
    if not drawn:
        raise UserError(f"{sweep.name!r} has no dataset with two families whose configurations are complete")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Draw the pictures as a script; return the exit status, 2 on bad input."""
    return run_script("draw_by_family", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
