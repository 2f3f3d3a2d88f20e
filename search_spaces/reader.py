"""YAML → SweepSpec: finding a search space, ``--set``, and every check that can name a line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from search_spaces.domains import Choice, Range, read_domain
from search_spaces.spec import FIELDS, Branch, Resources, Search, SweepSpec
from search_spaces.yaml_lines import Document, Path
from trainer.errors import UserError, did_you_mean, is_number
from trainer.losses import find_objective, has_tau, load_plugin

FOLDER = FilePath(__file__).parent
TOP_KEYS = ("description", "trial", "space", "search", "resources", "retries", "plugins")
SAMPLERS = ("tpe", "random")
METRICS = ("val/linear", "val/knn")


def find_space(name: str) -> FilePath:
    """The YAML file that a name or path means: a file, or one of those that come with alphacl.

    Raises:
        UserError: there is none.
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
    """Read and validate a search space; ``overrides`` are ``KEY=VALUE`` texts of ``--set``.

    Raises:
        SpaceError: bad input, with file and line.
        UserError: the file can't be read, or an override is not of that form.
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
    """Validate a parsed document. Raises SpaceError, see :func:`load_spec`."""
    data = document.data
    if not isinstance(data, dict):
        raise document.error((), "expected a search space with the keys 'trial' and 'space'")
    _known_keys(document, (), data, TOP_KEYS)
    folder = str(FilePath(document.source).resolve().parent)
    if data.get("plugins"):
        sys.path += [p for p in (os.getcwd(), folder) if p not in sys.path]  # a module beside the YAML, as a script's would be
    for module in _list(document, "plugins"):
        try:
            load_plugin(str(module))
        except UserError as error:
            raise document.error(("plugins",), str(error)) from None
    fixed, space = _section(document, "trial", FIELDS), _section(document, "space", FIELDS)
    for key in fixed:
        if key in space:
            raise document.error(("space", key), f"{key!r} is given under 'trial' too; keep one")
    search = _read_search(document)
    spec = SweepSpec(
        document=document,
        description=str(data.get("description", "")),
        fixed={k: v for k, v in fixed.items() if k != "objective"},
        branches=_read_branches(document, fixed, space),
        domains={k: read_domain(document, ("space", k), v) for k, v in space.items() if k != "objective"},
        search=search,
        resources=_read_resources(document),
        retries=_whole(document, ("retries",), data.get("retries", 2), 0),
        plugins=tuple(map(str, _list(document, "plugins"))),
    )
    _check_kinds(spec)
    spec.check()
    return spec


def _known_keys(document: Document, path: Path, data: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in known:
            where = f" in {path[-1]!r}" if path else ""
            raise document.error((*path, key), f"unknown key {key!r}{where}{did_you_mean(key, known)}")


def _section(document: Document, name: str, known: tuple[str, ...]) -> dict[str, Any]:
    section = document.data.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise document.error((name,), f"expected {name!r} to hold 'key: value' lines, got {section!r}")
    _known_keys(document, (name,), section, known)
    return section


def _list(document: Document, name: str) -> list[Any]:
    value = document.data.get(name) or []
    if not isinstance(value, list):
        raise document.error((name,), f"expected a list, got {value!r}")
    return value


def _whole(document: Document, path: Path, value: Any, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise document.error(path, f"expected {path[-1]} to be a whole number >= {low}, got {value!r}")
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
    """``direct(p=4)``, or ``direct: {p: {float: [1, 8]}}`` with domains for its hyper-parameters, ``tau`` included."""
    name: Any = entry
    own: dict[str, Any] = {}
    if isinstance(entry, dict):
        if len(entry) != 1 or not isinstance(next(iter(entry.values())), dict):
            raise document.error(path, "expected one objective with its hyper-parameters, as in 'direct: {p: {float: [1, 8]}}'")
        name, own = next(iter(entry.items()))
    if not isinstance(name, str):
        raise document.error(path, f"expected an objective such as direct(p=4), got {name!r}")
    try:
        component, call = find_objective(name)
        takes = [*component.parameters, *(["tau"] if has_tau(name) else [])]
    except UserError as error:
        raise document.error(path, str(error)) from None
    for key in own:
        if key not in takes:
            near = did_you_mean(key, takes) if takes else "; it takes none"
            raise document.error((*path, name, key), f"objective {call.name!r} has no hyper-parameter {key!r}{near}")
        if key in dict(call.kwargs):
            raise document.error((*path, name, key), f"{key!r} is given in {name!r} too; keep one")
    return Branch(name, call, path, {key: read_domain(document, (*path, name, key), value) for key, value in own.items()})


def _read_search(document: Document) -> Search | None:
    if document.data.get("search") is None:
        return None
    section = _section(document, "search", ("sampler", "trials", "seed", "metric"))
    default = Search()
    sampler, metric = section.get("sampler", default.sampler), section.get("metric", default.metric)
    if sampler not in SAMPLERS:
        raise document.error(
            ("search", "sampler"), f"no sampler {sampler!r}{did_you_mean(str(sampler), SAMPLERS)}; a grid has no 'search' section"
        )
    if metric not in METRICS:
        raise document.error(
            ("search", "metric"),
            f"expected metric to be one of {', '.join(METRICS)}, which are read on held-out images, got {metric!r}",
        )
    trials = _whole(document, ("search", "trials"), section.get("trials", default.trials), 1)
    return Search(sampler, trials, _whole(document, ("search", "seed"), section.get("seed", default.seed), 0), metric)


def _read_resources(document: Document) -> Resources:
    section = _section(document, "resources", ("cpu", "gpu"))
    cpu = _whole(document, ("resources", "cpu"), section.get("cpu", 1), 1)
    gpu = section.get("gpu", 0)
    if not is_number(gpu) or gpu < 0 or (gpu > 1 and gpu != int(gpu)) or (0 < gpu < 1 and abs(1 / gpu - round(1 / gpu)) > 1e-6):
        raise document.error(
            ("resources", "gpu"), f"expected gpu to be a whole number or a fraction that divides 1, as 0.5 or 0.25, got {gpu!r}"
        )
    return Resources(cpu, float(gpu))


def _check_kinds(spec: SweepSpec) -> None:
    """Ranges need a sampler; a sampler needs one seed, or it would choose among lucky ones."""
    document = spec.document
    if spec.search is None:
        for name, domain in spec.domains.items():
            if isinstance(domain, Range):
                raise document.error(
                    ("space", name), f"{name!r} is a range, which a grid cannot enumerate; list values, or add a 'search' section"
                )
        for branch in spec.branches:
            for name, domain in branch.own.items():
                if isinstance(domain, Range):
                    place = (*branch.path, branch.label, name)
                    raise document.error(
                        place, f"{name!r} is a range, which a grid cannot enumerate; list values, or add a 'search' section"
                    )
    elif len(spec.domains.get("seed", Choice((0,))).samples()) > 1:
        raise document.error(("space", "seed"), "a search takes one seed: a sampler would choose among lucky ones")


def iter_spaces() -> Iterator[tuple[str, SweepSpec]]:
    """The search spaces that come with alphacl, by name."""
    for file in sorted(FOLDER.glob("*.yaml")):
        yield file.stem, load_spec(file)
