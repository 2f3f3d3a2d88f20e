"""The commands that run a sweep, ``alphacl sweep`` and ``alphacl resume``, by way of :mod:`orchestrator.driver.run_sweep`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.commands.exit_codes import OK
from orchestrator.commands.grow import edited_source, edited_space, growth_of, launched_text, source_of
from orchestrator.commands.plugin_sources import keep_sources
from orchestrator.commands.reuse import reused_trials
from orchestrator.commands.run import run
from orchestrator.storage.driving import claim
from results.record.growing import grow, plan_missing
from results.record.layout import SPACE, SWEEP, check_name
from results.record.lookup import find_sweep
from results.record.reader import SweepRecord, open_sweep
from results.record.seal import is_own
from results.record.store_address import without_password
from trainer.errors import UserError
from trainer.terminal import outlive_reader

if TYPE_CHECKING:
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
        return resume(argparse.Namespace(**{**vars(arguments), "name": name, "space": None}))
    spec = load_spec(file, tuple(arguments.set))
    if arguments.trials:
        trials = _trials(spec, arguments.trials)  # which refuses a grid
        spec = load_spec(file, (*arguments.set, _budget(spec.document.data["search"], trials)))
    check_name(name)
    if arguments.grow:
        claim(arguments, name, new=False)
        record = open_sweep(arguments.storage, name)
        if not is_own(record):
            instead = f"'alphacl resume {name} {file}' asks for what it names, then grows it"
            raise UserError(f"the sweep {name!r} was not launched by you here; {instead}")
        return _grow(arguments, record, spec, file)
    if arguments.dry_run:
        from orchestrator.commands.dry_run import print_plan

        return print_plan(spec, name, arguments)
    from orchestrator.driver.join_cluster import prepare_to_join
    from results.record.sweep_writer import SweepWriter

    prepare_to_join(arguments.address)
    claim(arguments, name, new=True)
    _check_free(arguments.storage, name, spec)
    _prepare_data(spec, arguments)
    meta = {
        "tracking_uri": without_password(arguments.tracking_uri or "") or None,
        "study_storage": _study_storage(arguments.study_storage, spec),
        "warm_start": _warm_start(arguments, spec),
        "environment": _environment(),
        **_of_space(spec, file),
    }
    reused = reused_trials(arguments.reuse, arguments.storage, spec)
    if reused and spec.kind == "search":  # which may be interrupted before it has asked for all of them
        meta["reuse"] = [str(Path(path).resolve()) for path in arguments.reuse]
    folder = SweepWriter.create(arguments.storage, name, spec, meta, reused)
    return run(folder, spec, arguments, not reused, lambda: keep_sources(folder, spec), reused)


def _check_free(storage: Path, name: str, spec: SweepSpec) -> None:
    """Refuse a name that is taken, before any data are prepared. Raises UserError, which says how the sweep there can grow."""
    from results.record.sweep_writer import SweepWriter

    if not (storage / name).exists():
        return
    if (storage / name / SWEEP).exists() and launched_text(open_sweep(storage, name)) != spec.text:
        raise UserError(
            f"the sweep {name!r} exists in {storage}, launched from another search space; add what is new in this one by --grow,"
            " or choose another --name"
        )
    SweepWriter.create(storage, name, spec, {})


def resume(arguments: argparse.Namespace) -> int:
    """Run ``alphacl resume`` and return the exit code: go on with a sweep, of which finished trials are not run again.

    Raises:
        UserError: if there is no such sweep, it has no search space to go on with, it came from elsewhere and names what its user
            has not asked for, or an edited space is that of another sweep.
    """
    claim(arguments, arguments.name, new=False)
    record = open_sweep(arguments.storage, arguments.name)
    if not (record.folder / SPACE).exists():
        raise UserError(f"{record.name!r} holds records of single runs, and no search space to go on with")
    from orchestrator.commands.trust import check_trust

    foreign = check_trust(record, arguments)
    from orchestrator.driver.join_cluster import prepare_to_join
    from results.record.sweep_writer import SweepWriter
    from search_spaces import find_space, load_spec

    prepare_to_join(arguments.address)
    if not foreign or getattr(arguments, "trust_plugins", False):  # else a module that is not installed here might be found there
        sys.path += [path for path in record.meta.get("plugin_path", []) if path not in sys.path]
    if arguments.space:
        file = find_space(arguments.space)
        return _grow(arguments, record, load_spec(file), file, foreign)
    edited = edited_space(record)
    if edited is not None:
        return _grow(arguments, record, edited, foreign=foreign)
    source = None if foreign else edited_source(record)
    if source is not None:
        print(
            f"{source} has been edited since the launch; this goes on with the space as launched."
            f" To take the change over:  alphacl resume {record.name} {source}",
            file=sys.stderr,
        )
    folder = SweepWriter(record)
    kept = record.meta.get("search_trials")
    spec = load_spec(record.folder / SPACE, (_budget(record.search, kept),) if kept else ())
    trials = _trials(spec, arguments.trials) if arguments.trials else None
    if trials is not None:
        spec = load_spec(record.folder / SPACE, (_budget(record.search, trials),))
    _prepare_data(spec, arguments)

    def prepare() -> None:
        if foreign:
            folder.trust(**_addresses(spec, arguments), **({} if spec.plugins else {"plugin_path": []}))
        if trials is not None:
            folder.update(trials=spec.trials, search_trials=trials, settled_at=None)
        if spec.kind == "grid" and (missing := plan_missing(folder, spec.leaves())):
            print(f"{missing} trials of the space were not in {folder.path}, and are planned again", flush=True)
        keep_sources(folder, spec)

    there = [path for path in record.meta.get("reuse", []) if Path(path).is_dir() and not foreign]
    return run(folder, spec, arguments, prepare=prepare, offered=reused_trials(there, arguments.storage, spec))


def _grow(
    arguments: argparse.Namespace, record: SweepRecord, spec: SweepSpec, file: Path | None = None, foreign: bool = False
) -> int:
    """Show what another search space changes in a sweep, take it over, and run what is new.

    Args:
        arguments: those of the command.
        record: the sweep.
        spec: the new space.
        file: the YAML that it was read from; None for the one in the sweep folder.
        foreign: whether the sweep came from elsewhere; it becomes the user's own.

    Raises:
        UserError: if the space is that of another sweep.
    """
    from results.record.sweep_writer import SweepWriter

    if arguments.trials:
        raise UserError("--trials: a sweep that grows has the trials that its new space says; leave the option out")
    growth_of(record, spec).print(record.name)
    if getattr(arguments, "dry_run", False):
        return OK
    _prepare_data(spec, arguments)
    folder = SweepWriter(record)
    reused = reused_trials(getattr(arguments, "reuse", []), arguments.storage, spec)
    meta = {**_of_space(spec, file), "search_trials": None, **(_addresses(spec, arguments) if foreign else {})}

    def prepare() -> None:
        grow(folder, spec, meta, reused)
        keep_sources(folder, spec)

    return run(folder, spec, arguments, prepare=prepare, offered=reused)


def _of_space(spec: SweepSpec, file: Path | None) -> dict[str, Any]:
    """Return what ``sweep.json`` says of the search space; ``file`` is where it was read from, None in the sweep folder."""
    beside = [] if file is None else [str(file.resolve().parent)]
    source = {} if file is None else {"source": source_of(file)}
    path = {"plugin_path": [*beside, os.getcwd()]} if file is not None or spec.plugins else {}
    return {"gpu": spec.resources.gpu, "space": spec.text, **source, **(path if spec.plugins else {"plugin_path": []})}


def _prepare_data(spec: SweepSpec, arguments: argparse.Namespace) -> None:
    """Prepare the datasets."""
    outlive_reader()
    print("preparing the data …", flush=True)
    from orchestrator.commands.check_data import check_data

    check_data(spec, arguments.data_dir)


def _warm_start(arguments: argparse.Namespace, spec: SweepSpec) -> str | None:
    """Return the sweep whose trials the study is told, as ``sweep.json`` keeps it: a name, or a folder's whole path.

    Raises:
        UserError: if the space is a grid, or there is no such sweep.
    """
    name: str | None = arguments.warm_start
    if name is None:
        return None
    if spec.search is None:
        raise UserError("--warm-start: a grid learns nothing; leave the option out, or take its trials over by --reuse")
    find_sweep(arguments.storage, name)
    return str(Path(name).resolve()) + os.sep if os.sep in name else name


def _budget(search: Mapping[str, Any], trials: int) -> str:
    """Return what gives a YAML's ``search`` section that many trials, in all or of each family, as ``--set`` takes it."""
    return f"search.{'trials' if search.get('per_family') is None else 'per_family'}={trials}"


