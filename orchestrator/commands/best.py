"""``alphacl best``: the best configuration of a sweep, as a command that trains it or as the YAML of a search space."""

from __future__ import annotations

import argparse

from orchestrator.commands.exit_codes import OK
from results.best_configuration import best_of, to_yaml
from results.options import add_source, read_source
from results.tables.gaps import plugins_of, training_command
from trainer.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``alphacl best``."""
    add_source(parser)
    parser.add_argument("--yaml", action="store_true", help="print it as a search space, with its seeds")
    parser.add_argument("--dataset", metavar="D", help="only this one of the sweep's datasets")


def best(arguments: argparse.Namespace) -> int:
    """Run ``alphacl best`` and return the exit code.

    Raises:
        UserError: if there is no such sweep or dataset, none of its trials has finished, or --yaml is to hold several datasets.
    """
    sweep = read_source(arguments)
    bests = best_of(sweep, arguments.dataset)
    if arguments.yaml:
        if len(bests) > 1:
            names = ", ".join(b.dataset for b in bests)
            raise UserError(f"--yaml: {sweep.name!r} has a best configuration for each of {names}; choose one by --dataset")
        print(to_yaml(sweep, bests[0]), end="")
        return OK
    for found in bests:
        print(f"{found.dataset}: {found.summary()}")
        print(f"  {training_command(found.config, plugins_of(sweep), ('dataset', 'objective', 'tau'))}")
    return OK
