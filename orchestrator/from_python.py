"""Sweeps from Python, :func:`run`: for notebooks and scripts that would otherwise call the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.cli import build_parser
from results.bucket.address import place_of
from results.bucket.reading import launched_space, located
from results.record.reader import SweepRecord, open_sweep
from trainer.errors import UserError


def run(
    space: str | Path,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    storage: str | Path | None = None,
    options: Mapping[str, str] | None = None,
) -> SweepRecord:
    """Run a search space as ``alphacl sweep`` does, and return the sweep's record; go on with a sweep that is there already.

    A trial that fails raises nothing: its record's ``status`` and ``error`` say what happened. Ctrl-C ends the sweep gently and
    returns the record of what has finished; the same call goes on.

    Args:
        space: a name that ``alphacl spaces`` lists, or a YAML file.
        name: the sweep's name; the file's when not given.
        settings: values that replace those of the YAML, as ``--set`` does: ``{"epochs": 5, "search.trials": 10}``.
        storage: the folder or the bucket's address in which sweeps lie; ``$ALPHACL_STORAGE``, else ``./runs``, when not given.
        options: further options of ``alphacl sweep``, such as ``{"address": "auto", "data-dir": "/data"}``; those that
            ``alphacl resume`` lacks count at the launch alone.

    Raises:
        UserError: if an option, the search space or its data are wrong, or a sweep of that name was launched from another space.
    """
    from search_spaces import find_space, load_spec

    file = find_space(str(space))
    name, place = name or file.stem, place_of(storage)
    overrides = tuple(f"{key}={json.dumps(value)}" for key, value in (settings or {}).items())
    argv = ["sweep", str(file), "--name", name, "--storage", str(place)]
    argv += [word for override in overrides for word in ("--set", override)]
    argv += [word for key, value in (options or {}).items() for word in (f"--{key}", str(value))]
    launched_with = launched_space(place, name)
    if launched_with is not None:
        if load_spec(file, overrides).document.text != launched_with:
            raise UserError(
                f"the sweep {name!r} in {place} was launched from another search space than {file}; give another name,"
                f" or add what is new by 'alphacl sweep {file} --name {name} --grow'"
            )
        launched = {"reuse", "trials", "warm-start"}
        argv = ["resume", name, "--storage", str(place), "--trust-plugins", "--trust-paths"]  # the space is the caller's own
        argv += [word for key, value in (options or {}).items() if key not in launched for word in (f"--{key}", str(value))]
    arguments = build_parser().parse_args(argv)
    with located(arguments):
        arguments.function(arguments)
        return open_sweep(arguments.storage, name)
