"""The reader of search spaces: it finds a YAML file, applies ``--set`` and validates the result into a SweepSpec.

Every check that can name a line of the YAML is made here or in the modules that read its sections and domains.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from search_spaces.domains import Choice, Domain, Range, read_domain
from search_spaces.enqueue import read_enqueue
from search_spaces.samplers import SAMPLERS
from search_spaces.search import known_keys, read_budget, read_early_stopping, read_resources, read_search, section, whole
from search_spaces.spec import FIELDS, Branch, SweepSpec
from search_spaces.yaml_lines import Document, Path
from trainer.calls import FORMULA, Call
from trainer.config import TrialConfig
from trainer.errors import UserError, did_you_mean, is_number
from trainer.formulas import formula_arguments
from trainer.metrics import projector_name
from trainer.objectives import find_objective, hyper_parameters_of
from trainer.plugins import load_plugin

FOLDER = FilePath(__file__).parent
MOST_COMBINATIONS = 100_000  # of a grid
NO_GRID = "is a range, which a grid cannot enumerate; list values, or add a 'search' section"
TOP_KEYS = (
    "description", "trial", "space", "search", "repeat", "confirm", "early_stopping", "keep_encoders", "resources", "retries",
    "plugins", "budget", "enqueue",
)  # fmt: skip


def find_space(name: str) -> FilePath:
    """Return the YAML file that ``name`` means: a path to a file, or the name of a search space that comes with alphacl.

    Raises:
        UserError: if there is no such file, or no search space of that name.
    """
    file = FilePath(name)
    if file.suffix in (".yaml", ".yml") or len(file.parts) > 1:
        if not file.is_file():
            raise UserError(f"no file {file}; expected a YAML file or a name from 'alphacl spaces'")
        return file
    known = {f.stem: f for f in FOLDER.glob("*.yaml")}
    if name not in known:
        raise UserError(f"no search space {name!r}{did_you_mean(name, known)}")
    return known[name]


def load_spec(file: FilePath, overrides: tuple[str, ...] = ()) -> SweepSpec:
    """Read and validate a search space from a YAML file.

    Args:
        file: the YAML file.
        overrides: ``KEY=VALUE`` texts, as given to ``--set``.

    Raises:
        SpaceError: if the search space is invalid; the message begins with file and line.
        UserError: if the file cannot be read, or an override is not of the form ``KEY=VALUE`` or names an unknown key.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    document = Document(text, str(file))
    if isinstance(document.data, dict):
        for override in overrides:
            _override(document, override)
    return read_spec(document)


def _override(document: Document, override: str) -> None:
    key, sign, value = override.partition("=")
    if not sign:
        raise UserError(f"--set {override}: expected KEY=VALUE, as in --set epochs=5")
    path = tuple(key.split("."))
    if path[0] not in (*FIELDS, *TOP_KEYS):
        raise UserError(f"--set {override}: unknown key {path[0]!r}{did_you_mean(path[0], (*FIELDS, *TOP_KEYS))}")
    if path[0] in FIELDS:
        space = document.data.get("space")
        fixed = document.data.get("trial") or {}
        path = ("space" if isinstance(space, dict) and path[0] not in fixed and path[0] in space else "trial", *path)
    document.override(path, value, f"--set {override}")


def read_spec(document: Document) -> SweepSpec:
    """Validate a parsed document and return its SweepSpec, after importing the plug-ins that it names.

    Raises:
        SpaceError: if the search space is invalid; the message begins with file and line.
    """
    data = document.data
    if not isinstance(data, dict):
        raise document.error((), "expected a search space with the keys 'trial' and 'space'")
    known_keys(document, (), data, TOP_KEYS)
    folder = str(FilePath(document.source).resolve().parent)
    if data.get("plugins"):
        sys.path += [p for p in (os.getcwd(), folder) if p not in sys.path]  # a module beside the YAML, as a script's would be
    for module in _list(document, "plugins"):
        try:
            load_plugin(str(module))
        except UserError as error:
            raise document.error(("plugins",), str(error)) from None
    fixed, space = section(document, "trial", FIELDS), section(document, "space", FIELDS)
    for key in fixed:
        if key in space:
            raise document.error(("space", key), f"{key!r} is given under 'trial' too; keep one")
    domains = {k: read_domain(document, ("space", k), v) for k, v in space.items() if k != "objective"}
    spec = SweepSpec(
        document=document,
        description=str(data.get("description", "")),
        fixed={k: v for k, v in fixed.items() if k != "objective"},
        branches=_read_branches(document, fixed, space),
        domains=domains,
        search=read_search(document),
        resources=read_resources(document),
        retries=whole(document, ("retries",), data.get("retries", 2), 0),
        early_stopping=read_early_stopping(document, _horizon(fixed, domains)),
        keep_encoders=whole(document, ("keep_encoders",), data.get("keep_encoders", 5), 0),
        plugins=tuple(map(str, _list(document, "plugins"))),
        budget=read_budget(document),
    )
    _check_kinds(spec)
    _check_size(spec)
    _check_metrics(spec)
    spec.check()
    return dataclasses.replace(spec, enqueue=read_enqueue(spec))


