"""Shows what there is, by ``alphacl table``, ``compare``, ``ui`` and ``spaces``, which start without PyTorch, Ray or MLflow."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
import textwrap
from pathlib import Path

from orchestrator.commands.exit_codes import OK
from results import compare as results_compare
from results import table as results_table
from results.options import read_source
from results.record.lookup import find_sweep
from results.tables.sweep import shown_tables
from trainer.errors import UserError

READY = "The pages are there in about ten seconds; Ctrl-C ends them."


def table(arguments: argparse.Namespace) -> int:
    """Run ``alphacl table`` and return the exit code: tables with rules and colours, or with --format or --paper as text.

    Raises:
        UserError: if there is no such sweep or file.
    """
    if arguments.format or arguments.paper:
        return results_table.run(arguments)
    from orchestrator.driver.display import make_console
    from results.tables.terminal import print_tables

    print_tables(shown_tables(read_source(arguments), arguments.all), make_console())
    return OK


def compare(arguments: argparse.Namespace) -> int:
    """Run ``alphacl compare`` and return the exit code: a table with rules and colours, or with --format as text.

    Raises:
        UserError: if there is no such sweep, one has nothing finished, or they share no configuration.
    """
    if arguments.format:
        return results_compare.run(arguments)
    from orchestrator.driver.display import make_console
    from results.tables.terminal import print_tables

    a, b = (read_source(arguments, name) for name in (arguments.a, arguments.b))
    tables, differing = results_compare.compare_sweeps(a, b, arguments.metric)
    tables[-1].notes += results_compare.difference_notes(differing) or [results_compare.SAME]
    print_tables(tables, make_console())
    return OK


def ui(arguments: argparse.Namespace) -> int:
    """Run ``alphacl ui``: replace this process by MLflow's server, which listens to this machine alone.

    Raises:
        UserError: if no sweep has been recorded in the storage folder, there is none of that name, or the port is out of range or
            in use, or the database cannot be opened.
    """
    from orchestrator.tracking.addresses import artifact_root, database, default_uri

    uri = arguments.tracking_uri or default_uri(arguments.storage)
    if not arguments.tracking_uri and not database(arguments.storage).exists():
        reason = "; it has none yet" if arguments.storage.exists() else ", which is not there"
        raise UserError(f"no sweeps recorded in {arguments.storage}{reason}; run one first, or give --storage")
    if not 0 < arguments.port < 65536:
        raise UserError(f"--port: expected a port from 1 to 65535, got {arguments.port}")
    _check_free(arguments.port)
    _check_database(uri)
    print("\n".join(_addresses(f"http://127.0.0.1:{arguments.port}", uri, arguments.storage, arguments.name)), flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(arguments.port)]
    command += ["--default-artifact-root", artifact_root(arguments.storage), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning"]
    # The address may hold a password, which a command line would show to others.
    given = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_LOGGING_LEVEL": "ERROR", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    given["PYTHONWARNINGS"] = "ignore"  # MLflow's imports warn about each other
    os.execve(sys.executable, command, {**os.environ, **given})  # so that what stops us stops it


def _check_free(port: int) -> None:
    """Raise UserError where another process listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"--port: cannot listen on 127.0.0.1:{port}: {error.strerror}; give another port") from None


def _check_database(uri: str) -> None:
    """Raise UserError where a database cannot be opened; MLflow's server would try for minutes and end with a traceback."""
    from results.record.store_address import ask_database, public

    try:
        ask_database(uri)
    except Exception as error:  # noqa: BLE001 - SQLAlchemy's, or its driver's
        from orchestrator.tracking.store_errors import explain

        raise UserError(f"cannot open the tracking store {public(uri)}: {explain(error)}") from None


def _addresses(server: str, uri: str, storage: Path, name: str | None) -> list[str]:
    """Return lines with the addresses of MLflow's pages: those of a sweep where one is named."""
    from orchestrator.tracking.experiments import TRAINING, pages_of

    if name is None:
        return [f"Open {server}/#/experiments?{TRAINING} in a browser. {READY}"]
    sweep = find_sweep(storage, name)
    found = pages_of(uri, str(sweep.meta["id"]))
    if found is None:
        raise UserError(f"the sweep {name!r} is not in the tracking store; 'alphacl track {name}' writes it there")
    return [f"The sweep's answer:    {server}{found[0]}", f"Its runs, best first:  {server}{found[1]}", READY]


def spaces(arguments: argparse.Namespace) -> int:
    """Run ``alphacl spaces``, which lists the search spaces that come with alphacl, and return the exit code."""
    from search_spaces import iter_spaces

    rows = [{"name": name, "trials": spec.trials, "description": spec.description} for name, spec in iter_spaces()]
    if arguments.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return OK
    width = max(len(str(row["name"])) for row in rows)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for row in rows:
        head = f"{row['name']:<{width}}  {row['trials']:>4} trials  "
        text = str(row["description"])
        lines = textwrap.wrap(text, columns - len(head)) if columns >= 2 * len(head) else [text]
        print(head + ("\n" + " " * len(head)).join(lines))
    return OK