def _trials(spec: SweepSpec, text: str) -> int:
    """Return the number of trials that --trials asks for. Raises UserError if it is no number, or the sweep is a grid."""
    if not re.fullmatch(r"\+?[1-9]\d*", text):
        raise UserError(f"--trials: expected a number such as 40, or +20 to add to those there are, got {text!r}")
    if spec.search is None:
        raise UserError("--trials: a grid has the trials that its space says; edit the YAML, and take it over by --grow")
    now, number = spec.search.trials, int(text)
    return now + number if text.startswith("+") else number


def _study_storage(url: str | None, spec: SweepSpec) -> str | None:
    """Return --study-storage as it is written into the sweep folder: without the password. Raises UserError."""
    if url is None:
        return None
    if spec.search is None:
        raise UserError("--study-storage: a grid has no study; leave the option out")
    from orchestrator.suggest.study import open_storage

    open_storage(url, Path())
    return without_password(url)


def _addresses(spec: SweepSpec, arguments: argparse.Namespace) -> dict[str, str | None]:
    """Return the addresses that a sweep from elsewhere is to have from now on: those that its user gave."""
    tracking, study = getattr(arguments, "tracking_uri", None), getattr(arguments, "study_storage", None)
    given = {"tracking_uri": without_password(tracking or ""), "study_storage": _study_storage(study, spec)}
    return {key: address for key, address in given.items() if address}


def _environment() -> dict[str, Any]:
    """Return the versions and the commit that a sweep is launched with."""
    import platform
    from importlib.metadata import version

    from trainer.environment import commit

    packages = ("torch", "torchvision", "ray", "optuna", "mlflow")
    return {"commit": commit(), "python": platform.python_version(), **{p: version(p) for p in packages}}
