"""The commands that run a sweep, ``alphacl sweep`` and ``alphacl resume``, by way of :mod:`orchestrator.driver.run_sweep`."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.commands.exit_codes import FAILED, INTERRUPTED, OK
from orchestrator.commands.failures import print_failures
from orchestrator.storage.driving import claim, mirrored
from orchestrator.tracking.addresses import database, default_uri, tracking_uri
from results.bucket.address import storage_option
from results.record.layout import SPACE, check_name
from results.record.reader import SweepRecord, TrialRecord, list_sweeps, open_sweep
from results.record.status import Status
from results.tables.sweep import sweep_tables
from trainer.errors import UserError
from trainer.terminal import complain

if TYPE_CHECKING:
    from results.record.sweep_writer import SweepWriter
    from search_spaces import SweepSpec


def sweep(arguments: argparse.Namespace) -> int:
    """Run ``alphacl sweep`` and return the exit code: launch a new sweep, print its plan, or add trials to an old one.

    Raises:
        UserError: if an option, the search space, its data, or a tracking or study database is wrong.
    """
    from search_spaces import find_space, load_spec  # with PyTorch; what only reads the folder starts without

    file = find_space(arguments.space)
    name = arguments.name or file.stem
    if (arguments.trials or "").startswith("+") and not arguments.dry_run:
        if arguments.set:
            raise UserError(
                f"--set: the sweep {name!r} keeps what it was launched with; --trials {arguments.trials} only adds to it"
            )
        return resume(argparse.Namespace(**{**vars(arguments), "name": name}))
    spec = load_spec(file, tuple(arguments.set))
    if arguments.trials:
        trials = _trials(spec, arguments.trials)  # which refuses a grid
        spec = load_spec(file, (*arguments.set, _budget(spec.document.data["search"], trials)))
    check_name(name)
    if arguments.dry_run:
        from orchestrator.commands.dry_run import print_plan

        return print_plan(spec, name, arguments)
    from orchestrator.driver.join_cluster import prepare_to_join
    from results.record.sweep_writer import SweepWriter

    prepare_to_join(arguments.address)
    from orchestrator.driver.run_sweep import check_data  # Ray and MLflow take seconds to import: only where they are needed

    claim(arguments, name, new=True)
    if (arguments.storage / name).exists():  # said before any data are prepared
        SweepWriter.create(arguments.storage, name, spec, {})
    check_data(spec, arguments.data_dir)
    meta = {
        "tracking_uri": _tracking_uri(arguments.tracking_uri),
        "study_storage": _study_storage(arguments.study_storage, spec),
        "gpu": spec.resources.gpu,
        "plugin_path": [str(file.resolve().parent), os.getcwd()] if spec.plugins else [],
        "environment": _environment(),
    }
    reused = _reused(arguments, spec)
    folder = SweepWriter.create(arguments.storage, name, spec, meta, reused)
    return _run(folder, spec, arguments, new=not reused)


def resume(arguments: argparse.Namespace) -> int:
    """Run ``alphacl resume`` and return the exit code: go on with a sweep, of which finished trials are not run again.

    Raises:
        UserError: if there is no such sweep, it has no search space to go on with, or it came from elsewhere and names what its
            user has not asked for.
    """
    claim(arguments, arguments.name, new=False)
    record = open_sweep(arguments.storage, arguments.name)
    if not (record.folder / SPACE).exists():
        raise UserError(f"{record.name!r} holds records of single runs, and no search space to go on with")
    from orchestrator.commands.trust import check_trust

    foreign = check_trust(record, arguments)
    from orchestrator.driver.join_cluster import prepare_to_join
    from results.record.sweep_writer import SweepWriter

    prepare_to_join(arguments.address)
    from orchestrator.driver.run_sweep import check_data
    from search_spaces import load_spec

    folder = SweepWriter(record)
    sys.path += [path for path in record.meta.get("plugin_path", []) if path not in sys.path]
    kept = record.meta.get("search_trials")
    spec = load_spec(record.folder / SPACE, (_budget(record.search, kept),) if kept else ())
    trials = _trials(spec, arguments.trials) if arguments.trials else None
    if trials is not None:
        spec = load_spec(record.folder / SPACE, (_budget(record.search, trials),))
    check_data(spec, arguments.data_dir)
    return _run(folder, spec, arguments, extend_to=trials, foreign=foreign)


def _budget(search: Mapping[str, Any], trials: int) -> str:
    """Return what gives a YAML's ``search`` section that many trials, in all or of each family, as ``--set`` takes it."""
    return f"search.{'trials' if search.get('per_family') is None else 'per_family'}={trials}"


def _trials(spec: SweepSpec, text: str) -> int:
    """Return the number of trials that --trials asks for. Raises UserError if it is no number, or the sweep is a grid."""
    if not re.fullmatch(r"\+?[1-9]\d*", text):
        raise UserError(f"--trials: expected a number such as 40, or +20 to add to those there are, got {text!r}")
    if spec.search is None:
        raise UserError("--trials: a grid has the trials that its space says; sweep a larger space under another --name")
    now, number = spec.search.trials, int(text)
    return now + number if text.startswith("+") else number


