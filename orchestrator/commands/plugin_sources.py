"""Keeps the source of a sweep's plug-ins in the sweep folder, and says at resume where it has changed since."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record.layout import PLUGINS
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from trainer.files import replacing

if TYPE_CHECKING:
    from search_spaces import SweepSpec


def keep_sources(folder: SweepWriter, spec: SweepSpec) -> None:
    """Copy the source of the plug-ins that a YAML names into the sweep folder, and print which differ from what is known.

    ``sweep.json`` says of each module its newest ``sha256``, its ``file``, its ``copy`` in the sweep folder, and the hashes of
    ``earlier`` sources.

    Args:
        folder: the sweep folder, whose lock the caller holds.
        spec: the sweep, whose plug-ins are imported already.

    Raises:
        OSError: if the folder cannot be written.
    """
    known = folder.record.meta.get("plugins")
    kept: dict[str, Any] = dict(known) if isinstance(known, dict) else {}
    for module in spec.plugins:
        files = source_files(module)
        sha256 = _hash(files)
        before = kept.get(module)
        if not files or (isinstance(before, dict) and before.get("sha256") == sha256):
            continue
        copy = f"{PLUGINS}/{module}-{sha256[:8]}"
        for name, content in files.items():
            target = folder.path / copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as file:
                file.write(content)
        earlier = []
        if isinstance(before, dict):
            known_before = before.get("earlier")
            earlier = [*(known_before if isinstance(known_before, list) else []), before.get("sha256")]
            _say_changed(folder, module, str(before.get("copy")))
        kept[module] = {"sha256": sha256, "file": sys.modules[module].__file__, "copy": copy, "earlier": earlier}
    if kept != (known or {}):
        folder.update(plugins=kept)


def _say_changed(folder: SweepWriter, module: str, copy: str) -> None:
    finished = sum(t.status == Status.FINISHED for t in folder.record.trials())
    print(
        f"the plug-in {module!r} has changed ({sys.modules[module].__file__}); {finished} trials finished with the source in"
        f" {folder.path / copy}, and their figures stay. To compute them anew:  alphacl retry {folder.record.name} finished",
        file=sys.stderr,
    )


def source_files(module: str) -> dict[str, bytes]:
    """Return the Python files of a module, of a package all: their content by their path, from the module's folder on.

    Empty where the module is not written in Python, or its files cannot be read.
    """
    imported = sys.modules.get(module) or importlib.import_module(module)
    if not getattr(imported, "__file__", None):
        return {}
    file = Path(str(imported.__file__))
    try:
        if file.name == "__init__.py":
            return {str(f.relative_to(file.parent.parent)): f.read_bytes() for f in sorted(file.parent.rglob("*.py"))}
        return {file.name: file.read_bytes()} if file.suffix == ".py" else {}
    except OSError:
        return {}


def _hash(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
