"""Checks, before ``alphacl resume`` runs a sweep from elsewhere, that its user asked for the code and places that it names."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results.record.layout import SPACE
from results.record.reader import MOST_SPACE, SweepRecord
from results.record.seal import is_own, named_address
from search_spaces import Document
from trainer import environment_variables
from trainer.errors import UserError
from trainer.files import read_bounded

MOST_ENTRIES = 5_000_000  # files and folders of a sweep


def check_trust(record: SweepRecord, arguments: argparse.Namespace) -> bool:
    """Refuse to run a sweep from elsewhere with what the user has not asked for, and return whether the sweep is from elsewhere.

    Nothing is imported, opened or written before.

    Args:
        record: the sweep.
        arguments: those of ``alphacl resume``.

    Raises:
        UserError: if the sweep names plug-ins, a database or a folder of images, or holds a link.
    """
    if is_own(record):
        return False
    spaces = _spaces(record)
    _check_links(record.folder)
    start = f"the sweep {record.name!r} was not launched by you here, and"
    plugins = [values["plugins"] for values in spaces if values.get("plugins")]
    if plugins and not getattr(arguments, "trust_plugins", False):
        named = dict.fromkeys(name for part in plugins for name in (part if isinstance(part, list) else [part]))
        places = ", ".join([*map(str, record.meta.get("plugin_path", [])), os.getcwd()])
        raise UserError(
            f"{start} imports the plug-ins {', '.join(map(str, named))}, code that would run as you, from {places};"
            " look at them, then give --trust-plugins"
        )
    planned = [trial.config for trial in record.trials() if not trial.problem]  # which need not be of the space
    folders = sorted({*_folders(spaces), *_folders(planned)})
    if folders and not getattr(arguments, "trust_paths", False):
        raise UserError(f"{start} reads images from {', '.join(folders)[:300]}; give --trust-paths where that is what you want")
    if not (getattr(arguments, "study_storage", None) or environment_variables.study_storage()):
        named_address(record, "study_storage", "--study-storage", "the database of its study")
    if not (getattr(arguments, "tracking_uri", None) or environment_variables.tracking_uri()):
        named_address(record, "tracking_uri", "--tracking-uri", "an MLflow store")
    return True


def _spaces(record: SweepRecord) -> list[dict[Any, Any]]:
    """Return what a sweep's search space holds: the file in its folder, and the text that ``sweep.json`` says it was launched as.

    Both may come to be read as orders, the second where a sweep grows. Raises UserError where one cannot be read.
    """
    try:
        texts = [read_bounded(record.folder / SPACE, MOST_SPACE).decode()]
    except (UserError, UnicodeDecodeError, FileNotFoundError) as error:
        raise UserError(f"{record.folder / SPACE}: {error}") from None
    if (launched := record.meta.get("space")) is not None:
        texts.append(str(launched))
    found = [Document(text, str(record.folder / SPACE)).data for text in texts]
    return [values for values in found if isinstance(values, dict)]


def _folders(values: Any) -> Iterator[str]:
    """Yield the image folders that a search space names, wherever it does."""
    if isinstance(values, str):
        if values.startswith("folder:"):
            yield values
    elif isinstance(values, (dict, list)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _folders(value)


def _check_links(folder: Path) -> None:
    """Raise UserError where a sweep folder holds a link, through which a driver would write elsewhere, or what is no file."""
    waiting, seen = [str(folder)], 0
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                seen += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    what = "a link" if entry.is_symlink() else "neither"
                    raise UserError(f"{entry.path}: expected a file or a folder, got {what}; 'alphacl import' takes files alone")
                if seen > MOST_ENTRIES:
                    raise UserError(f"{folder}: expected at most {MOST_ENTRIES} files")