def _horizon(fixed: dict[str, Any], domains: dict[str, Domain]) -> int:
    """Epochs of the longest trial, as far as they are numbers; what is none is refused with the configurations."""
    values = domains["epochs"].samples() if "epochs" in domains else (fixed.get("epochs", TrialConfig.epochs),)
    return max((int(value) for value in values if is_number(value)), default=1)


def _list(document: Document, name: str) -> list[Any]:
    value = document.data.get(name) or []
    if not isinstance(value, list):
        raise document.error((name,), f"expected a list, got {value!r}")
    return value


def _read_branches(document: Document, fixed: dict[str, Any], space: dict[str, Any]) -> tuple[Branch, ...]:
    """The objectives to choose from, each with its own domains."""
    if "objective" not in space:
        text = fixed.get("objective", "infonce")
        return (_read_branch(document, ("trial", "objective"), text),)
    value = space["objective"]
    if value == []:
        raise document.error(("space", "objective"), "'objective' has no values; expected at least one, as in [infonce, uniform]")
    if not isinstance(value, list):
        return (_read_branch(document, ("space", "objective"), value),)
    branches: list[Branch] = []
    for place, entry in enumerate(value):
        branch = _read_branch(document, ("space", "objective", place), entry)
        if branch.label in [b.label for b in branches]:
            raise document.error(branch.path, f"{branch.label!r} is listed twice under 'objective'")
        branches.append(branch)
    return tuple(branches)


def _read_branch(document: Document, path: Path, entry: Any) -> Branch:
    """Read one objective with domains for its hyper-parameters, ``tau`` included.

    It is ``direct(p=4)``, or ``direct: {p: {float: [1, 8]}}``, or a formula, ``alpha: exp(-d2**(p/2)/tau)`` beside ``p: …``.
    """
    name: Any = entry
    own: dict[str, Any] = {}
    place = path
    written = formula_arguments(entry) if isinstance(entry, dict) else None
    if written is not None:
        name = str(Call(FORMULA, (), tuple(written.items())))
        own, place = {key: value for key, value in entry.items() if key not in written}, path
    elif isinstance(entry, dict):
        if len(entry) != 1 or not isinstance(next(iter(entry.values())), dict):
            raise document.error(path, "expected one objective with its hyper-parameters, as in 'direct: {p: {float: [1, 8]}}'")
        name, own = next(iter(entry.items()))
        place = (*path, str(name))
    if not isinstance(name, str):
        raise document.error(path, f"expected an objective such as direct(p=4), got {name!r}")
    try:
        _, call = find_objective(name)
        takes = hyper_parameters_of(name)
    except UserError as error:
        raise document.error(path, str(error)) from None
    for key in own:
        if key not in takes:
            near = did_you_mean(key, takes) if takes else "; it takes none"
            raise document.error((*place, key), f"objective {call.name!r} has no hyper-parameter {key!r}{near}")
        if key in dict(call.kwargs):
            raise document.error((*place, key), f"{key!r} is given in {name!r} too; keep one")
    return Branch(name, call, path, place, {key: read_domain(document, (*place, key), value) for key, value in own.items()})


def _check_kinds(spec: SweepSpec) -> None:
    """Ranges need a sampler; a sampler needs one seed, or it would choose among lucky ones."""
    document = spec.document
    if spec.search is None:
        for name, domain in spec.domains.items():
            if isinstance(domain, Range):
                raise document.error(("space", name), f"{name!r} {NO_GRID}")
        for branch in spec.branches:
            for name, domain in branch.own.items():
                if isinstance(domain, Range):
                    raise document.error((*branch.place, name), f"{name!r} {NO_GRID}")
    elif SAMPLERS[spec.search.sampler].needs_range and not any(isinstance(d, Range) for d in spec.domains.values()):
        raise document.error(
            ("search", "sampler"),
            f"{spec.search.sampler} moves in ranges that all objectives share, and 'space' has none; use tpe",
        )
    elif len(spec.domains.get("seed", Choice((0,))).samples()) > 1:
        raise document.error(
            ("space", "seed"),
            "a search takes one seed here: a sampler would choose among lucky ones; give them as 'repeat: {seed: [0, 1, 2]}'",
        )


def _check_size(spec: SweepSpec) -> None:
    """Refuse a grid of more combinations than can be listed in a minute. Raises SpaceError."""
    if spec.search is None and spec.combinations > MOST_COMBINATIONS:
        hint = f"expected at most {MOST_COMBINATIONS}; list fewer values, or add a 'search' section"
        raise spec.document.error(("space",), f"a grid of {spec.combinations:,} combinations; {hint}")


def _check_metrics(spec: SweepSpec) -> None:
    """Refuse to choose by a probe of the projector where trials do not make it. Raises SpaceError."""
    probed = (
        spec.domains["probe_projector"].samples() if "probe_projector" in spec.domains else (spec.fixed.get("probe_projector"),)
    )
    for name, part in (("search", spec.search), ("early_stopping", spec.early_stopping)):
        if part is not None and part.metric.endswith(projector_name("")) and not all(value is True for value in probed):
            raise spec.document.error((name, "metric"), f"{part.metric} is reported with probe_projector: true alone; add it")


def iter_spaces() -> Iterator[tuple[str, SweepSpec]]:
    """Yield the name and the SweepSpec of every search space that comes with alphacl, sorted by name."""
    for file in sorted(FOLDER.glob("*.yaml")):
        yield file.stem, load_spec(file)