def _reused(arguments: argparse.Namespace, spec: SweepSpec) -> dict[str, TrialRecord]:
    """Return the finished trials that --reuse offers and the grid wants, by digest, and print how many there are.

    Raises:
        UserError: if the space is a search, or a folder holds neither a sweep nor records.
    """
    if not arguments.reuse:
        return {}
    if spec.kind == "search":
        raise UserError("--reuse: a search is told only of its own trials; leave the option out, or sweep a grid")
    from results.record.given import checked
    from results.record.lookup import find_folder

    wanted = {leaf.digest for leaf in spec.leaves()}
    offered: dict[str, TrialRecord] = {}
    for path in arguments.reuse:
        for trial in map(checked, find_folder(arguments.storage, path).trials()):
            if trial.digest in wanted and trial.status == Status.FINISHED:
                offered.setdefault(trial.digest, trial)
    print(f"reusing {len(offered)} of {spec.trials} trials from {', '.join(arguments.reuse)}", flush=True)
    return offered


def _tracking_uri(uri: str | None) -> str | None:
    """Return --tracking-uri as it is written into the sweep folder: without the password."""
    return re.sub(r"//([^/@:]*):[^/@]*@", r"//\1@", uri) if uri else None


def _study_storage(url: str | None, spec: SweepSpec) -> str | None:
    """Return --study-storage as it is written into the sweep folder: without the password. Raises UserError."""
    if url is None:
        return None
    if spec.search is None:
        raise UserError("--study-storage: a grid has no study; leave the option out")
    from orchestrator.suggest.study import open_storage, without_password

    open_storage(url, Path())
    return without_password(url)


def _run(
    folder: SweepWriter,
    spec: SweepSpec,
    arguments: argparse.Namespace,
    new: bool = False,
    extend_to: int | None = None,
    foreign: bool = False,
) -> int:
    """Run a sweep and say how it ended; one that came from elsewhere becomes the user's own."""
    from orchestrator.driver.display import make_console
    from orchestrator.driver.outcome import interrupted_outcome
    from orchestrator.driver.run_sweep import run_sweep
    from results.tables.terminal import print_tables

    is_store_new = not database(arguments.storage).exists()
    with folder.driving(), mirrored(folder, arguments):
        if foreign:
            folder.trust(**_addresses(folder.record, spec, arguments))
        if extend_to is not None:
            folder.update(trials=spec.trials, search_trials=extend_to, settled_at=None)
        try:
            outcome = run_sweep(
                folder,
                spec,
                arguments.address,
                arguments.data_dir,
                getattr(arguments, "tracking_uri", None),
                getattr(arguments, "study_storage", None),
            )
        except KeyboardInterrupt:  # one more Ctrl-C, while the sweep was being wound up
            outcome = interrupted_outcome(folder)
        except UserError:
            if new and folder.discard_unused():
                _forget(folder.record, getattr(arguments, "tracking_uri", None), is_store_new)
            raise
    record, console = folder.record, make_console()
    trials = record.trials()
    if any(t.status == Status.FINISHED for t in trials):
        print_tables(sweep_tables(record), console)
    extra = storage_option(arguments.storage)
    print_failures(outcome.failed, record.name, extra)
    if outcome.problem:
        complain(f"alphacl: {outcome.problem}")
    if outcome.interrupted:
        print(
            f"Interrupted with {outcome.unfinished} of {record.planned} trials to go."
            f" Go on with:  alphacl resume {record.name}{extra}"
        )
    print(f"Browse it with:  {_browse(record, extra)}")
    bucket = getattr(arguments, "bucket", None)
    print(f"Everything lies in:  {f'{bucket.address}/{record.name}' if bucket else record.folder}")
    return INTERRUPTED if outcome.interrupted else FAILED if outcome.failed else OK


def _forget(record: SweepRecord, given_uri: str | None, is_store_new: bool) -> None:
    """Remove what a launch that failed has left in MLflow: its experiment, or the database that was made for it."""
    uri, storage = tracking_uri(record, given_uri), record.folder.parent
    if uri == default_uri(storage) and is_store_new and not list_sweeps(storage):
        for file in storage.glob(f"{database(storage).name}*"):
            file.unlink(missing_ok=True)
        return
    from orchestrator.tracking.experiments import remove_experiment

    with contextlib.suppress(UserError):  # the store may be why the launch failed
        remove_experiment(uri, str(record.meta["id"]))


def _addresses(record: SweepRecord, spec: SweepSpec, arguments: argparse.Namespace) -> dict[str, str | None]:
    """Return the addresses that a sweep from elsewhere is to have from now on: those that its user gave."""
    tracking, study = getattr(arguments, "tracking_uri", None), getattr(arguments, "study_storage", None)
    given = {"tracking_uri": _tracking_uri(tracking), "study_storage": _study_storage(study, spec)}
    return {key: address for key, address in given.items() if address}


def _browse(record: SweepRecord, extra: str) -> str:
    """Return the command or the address that shows a sweep in MLflow."""
    uri = record.meta.get("tracking_uri")
    command = f"alphacl ui {record.name}{extra}"
    if not uri:
        return command
    if not uri.startswith("http"):
        return f"{command} --tracking-uri {shlex.quote(uri)}"
    from orchestrator.tracking.experiments import pages_of

    with contextlib.suppress(UserError):  # the table is printed, whether the server answers or not
        found = pages_of(tracking_uri(record), str(record.meta["id"]))
        return f"{uri.rstrip('/')}{found[0]}" if found else str(uri)
    return str(uri)


def _environment() -> dict[str, Any]:
    """Return the versions and the commit that a sweep is launched with."""
    import platform
    from importlib.metadata import version

    from trainer.environment import commit

    packages = ("torch", "torchvision", "ray", "optuna", "mlflow")
    return {"commit": commit(), "python": platform.python_version(), **{p: version(p) for p in packages}}
